import { describe, expect, test } from 'vitest'
import { ArgumentError, NumericsError } from '../lib/base/errors.js'
import { native } from '../lib/native/addon.js'
import type { EnergyFunction } from '../lib/smc/energy-function.js'
import type { FeynmanKacModel } from '../lib/smc/feynman-kac.js'
import { gaussianMixture } from '../lib/smc/mixtures.js'
import { sigmaGrid } from '../lib/smc/schedule.js'
import { smc } from '../lib/smc/smc.js'
import type { SmcOptions } from '../lib/smc/smc-options.js'
import { bounded } from '../lib/smc/targets/box.js'
import { guided, lowTemperature, negation, product } from '../lib/smc/targets/linear.js'
import { mixture } from '../lib/smc/targets/mixture.js'
import { rewardTilt } from '../lib/smc/targets/reward.js'
import { modeWeights } from '../packages/lab/src/experiments/mixtures.js'
import { equalWeights, gaussian, moments, other, two } from './smc-mixtures.js'

const sigmas = sigmaGrid({ steps: 32, min: 0.02, max: 20 })
const options = { particles: 512, sigmas, seed: 3 }

/** Counts what it is asked. */
function counted(model: EnergyFunction) {
  const counts = { calls: 0, samples: 0, largest: 0, perSigma: new Map<number, number>() }
  const energyGrad: EnergyFunction['energyGrad'] = (x, sigma, o) => {
    const n = x.length / model.shape[0]
    counts.calls++
    counts.samples += n
    counts.largest = Math.max(counts.largest, n)
    counts.perSigma.set(sigma, (counts.perSigma.get(sigma) ?? 0) + n)
    return model.energyGrad(x, sigma, o)
  }
  return { shape: model.shape, energyGrad, counts }
}

describe('log Z of Gaussians in closed form', () => {
  const d = 3
  const mean = [1, -1, 0.5]
  const s2 = 0.02 ** 2
  /** log of the integral of N(m, v)^g dx */
  const power = (g: number, v: number) => (-(g - 1) * d * Math.log(2 * Math.PI * v)) / 2 - (d * Math.log(g)) / 2
  const run = async (target: EnergyFunction) => (await smc(target, { ...options, particles: 2048 })).logZ

  test('low temperature, and the normalised density itself', async () => {
    expect(Math.abs(await run(gaussian(mean, 0.5)))).toBeLessThan(0.02)
    expect(Math.abs((await run(lowTemperature(gaussian(mean, 0.5), { gamma: 3 }))) - power(3, 0.5 + s2))).toBeLessThan(
      0.05,
    )
  })

  test('product', async () => {
    const far = mean.map((m) => m + 1)
    const v = 0.5 + 0.8 + 2 * s2
    const exact = -0.5 * (d / v + d * Math.log(2 * Math.PI * v))
    expect(Math.abs((await run(product([gaussian(mean, 0.5), gaussian(far, 0.8)]))) - exact)).toBeLessThan(0.05)
  })

  test('negation', async () => {
    // N(m, a) / N(m, b)^s: exponent -(1/a - s/b) |x - m|^2 / 2
    const [a, b, s] = [0.5 + s2, 2 + s2, 0.4]
    const exact = (d / 2) * (Math.log(2 * Math.PI) * s - Math.log(a) + s * Math.log(b) - Math.log(1 / a - s / b))
    const target = negation(gaussian(mean, 0.5), gaussian(mean, 2), { strength: s })
    expect(Math.abs((await run(target)) - exact)).toBeLessThan(0.05)
  })

  test.each(['bridge', 'tilt', 'fkc', 'rne'] as const)('%s weights on a product', async (weights) => {
    const target = product([gaussian(mean, 0.5), gaussian(mean, 0.8)])
    const exact = -(d / 2) * Math.log(2 * Math.PI * (1.3 + 2 * s2))
    const grid = sigmaGrid({ steps: 128, min: 0.02, max: 5 })
    const { logZ } = await smc(target, { particles: 2048, sigmas: grid, weights, seed: 1 })
    expect(Math.abs(logZ - exact)).toBeLessThan(weights === 'bridge' ? 0.03 : 0.3)
  })
})

