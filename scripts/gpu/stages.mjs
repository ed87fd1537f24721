import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { root } from '../native.mjs'
import { architectureHere, buildForGpu } from './build.mjs'
import { listFixtures } from './fixtures.mjs'
import { inParallel, reasonOf, runLimited } from './process.mjs'

/**
 * The stages of the GPU check. Each gets its time limit and what all share: the folder of the build, the fixtures, whether the kernels
 * are emulated, and the device once it is known. It returns a status ('passed', 'failed' or 'skipped'), a line that says what was found,
 * and details for the record.
 */

const skipped = (summary) => ({ status: 'skipped', summary })
const verdict = (failed, summary, details) => ({ status: failed ? 'failed' : 'passed', summary, ...details })
const addonOf = (shared) => ({ ...process.env, FEYNKAC_PREBUILD: shared.build })
const executable = (shared, name) => path.join(shared.build, 'build', name)
const version = (v) => `${Math.floor(v / 1000)}.${(v % 1000) / 10}`
const PRECISIONS = ['fp32', 'tf32', 'bf16']

/** What device.mjs says with an addon. Throws where it cannot be asked. */
async function devicesOf(env, seconds) {
  const run = await runLimited(process.execPath, [path.join(root, 'scripts/gpu/device.mjs')], { seconds, env })
  if (run.status !== 0) throw new Error(reasonOf(run))
  return JSON.parse(run.stdout)
}

/** Where nothing was built beforehand. */
async function build(shared, seconds) {
  if (!shared.mayBuild) return skipped('built beforehand')
  shared.blocked = 'nothing was built'
  const { devices, reason } = await devicesOf(process.env, seconds) // before minutes of building
  if (devices.length === 0) return verdict(true, `there is no GPU: ${reason}`)
  const architectures = architectureHere()
  await buildForGpu({ folder: shared.build, architectures })
  shared.blocked = undefined
  return verdict(false, `for ${architectures}`, { architectures })
}

async function device(shared, seconds) {
  shared.blocked = 'there is no GPU'
  const found = await devicesOf(addonOf(shared), seconds)
  const query = 'name,driver_version,memory.total,compute_cap,clocks.sm,clocks.mem,temperature.gpu'
  const smi = spawnSync('nvidia-smi', [`--query-gpu=${query}`, '--format=csv'], { encoding: 'utf8', timeout: 20_000 })
  const details = { ...found, nvidiaSmi: smi.stdout?.trim() || null }
  if (found.emulated && !shared.emulated) {
    const hint = '--emulated tries the check with them'
    return verdict(true, `there is no GPU: this build runs the CUDA kernels on the CPU (${hint})`, details)
  }
  if (found.devices.length === 0) return verdict(true, `there is no GPU: ${found.reason}`, details)
  shared.blocked = undefined
  const [first] = found.devices
  shared.gpus = found.devices.length
  const { path: kernels, failure } = found.kernels
  const name = `${first.name} (${first.capability}), driver for CUDA ${version(found.driver)}`
  if (!kernels) return verdict(true, `${name}: ${failure}`, details)
  const passed = failure === ''
  return verdict(!passed, `${name}, ${kernels} kernels${passed ? '' : `, as the others failed: ${failure}`}`, details)
}

/** Tests that are over in a second where the kernels run on the CPU. */
const BRIEF = ['elementwise_test', 'random_test', 'resample_test', 'simd_test', 'threads_test']

async function native(shared, seconds) {
  const all = fs
    .readdirSync(path.join(shared.build, 'build'))
    .filter((name) => name.endsWith('_test') && name !== 'shapes_test')
  const names = shared.emulated ? all.filter((name) => BRIEF.includes(name)) : all
  const began = performance.now()
  const tests = await inParallel(names, Math.min(4, os.availableParallelism()), async (name) => {
    const left = seconds - (performance.now() - began) / 1000
    const run = await runLimited(executable(shared, name), [], { seconds: Math.max(1, left) })
    const [, checks, failed] = /(\d+) checks, (\d+) failed/.exec(run.stdout) ?? []
    const passed = run.status === 0
    return {
      name,
      passed,
      seconds: run.seconds,
      checks: Number(checks ?? 0),
      failed: Number(failed ?? 0),
      ...(passed ? {} : { reason: reasonOf(run), output: run.stdout.slice(0, 4000) }),
    }
  })
  const bad = tests.filter((test) => !test.passed)
  const checks = tests.reduce((sum, test) => sum + test.checks, 0)
  const summary = bad.length
    ? bad.map(({ name, reason }) => `${name} ${reason}`).join('; ')
    : `${tests.length} programs, ${checks} checks`
  return verdict(bad.length > 0 || tests.length === 0, summary, { tests })
}

