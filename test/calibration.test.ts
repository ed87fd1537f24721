import { describe, expect, test } from 'vitest'
import { ArgumentError, NumericsError } from '../lib/base/errors.js'
import { native, run } from '../lib/native/addon.js'
import type { EnergyFunction } from '../lib/smc/energy-function.js'
import { calibratedKernel } from '../lib/smc/kernels.js'
import { gaussianMixture } from '../lib/smc/mixtures.js'
import { calibrate } from '../lib/smc/precision/calibrate.js'
import { basisOf, frequencyBands, monotone } from '../lib/smc/precision/calibration.js'
import { evenLevels, sigmaGrid } from '../lib/smc/schedule.js'
import { smc } from '../lib/smc/smc.js'
import { bounded } from '../lib/smc/targets/box.js'
import { guided, lowTemperature, negation, product } from '../lib/smc/targets/linear.js'
import { mixture } from '../lib/smc/targets/mixture.js'
import { rewardTilt } from '../lib/smc/targets/reward.js'
import { type DiagonalMixture, productOf } from '../packages/lab/src/experiments/mixtures.js'
import { moments } from './smc-mixtures.js'

const relative = (a: ArrayLike<number>, b: ArrayLike<number>) =>
  Math.max(...Array.from(a, (v, i) => Math.abs(v - b[i]) / Math.abs(b[i])))

/** The Gaussian N(0, covariance) of images whose cosines are independent, with variance 1 / (1 + u^2 + v^2) 0.3 at frequency (u, v). */
function cosineGaussian(shape: readonly [number, number, number]) {
  const [channels, height, width] = shape
  const variance = (i: number) => 0.3 / (1 + Math.floor((i / width) % height) ** 2 + (i % width) ** 2)
  const d = channels * height * width
  const transform = async (x: Float32Array, inverse: boolean) => {
    const out = new Float32Array(x.length)
    await run(() => native.dct({ out, x, shape, inverse }))
    return out
  }
  const energy: EnergyFunction = {
    shape,
    async energyGrad(x, sigma) {
      const there = await transform(x, false)
      const energies = new Float64Array(x.length / d)
      const grad = there.map((v, i) => {
        const h = 1 / (variance(i % d) + sigma ** 2)
        energies[Math.floor(i / d)] += 0.5 * (h * v * v + Math.log((2 * Math.PI) / h))
        return h * v
      })
      return { energy: energies, grad: await transform(grad, true) }
    },
  }
  const samples = async (n: number) => {
    const z = new Float32Array(n * d)
    native.normals(z, n, 7, 11, 0)
    return transform(z.map((v, i) => v * Math.sqrt(variance(i % d))), true) // biome-ignore format: one line
  }
  return { energy, samples, transform, variances: Float64Array.from({ length: d }, (_, i) => variance(i)) }
}

/** Two anisotropic components of unequal weight that differ in the first two coordinates. */
function anisotropic(d: number, shift: number, phase: number): DiagonalMixture {
  const variance = Array.from({ length: d }, (_, i) => 0.2 / (1 + ((i + phase) % 8)) ** 2)
  const mean = (sign: number) => Array.from({ length: d }, (_, i) => (i === 0 ? sign : i === 1 ? shift : 0))
  return { weights: [1 / 3, 2 / 3], means: [mean(-0.8), mean(0.8)], covariances: [variance, variance] }
}

test('the transform of images refuses what it cannot have', async () => {
  const x = new Float32Array(24)
  const dct = (shape: number[], out = new Float32Array(24)) => run(() => native.dct({ out, x, shape }))
  await dct([2, 3, 4])
  for (const shape of [[24], [2, 3, 5], [1, 0, 24], [0, 3, 4], [1, 1, 5000], [1, 1.5, 16]])
    await expect(dct(shape), String(shape)).rejects.toThrow(ArgumentError)
  await expect(dct([2, 3, 4], new Float32Array(23))).rejects.toThrow(ArgumentError)
})