describe('every evaluation once', () => {
  test.each(['bridge', 'tilt', 'fkc', 'rne', 'none'] as const)(
    '%s: one per particle, model and level',
    async (weights) => {
      const [a, b] = [counted(two), counted(other)]
      const { diagnostics } = await smc(product([a, b]), { ...options, weights, essThreshold: 0.9 })
      expect(diagnostics.resamplings).toBeGreaterThan(weights === 'none' ? -1 : 0)
      for (const { counts } of [a, b]) {
        expect(Array.from(counts.perSigma.keys())).toEqual(Array.from(sigmas))
        expect(new Set(counts.perSigma.values())).toEqual(new Set([512]))
      }
      expect(diagnostics.evaluations).toBe(2 * 512 * sigmas.length)
    },
  )

  test('MCMC moves add theirs', async () => {
    const a = counted(two)
    const { diagnostics } = await smc(a, { ...options, moves: { kernel: 'hmc', steps: 2, leapfrog: 3 } })
    expect(a.counts.samples).toBe(512 * sigmas.length * (1 + 2 * 3))
    expect(diagnostics.levels.every((l) => l.acceptance > 0.3 && l.acceptance <= 1)).toBe(true)
  })
})

describe('reproducible', () => {
  const target = product([two, other])
  const same = (a: { samples: Float32Array; logWeights: Float64Array }, b: typeof a) => {
    expect(a.samples).toEqual(b.samples)
    expect(a.logWeights).toEqual(b.logWeights)
  }

  test.each([{}, { moves: { kernel: 'mala', steps: 2 } }, { weights: 'tilt' }] as Partial<SmcOptions>[])(
    'same seed, other chunks: %j',
    async (extra) => {
      const model = counted(two)
      const whole = await smc(product([two, other]), { ...options, ...extra })
      const chunked = await smc(product([model, other]), { ...options, ...extra, batchSize: 100 })
      expect(model.counts.largest).toBe(100)
      same(whole, chunked)
      expect(chunked.logZ).toBe(whole.logZ)
    },
  )

  test('other seed, other result', async () => {
    const [a, b] = [await smc(target, options), await smc(target, { ...options, seed: 4 })]
    expect(a.samples).not.toEqual(b.samples)
  })

  test('any number of threads', async () => {
    const one = await smc(target, options)
    native.setThreads(1)
    try {
      same(one, await smc(target, options))
      native.setThreads(3)
      same(one, await smc(target, options))
    } finally {
      native.setThreads(2)
    }
  })

  test('frozen precisions of a pilot run', async () => {
    for (const proposal of ['analytic', 'analytic-diagonal'] as const) {
      const pilot = await smc(target, { ...options, proposal })
      const { meanPrecisions } = pilot.diagnostics
      expect(meanPrecisions.every((m) => m.length === (proposal === 'analytic' ? 1 : 2))).toBe(true)
      same(pilot, await smc(target, { ...options, proposal, meanPrecisions }))
    }
  })
})

