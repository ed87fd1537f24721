// Samples without weights, calibrations and evaluations by ranks, against the same of one process, to the bit.
import assert from 'node:assert/strict'
import {
  calibrate,
  communicator,
  evaluate,
  gaussianMixture,
  guidedDenoiser,
  loadDataset,
  sample,
} from '../../dist/index.js'

const ranks = await communicator()
const alike = gaussianMixture({ weights: [1, 2], means: [[0, 0, 1], [2, 1, 0]], covariances: [1, 0.3] }) // biome-ignore format: as a table

// a denoiser under labels of each sample's own
const shift = {
  ...{ shape: [3], labelDim: 1 },
  denoise: async (x, sigma, { labels, part }) =>
    x.map((v, i) => v / (1 + sigma) + (labels?.[(part?.first ?? 0) + Math.floor(i / 3)] ?? 0)),
}
const labelled = guidedDenoiser(shift, { labels: Float32Array.from({ length: 31 }, (_, i) => i), scale: 1 })
for (const model of [alike, labelled])
  for (const method of ['heun', 'stochastic-heun', 'euler-maruyama', 'ancestral']) {
    const options = { particles: 31, sigmas: [4, 2, 1, 0.5, 0], method, seed: 3, batchSize: 4 }
    const [alone, shared] = [await sample(model, options), await sample(model, { ...options, ranks })]
    assert.deepEqual(shared, alone, method)
    const part = await sample(model, { ...options, ranks, gather: 'own' })
    assert.deepEqual(part.samples, alone.samples.slice(3 * part.first, 3 * part.first + part.samples.length))
    assert.equal(part.evaluations, alone.evaluations)
  }

const data = alike.sample(300)
const table = { data, count: 300, sigmas: [4, 2, 1, 0.5, 0.25], seed: 2 }
assert.deepEqual(await calibrate(alike, { ...table, ranks }), await calibrate(alike, table))

const [samples, real] = [await loadDataset('synthetic:shapes:count=150,size=8,seed=1'), await loadDataset('synthetic:shapes:count=170,size=8,seed=2')] // biome-ignore format: a pair
const weights = Float64Array.from({ length: 150 }, (_, i) => 1 + (i % 7))
for (const given of [{}, { weights }]) {
  const compared = { samples, data: real, batchSize: 16, pairs: 100, seed: 1, ...given }
  assert.deepEqual(await evaluate({ ...compared, ranks }), await evaluate(compared))
}
if (ranks.rank === 0) console.log(`work of ${ranks.size} ranks is that of one`)
