import { expect, test } from 'vitest'
import { ArgumentError, FeynkacError, NumericsError } from '../lib/base/errors.js'
import { gaussianMixture } from '../lib/smc/mixtures.js'
import { type DenoiserFunction, type SampleOptions, sample } from '../lib/smc/samplers.js'
import { sigmaGrid } from '../lib/smc/schedule.js'
import { product } from '../lib/smc/targets/linear.js'
import { equalWeights, moments } from './smc-mixtures.js'

const variance = 0.5
const gaussian = gaussianMixture({ weights: [1], means: [[0, 0]], covariances: [variance] })
/** The exact denoiser of N(0, variance). */
const denoiser: DenoiserFunction = {
  shape: [2],
  denoise: async (x, sigma) => x.map((v) => (v * variance) / (variance + sigma * sigma)),
}
const n = 2000
const grid = (steps: number) => sigmaGrid({ steps, min: 0.01, max: 10 })

test('Heun follows the ODE of a Gaussian, with second order', async () => {
  // the flow multiplies by sqrt of the ratio of the variances: exact, sample by sample
  const initial = new Float32Array(2 * n).map((_, i) => Math.sin(i) * 10)
  const exact = Math.sqrt((variance + 1e-4) / (variance + 100))
  const errors: number[] = []
  for (const steps of [10, 20, 40, 80]) {
    const { samples, evaluations } = await sample(gaussian, { particles: n, sigmas: grid(steps), initial })
    expect(evaluations).toBe(2 * n * steps)
    errors.push(Math.abs(samples[1] / initial[1] / exact - 1))
  }
  expect(errors[3]).toBeLessThan(1e-3)
  for (const [i, e] of errors.slice(1).entries()) expect(errors[i] / e).toBeGreaterThan(2.8)
})

test.each(['heun', 'stochastic-heun', 'euler-maruyama', 'ancestral'] as const)(
  '%s reaches the variance of the data',
  async (method) => {
    const options = { particles: 8000, sigmas: grid(150), method, seed: 2, churn: { noise: 1 } }
    const { samples } = await sample(gaussian, options)
    const { mean, covariance } = moments(samples, equalWeights(8000))
    expect(Math.abs(mean[0])).toBeLessThan(0.04)
    // four standard errors and the discretisation of the SDEs
    expect(Math.abs(covariance[0][0] / variance - 1)).toBeLessThan(0.1)
  },
)

test('a denoiser gives the same as its energy; the last step may go to zero', async () => {
  const sigmas = [...grid(20), 0]
  const options = { particles: 50, sigmas, seed: 4 }
  const [a, b] = [await sample(denoiser, options), await sample(gaussian, options)]
  expect(Math.max(...a.samples.map((v, i) => Math.abs(v - b.samples[i])))).toBeLessThan(1e-5)
  const { samples } = await sample(denoiser, { ...options, method: 'ancestral' })
  expect(samples.every(Number.isFinite)).toBe(true)
})

test('a composed target without weights has the wrong variance', async () => {
  // N(0, v) squared has variance v/2; summing the scores along the noise levels gives less than the product's at every level
  const { samples } = await sample(product([gaussian, gaussian]), {
    particles: 8000,
    sigmas: grid(100),
    method: 'ancestral',
  })
  const { covariance } = moments(samples, equalWeights(8000))
  expect(covariance[0][0]).toBeLessThan(0.85 * (variance / 2))
})

test('reproducible, in chunks too', async () => {
  const options: SampleOptions = { particles: 300, sigmas: grid(12), method: 'stochastic-heun', seed: 9 }
  for (const model of [gaussian, denoiser]) {
    const a = await sample(model, options)
    expect((await sample(model, { ...options, batchSize: 77 })).samples).toEqual(a.samples)
    expect((await sample(model, { ...options, seed: 8 })).samples).not.toEqual(a.samples)
  }
})

test('errors', async () => {
  const options: SampleOptions = { particles: 4, sigmas: grid(4) }
  // biome-ignore lint/suspicious/noExplicitAny: wrong types on purpose
  const wrong = (o: any, model: any = gaussian) => sample(model, { ...options, ...o })
  for (const o of [{ particles: 0 }, { sigmas: [1] }, { sigmas: [1, 0, 0] }, { method: 'x' }, { churn: { churn: -1 } }, { churn: { x: 1 } }, { initial: new Float32Array(1) }, { batchSize: 0 }, { step: 1 }]) // biome-ignore format: a list
    await expect(wrong(o), JSON.stringify(o)).rejects.toThrow(ArgumentError)
  await expect(wrong({}, null)).rejects.toThrow(ArgumentError)
  await expect(wrong({}, { shape: [2], denoise: async () => new Float32Array(1) })).rejects.toThrow(ArgumentError)
  const nan = { shape: [2], denoise: async (x: Float32Array) => x.map(() => Number.NaN) }
  await expect(wrong({}, nan)).rejects.toThrow(NumericsError)
  await expect(wrong({}, { shape: [2], denoise: () => Promise.reject(new Error('boom')) })).rejects.toThrow(
    FeynkacError,
  )
  const reason = new Error('enough')
  await expect(wrong({ signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
})