async function fixtures(shared, seconds) {
  const { supported, unsupported } = listFixtures(shared.fixtures)
  if (supported.length === 0) return skipped(`no fixtures in ${shared.fixtures}`)
  // emulated kernels take minutes for most of these: they get the smallest
  const [smallest] = [...supported].sort((a, b) => fs.statSync(a).size - fs.statSync(b).size)
  const deviceFor = (file) => (shared.emulated && file !== smallest ? 'cpu' : 'cuda:0')
  const precisions = shared.emulated ? ['fp32'] : PRECISIONS
  const runs = precisions.flatMap((precision) =>
    supported.map((file) => ({ file, precision, device: deviceFor(file) })),
  )
  const began = performance.now()
  const results = await inParallel(runs, 2, async ({ file, precision, device }) => {
    const options = ['--device', device, '--precision', precision, '--json']
    const args = [path.join(root, 'bin/feynkac.js'), 'verify', file, ...options]
    const left = seconds - (performance.now() - began) / 1000
    const run = await runLimited(process.execPath, args, { seconds: Math.max(1, left), env: addonOf(shared) })
    const rows = run.stdout.startsWith('[') ? JSON.parse(run.stdout)[0].rows : []
    const worst = rows.reduce((a, b) => (a && a.error / a.bound > b.error / b.bound ? a : b), undefined)
    const result = {
      fixture: path.basename(file),
      precision,
      device,
      passed: run.status === 0,
      seconds: run.seconds,
      worst,
      rows,
    }
    return result.passed ? result : { ...result, reason: reasonOf(run) }
  })
  const bad = results.filter((result) => !result.passed)
  const summary = bad.length
    ? bad.map(({ fixture, precision, reason }) => `${fixture} in ${precision} ${reason}`).join('; ')
    : `${supported.length} files in ${precisions.join(', ')}: all within their bounds`
  return verdict(bad.length > 0, summary, {
    results,
    unsupported: unsupported.map((file) => path.basename(file)),
  })
}

async function shapes(shared, seconds) {
  const seed = shared.seed
  const least = shared.emulated ? 3 : Math.min(20, seconds / 2)
  const run = await runLimited(executable(shared, 'shapes_test'), [String(least), String(seed)], { seconds })
  const [, count] = /(\d+) random shapes/.exec(run.stdout) ?? []
  if (run.status !== 0) return verdict(true, reasonOf(run), { seed, output: run.stdout.slice(0, 8000) })
  return verdict(false, `${count} random shapes agree with the CPU (seed ${seed})`, { seed, shapes: Number(count) })
}

/** Two processes train as one does: by NCCL where each has a GPU, else through the host. */
async function ranks(shared, seconds) {
  const began = performance.now()
  const left = () => Math.max(1, seconds - (performance.now() - began) / 1000)
  const library = shared.emulated
    ? executable(shared, 'Release/libmock_nccl.so')
    : process.env.FEYNKAC_NCCL || 'libnccl.so.2'
  const moved = await runLimited(executable(shared, 'nccl_test'), [library], { seconds: left() })
  const absent = moved.status !== 0 && /cannot open shared object file/.test(moved.stderr + moved.stdout)
  const nccl = /NCCL [\d.]+/.exec(moved.stdout)?.[0]
  const found = { nccl: nccl ?? reasonOf(moved) }
  if (moved.status !== 0 && !absent) return verdict(true, `${library}: ${reasonOf(moved)}`, found)
  const way = nccl ? `${nccl} moves bytes on one GPU` : `${library} is not here`

  const { stdout: launcher, status } = spawnSync('mpirun', ['--version'], { encoding: 'utf8' })
  if (status !== 0) return { ...(nccl ? verdict(false, way, found) : skipped(way)), summary: `${way}; no mpirun: two processes were not tried` } // biome-ignore format: one line
  const device = shared.gpus > 1 ? 'auto' : 'cuda:0'
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'feynkac-ranks-'))
  try {
    const train = (output) => [
      ...[path.join(root, 'bin/feynkac.js'), 'train', '--data', 'synthetic:ring:count=200,seed=1'],
      ...['--images', shared.emulated ? '64' : '25600', '--batch', '32', '--micro-batch', '8', '--seed', '2'],
      ...['--hold-out', '0', '--device', device, '--output', path.join(folder, output)],
    ]
    const free = /Open/.test(launcher) ? ['--allow-run-as-root', '--oversubscribe', '--bind-to', 'none'] : []
    const env = { ...addonOf(shared), OMPI_ALLOW_RUN_AS_ROOT: '1', OMPI_ALLOW_RUN_AS_ROOT_CONFIRM: '1' }
    const one = await runLimited(process.execPath, train('one'), { seconds: left(), env })
    if (one.status !== 0) return verdict(true, `one process: ${reasonOf(one)}`, found)
    const words = [...free, '-n', '2', process.execPath, ...train('two')]
    const two = await runLimited('mpirun', words, { seconds: left(), env })
    if (two.status !== 0) return verdict(true, `two processes: ${reasonOf(two)}`, found)
    const [, reason] = /go through the host, not through NCCL: (.*)/.exec(two.stderr) ?? []
    const model = (name) => fs.readFileSync(path.join(folder, name, 'model.safetensors'))
    const same = model('one').equals(model('two'))
    const between = reason ? `through the host (${reason})` : 'by NCCL'
    const what = `two processes on ${device} train ${between} to ${same ? 'the bits of one' : 'other bits than one'}`
    const told = reason !== undefined || shared.gpus > 1 // two processes cannot share a GPU by NCCL
    return verdict(!same || !told, `${way}; ${what}`, { ...found, between, same })
  } finally {
    fs.rmSync(folder, { recursive: true })
  }
}

