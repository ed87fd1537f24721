// The benchmark: every job on feynkac and on a peer that does the same work, side by side, as ratios. Runs of both alternate, and medians are
// compared. Timings of two benchmarks are not to be compared; ratios within one are.
//
//   node bench/run.mjs [--sizes] [--quick] [--threads 1,2] [--isa avx2] [--only TEXT] [--out FILE] [--force] [--peer torch|none]
//                      [--python PATH]
//
// --sizes     images from 32x32 to 256x256 instead of small networks, EDM's CIFAR-10 network and particles
// --quick     the first network and small particles, few runs: does it work?
// --threads   the numbers of threads, each of which every job runs with (without: 1 and all cores; with --sizes all cores)
// --isa       holds both sides to an instruction set, avx2 or avx512, as on a processor that has no better one; rows say so
// --only      rows whose names hold this text
// --out       a file of results, as JSON
// --force     print ratios even if other work took more than 5 % of the machine's processor time: marked, and said in the file
// --peer      none: times alone
// --python    the Python that has PyTorch (without: the first of python3 and /usr/bin/python3)
//
// Memory: the peak while the job was made and run, above what was resident before, a small job having loaded the code; and activations as planned.
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { native } from '../dist/native/addon.js'
import { cpuName, MOST_LOAD, watchLoad } from './load.mjs'
import { rows } from './rows.mjs'
import { Side } from './side.mjs'

const here = dirname(fileURLToPath(import.meta.url))
const { values: options } = parseArgs({
  options: {
    peer: { type: 'string', default: 'torch' },
    quick: { type: 'boolean', default: false },
    sizes: { type: 'boolean', default: false },
    threads: { type: 'string' },
    isa: { type: 'string' },
    force: { type: 'boolean', default: false },
    out: { type: 'string' },
    only: { type: 'string' },
    python: { type: 'string' },
  },
})
const cores = os.availableParallelism()
const threadCounts = options.threads
  ? options.threads.split(',').map(Number)
  : [...new Set(options.sizes ? [cores] : [1, cores])]
if (!threadCounts.every((n) => Number.isInteger(n) && n > 0))
  throw new Error(`expected --threads like 1,2 but received ${options.threads}`)
if (![undefined, 'avx2', 'avx512'].includes(options.isa))
  throw new Error(`expected --isa avx2 or avx512 but received ${options.isa}`)
if (options.isa) process.env.FEYNKAC_ISA = options.isa // of this process, which has not asked yet, and of this side's
const peerIsa = options.isa && {
  ATEN_CPU_CAPABILITY: options.isa,
  MKL_ENABLE_INSTRUCTIONS: options.isa.toUpperCase(),
  OPENBLAS_CORETYPE: { avx2: 'Haswell', avx512: 'SkylakeX' }[options.isa],
  ...Object.fromEntries(
    ['ONEDNN_MAX_CPU_ISA', 'DNNL_MAX_CPU_ISA'].map((key) => [
      key,
      { avx2: 'AVX2', avx512: 'AVX512_CORE' }[options.isa],
    ]),
  ),
}
const least = options.quick ? { rounds: 2, seconds: 0 } : { rounds: 3, seconds: 1 }

/** The first Python that has PyTorch, and PyTorch's version. */
function findPeer() {
  if (options.peer === 'none') return null
  for (const python of options.python ? [options.python] : ['python3', '/usr/bin/python3'])
    try {
      const code = 'import torch, torch_cpu; print(torch.__version__); print(torch_cpu.blas() or "its own BLAS")'
      const how = { stdio: ['ignore', 'pipe', 'ignore'], cwd: join(here, 'peers') }
      const [version, blas] = execFileSync(python, ['-c', code], how).toString().trim().split('\n')
      return { python, version, blas }
    } catch {
      // the next one
    }
  console.log('no Python with PyTorch and NumPy: times without a peer (Debian: apt-get install python3-torch)')
  return null
}

/** Largest relative difference of what both sides computed from the same weights and inputs. */
function disagreement(a, b) {
  const pairs = Object.keys(a).map((key) => [a[key], b[key]].map((v) => [v].flat()))
  return Math.max(0, ...pairs.flatMap(([p, q]) => p.map((v, i) => Math.abs(v - q[i]) / Math.max(Math.abs(q[i]), 1e-6))))
}

const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]

/** Median times of the sides at a number of threads, their runs taking turns, after one of each that does not count. */
async function alternate(sides, threads) {
  const times = sides.map(() => [])
  for (const side of sides) if (!side.warm.has(threads)) await side.time(threads)
  const total = () => times.flat().reduce((a, b) => a + b, 0)
  while (times[0].length < least.rounds || (total() < least.seconds && times[0].length < 25))
    for (const [i, side] of sides.entries()) times[i].push(await side.time(threads))
  return times.map(median)
}

/** The peers of a job: of a network's, one for each order of images, the faster of which counts, at each number of threads anew. */
async function peersOf(python, job, unet) {
  const most = Math.max(...threadCounts)
  const peers = []
  for (const channelsLast of unet ? [false, true] : [false]) {
    const side = new Side(python, [join(here, 'peers', 'torch_cpu.py')], peerIsa)
    const { outputs, capability } = await side.prepare({ ...job, channels_last: channelsLast }, most)
    if (options.isa && capability.toLowerCase() !== options.isa)
      throw new Error(`PyTorch cannot be held to ${options.isa}: it says that it uses ${capability}`)
    peers.push({ side, outputs, channelsLast })
  }
  return peers
}