describe('tables', () => {
  test('of a Gaussian in its own coordinates are exact from few draws', async () => {
    const variances = [1e-4, 0.01, 0.25, 4]
    const energy = gaussianMixture({ weights: [1], means: [[0, 1, 2, 3]], covariances: [variances] })
    const table = await calibrate(energy, { data: energy.sample(300), count: 400, seed: 3 })
    expect([table.basis, table.count, table.sigmas.length]).toEqual(['identity', 400, 32])
    const close = (sigma: number) => table.precisionAt(sigma).map((h) => 1 / h - sigma ** 2)
    // held below the variance of the 300 samples
    for (const sigma of [0.002, 0.01, 0.03, 0.5, 3, 80, 200])
      expect(relative(table.precisionAt(sigma), variances.map((v) => 1 / (v + sigma ** 2)))).toBeLessThan(0.16) // biome-ignore format: one line
    // differences between close levels
    for (const [s, next] of [[0.02, 0.018], [0.5, 0.45], [5, 4.9]]) // biome-ignore format: one line
      close(s).forEach((v, i) => {
        expect(Math.abs(v - close(next)[i])).toBeLessThan(0.02 * (s * s - next * next))
      })
  })

  test('of images, by bands of cosines, odd sides', async () => {
    const { energy, samples, variances } = cosineGaussian([2, 7, 5])
    const table = await calibrate(energy, { data: await samples(200), count: 100, sigmas: [3, 0.3, 0.03], seed: 1 })
    expect(table.basis).toBe('dct')
    const { of, count } = frequencyBands([2, 7, 5])
    for (const sigma of [3, 0.3, 0.03]) {
      // the mean of the precisions of a band, h = 1 / (V + s^2)
      const [sums, members] = [new Float64Array(count), new Float64Array(count)]
      for (const [i, g] of of.entries()) {
        sums[g] += 1 / (variances[i] + sigma ** 2)
        members[g]++
      }
      const want = Float64Array.from(of, (g) => sums[g] / members[g])
      expect(relative(table.precisionAt(sigma), want)).toBeLessThan(0.15)
    }
  })

  test('of a mixture against many draws: between the modes’ variance and the whole one, growing', async () => {
    const energy = gaussianMixture({ weights: [1, 2], means: [[-1], [1]], covariances: [0.01, 0.01] })
    const sigmas = evenLevels(0.01, 20, 16)
    const table = await calibrate(energy, { data: energy.sample(4096), sigmas })
    for (const sigma of [0.05, 0.3, 0.6, 1, 3]) {
      // h by quadrature of E[(d log p)^2]
      const x = Float32Array.from({ length: 20001 }, (_, i) => (i / 10000 - 1) * (3 + 8 * sigma))
      const { energy: e, grad } = await energy.energyGrad(x, sigma)
      const h = grad.reduce((sum, g, i) => sum + g * g * Math.exp(-e[i]), 0) * (x[1] - x[0])
      expect(Math.abs(table.precisionAt(sigma)[0] / h - 1)).toBeLessThan(0.08)
    }
    const spread = [0.01, 0.1, 0.3, 1, 3, 20].map((s) => 1 / table.precisionAt(s)[0] - s * s)
    expect(spread).toEqual(spread.toSorted((a, b) => a - b))
    expect(spread[0]).toBeGreaterThan(0.008)
    expect(spread.at(-1)).toBeLessThan(0.95)
  })

  test('same seed, same table; another seed, another; pooled groups are one number', async () => {
    const energy = gaussianMixture(anisotropic(8, 0.3, 0))
    const options = { data: energy.sample(64), count: 64, sigmas: [10, 1, 0.1] }
    const [a, b, c] = [await calibrate(energy, options), await calibrate(energy, options), await calibrate(energy, { ...options, seed: 1 })] // biome-ignore format: one line
    expect(a.precisionAt(1)).toEqual(b.precisionAt(1))
    expect(a.precisionAt(1)).not.toEqual(c.precisionAt(1))
    const pooled = (await calibrate(energy, { ...options, pool: [0, 1, 2, 2, 2, 3, 3, 3] })).precisionAt(0.5)
    expect(new Set(pooled).size).toBe(4)
  })

  test('its mistakes are typed errors', async () => {
    const energy = gaussianMixture({ weights: [1], means: [[0, 0]], covariances: [1] })
    const data = energy.sample(8)
    // biome-ignore lint/suspicious/noExplicitAny: wrong types on purpose
    const wrong = async (options: any, message: RegExp) => {
      const result = calibrate(energy, { data, count: 8, ...options })
      await expect(result).rejects.toThrow(ArgumentError)
      await expect(result).rejects.toThrow(message)
    }
    // one sample has no variance to hold the table by
    await wrong({ data: new Float32Array(2) }, /two samples/)
    await wrong({ count: 1 }, /count/)
    await wrong({ data: new Float32Array(3) }, /data set of two samples of \[2\]/)
    await wrong({ data: undefined }, /data/)
    await wrong({ sigmas: [1, 2] }, /decreasing/)
    await wrong({ count: 0 }, /count/)
    await wrong({ pool: [0] }, /2 groups/)
    await wrong({ draws: 3 }, /draws/)
    const nan = { shape: [2], energyGrad: async (x: Float32Array) => ({ energy: new Float64Array(x.length / 2), grad: x.map(() => Number.NaN) }) } // biome-ignore format: one line
    await expect(calibrate(nan, { data, count: 2 })).rejects.toThrow(NumericsError)
    const reason = new Error('enough')
    await expect(calibrate(energy, { data, signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
  })

  test('the fit that does not decrease', () => {
    expect([...monotone(Float64Array.of(1, 3, 2, 2, 5, 4))]).toEqual([1, 7 / 3, 7 / 3, 7 / 3, 4.5, 4.5])
  })
})

describe('of compositions', () => {
  const flat = (basis: 'dct' | 'identity', h: number, d = 2) => ({ basis, precisionAt: (s: number) => new Float64Array(d).fill(h / s) }) // biome-ignore format: one line
  const with_ = (h: number) => ({ ...gaussianMixture({ weights: [1], means: [[0, 0]], covariances: [1] }), calibration: flat('identity', h) }) // biome-ignore format: one line
  const at = (target: EnergyFunction, sigma = 1) => target.calibration?.precisionAt(sigma)[0]

  test('precisions add up by their exponents', () => {
    const [a, b] = [with_(1), with_(2)]
    expect(at(product([a, b], { weights: [1, -1] }))).toBe(-1)
    expect(at(lowTemperature(product([a, b]), { gamma: 2 }))).toBe(6)
    expect(at(mixture([a, b], { weights: [3, 1] }))).toBe(1.25)
    expect(mixture([a, b]).calibration!.precisionAt(1, 0.5)[0]).toBeCloseTo(1 / (1 / 1.5 - 0.75), 12)
    expect(at(guided(a, b, { scale: 2 }))).toBe(3)
    expect(at(negation(a, b, { strength: 0.5, floor: 2 }), 1)).toBe(0.5)
    expect(at(rewardTilt(a, () => [], { strength: 1 }))).toBe(1)
    expect(at(bounded(a, { contains: () => [] }))).toBe(1)
    expect(at(bounded(a, { lower: 0, upper: Number.POSITIVE_INFINITY }))).toBeUndefined()
    expect(at(bounded(a, { lower: [-Infinity, 0], upper: [Infinity, 1e-3] }))).toBe(1)
    expect(at(bounded(a, { lower: 0, upper: 1e-3 }), 0.1)).toBeCloseTo(110, 2)
    expect(at(product([a, { ...b, calibration: flat('dct', 1) }]))).toBeUndefined()
  })

  test('a box by itself has about the precision that it is given', async () => {
    for (const [width, t] of [
      [0.5, 1],
      [2, 1],
      [8, 1],
      [2, 0.05],
    ]) {
      // biome-ignore format: one line
      const box = bounded(with_(0), { lower: 0, upper: width }).models[1]
      const x = Float32Array.from({ length: 2 * 4001 }, (_, i) => i % 2 ? width / 2 : (i / 8000) * (width + 16 * t) - 8 * t) // biome-ignore format: one line
      const { energy, grad } = await box.energyGrad(x, t)
      // p(x) = exp(-energy) / width of the first coordinate, where the second is in the middle
      const middle = energy[Math.floor(energy.length / 2)] / 2
      const h = energy.reduce((sum, e, i) => sum + grad[2 * i] ** 2 * Math.exp(-(e - middle)), 0) * ((x[2] - x[0]) / width) // biome-ignore format: one line
      expect(Math.abs(at(box, t)! / h - 1)).toBeLessThan(0.45)
    }
  })

  test('what lacks a table is named', async () => {
    const options = { particles: 4, sigmas: [1, 0.5] }
    const bare = { ...gaussianMixture({ weights: [1], means: [[0, 0]], covariances: [1] }), name: 'the ring' }
    const target = lowTemperature(product([with_(1), bare]), { gamma: 2 })
    await expect(smc(target, { ...options, proposal: 'calibrated' })).rejects.toThrow(/the ring.*feynkac calibrate/)
    const refused = async (extra: object, message: RegExp) =>
      expect(smc(with_(1), { ...options, ...extra })).rejects.toThrow(message)
    await refused({ proposal: 'calibrated', kernel: 'plain' }, /'scaled'/)
    await refused({ proposal: 'calibrated', meanPrecisions: [Float64Array.of(1)] }, /meanPrecisions/)
    await refused({ proposal: 'calibrated', weights: 'fkc' }, /proposal/)
    // the default, where it applies
    const d = async (extra: object) =>
      (await smc(with_(1), { ...options, ...extra })).diagnostics.meanPrecisions[0].length
    expect([await d({}), await d({ kernel: 'plain' }), await d({ weights: 'none' }), await d({ weights: 'tilt', kernel: 'plain' }), await d({ weights: 'tilt' })]).toEqual([2, 1, 2, 1, 2]) // biome-ignore format: one line
    expect(await d({ proposal: 'sde' })).toBe(1)
  })
})

test('the kernel of Gaussian paths, and what is no precision', () => {
  const at = (h: number, hNext: number, lambda = 2) =>
    calibratedKernel(1, 0.8, lambda, {
      basis: 'identity',
      precisionAt: (_, noise) => Float64Array.of(noise === undefined ? h : hNext),
    })
  // one density: variance V + s^2 to V + s'^2
  expect(at(1 / 1.5, 1 / 1.14, 1).v[0]).toBeCloseTo(0.36, 12)
  expect(at(1 / 1.5, 1 / 1.14, 1).tau[0]).toBeCloseTo((0.36 * 1.14) / 1.5, 12)
  // two of different variances
  const [h, hNext] = [1 / 1.5 + 1 / 1.1, 1 / 1.14 + 1 / 0.74]
  expect(at(h, hNext).v[0]).toBeCloseTo(1 / h - 1 / hNext, 12)
  expect(at(h, hNext).tau[0]).toBeCloseTo((1 / h - 1 / hNext) * (h / hNext), 12)
  const scaled = 0.36 / 2
  expect(at(-1, -2).v[0]).toBeCloseTo(scaled, 12)
  expect(at(-1, 3).v[0]).toBeCloseTo(4 * scaled, 12)
  expect(at(1, 0).v[0]).toBeCloseTo(scaled / 4, 12)
  expect(at(1, 0.9).v[0]).toBeCloseTo(scaled / 4, 12)
  expect(at(0.1, 10).tau[0]).toBeCloseTo(4 * scaled * (1 - 0.4 * scaled), 12)
  expect(at(1000, 2000).tau[0]).toBeCloseTo((scaled / 4) * 0.16, 12)
})

describe('smc', () => {
  test('in cosines: log Z and moments of a Gaussian’s square are exact, and every weight is nearly the same', async () => {
    const { energy, samples, transform, variances } = cosineGaussian([1, 5, 8])
    const calibration = await calibrate(energy, { data: await samples(512), count: 64 })
    const target = lowTemperature({ ...energy, calibration }, { gamma: 2 })
    const sigmas = sigmaGrid({ steps: 24, min: 0.05, max: 20 })
    const { samples: x, logWeights, logZ, diagnostics } = await smc(target, { particles: 1024, sigmas, seed: 1 })
    const exact = variances.reduce((sum, v) => sum - 0.5 * Math.log(4 * Math.PI * (v + 0.05 ** 2)), 0)
    expect(Math.abs(logZ - exact)).toBeLessThan(0.15)
    expect(diagnostics.meanPrecisions[0]).toHaveLength(40)
    const { covariance } = moments(await transform(x, false), logWeights.map(Math.exp))
    variances.forEach((v, i) => {
      expect(Math.abs(covariance[i][i] / ((v + 0.05 ** 2) / 2) - 1)).toBeLessThan(0.3)
    })
    const plain = await smc(target, { particles: 1024, sigmas, seed: 1, proposal: 'analytic' })
    expect(Math.min(...diagnostics.levels.map((l) => l.ess))).toBeGreaterThan(Math.min(...plain.ess))
    // exact for any table
    const wrong = { basis: basisOf([1, 5, 8]), precisionAt: (s: number, noise?: number) => calibration.precisionAt(s, noise).map((h, i) => h * (1 + 0.2 * (i % 3))) } // biome-ignore format: one line
    const { logZ: other } = await smc(lowTemperature({ ...energy, calibration: wrong }, { gamma: 2 }), { particles: 4096, sigmas, seed: 1 }) // biome-ignore format: one line
    expect(Math.abs(other - exact)).toBeLessThan(0.4)
  })

  test.each([64, 256])('a product of anisotropic mixtures in %i dimensions', async (d) => {
    const [p, q] = [anisotropic(d, 0.3, 0), anisotropic(d, -0.3, 3)]
    const calibrated = async (m: DiagonalMixture) => {
      const energy = gaussianMixture(m)
      return { ...energy, calibration: await calibrate(energy, { data: energy.sample(1024), count: 1024 }) }
    }
    const target = product([await calibrated(p), await calibrated(q)])
    const sigmas = sigmaGrid({ steps: 64, min: 0.02, max: 20 })
    const options = { particles: 256, sigmas, seed: 5 }
    const [own, usual] = [await smc(target, options), await smc(target, { ...options, proposal: 'analytic' })]
    const exact = productOf(p, q, 0.02)
    expect(Math.abs(own.logZ - exact.logZ)).toBeLessThan(0.5)
    expect(Math.min(...own.ess)).toBeGreaterThan(Math.min(...usual.ess))
    expect(own.diagnostics.distinctRoots).toBeGreaterThan(Math.max(150, 2 * usual.diagnostics.distinctRoots))
    const { covariance } = moments(own.samples, own.logWeights.map(Math.exp))
    const ratios = exact.covariances[0].slice(2).map((v, i) => covariance[i + 2][i + 2] / v)
    expect(Math.abs(ratios.reduce((a, b) => a + b, 0) / ratios.length - 1)).toBeLessThan(0.15)
  })
})
