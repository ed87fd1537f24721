import { parentPort } from 'node:worker_threads'
import { gaussianMixture, lowTemperature, setThreads, sigmaGrid, smc } from 'feynkac'

setThreads(1) // of the addon, which all workers share
const energy = gaussianMixture({ weights: [1], means: [[0, 0]], covariances: [1] })

parentPort.on('message', async ({ id, gamma, seed }) => {
  try {
    const target = lowTemperature(energy, { gamma })
    const { samples, logZ } = await smc(target, {
      particles: 500,
      sigmas: sigmaGrid({ steps: 32, min: 0.02, max: 20 }),
      seed,
    })
    parentPort.postMessage({ id, samples, logZ }, [samples.buffer])
  } catch (error) {
    parentPort.postMessage({ id, error: error.message })
  }
})
