import { describe, expect, test } from 'vitest'
import { ArgumentError, NumericsError } from '../lib/base/errors.js'
import type { EnergyFunction } from '../lib/smc/energy-function.js'
import { type McmcOptions, mcmc } from '../lib/smc/mcmc.js'
import { gaussianMixture } from '../lib/smc/mixtures.js'
import { lowTemperature } from '../lib/smc/targets/linear.js'
import { equalWeights, moments } from './smc-mixtures.js'

const chains = 4096
const gaussian = gaussianMixture({ weights: [1], means: [[1, -1, 0]], covariances: [[0.91, 0.41, 1.91]] })
const sigma = 0.3 // the marginal variances are 1, 0.5 and 2
const initial = gaussianMixture({ weights: [1], means: [[1, -1, 0]], covariances: [[1, 0.5, 2]] }).sample(chains, {
  seed: 7,
})
const run = (options: Partial<McmcOptions>) => mcmc(gaussian, { chains, sigmas: [sigma], initial, seed: 1, ...options })

describe('a Gaussian is invariant', () => {
  test.each([
    { kernel: 'mala', stepSize: 1.4, steps: 12 },
    { kernel: 'hmc', stepSize: 1, steps: 6, leapfrog: 4 },
    { kernel: 'mala', steps: 12, tune: true },
  ] as const)('%j', async (options) => {
    const { samples, acceptance, chainAcceptance, evaluations } = await run(options)
    const { mean, covariance } = moments(samples, equalWeights(chains))
    // four standard errors of independent draws
    const centre = [1, -1, 0]
    for (const [i, want] of [1, 0.5, 2].entries()) {
      expect(Math.abs(mean[i] - centre[i])).toBeLessThan(4 * Math.sqrt(want / chains))
      expect(Math.abs(covariance[i][i] / want - 1)).toBeLessThan(4 * Math.sqrt(2 / chains))
    }
    expect(Math.abs(covariance[0][1])).toBeLessThan(4 * Math.sqrt(0.5 / chains))
    expect(acceptance[0]).toBeGreaterThan(0.3)
    expect(acceptance[0]).toBeLessThan(0.99)
    expect(evaluations).toBe(chains * (1 + options.steps * (('leapfrog' in options && options.leapfrog) || 1)))
    // one decision per chain and move: shares are multiples of 1/steps, not all the same, with the mean reported
    expect(new Set(chainAcceptance).size).toBeGreaterThan(3)
    expect(chainAcceptance.every((a) => Math.abs(a * options.steps - Math.round(a * options.steps)) < 1e-9)).toBe(true)
    expect(chainAcceptance.reduce((a, b) => a + b) / chains).toBeCloseTo(acceptance[0], 10)
  })

  test('reached from elsewhere', async () => {
    const start = new Float32Array(chains * 3).fill(2)
    const { samples } = await run({ kernel: 'hmc', stepSize: 0.9, steps: 25, leapfrog: 4, initial: start })
    const { mean, covariance } = moments(samples, equalWeights(chains))
    expect(Math.abs(mean[1] + 1)).toBeLessThan(0.06)
    expect(Math.abs(covariance[2][2] / 2 - 1)).toBeLessThan(0.12)
  })
})

test('ULA has its known bias: variance 1 / (1 - h/4) of a standard Gaussian', async () => {
  const standard = gaussianMixture({ weights: [1], means: [[0, 0]], covariances: [0.75] })
  const h = 0.8
  const { samples, acceptance } = await mcmc(standard, {
    chains,
    sigmas: [0.5],
    kernel: 'ula',
    steps: 30,
    stepSize: () => Math.sqrt(h),
  })
  const { covariance } = moments(samples, equalWeights(chains))
  expect(Math.abs(covariance[0][0] * (1 - h / 4) - 1)).toBeLessThan(0.09)
  expect(acceptance[0]).toBeNaN()
})

test.each([
  ['mala', 0.57],
  ['hmc', 0.65],
] as const)('%s: tuning reaches its acceptance', async (kernel, want) => {
  const { acceptance, stepSizes } = await mcmc(gaussian, {
    chains: 1024,
    sigmas: [1, 0.6, 0.3],
    kernel,
    tune: true,
    stepSize: 4,
    steps: 20,
  })
  expect(Math.abs(acceptance[2] - want)).toBeLessThan(0.05)
  expect(stepSizes[2]).toBeLessThan(4)
})

test('annealing, reproducibility, chunks', async () => {
  const options = { chains: 300, sigmas: [4, 2, 1, 0.5, 0.2], kernel: 'uhmc', steps: 2, seed: 5 } as const
  const target = lowTemperature(gaussian, { gamma: 2 })
  const a = await mcmc(target, options)
  expect((await mcmc(target, { ...options, batchSize: 64 })).samples).toEqual(a.samples)
  expect((await mcmc(target, { ...options, seed: 6 })).samples).not.toEqual(a.samples)
  expect(a.acceptance).toHaveLength(5)
  const { energy } = await target.energyGrad(a.samples, 0.2)
  expect(a.energy).toEqual(energy)
})

test('errors', async () => {
  // biome-ignore lint/suspicious/noExplicitAny: wrong types on purpose
  const wrong = (o: any) => run(o)
  for (const o of [{ chains: 0 }, { sigmas: [] }, { kernel: 'x' }, { steps: 0 }, { stepSize: 0 }, { stepsize: 1 }, { initial: new Float32Array(2) }, { stepSize: () => -1 }]) // biome-ignore format: a list
    await expect(wrong(o), JSON.stringify(o)).rejects.toThrow(ArgumentError)
  const wall: EnergyFunction = {
    shape: [1],
    energyGrad: async (x) => ({
      energy: Float64Array.from(x, () => Number.POSITIVE_INFINITY),
      grad: new Float32Array(x.length),
    }),
  }
  await expect(mcmc(wall, { chains: 2, sigmas: [1] })).rejects.toThrow(NumericsError)
  const reason = new Error('enough')
  await expect(run({ signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
})