/** The one that is faster with so many threads, by one run each after one that does not count. */
async function faster(peers, threads) {
  if (peers.length === 1) return peers[0]
  const seconds = []
  for (const { side } of peers) {
    if (!side.warm.has(threads)) await side.time(threads)
    seconds.push(await side.time(threads))
  }
  return peers[seconds.indexOf(Math.min(...seconds))]
}

async function measure({ name, job, unet, planned }, found) {
  const load = watchLoad()
  const mine = new Side(process.execPath, [join(here, 'worker.mjs')])
  const { outputs } = await mine.prepare(job, Math.max(...threadCounts))
  const peers = found ? await peersOf(found.python, job, unet) : []
  const runs = {}
  for (const threads of threadCounts.toSorted((a, b) => b - a)) {
    const peer = found && (await faster(peers, threads))
    const [seconds, peerSeconds] = await alternate(peer ? [mine, peer.side] : [mine], threads)
    runs[threads] = peer
      ? { seconds, peerSeconds, ratio: peerSeconds / seconds, ...(unet && { peerChannelsLast: peer.channelsLast }) }
      : { seconds }
  }
  const ended = await mine.end()
  const peerEnded = []
  for (const { side } of peers) peerEnded.push(await side.end())
  const result = { name: options.isa ? `${name} [${options.isa}]` : name, threads: runs }
  if (unet) Object.assign(result, { bytes: ended.bytes, plannedBytes: planned })
  if (unet && found) {
    const leanest = Math.min(...peerEnded.map(({ bytes }) => bytes))
    result.peer = { bytes: leanest }
    result.memoryRatio = ended.bytes / leanest
    result.disagreement = Math.max(...peers.map((peer) => disagreement(outputs, peer.outputs)))
    if (!(result.disagreement < 1e-3)) throw new Error(`${name}: the outputs disagree by ${result.disagreement}`)
  }
  result.load = load([ended, ...peerEnded].reduce((sum, { cpu }) => sum + cpu, 0))
  result.underLoad = result.load > MOST_LOAD
  if (result.underLoad && !options.force) for (const run of Object.values(runs)) delete run.ratio
  return result
}

const percent = (share) => `${(100 * share).toFixed(0)} %`

function print({ name, threads, bytes, peer, memoryRatio, load, underLoad, ...result }) {
  for (const [count, { seconds, peerSeconds, ratio }] of Object.entries(threads)) {
    const ms = (s) => (s === undefined ? '' : `${(s * 1e3).toFixed(2)} ms`).padStart(12)
    const shown = ratio === undefined ? (peerSeconds ? 'loaded' : '') : `${ratio.toFixed(2)}${underLoad ? '*' : ''}`
    console.log(`${name.padEnd(48)} ${count.padStart(3)} ${ms(seconds)} ${ms(peerSeconds)} ${shown.padStart(7)}`)
  }
  const mb = (b) => (b / 2 ** 20).toFixed(1)
  const memory = memoryRatio
    ? `memory ${mb(bytes)} / ${mb(peer.bytes)} MB = ${memoryRatio.toFixed(2)}, outputs agree to ${result.disagreement.toExponential(0)}, `
    : ''
  console.log(`    ${memory}other work ${percent(load)}`)
}

const found = findPeer()
if (found) console.log(`PyTorch ${found.version} with ${found.blas}`)
if (found && /^libblas/.test(found.blas) && !/openblas|mkl|blis/.test(found.blas))
  console.log(
    '    that may be the reference BLAS, which makes its attention slow: with OpenBLAS (Debian: apt-get install libopenblas0-openmp) ratios are fairer',
  )
const idle = watchLoad()
await sleep(2000)
const before = idle()
const machine = {
  cpu: cpuName(),
  isa: native.cpu().isa,
  cores,
  threads: threadCounts,
  loadAverage: os.loadavg()[0],
  loadBefore: before,
}
console.log(
  `${machine.cpu} (${machine.isa}), ${cores} cores; load average ${machine.loadAverage.toFixed(2)}, other work ${percent(before)}`,
)
if (found && before > MOST_LOAD && !options.force) {
  console.error(
    `other work takes ${percent(before)} of this machine: ratios taken now would mislead. Wait until it is idle, or give --force and have them marked`,
  )
  process.exit(1)
}
const folder = mkdtempSync(join(os.tmpdir(), 'feynkac-bench-'))
try {
  const results = []
  console.log(
    `${'job'.padEnd(48)} ${'thr'.padStart(3)} ${'feynkac'.padStart(12)} ${(found ? `torch ${found.version}` : '').padStart(12)} ${'ratio'.padStart(7)}`,
  )
  for await (const row of rows(folder, options)) {
    const result = await measure(row, found)
    print(result)
    results.push(result)
  }
  const loaded = results.filter(({ underLoad }) => underLoad).length
  if (found && loaded > 0) {
    const what = options.force ? 'ratios marked * were' : 'rows without a ratio were'
    console.log(
      `${loaded} of ${results.length} rows: ${what} taken while other work took more than ${percent(MOST_LOAD)} of the machine`,
    )
    if (!options.force) process.exitCode = 1
  }
  const record = {
    date: new Date().toISOString(),
    command: `node bench/run.mjs ${process.argv.slice(2).join(' ')}`.trim(),
    machine: { ...machine, underLoad: loaded > 0 || before > MOST_LOAD },
    versions: { node: process.version, torch: found?.version ?? null, blas: found?.blas ?? null },
    results,
  }
  if (options.out) {
    mkdirSync(dirname(options.out), { recursive: true })
    writeFileSync(options.out, `${JSON.stringify(record, null, 2)}\n`)
  }
} finally {
  rmSync(folder, { recursive: true })
}
