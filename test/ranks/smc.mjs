// Runs whose particles the ranks share, against the same of one process, to the bit.
import assert from 'node:assert/strict'
import { communicator, gaussianMixture, lowTemperature, product, sigmaGrid, smc } from '../../dist/index.js'

const ranks = await communicator()
const one = gaussianMixture({ weights: [1, 2], means: [[0, 0, 1], [2, 1, 0]], covariances: [1, 0.3] }) // biome-ignore format: as a table
const two = gaussianMixture({ weights: [1], means: [[1, 1, 1]], covariances: [0.7] })
const both = product([one, two])
const base = { particles: 101, sigmas: sigmaGrid({ steps: 8, min: 0.05, max: 10 }), seed: 5, essThreshold: 0.9 }
const walk = {
  levels: 5,
  initial: (_n, rng) => rng.normals(3),
  propagate: (_, x, rng) => {
    const z = rng.normals(3)
    return x.map((v, i) => v + 0.5 * z[i])
  },
  logPotential: (_, _before, x) => Float64Array.from({ length: x.length / 3 }, (_, i) => -(x[3 * i] ** 2)),
}
const runs = [
  ...['systematic', 'stratified', 'multinomial', 'residual', 'ssp', 'killing'].map((resampling) => [
    lowTemperature(one, { gamma: 3 }),
    { resampling },
  ]),
  [both, { proposal: 'analytic-diagonal', finalResample: true }],
  [both, { proposal: 'posterior', essAfter: 0.95 }],
  [both, { proposal: 'sde', weights: 'tilt' }],
  [both, { weights: 'fkc' }],
  [both, { weights: 'rne' }],
  [both, { weights: 'none', batchSize: 7 }],
  [both, { controlDrift: true }],
  [both, { moves: { kernel: 'mala', steps: 2, tune: true } }],
  [both, { moves: { kernel: 'uhmc', stepSize: (sigma) => 0.1 * sigma } }],
  [walk, { sigmas: undefined }],
]

for (const [target, options] of runs) {
  const { sigmas, ...own } = { ...base, ...options }
  const given = sigmas ? { sigmas, ...own } : own
  const what = JSON.stringify(options)
  const [alone, shared] = [await smc(target, given), await smc(target, { ...given, ranks })]
  assert.deepEqual(shared, alone, what)
  if (options.resampling !== 'systematic') continue
  const part = await smc(target, { ...given, ranks, gather: 'own' })
  assert.deepEqual(part.samples, alone.samples.subarray(3 * (part.first ?? 0)).slice(0, part.samples.length), what)
  assert.ok(Math.abs(part.samples.length / 3 - 101 / ranks.size) < 1)
  const first = await smc(target, { ...given, ranks, gather: 'first' })
  assert.deepEqual(first.samples, ranks.rank === 0 ? alone.samples : part.samples, what)
}
if (ranks.rank === 0) console.log(`${runs.length} runs of ${ranks.size} ranks are those of one`)
