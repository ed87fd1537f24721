// Several processes on one machine: what the exchange costs, and what a rank's work costs beside one process's.
//
//   node bench/ranks.mjs [--mpi openmpi|mpich] [--particles 1e6] [--images 512] [--network-width 16]
//
// Processor time (user and system, of all ranks) is what compares runs on a machine that others use; wall time is printed beside it. A rank that
// waits sleeps, so waiting costs little of it. The load is printed first.
import { spawnSync } from 'node:child_process'
import os from 'node:os'
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
    work: { type: 'boolean', default: false },
  },
})

/** Milliseconds of processor and wall time, and of waiting for others. */
async function timed(work) {
  const [cpu, began, waited] = [process.cpuUsage(), performance.now(), native.ranks.secondsWaiting()]
  await work()
  const { user, system } = process.cpuUsage(cpu)
  const waiting = 1000 * (native.ranks.secondsWaiting() - waited)
  return { cpu: (user + system) / 1000, wall: performance.now() - began, waiting }
}

async function work() {
  setThreads(1)
  const ranks = await communicator()
  const say = (text) => ranks.rank === 0 && console.log(text)
  /** Of all ranks: processor time in all, the longest wall time and the mean of the waiting. */
  const all = async ({ cpu, wall, waiting }) => {
    const list = await ranks.allGather(Float64Array.of(cpu, wall, waiting))
    const column = (k) => Array.from({ length: ranks.size }, (_, r) => list[3 * r + k])
    const sum = (values) => values.reduce((a, b) => a + b, 0)
    return { cpu: sum(column(0)), wall: Math.max(...column(1)), waiting: sum(column(2)) / ranks.size }
  }
  const ms = (value) => `${value.toPrecision(3)} ms`

  if (ranks.size > 1)
    for (const n of [1, 2 ** 16, 5e6]) {
      const [values, copy] = [new Float32Array(n), new Float32Array(n)]
      const times = []
      for (let i = 0; i < 7; i++) {
        await ranks.barrier()
        times.push(await all(await timed(() => run(() => native.ranks.sum(values)))))
      }
      const best = Math.min(...times.map(({ wall }) => wall))
      const began = performance.now()
      copy.set(values)
      const memcpy = performance.now() - began
      say(`sum of ${n} float32: ${ms(best)}${n > 1e6 ? `, ${(best / memcpy).toPrecision(2)} copies of them` : ''}`)
    }

  const images = Number(options.images) * ranks.size
  const training = {
    ...{ data: 'synthetic:shapes:count=256,size=16,seed=1', images, batchSize: 64 * ranks.size, microBatch: 32 },
    ...{
      network: { width: Number(options['network-width']), channelMult: [1, 2], blocks: 1 },
      seed: 1,
      holdOut: 0,
      ranks,
    },
  }
  await trainDenoiser({ ...training, images: 64 * ranks.size })
  const trained = await all(await timed(() => trainDenoiser(training)))
  say(
    `training, ${images / ranks.size} images a rank: ${ms(trained.cpu / images)} of processor an image, ${ms(trained.wall / (images / ranks.size))} of wall time an image of a rank, ${((100 * trained.waiting) / trained.wall).toPrecision(2)} % waiting`,
  )

  const particles = Number(options.particles)
  const target = lowTemperature(gaussianMixture({ weights: [1, 2], means: [[0, 0], [2, 1]], covariances: [1, 0.3] }), { gamma: 2 }) // biome-ignore format: one line
  const settings = {
    sigmas: sigmaGrid({ steps: 16, min: 0.01, max: 10 }),
    essThreshold: 1,
    seed: 1,
    gather: 'own',
    ranks,
  }
  await smc(target, { ...settings, particles: 1000 })
  const sampled = await all(await timed(() => smc(target, { ...settings, particles })))
  say(
    `smc of ${particles} particles in 2 dimensions, 17 levels, all resampled: ${ms(sampled.cpu / 17)} of processor a level, ${ms(sampled.wall / 17)} of wall time, ${((100 * sampled.waiting) / sampled.wall).toPrecision(2)} % waiting`,
  )
}

if (options.work) await work()
else {
  console.log(`${os.cpus()[0].model}, ${os.availableParallelism()} cores, load ${os.loadavg()[0].toFixed(1)}`)
  const free = options.mpi === 'openmpi' ? ['--allow-run-as-root', '--oversubscribe', '--bind-to', 'none'] : []
  for (const n of [1, 2]) {
    console.log(`${n} ${n === 1 ? 'process' : `ranks, ${options.mpi}`}`)
    const words = [fileURLToPath(import.meta.url), ...process.argv.slice(2), '--work']
    const [program, args] = n === 1 ? [process.execPath, words] : [`mpirun.${options.mpi}`, [...free, '-n', `${n}`, process.execPath, ...words]] // biome-ignore format: one line
    const { status } = spawnSync(program, args, { stdio: 'inherit' })
    if (status !== 0) process.exit(status ?? 1)
  }
}