describe('weights and genealogy', () => {
  test('log-weights are normalised, and equal after a final resampling', async () => {
    const weighted = await smc(product([two, other]), options)
    const sum = (lw: Float64Array) => lw.reduce((s, v) => s + Math.exp(v), 0)
    expect(sum(weighted.logWeights)).toBeCloseTo(1, 12)
    const equal = await smc(product([two, other]), { ...options, finalResample: true })
    expect(new Set(equal.logWeights)).toEqual(new Set([-Math.log(512)]))
    expect(equal.logZ).toBe(weighted.logZ)
    // the same population: its mean moves by Monte Carlo error alone
    const [m1, m2] = [
      moments(weighted.samples, weighted.logWeights.map(Math.exp)),
      moments(equal.samples, equalWeights(512)),
    ]
    expect(Math.abs(m1.mean[0] - m2.mean[0])).toBeLessThan(0.1)
  })

  test('log-weights carry over between resamplings: any threshold gives the same normaliser', async () => {
    const target = lowTemperature(two, { gamma: 3 })
    const runs = [0, 0.3, 0.9, 1].map(async (essThreshold) => {
      const { logZ, diagnostics } = await smc(target, { ...options, particles: 8192, essThreshold })
      return { logZ, resamplings: diagnostics.resamplings }
    })
    const results = await Promise.all(runs)
    expect(results[0].resamplings).toBe(0)
    expect(results[1].resamplings).toBeLessThan(results[3].resamplings)
    expect(results[3].resamplings).toBe(sigmas.length - 1)
    const all = results.map((r) => r.logZ)
    expect(Math.max(...all) - Math.min(...all)).toBeLessThan(0.15)
  })

  test.each(['systematic', 'stratified', 'multinomial', 'residual', 'ssp', 'killing'] as const)(
    '%s resampling in a run',
    async (resampling) => {
      const { logZ, ancestors, diagnostics } = await smc(two, {
        ...options,
        particles: 2048,
        resampling,
        essThreshold: 1,
      })
      expect(Math.abs(logZ)).toBeLessThan(0.1)
      expect(diagnostics.levels.map((l) => l.resampled)).toEqual(ancestors.map((a) => a !== null))
      for (const [k, a] of ancestors.entries())
        expect(diagnostics.levels[k].uniqueAncestors).toBe(a ? new Set(a).size : 2048)
      // the roots by hand
      const roots = Array.from({ length: 2048 }, (_, i) => ancestors.reduceRight((j, a) => (a ? a[j] : j), i))
      expect(Array.from(diagnostics.roots)).toEqual(roots)
      expect(diagnostics.distinctRoots).toBe(new Set(roots).size)
    },
  )

  test('reports every level', async () => {
    const reports: number[] = []
    const { ess, diagnostics } = await smc(two, { ...options, onProgress: (r) => reports.push(r.level) })
    expect(reports).toEqual(Array.from(sigmas, (_, k) => k))
    expect(ess).toHaveLength(sigmas.length)
    expect(diagnostics.levels.map((l) => l.sigma)).toEqual(Array.from(sigmas))
    expect(diagnostics.levels.at(-1)!.evaluations).toBe(512)
  })
})

