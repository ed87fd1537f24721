// Several processes on one machine: what the exchange costs, and what a rank's work costs beside one process's.
//
//   node bench/ranks.mjs [--mpi openmpi|mpich] [--particles 1e6] [--images 512] [--network-width 16] [--rounds 3]
//
// 1 and 2 processes take turns, each bound to a core of its own with one thread; of the rounds the best counts. Processor time (user and
// system, of all ranks) is what compares runs on a machine that others use; wall time is printed beside it. A rank that waits sleeps, so
// waiting costs little of it. The load is printed first. MPI_Allreduce is measured where there is a C compiler (bench/native/allreduce.c).
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import {
  communicator,
  gaussianMixture,
  lowTemperature,
  setThreads,
  sigmaGrid,
  smc,
  trainDenoiser,
} from '../dist/index.js'
import { native, run } from '../dist/native/addon.js'

const { values: options } = parseArgs({
  options: {
    mpi: { type: 'string', default: 'openmpi' },
    particles: { type: 'string', default: '1e6' },
    images: { type: 'string', default: '512' },
    'network-width': { type: 'string', default: '16' },
    rounds: { type: 'string', default: '3' },
    work: { type: 'boolean', default: false },
  },
})
const SIZES = [1, 2 ** 16, 5_000_000]
const LEVELS = 17
/** Numbers of each particle that every rank has at every level: the energy, the increment and, here, the gradient's square. */
const GATHERED = 3

/** Milliseconds of processor and wall time, and of waiting for others. */
async function timed(work) {
  const [cpu, began, waited] = [process.cpuUsage(), performance.now(), native.ranks.secondsWaiting()]
  await work()
  const { user, system } = process.cpuUsage(cpu)
  const waiting = 1000 * (native.ranks.secondsWaiting() - waited)
  return { cpu: (user + system) / 1000, wall: performance.now() - began, waiting }
}

/** One process's part; the first prints what all found, as JSON. */
async function work() {
  setThreads(1)
  const ranks = await communicator()
  /** Over all ranks: the sum of the processor time, the longest wall time and the mean of the waiting. */
  const all = async ({ cpu, wall, waiting }) => {
    const list = await ranks.allGather(Float64Array.of(cpu, wall, waiting))
    const column = (k) => Array.from({ length: ranks.size }, (_, r) => list[3 * r + k])
    const sum = (values) => values.reduce((a, b) => a + b, 0)
    return { cpu: sum(column(0)), wall: Math.max(...column(1)), waiting: sum(column(2)) / ranks.size }
  }

  const sums = []
  if (ranks.size > 1)
    for (const n of SIZES) {
      const values = new Float32Array(n)
      let best = Number.POSITIVE_INFINITY
      for (let i = 0; i < 7; i++) {
        await ranks.barrier()
        best = Math.min(best, (await all(await timed(() => run(() => native.ranks.sum(values))))).wall)
      }
      sums.push(best)
    }
  const copied = [new Float32Array(SIZES.at(-1)), new Float32Array(SIZES.at(-1))]
  let copy = Number.POSITIVE_INFINITY
  for (let i = 0; i < 7; i++) {
    const began = performance.now()
    copied[i % 2].set(copied[(i + 1) % 2])
    copy = Math.min(copy, performance.now() - began)
  }

  const images = Number(options.images) * ranks.size
  const training = {
    ...{ data: 'synthetic:shapes:count=256,size=16,seed=1', images, batchSize: 64 * ranks.size, microBatch: 32 },
    ...{ network: { width: Number(options['network-width']), channelMult: [1, 2], blocks: 1 } },
    ...{ seed: 1, holdOut: 0, smallFirst: 0, ranks },
  }
  await trainDenoiser({ ...training, images: 64 * ranks.size })
  const trained = await all(await timed(() => trainDenoiser(training)))

  const particles = Number(options.particles)
  const target = lowTemperature(gaussianMixture({ weights: [1, 2], means: [[0, 0], [2, 1]], covariances: [1, 0.3] }), { gamma: 2 }) // biome-ignore format: one line
  const settings = { sigmas: sigmaGrid({ steps: LEVELS - 1, min: 0.01, max: 10 }), essThreshold: 1, seed: 1, ranks }
  await smc(target, { ...settings, particles: 1000 })
  const sampled = await all(await timed(() => smc(target, { ...settings, particles, gather: 'own' })))
  const own = new Float64Array(particles / ranks.size)
  const gathered = await all(
    await timed(async () => {
      for (let i = 0; i < GATHERED * LEVELS; i++) await ranks.allGather(own)
    }),
  )
  if (ranks.rank === 0) console.log(JSON.stringify({ sums, copy, images, trained, sampled, gathered }))
}

