import os from 'node:os'
import type { Command } from 'commander'
import { glibcVersion } from '../native/glibc.js'
import { examineRanks, type RanksFindings, ranksLines } from './doctor-ranks.js'
import { type CommonOptions, common } from './options.js'
import { speaks } from './ranks.js'
import { version } from './version.js'

/** What an issue report should start with: where this runs, what was found and why something else was not. */
interface Findings {
  version: string
  node: string
  platform: string
  glibc: string | null
  cpu: string
  cores: number
  memory: { total: number; free: number }
  /** `cudaPackage`: what there is with CUDA kernels for this platform, and why it is not used; '' where it is. */
  addon: {
    path: string | null
    isa: string | null
    threads: number | null
    cudaPackage: { name: string; passedOver: string } | null
    error: string | null
  }
  cuda: { driver: string | null; runtime: string | null }
  /** `kernels`: what a GPU's self-test chose, with what it did not pass on a faster path. */
  devices: { name: string; available: boolean; description?: string; kernels?: string; reason?: string }[]
  ranks: RanksFindings
}

export function register(program: Command): void {
  common(
    program.command('doctor').description('Show platform, native build, memory and devices.'),
    'feynkac doctor --json',
  ).action(async (options: CommonOptions) => {
    const findings = await examine(options)
    if (!speaks) return
    if (options.json) console.log(JSON.stringify(findings))
    else print(findings)
    if (findings.addon.error) throw new (await import('../base/errors.js')).DeviceError(findings.addon.error)
  })
}

async function examine(options: CommonOptions): Promise<Findings> {
  const addon = await examineAddon(options)
  return {
    version: await version(),
    node: process.version,
    platform: `${process.platform}-${process.arch} ${os.release()}`,
    glibc: glibcVersion(),
    cpu: os.cpus()[0]?.model.trim() ?? 'unknown',
    cores: os.availableParallelism(),
    memory: { total: os.totalmem(), free: os.freemem() },
    addon,
    ...(await examineDevices(addon.error)),
    ranks: addon.error
      ? { startedBy: null, libraries: [], nccl: { reason: addon.error } }
      : await examineRanks(options),
  }
}

async function examineDevices(error: string | null): Promise<Pick<Findings, 'cuda' | 'devices'>> {
  if (error)
    return { cuda: { driver: null, runtime: null }, devices: [{ name: 'cpu', available: false, reason: error }] }
  const { native, run } = await import('../native/addon.js')
  const { devices } = await import('../native/devices.js')
  const { driver, runtime, reason } = native.cuda()
  const version = (v: number) => (v === 0 ? null : `${Math.floor(v / 1000)}.${Math.floor((v % 1000) / 10)}`)
  const found = await Promise.all(
    devices().map(async ({ name, description }) => {
      if (name === 'cpu') return { name, available: true, description }
      try {
        const { path, failure } = await run(() => native.checkCuda(Number(name.slice('cuda:'.length))))
        return { name, available: true, description, kernels: failure ? `${path} (${failure})` : path }
      } catch (error) {
        return { name, available: false, reason: (error as Error).message }
      }
    }),
  )
  return {
    cuda: { driver: version(driver), runtime: version(runtime) },
    devices: reason === '' ? found : [...found, { name: 'cuda', available: false, reason }],
  }
}

async function examineAddon(options: CommonOptions): Promise<Findings['addon']> {
  try {
    const { addon, native } = await import('../native/addon.js')
    if (options.threads !== undefined) native.setThreads(options.threads)
    const { path, cudaPackage: name, passedOver } = addon
    return { path, ...native.cpu(), cudaPackage: name === null ? null : { name, passedOver }, error: null }
  } catch (error) {
    return { path: null, isa: null, threads: null, cudaPackage: null, error: (error as Error).message }
  }
}

function print(found: Findings): void {
  const { cudaPackage } = found.addon
  const gib = (bytes: number) => `${(bytes / 2 ** 30).toFixed(1)} GiB`
  console.log(`feynkac   ${found.version}
node      ${found.node}
platform  ${found.platform}${found.glibc ? `, glibc ${found.glibc}` : ''}
cpu       ${found.cpu}, ${found.cores} cores
memory    ${gib(found.memory.free)} free of ${gib(found.memory.total)}
addon     ${found.addon.path ?? 'none'}
${cudaPackage ? `cuda      ${cudaPackage.name}: ${cudaPackage.passedOver ? `passed over, ${cudaPackage.passedOver}` : 'in use'}\n` : ''}kernels   ${found.addon.isa ? `${found.addon.isa}, ${found.addon.threads} threads` : 'none'}`)
  for (const { name, available, description, kernels, reason } of found.devices)
    console.log(
      `device    ${name}: ${available ? `available, ${description}${kernels ? `, ${kernels} kernels` : ''}` : `not available: ${reason}`}`,
    )
  for (const line of ranksLines(found.ranks)) console.log(line)
}