describe('forms of targets', () => {
  const means = async (target: EnergyFunction, extra: Partial<SmcOptions> = {}) => {
    const { samples, logWeights, logZ } = await smc(target, { ...options, particles: 2048, ...extra })
    return { ...moments(samples, logWeights.map(Math.exp)), samples, weights: logWeights.map(Math.exp), logZ }
  }

  test('OR keeps the weights of its branches, and divides their normalisers out', async () => {
    const [left, right] = [gaussian([-2, 0], 0.3), gaussian([2, 0], 0.3)]
    const unnormalised: EnergyFunction = {
      shape: [2],
      async energyGrad(x, sigma) {
        const { energy, grad } = await right.energyGrad(x, sigma)
        return { energy: energy.map((e) => e - 3), grad }
      },
    }
    const { samples, weights, logZ } = await means(
      mixture([left, unnormalised], { weights: [0.25, 0.75], logZ: [0, 3] }),
    )
    expect(Math.abs(modeWeights(samples, weights, [[-2, 0], [2, 0]])[0] - 0.25)).toBeLessThan(0.05) // biome-ignore format: one line
    expect(Math.abs(logZ)).toBeLessThan(0.05)
  })

  test('conditions of one model: sum E(x|c_i) - (n - 1) E(x)', async () => {
    // x ~ N(0, 1), c_i = x + noise_i of variance 1: p(x|c_1, c_2) = N((c_1 + c_2)/3, 1/3)
    const prior = gaussian([0, 0], 1)
    const given = (c: number[]) => gaussian(c.map((v) => v / 2), 0.5) // biome-ignore format: one line
    const target = product([given([1, 2]), given([3, -2]), prior], { weights: [1, 1, -1] })
    expect(target.lambda).toBe(1)
    const { mean, covariance } = await means(target)
    expect(Math.abs(mean[0] - 4 / 3)).toBeLessThan(0.06)
    expect(Math.abs(mean[1])).toBeLessThan(0.06)
    expect(Math.abs(covariance[0][0] - 1 / 3)).toBeLessThan(0.05)
  })

  test('guidance: p^(1 - w) p_c^w', async () => {
    // precisions add: 1 - 2 = -1 times 1/2 and 2 times 1/0.5 give 3.5
    const target = guided(gaussian([0, 0], 2), gaussian([1, 0], 0.5), { scale: 2 })
    const { mean, covariance } = await means(target)
    expect(target.lambda).toBe(1)
    expect(Math.abs(mean[0] - 4 / 3.5)).toBeLessThan(0.06)
    expect(Math.abs(covariance[0][0] - 1 / 3.5)).toBeLessThan(0.04)
  })

  test('bounded by a box, soft and hard, one wall infinite', async () => {
    const target = bounded(gaussian([0, 0], 1), { lower: 0, upper: [Infinity, 1] })
    const { samples, weights, mean, logZ } = await means(target)
    expect(target.lambda).toBe(2)
    expect(Math.abs(mean[0] - Math.sqrt(2 / Math.PI))).toBeLessThan(0.05)
    expect(Math.abs(logZ - Math.log(0.5 * 0.3413447))).toBeLessThan(0.06)
    let outside = 0
    for (let i = 0; i < 2048; i++) if (samples[2 * i] < -0.08 || samples[2 * i + 1] > 1.08) outside += weights[i]
    expect(outside).toBeLessThan(1e-3)
  })

  test('bounded by any set', async () => {
    const disc = (x: Float32Array, n: number) =>
      Array.from({ length: n }, (_, i) => Math.hypot(x[2 * i], x[2 * i + 1]) < 1)
    const { samples, weights, logZ } = await means(
      bounded(gaussian([0, 0], 1), { contains: async (x, n) => disc(x, n) }),
    )
    const inside = disc(samples, 2048).reduce((sum, yes, i) => sum + (yes ? weights[i] : 0), 0)
    expect(inside).toBeGreaterThan(0.95) // samples have noise 0.02 on top of what was tested
    expect(Math.abs(logZ - Math.log(1 - Math.exp(-0.5)))).toBeLessThan(0.12)
  })

  test('reward tilt: linear rewards shift a Gaussian, with and without gradients', async () => {
    // exp(b x_0) on N(0, v): the mean moves by b v, log Z = b^2 v / 2
    const value = (x: Float32Array, n: number) => Array.from({ length: n }, (_, i) => x[2 * i])
    const withGrad = (x: Float32Array, n: number) => ({ value: value(x, n), grad: x.map((_, i) => (i % 2 ? 0 : 1)) })
    for (const reward of [value, withGrad]) {
      const target = rewardTilt(gaussian([0, 0], 0.5), reward, { strength: 1.5, sigmaData: Math.SQRT1_2 })
      const { mean, covariance, logZ } = await means(target)
      expect(Math.abs(mean[0] - 0.75)).toBeLessThan(0.06)
      expect(Math.abs(covariance[0][0] - 0.5)).toBeLessThan(0.05)
      expect(Math.abs(logZ - 0.5625)).toBeLessThan(0.06)
    }
  })

  test('targets nest', async () => {
    const target = lowTemperature(bounded(gaussian([0, 0], 1), { lower: -9, upper: 9 }), { gamma: 2 })
    expect(target.lambda).toBe(4)
    const { covariance } = await means(target, { moves: { kernel: 'mala' } })
    expect(Math.abs(covariance[1][1] - 0.5)).toBeLessThan(0.06)
  })
})

