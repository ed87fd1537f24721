import { describe, expect, test } from 'vitest'
import { ArgumentError } from '../lib/base/errors.js'
import { sigmaGrid } from '../lib/smc/schedule.js'
import { smc } from '../lib/smc/smc.js'
import type { SmcOptions } from '../lib/smc/smc-options.js'
import { guided, lowTemperature, product } from '../lib/smc/targets/linear.js'
import { gaussian, moments } from './smc-mixtures.js'

/**
 * Weights from scores alone, on Gaussians: what they tend to as the steps become small is known in closed form. Exponents are near 1, as
 * larger ones make the weights' tails heavy (the proposals of gamma = 2 have a third to half of the variance they should have).
 */

const d = 2
const min = 0.05
const schemes: [SmcOptions['weights'], SmcOptions['proposal']][] = [
  ['fkc', 'sde'],
  ['fkc', 'tempered'],
  ['rne', 'sde'],
  ['rne', 'posterior'],
  ['rne', 'analytic'],
]
/** N(mean_j, variance_j + min^2) to the powers w_j, multiplied: its mean, its variance, and the log of its integral. */
function combined(parts: { mean: number; variance: number; power: number }[]) {
  const noisy = parts.map(({ variance, ...rest }) => ({ ...rest, variance: variance + min * min }))
  const precision = noisy.reduce((sum, { power, variance }) => sum + power / variance, 0)
  const mean = noisy.reduce((sum, { power, variance, mean }) => sum + (power * mean) / variance, 0) / precision
  const perCoordinate = noisy.reduce(
    (sum, { power, variance, mean: m }) =>
      sum - (power / 2) * (Math.log(2 * Math.PI * variance) + (m - mean) ** 2 / variance),
    Math.log((2 * Math.PI) / precision) / 2,
  )
  return { mean, variance: 1 / precision, logZ: d * perCoordinate }
}
const at = (mean: number, variance: number) => gaussian([mean, mean], variance)
const cases = [
  [
    'low temperature',
    lowTemperature(at(0.5, 0.6), { gamma: 1.3 }),
    combined([{ mean: 0.5, variance: 0.6, power: 1.3 }]),
  ],
  [
    'high temperature',
    lowTemperature(at(0.5, 0.6), { gamma: 0.7 }),
    combined([{ mean: 0.5, variance: 0.6, power: 0.7 }]),
  ],
  ['product', product([at(0, 0.5), at(1, 0.8)], { weights: [0.7, 0.5] }), combined([{ mean: 0, variance: 0.5, power: 0.7 }, { mean: 1, variance: 0.8, power: 0.5 }])], // biome-ignore format: one line
  ['guided', guided(at(0, 1), at(1, 0.6), { scale: 1.5 }), combined([{ mean: 0, variance: 1, power: -0.5 }, { mean: 1, variance: 0.6, power: 1.5 }])], // biome-ignore format: one line
] as const

describe.each(cases)('%s', (_, target, exact) => {
  test.each(schemes)('%s by %s', async (weights, proposal) => {
    const sigmas = sigmaGrid({ steps: 150, min, max: 8 })
    const { samples, logWeights, logZ } = await smc(target, { particles: 2000, sigmas, weights, proposal, seed: 4 })
    const { mean, covariance } = moments(samples, logWeights.map(Math.exp))
    for (let i = 0; i < d; i++) expect(Math.abs(mean[i] - exact.mean)).toBeLessThan(0.07)
    // without weights, the variance of low temperature would be a fifth too small
    const variance = (covariance[0][0] + covariance[1][1]) / 2
    expect(Math.abs(variance / exact.variance - 1)).toBeLessThan(0.12)
    expect(Math.abs(logZ - exact.logZ)).toBeLessThan(0.12)
  })
})

test('tempered noise goes with fkc alone', async () => {
  const options = { particles: 8, sigmas: [2, 1], proposal: 'tempered' } as const
  for (const weights of ['bridge', 'rne', 'tilt', 'none'] as const)
    await expect(smc(at(0, 1), { ...options, weights })).rejects.toThrow(ArgumentError)
})
