// A short run of an installed package, for any runtime and platform: put beside a node_modules/ that has feynkac, and run. Prints a line.
//
//   node smoke.mjs [--short]      without the network, which takes an emulator long
import { createRequire } from 'node:module'
import process from 'node:process'
import { Worker } from 'node:worker_threads'
import * as feynkac from 'feynkac'

const {
  devices,
  gaussianMixture,
  lowTemperature,
  MissingPackageError,
  residualMLP,
  sample,
  sigmaGrid,
  smc,
  trainDenoiser,
} = feynkac

function check(what, holds) {
  if (!holds) throw new Error(`smoke test: ${what}`)
}

// the variance of a normal distribution at a quarter of the temperature
const normal = gaussianMixture({ weights: [1], means: [[0, 0]], covariances: [1] })
const sigmas = sigmaGrid({ steps: 16, min: 0.01, max: 20, rho: 7 })
const { samples, logWeights } = await smc(lowTemperature(normal, { gamma: 4 }), { particles: 2000, sigmas, seed: 0 })
const variance = logWeights.reduce((sum, lw, i) => sum + Math.exp(lw) * samples[2 * i] ** 2, 0)
check(`variance ${variance}, expected 1/4`, Math.abs(variance - 0.25) < 0.05)

const done = [`variance ${variance.toFixed(4)}`]
if (process.argv[2] !== '--short') {
  const training = { data: 'synthetic:shapes', images: 64, batchSize: 16, seed: 1 }
  const { model } = await trainDenoiser(training)
  const drawn = await sample(model, { particles: 2, sigmas: [...sigmaGrid({ steps: 4 }), 0], seed: 1 })
  check('samples of a network are finite', drawn.samples.every(Number.isFinite))
  done.push(`network ${drawn.samples.reduce((a, b) => a + b, 0).toFixed(3)}`)
}

const required = createRequire(import.meta.url)('feynkac')
check('require() gives the same package', required.residualMLP(3).class === residualMLP(3).class)
done.push('require')

const code = `import('feynkac').then(({ devices }) => require('node:worker_threads').parentPort.postMessage(devices()[0].name))`
const answer = await new Promise((resolve, reject) => {
  const worker = new Worker(code, { eval: true })
  worker.once('message', resolve)
  worker.once('error', reject)
})
check(`a worker's device is ${answer}`, answer === devices()[0].name)
done.push('worker')

check('errors are exported', MissingPackageError.prototype instanceof feynkac.FeynkacError)
const { bun, deno, node } = process.versions
const runtime = bun ? `Bun ${bun}` : deno ? `Deno ${deno}` : `Node ${node}`
const { description } = devices().find(({ name }) => name === 'cpu')
console.log(`${runtime}, ${process.platform}-${process.arch}, ${description}: ${done.join(', ')}`)