const LONGEST = 45 // seconds of one run under the sanitizer, so that it does not take the others' time
const SANITIZER_TOOLS = ['memcheck', 'racecheck', 'synccheck']
const SANITIZED = [
  'elementwise_test',
  'resample_test',
  'optimizer_test',
  'conv_test',
  'norm_test',
  'attention_test',
  'resampling_test',
  'particles_test',
]

async function sanitizer(shared, seconds) {
  if (shared.emulated) return skipped('the kernels run on the CPU here')
  const tool = ['compute-sanitizer', '/usr/local/cuda/bin/compute-sanitizer'].find(
    (name) => spawnSync(name, ['--version']).status === 0,
  )
  if (!tool) return skipped('there is no compute-sanitizer')
  const pairs = SANITIZER_TOOLS.flatMap((check) => SANITIZED.map((test) => ({ check, test })))
  const began = performance.now()
  const runs = await inParallel(pairs, Math.min(4, os.availableParallelism()), async ({ check, test }) => {
    const left = seconds - (performance.now() - began) / 1000
    if (left < 2) return { check, test, finished: false }
    const args = ['--tool', check, '--error-exitcode', '99', '--print-limit', '5', executable(shared, test)]
    const run = await runLimited(tool, args, { seconds: Math.min(left, LONGEST) })
    const [summary] = /(ERROR|RACECHECK) SUMMARY:.*/.exec(run.stdout) ?? []
    const passed = run.status === 0
    return {
      check,
      test,
      finished: !run.timedOut,
      passed,
      seconds: run.seconds,
      summary,
      ...(passed || run.timedOut ? {} : { reason: reasonOf(run), output: run.stdout.slice(0, 4000) }),
    }
  })
  const finished = runs.filter((run) => run.finished)
  const bad = finished.filter((run) => !run.passed)
  if (finished.length === 0) return { ...skipped('nothing was done in the time given'), runs }
  const counts = `${finished.length} of ${runs.length} runs done`
  const summary = bad.length
    ? `${counts}; ${bad.map(({ check, test, summary, reason }) => `${check} of ${test}: ${summary ?? reason}`).join('; ')}`
    : `${counts}, no errors`
  return verdict(bad.length > 0, summary, { runs })
}

async function bench(shared, seconds) {
  const args = [
    '--program',
    executable(shared, 'gpu_bench'),
    '--out',
    shared.benchFolder,
    '--budget',
    String(Math.max(10, seconds - 30)),
  ]
  if (shared.emulated) args.push('--tiny', '--peer-device', 'cpu', '--seconds', '0', '--least', '1')
  const run = await runLimited(
    process.execPath,
    [path.join(root, 'bench/gpu/run.mjs'), ...args, ...shared.benchOptions],
    { seconds, env: addonOf(shared), echo: true },
  )
  const file = path.join(shared.benchFolder, 'results.json')
  const results = fs.existsSync(file) ? JSON.parse(fs.readFileSync(file, 'utf8')) : null
  const missing = Object.entries(results?.missing ?? {}).map(([name, reason]) => `; without ${name}: ${reason}`)
  const done = `${results?.rows.length ?? 0} rows, ${results?.notRun.length ?? 0} left for want of time${missing.join('')}`
  return verdict(run.status !== 0, run.status === 0 ? done : `${done}; ${reasonOf(run)}`, { results })
}

/** In order, with the most seconds each may take; the benchmark has what is left. */
export const STAGES = {
  build: { run: build, seconds: 120 }, // to ask for the device
  device: { run: device, seconds: 120 },
  native: { run: native, seconds: 120 },
  fixtures: { run: fixtures, seconds: 90 },
  shapes: { run: shapes, seconds: 60 },
  ranks: { run: ranks, seconds: 90 },
  sanitizer: { run: sanitizer, seconds: 90 },
  bench: { run: bench, seconds: Infinity },
}
