// Many independent runs in worker threads, for energies in JavaScript, which would take turns on one thread. Models of the addon need
// no pool: their work is off the main thread already. node examples/worker-pool
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'

const jobs = [0.5, 1, 2, 4, 8].map((gamma, id) => ({ id, gamma, seed: id }))
const waiting = [...jobs]
const results = []

async function work() {
  const worker = new Worker(new URL('worker.mjs', import.meta.url))
  for (let job = waiting.shift(); job; job = waiting.shift()) {
    worker.postMessage(job)
    const [{ error, ...result }] = await once(worker, 'message')
    if (error) throw new Error(error)
    results[result.id] = result
  }
  await worker.terminate()
}

await Promise.all([work(), work()])
// p^gamma of N(0, I) in the plane: the integral of (2 pi)^-gamma exp(-gamma |x|^2 / 2)
for (const { id, gamma } of jobs)
  console.log(
    JSON.stringify({ gamma, logZ: results[id].logZ, exact: (1 - gamma) * Math.log(2 * Math.PI) - Math.log(gamma) }),
  )