const launched = (n, words) => {
  const bound = options.mpi === 'openmpi' ? ['--allow-run-as-root', '--bind-to', 'core'] : ['-bind-to', 'core']
  const { status, stdout } = spawnSync(`mpirun.${options.mpi}`, [...bound, '-n', `${n}`, ...words], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] }) // biome-ignore format: one line
  if (status !== 0) process.exit(status ?? 1)
  return stdout
}

/** Milliseconds of the library's own sum of each size; none without a C compiler. */
function allReduce() {
  const folder = mkdtempSync(join(os.tmpdir(), 'feynkac-bench-'))
  try {
    const source = fileURLToPath(new URL('native/allreduce.c', import.meta.url))
    const program = join(folder, 'allreduce')
    if (spawnSync('cc', ['-O2', source, '-o', program, '-ldl']).status !== 0) return SIZES.map(() => Number.NaN)
    const library = { openmpi: 'libmpi.so.40', mpich: 'libmpich.so.12' }[options.mpi]
    return launched(2, [program, library, ...SIZES.map(String)])
      .trim()
      .split('\n')
      .map(Number)
  } finally {
    rmSync(folder, { recursive: true })
  }
}

function report() {
  console.log(`${os.cpus()[0].model}, ${os.availableParallelism()} cores, load ${os.loadavg()[0].toFixed(1)}, ${options.mpi}`) // biome-ignore format: one line
  const script = [process.execPath, fileURLToPath(import.meta.url), ...process.argv.slice(2), '--work']
  const rounds = Array.from({ length: Number(options.rounds) }, () => [1, 2].map((n) => JSON.parse(launched(n, script)))) // biome-ignore format: one line
  /** The least of all rounds, for 1 and 2 processes. */
  const least = (of) => [0, 1].map((k) => Math.min(...rounds.map((round) => of(round[k]))))
  const ms = (value) => `${value.toPrecision(3)} ms`
  const pair = ([one, two]) => `${ms(one)} by 1 process, ${ms(two)} by 2 ranks: ${((100 * one) / two).toFixed(0)} %`
  const bound = allReduce()
  const [, copy] = least(({ copy }) => copy)
  for (const [i, n] of SIZES.entries()) {
    const ours = least(({ sums }) => sums[i] ?? Number.POSITIVE_INFINITY)[1]
    const rate = n > 1e6 ? `, ${((4 * n) / ours / 1e6).toPrecision(3)} GB/s, ${(ours / copy).toPrecision(2)} copies of them` : '' // biome-ignore format: one line
    console.log(
      `sum of ${n} float32: ${ms(ours)} (MPI_Allreduce, whose bits depend on the ranks: ${ms(bound[i])})${rate}`,
    )
  }
  console.log(`training, processor time an image: ${pair(least(({ trained, images }) => trained.cpu / images))}`)
  console.log(`training, wall time an image of a rank: ${pair(least(({ trained }) => trained.wall / Number(options.images)))}`) // biome-ignore format: one line
  console.log(`training by 2 ranks: ${least(({ trained }) => (100 * trained.waiting) / trained.wall)[1].toPrecision(2)} % of the wall time waiting`) // biome-ignore format: one line
  const what = `smc, ${options.particles} particles in 2 dimensions, all resampled at each of ${LEVELS} levels`
  console.log(`${what}, processor time a level: ${pair(least(({ sampled }) => sampled.cpu / LEVELS))}`)
  console.log(`${what}, wall time a level: ${pair(least(({ sampled }) => sampled.wall / LEVELS))} (200 %: twice as fast)`) // biome-ignore format: one line
  const gathering = (kind) => least(({ gathered, sampled }) => (100 * gathered[kind]) / sampled[kind])[1].toPrecision(2)
  console.log(`smc by 2 ranks: gathering ${GATHERED} numbers of each particle takes ${gathering('cpu')} % of the processor time, ${gathering('wall')} % of the wall time`) // biome-ignore format: one line
  console.log(`smc by 2 ranks: ${least(({ sampled }) => (100 * sampled.waiting) / sampled.wall)[1].toPrecision(2)} % of the wall time in exchanges`) // biome-ignore format: one line
}

if (options.work) await work()
else report()
