// A job queue that outlives its workers: BullMQ on Redis. A worker that is killed leaves a checkpoint; whoever takes the job again goes on from it.
// npm install bullmq ioredis; REDIS_URL=redis://localhost:6379 node examples/queue/worker.mjs
import { Worker } from 'bullmq'
import { gaussianMixture, lowTemperature, sigmaGrid, smc } from 'feynkac'
import { Redis } from 'ioredis'

const connection = new Redis(process.env.REDIS_URL ?? 'redis://localhost:6379', { maxRetriesPerRequest: null })
const energy = gaussianMixture({
  weights: [1, 2],
  means: [
    [-1, 0],
    [1, 0],
  ],
  covariances: [0.1, 0.2],
}) // or EnergyModel.load(...)

const worker = new Worker(
  'samples',
  async (job) => {
    const { gamma, particles, steps, folder } = job.data
    const run = smc.stream(lowTemperature(energy, { gamma }), {
      particles,
      sigmas: sigmaGrid({ steps, min: 0.02, max: 20 }),
      checkpoint: `${folder}/${job.id}.safetensors`, // the same bits, however often it was stopped
      checkpointEvery: 0, // seconds; by default 10
    })
    for await (const { level, lastLevel } of run) {
      await job.updateProgress({ level, lastLevel })
      if (Number(process.env.DIE_AT) === level) process.kill(process.pid, 'SIGKILL') // as machines do
    }
    const result = await run.result
    await result.save(`${folder}/${job.id}`, { overwrite: true })
    return { logZ: result.logZ, mean: [...result.mean()] }
  },
  { connection, lockDuration: 2000, stalledInterval: 1000, maxStalledCount: 5 },
)
worker.on('failed', (_, error) => console.error(error.message))
process.once('SIGTERM', () => worker.close())