describe('a Feynman-Kac model of one’s own', () => {
  /** Local level model: x_k = x_(k-1) + N(0, 1), y_k = x_k + N(0, 1); the Kalman filter knows the likelihood. */
  const y = [0.5, 1.2, -0.3, 2, 1.4]
  const model: FeynmanKacModel = {
    levels: y.length,
    initial: (_n, rng) => rng.normals(),
    propagate: async (_k, x, rng) => rng.normals().map((z, i) => x[i] + z),
    logPotential: (k, _previous, x) =>
      Float64Array.from(x, (v) => -0.5 * (y[k] - v) ** 2 - 0.5 * Math.log(2 * Math.PI)),
  }

  test('log Z is the likelihood, and the filter mean is right', async () => {
    let [m, v, exact] = [0, 1, 0]
    for (const [k, obs] of y.entries()) {
      if (k > 0) v += 1
      exact -= 0.5 * ((obs - m) ** 2 / (v + 1) + Math.log(2 * Math.PI * (v + 1)))
      const gain = v / (v + 1)
      m += gain * (obs - m)
      v *= 1 - gain
    }
    const { logZ, samples, logWeights } = await smc(model, { particles: 20_000, seed: 2 })
    expect(Math.abs(logZ - exact)).toBeLessThan(0.03)
    expect(Math.abs(moments(samples, logWeights.map(Math.exp)).mean[0] - m)).toBeLessThan(0.03)
  })

  test('its mistakes are typed errors', async () => {
    const run = (wrong: Partial<FeynmanKacModel>) => smc({ ...model, ...wrong }, { particles: 8 })
    await expect(run({ levels: 0 })).rejects.toThrow(ArgumentError)
    await expect(run({ initial: () => new Float32Array(9) })).rejects.toThrow(ArgumentError)
    await expect(run({ propagate: () => new Float32Array(7) })).rejects.toThrow(ArgumentError)
    await expect(run({ logPotential: () => new Float64Array(7) })).rejects.toThrow(ArgumentError)
    const boom = () => Promise.reject(new Error('boom'))
    await expect(run({ propagate: boom })).rejects.toThrow(/propagate at level 1 failed: boom/)
    const nan = () => new Float64Array(8).fill(Number.NaN)
    await expect(run({ logPotential: nan })).rejects.toThrow(NumericsError)
    // biome-ignore lint/suspicious/noExplicitAny: wrong types on purpose
    await expect(smc(model, { particles: 8, sigmas } as any)).rejects.toThrow(ArgumentError)
  })
})

test('sigmaGrid: Karras levels, exact at both ends', () => {
  const grid = sigmaGrid({ steps: 64, min: 0.02, max: 20, rho: 7 })
  expect(grid).toHaveLength(65)
  expect([grid[0], grid[64]]).toEqual([20, 0.02])
  expect(grid[1]).toBeCloseTo(18.6676006102, 9)
})

test('draws of a mixture have its moments', () => {
  const draws = gaussianMixture({ weights: [1, 3], means: [[0, 4], [4, 0]], covariances: [[[1, 0.5], [0.5, 1]], 0.25] }) // biome-ignore format: one line
  const n = 20_000
  const { mean, covariance } = moments(draws.sample(n, { seed: 1 }), equalWeights(n))
  expect(Math.abs(mean[0] - 3)).toBeLessThan(0.06)
  expect(Math.abs(covariance[0][0] - (0.25 + 0.1875 + 3))).toBeLessThan(0.12)
  expect(Math.abs(covariance[0][1] - (0.125 - 3))).toBeLessThan(0.12)
})
