import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { ArgumentError } from '../lib/base/errors.js'
import { loadDataset } from '../lib/data/load.js'
import { ExactShapes, KINDS } from '../packages/lab/src/experiments/exact-shapes.js'
import { logNormalCdf, truncatedNormal } from '../packages/lab/src/experiments/truncated-normal.js'

interface Vector {
  sigma: number
  x: number[]
  energy: number
  dimension: number
  kinds: number[]
  denoised: number[]
}

/** Made by test/vectors/make_shapes.py: brute force in NumPy. */
const vectors: Vector[] = JSON.parse(readFileSync(join(import.meta.dirname, 'vectors', 'shapes.json'), 'utf8'))
const shapes = new ExactShapes()

describe('the exact law of the noised pictures', () => {
  test.each(vectors)('is that of brute force at sigma = $sigma', ({ sigma, x, energy, dimension, kinds, denoised }) => {
    const found = shapes.posterior(Float32Array.from(x), sigma)
    expect(Math.abs(found.energy[0] - energy)).toBeLessThan(0.02)
    expect(Math.abs(found.dimension[0] - dimension)).toBeLessThan(0.02 * (1 + dimension))
    for (const [k, share] of kinds.entries()) expect(Math.abs(found.kinds[k] - share)).toBeLessThan(0.003)
    const error = Math.hypot(...denoised.map((v, i) => v - found.denoised[i]))
    expect(error / sigma).toBeLessThan(0.02)
  })

  test('has its gradient, and conditionals that make it up', async () => {
    const { x, sigma } = vectors[2]
    const at = Float32Array.from(x)
    const { grad } = await shapes.energy().energyGrad(at, sigma)
    const h = 1e-2
    for (const i of [17, 40, 101]) {
      const step = (by: number) => shapes.posterior(at.map((v, j) => (j === i ? v + by : v)), sigma).energy[0] // biome-ignore format: one line
      expect(Math.abs((step(h) - step(-h)) / (2 * h) - grad[i])).toBeLessThan(1e-3 * (1 + Math.abs(grad[i])))
    }
    const whole = shapes.posterior(at, sigma)
    const parts = Array.from({ length: KINDS }, (_, k) => Math.exp(-shapes.posterior(at, sigma, [k]).energy[0]))
    const sum = parts.reduce((a, b) => a + b)
    expect(-Math.log(sum / KINDS)).toBeCloseTo(whole.energy[0], 6)
    parts.forEach((p, k) => {
      expect(p / sum).toBeCloseTo(whole.kinds[k], 6)
    })
  })

  test('denoises the data themselves, whose dimension is the mean of their squared error', async () => {
    const data = await loadDataset('synthetic:shapes:count=200,size=12,seed=4')
    const [d, sigma] = [144, 1]
    const clean = new Float32Array(200 * d)
    for (let i = 0; i < 200; i++) data.read(i, clean, i * d)
    const { gaussianMixture } = await import('../lib/smc/mixtures.js')
    const noise = gaussianMixture({ weights: [1], means: [new Array(d).fill(0)], covariances: [1] }).sample(200, { seed: 9 }) // biome-ignore format: one line
    const { denoised, dimension } = shapes.posterior(clean.map((v, i) => v + sigma * noise[i]), sigma) // biome-ignore format: one line
    const errors = Array.from({ length: 200 }, (_, i) => Math.hypot(...clean.subarray(i * d, (i + 1) * d).map((v, p) => v - denoised[i * d + p])) ** 2 / sigma ** 2) // biome-ignore format: one line
    const mean = (values: ArrayLike<number>) => Array.from(values).reduce((a, b) => a + b) / 200
    const spread = Math.sqrt(mean(errors.map((e) => (e - mean(errors)) ** 2)) / 200)
    expect(Math.abs(mean(errors) - mean(dimension))).toBeLessThan(3 * spread)
  })

  test('is known from sigma = 0.05 up', () => {
    expect(() => shapes.posterior(new Float32Array(144), 0.04)).toThrow(ArgumentError)
  })
})

test('normal distribution functions in the tails', () => {
  // log of Phi by SciPy: log_ndtr
  for (const [
    t,
    value,
  ] of [[-40, -804.6084420137538], [-10, -53.23128515051247], [-5.1, -15.588487091871468], [-1, -1.8410216450092636], [0, -Math.LN2], [3, -0.0013508099647481923]]) // biome-ignore format: pairs
    expect(Math.abs(logNormalCdf(t) / value - 1)).toBeLessThan(1e-8)
  // by sums
  for (const [centre, std] of [
    [0.5, 0.05],
    [0.9, 0.02],
    [1.4, 0.3],
    [0.95, 3],
  ]) {
    // biome-ignore format: pairs
    const b = Array.from({ length: 20_000 }, (_, i) => 0.8 + (0.2 * (i + 0.5)) / 20_000)
    const logs = b.map((v) => -((v - centre) ** 2) / (2 * std * std))
    const top = Math.max(...logs)
    const w = logs.map((l) => Math.exp(l - top))
    const total = w.reduce((a, v) => a + v)
    const logMass = top + Math.log((total * 0.2) / 20_000) - Math.log(std) - 0.5 * Math.log(2 * Math.PI)
    const found = truncatedNormal(centre, std, 0.8, 1)
    expect(found.logMass).toBeCloseTo(logMass, 5)
    expect(found.mean).toBeCloseTo(w.reduce((a, v, i) => a + v * b[i], 0) / total, 6)
    expect(found.second).toBeCloseTo(w.reduce((a, v, i) => a + v * b[i] ** 2, 0) / total, 6)
  }
})
