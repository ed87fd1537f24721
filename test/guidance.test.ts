import { describe, expect, it } from 'vitest'
import { ArgumentError, FeynkacError, NumericsError } from '../lib/base/errors.js'
import { Denoiser } from '../lib/models/denoiser.js'
import { EnergyModel } from '../lib/models/energy.js'
import { type ConditionalDenoiser, type GuidanceOptions, guidedDenoiser } from '../lib/models/guidance.js'
import type { Labels } from '../lib/models/labels.js'
import { run } from '../lib/native/addon.js'
import { residualMLP, songUNet } from '../lib/networks/config.js'
import { gaussianMixture } from '../lib/smc/mixtures.js'
import { type DenoiserFunction, sample } from '../lib/smc/samplers.js'
import { sigmaGrid } from '../lib/smc/schedule.js'
import { smc } from '../lib/smc/smc.js'
import { guided } from '../lib/smc/targets/linear.js'
import { moments } from './smc-mixtures.js'

const grid = (steps: number) => sigmaGrid({ steps, min: 0.01, max: 10 })
const worst = (a: Float32Array, b: ArrayLike<number>) => Math.max(...a.map((v, i) => Math.abs(v - b[i])))

/** Counts the particles that each branch is asked for: '' without labels. */
function counted(denoiser: ConditionalDenoiser) {
  const calls: Record<string, number> = {}
  const model: ConditionalDenoiser = {
    ...denoiser,
    denoise(x, sigma, options) {
      const name = options?.labels === undefined ? '' : JSON.stringify(options.labels)
      calls[name] = (calls[name] ?? 0) + x.length / denoiser.shape[0]
      return denoiser.denoise(x, sigma, options)
    },
  }
  return { model, calls }
}

/** N(mean, variance) in one dimension; without labels N(0, prior). */
const gaussian = (prior: number, mean: number, variance: number): ConditionalDenoiser => ({
  shape: [1],
  async denoise(x, sigma, { labels } = {}) {
    const [m, v] = labels === undefined ? [0, prior] : [mean, variance]
    return x.map((value) => m + (v / (v + sigma * sigma)) * (value - m))
  },
})

/** Two classes, each a mixture, exact with and without labels. */
const components = { means: [[-2, 0], [-1, 2], [2, 0.5]], covariances: [0.2, 0.1, 0.4] } // biome-ignore format: points
const classes = [
  gaussianMixture({ weights: [1, 3, 0], ...components }),
  gaussianMixture({ weights: [0, 0, 1], ...components }),
]
const all = gaussianMixture({ weights: [1, 3, 2], ...components })
const mixed: ConditionalDenoiser = {
  shape: [2],
  async denoise(x, sigma, { labels } = {}) {
    const { grad } = await (labels === undefined ? all : classes[(labels as number[])[0]]).energyGrad(x, sigma)
    return x.map((value, i) => value - sigma * sigma * grad[i])
  },
}

describe('guidance in closed form', () => {
  const initial = Float32Array.from({ length: 40 }, (_, i) => 10 * Math.sin(i + 1))
  const flow = async (denoiser: DenoiserFunction) =>
    (await sample(denoiser, { particles: 40, sigmas: grid(200), initial })).samples

  it('away from a wider Gaussian: the ODE narrows by a power of each', async () => {
    // D = (1 - w) D_0 + w D_c of N(0, 2) and N(0, 0.5): x is proportional to (2 + s^2)^((1 - w)/2) (0.5 + s^2)^(w/2)
    for (const w of [0, 1, 2.5]) {
      const x = await flow(guidedDenoiser(gaussian(2, 0, 0.5), { labels: [0], scale: w }))
      const at = (s: number) => (2 + s * s) ** ((1 - w) / 2) * (0.5 + s * s) ** (w / 2)
      const exact = initial.map((value) => (value * at(0.01)) / at(10))
      expect(worst(x, exact), `w = ${w}`).toBeLessThan(2e-3)
    }
  })

  it('away from a Gaussian of the same width: the mean moves w times as far', async () => {
    for (const w of [0, 1, 3]) {
      const x = await flow(guidedDenoiser(gaussian(0.5, 1.5, 0.5), { labels: [0], scale: w }))
      const shrink = Math.sqrt((0.5 + 1e-4) / (0.5 + 100))
      const exact = initial.map((value) => w * 1.5 + (value - w * 1.5) * shrink)
      expect(worst(x, exact), `w = ${w}`).toBeLessThan(2e-3)
    }
  })

  it('of mixtures, is the summed scores of the target `guided`', async () => {
    const options = { particles: 60, sigmas: grid(30), method: 'stochastic-heun', seed: 3 } as const
    for (const scale of [-0.5, 0, 1, 2]) {
      const ours = await sample(guidedDenoiser(mixed, { labels: [0], scale }), options)
      const scores = await sample(guided(all, classes[0], { scale }), options)
      expect(worst(ours.samples, scores.samples), `scale ${scale}`).toBeLessThan(1e-3)
    }
  })

  it('is the conditional denoiser at 1, the unconditional one at 0, and evaluates no other', async () => {
    const options = { particles: 30, sigmas: [...grid(9), 0], seed: 1 }
    const evaluations = 30 * 19
    for (const [scale, labels, name] of [
      [1, [1], '[1]'],
      [0, undefined, ''],
    ] as const) {
      const { model, calls } = counted(mixed)
      const single = { shape: [2], denoise: (x: Float32Array, sigma: number) => mixed.denoise(x, sigma, { labels }) }
      const result = await sample(guidedDenoiser(model, { labels: [1], scale }), options)
      expect(result).toEqual(await sample(single, options))
      expect(result.evaluations).toBe(evaluations)
      expect(calls).toEqual({ [name]: evaluations })
    }
    const { model, calls } = counted(mixed)
    expect(await sample(guidedDenoiser(model, { labels: [1], scale: 2 }), options)).toMatchObject({
      evaluations: 2 * evaluations,
    })
    expect(calls).toEqual({ '': evaluations, '[1]': evaluations })
  })
})

describe('options of guidedDenoiser', () => {
  const x = Float32Array.of(0.3, -0.2, 1.5, 2)
  const at = (denoiser: ConditionalDenoiser, options: GuidanceOptions, sigma = 0.8) =>
    guidedDenoiser(denoiser, options).denoise(x, sigma)
  const combined = async (w: number, away: Labels | undefined, towards: Labels | undefined, sigma = 0.8) => {
    const [a, b] = [await mixed.denoise(x, sigma, { labels: away }), await mixed.denoise(x, sigma, { labels: towards })]
    return a.map((v, i) => (1 - w) * v + w * b[i])
  }

  it('interval: (lo, hi], and evaluations accordingly', async () => {
    const { model, calls } = counted(mixed)
    const denoiser = guidedDenoiser(model, { labels: [0], scale: 3, interval: [0.5, 2] })
    for (const sigma of [0.1, 0.5, 2.0001, 50]) {
      expect(await denoiser.denoise(x, sigma)).toEqual(await mixed.denoise(x, sigma, { labels: [0] }))
      expect(denoiser.evaluations!(sigma)).toBe(1)
    }
    expect(calls).toEqual({ '[0]': 8 })
    for (const sigma of [0.5001, 1, 2]) {
      expect(worst(await denoiser.denoise(x, sigma), await combined(3, undefined, [0], sigma))).toBeLessThan(1e-5)
      expect(denoiser.evaluations!(sigma)).toBe(2)
    }
    const sigmas = [4, 2, 1, 0.25]
    const { evaluations } = await sample(denoiser, { particles: 5, sigmas, method: 'ancestral' })
    expect(evaluations).toBe(5 * (1 + 2 + 2))
    const open = guidedDenoiser(model, { labels: [0], scale: 3, interval: [1, Infinity] })
    expect([1, 1.1, 80].map((sigma) => open.evaluations!(sigma))).toEqual([1, 2, 2])
  })

  it('negative: away from other labels', async () => {
    expect(worst(await at(mixed, { labels: [0], negative: [1], scale: 2 }), await combined(2, [1], [0]))).toBeLessThan(
      1e-5,
    )
    expect(worst(await at(mixed, { negative: [1], scale: 2 }), await combined(2, [1], undefined))).toBeLessThan(1e-5)
  })

  it('guide: away from another model, under the same labels if it takes any', async () => {
    const halved: ConditionalDenoiser = {
      ...mixed,
      denoise: async (...call) => (await mixed.denoise(...call)).map((v) => v / 2),
    }
    const expected = async (away: Labels | undefined, towards: Labels | undefined) => {
      const b = await mixed.denoise(x, 0.8, { labels: towards })
      return (await halved.denoise(x, 0.8, { labels: away })).map((v, i) => -v + 2 * b[i])
    }
    const rows: [GuidanceOptions, Labels | undefined, Labels | undefined][] = [
      [{ labels: [0], scale: 2, guide: halved }, [0], [0]],
      [{ labels: [0], scale: 2, guide: { ...halved, labelDim: 0 } }, undefined, [0]],
      [{ labels: [0], negative: [1], scale: 2, guide: halved }, [1], [0]],
      [{ scale: 2, guide: halved }, undefined, undefined],
    ]
    for (const [options, away, towards] of rows)
      expect(worst(await at(mixed, options), await expected(away, towards))).toBeLessThan(1e-5)
    expect(await at({ ...mixed, labelDim: 0 }, { scale: 2, guide: halved })).toEqual(
      await at(mixed, { scale: 2, guide: halved }),
    )
  })

  it('wrong ones are typed errors', async () => {
    const wrong: [unknown, unknown, RegExp][] = [
      [null, { labels: [0], scale: 2 }, /denoiser/],
      [{ shape: [2] }, { labels: [0], scale: 2 }, /denoiser/],
      [mixed, null, /object/],
      [mixed, { labels: [0] }, /scale/],
      [mixed, { labels: [0], scale: Number.NaN }, /scale/],
      [mixed, { scale: 2 }, /needs labels/],
      [mixed, { labels: [0], scale: 2, weight: 1 }, /weight/],
      [mixed, { labels: [0], scale: 2, guide: {} }, /guide/],
      [mixed, { labels: [0], scale: 2, guide: gaussian(1, 0, 1) }, /shape \[2\]/],
      [mixed, { labels: [0], scale: 2, interval: [2, 1] }, /interval/],
      [mixed, { labels: [0], scale: 2, interval: [-1, 1] }, /interval/],
      [mixed, { labels: [0], scale: 2, interval: 3 }, /interval/],
      [{ ...mixed, labelDim: 0 }, { labels: [0], scale: 2 }, /unconditional/],
    ]
    for (const [denoiser, options, message] of wrong) {
      const call = () => guidedDenoiser(denoiser as ConditionalDenoiser, options as GuidanceOptions)
      expect(call, `${message}`).toThrow(ArgumentError)
      expect(call).toThrow(message)
    }
    const options = { particles: 3, sigmas: grid(4) }
    const broken = (denoise: ConditionalDenoiser['denoise']) =>
      sample(guidedDenoiser({ shape: [2], denoise }, { labels: [0], scale: 2 }), options)
    await expect(broken(async () => new Float32Array(1))).rejects.toThrow(/denoise of the denoiser.*length 6/)
    await expect(broken(async (v) => v.map(() => Number.NaN))).rejects.toThrow(NumericsError)
    await expect(broken(() => Promise.reject(new Error('boom')))).rejects.toThrow(FeynkacError)
    const reason = new Error('enough')
    const aborted = guidedDenoiser(mixed, { labels: [0], scale: 2 }).denoise(x, 1, {
      signal: AbortSignal.abort(reason),
    })
    await expect(aborted).rejects.toBe(reason)
  })
})

const labels = { attributes: [{ name: 'shape', size: 2, values: ['ring', 'bar'] }, { name: 'place', size: 3 }] } // biome-ignore format: a table

/** A new network's last layer is zero: random weights let the labels show. */
async function shuffled<T extends Denoiser | EnergyModel>(model: T): Promise<T> {
  const weights = Float32Array.from({ length: model.network.parameterCount() }, (_, i) => Math.sin(7 * i) / 2)
  await run(() => model.network.write('params', weights))
  return model
}
const mlp = residualMLP(2, { hidden: 8, layers: 1, label_dim: 5 })
const newDenoiser = async () => shuffled(await Denoiser.create({ network: mlp, labels }))
const newEnergy = async () => shuffled(await EnergyModel.create({ kind: 'dot', network: mlp, labels }))

describe('models', () => {
  const x = Float32Array.of(0.3, -1, 2, 0.1, 1, 1)

  it.each([
    ['a denoiser', newDenoiser],
    ['an energy', newEnergy],
  ])('%s is guided by labels by name', async (_, create) => {
    using model = await create()
    const w = 2.5
    const [none, bar] = [await model.denoise(x, 0.5), await model.denoise(x, 0.5, { labels: { shape: 'bar' } })]
    expect(worst(none, bar)).toBeGreaterThan(1e-3)
    const denoiser = guidedDenoiser(model, { labels: { shape: 'bar' }, scale: w })
    expect(denoiser.residence).toBe(model.residence)
    const exact = none.map((v, i) => (1 - w) * v + w * bar[i])
    expect(worst(await denoiser.denoise(x, 0.5), exact)).toBeLessThan(1e-5)
    const { samples, evaluations } = await sample(denoiser, { particles: 4, sigmas: grid(6) })
    expect(evaluations).toBe(4 * 12 * 2)
    expect(samples.every(Number.isFinite)).toBe(true)
    expect(() => guidedDenoiser(model, { labels: { size: 1 }, scale: 2 })).toThrow(/unknown attribute 'size'/)
  })

  it('by a model without labels', async () => {
    using model = await newDenoiser()
    using guide = await shuffled(await Denoiser.create({ network: residualMLP(2, { hidden: 4, layers: 1 }) }))
    const [a, b] = [await guide.denoise(x, 0.5), await model.denoise(x, 0.5, { labels: [1, 2] })]
    const denoiser = guidedDenoiser(model, { labels: [1, 2], scale: 2, guide })
    expect(worst(await denoiser.denoise(x, 0.5), a.map((v, i) => -v + 2 * b[i]))).toBeLessThan(1e-5) // biome-ignore format: one line
    expect(() => guidedDenoiser(guide, { labels: [1], scale: 2 })).toThrow(/unconditional/)
  })

  it('labels of each sample, in batches', async () => {
    using model = await newDenoiser()
    const n = 7
    const rows = Float32Array.from({ length: 5 * n }, (_, i) => Number(i % 5 === Math.floor(i / 5) % 2))
    const options = { particles: n, sigmas: grid(5), seed: 2 }
    for (const denoiser of [model.conditioned(rows), guidedDenoiser(model, { labels: rows, scale: 2 })]) {
      const whole = await sample(denoiser, options)
      expect(await sample(denoiser, { ...options, batchSize: 3 })).toEqual(whole)
      await expect(sample(denoiser, { ...options, particles: 6 })).rejects.toThrow(/length 5 or 30/)
    }
    // as each label alone: samples do not know of each other
    const { samples } = await sample(model.conditioned(rows), options)
    for (const shape of [0, 1]) {
      const alone = (await sample(model.conditioned({ shape }), options)).samples
      for (let i = shape; i < n; i += 2) expect(samples.subarray(2 * i, 2 * i + 2)).toEqual(alone.subarray(2 * i, 2 * i + 2)) // biome-ignore format: one call
    }
  })
})

describe('labels of a call', () => {
  const unet = songUNet([1, 8, 8], {
    model_channels: 8,
    channel_mult: [1],
    num_blocks: 1,
    attn_resolutions: [],
    label_dim: 3,
    augment_dim: 2,
  })

  it.each([
    ['a denoiser', async () => shuffled(await Denoiser.create({ network: unet }))],
    ['an energy', async () => shuffled(await EnergyModel.create({ kind: 'l2', network: unet }))],
  ])('%s: classes, several at once, none, and augmentation labels', async (_, create) => {
    using model = await create()
    const x = Float32Array.from({ length: 2 * 64 }, (_, i) => Math.sin(i))
    const denoise = (options: object) => model.denoise(x, 0.5, options)
    const [none, second] = [await denoise({}), await denoise({ labels: Float32Array.of(0, 1, 0) })]
    expect(second).not.toEqual(none)
    // no labels are zeros; a network whose file names no attributes has classes
    expect(await denoise({ labels: new Float32Array(3) })).toEqual(none)
    expect(await denoise({ labels: [1] })).toEqual(second)
    expect(await denoise({ labels: { class: 1 } })).toEqual(second)
    expect(await denoise({ labels: [null] })).toEqual(none)
    const both = await denoise({ labels: Float32Array.of(0, 1, 1) })
    expect(both).not.toEqual(second)
    const each = await denoise({ labels: Float32Array.of(0, 1, 0, 0, 1, 1) })
    expect([each.subarray(0, 64), each.subarray(64)]).toEqual([second.subarray(0, 64), both.subarray(64)])

    const flipped = await denoise({ augment: Float32Array.of(1, 0) })
    expect(flipped).not.toEqual(none)
    expect(await denoise({ augment: new Float32Array(4) })).toEqual(none)
    expect(await denoise({ augment: Float32Array.of(1, 0, 1, 0) })).toEqual(flipped)
    expect(await denoise({ labels: [1], augment: Float32Array.of(1, 0) })).not.toEqual(second)

    const parts: Float32Array[] = []
    for (const first of [0, 1]) {
      const call = { labels: Float32Array.of(0, 1, 0, 0, 1, 1), part: { first, of: 2 } }
      parts.push(await model.denoise(x.subarray(64 * first, 64 * (first + 1)), 0.5, call))
    }
    expect(parts).toEqual([each.subarray(0, 64), each.subarray(64)])

    const wrong = [
      { labels: [3] },
      { labels: { shape: 1 } },
      { labels: { class: 'cat' } },
      { augment: new Float32Array(3) },
      { augment: Float32Array.of(Number.NaN, 0) },
      { augment: [1, 0] },
      { labels: new Float32Array(6), part: { first: 1, of: 2 } },
      { labels: new Float32Array(6), part: { first: 0, of: 1 } },
    ]
    for (const options of wrong) await expect(denoise(options), JSON.stringify(options)).rejects.toThrow(ArgumentError)
    using bare = await Denoiser.create({ network: residualMLP(2) })
    await expect(bare.denoise(x, 0.5, { augment: Float32Array.of(1) })).rejects.toThrow(/takes none/)
    await expect(bare.denoise(x, 0.5, { labels: [1] })).rejects.toThrow(/unconditional/)
  })
})

describe('the target `guided`', () => {
  it('of Gaussians has the mean, variance and log Z of p^(1 - w) q^w', async () => {
    const [v0, m, v, w] = [2, 1.5, 0.5, 1.8]
    const one = (mean: number, covariance: number) =>
      gaussianMixture({ weights: [1], means: [[mean]], covariances: [covariance] })
    const target = guided(one(0, v0), one(m, v), { scale: w })
    const { samples, logWeights, logZ } = await smc(target, { particles: 4000, sigmas: grid(64), seed: 1 })
    const { mean, covariance } = moments(samples, logWeights.map(Math.exp))
    const [a, b] = [(1 - w) / (v0 + 1e-4), w / (v + 1e-4)]
    const [precision, exact] = [a + b, (b * m) / (a + b)]
    expect(mean[0]).toBeCloseTo(exact, 1)
    expect(Math.abs(covariance[0][0] * precision - 1)).toBeLessThan(0.1)
    const normaliser = (variance: number) => -0.5 * Math.log(2 * Math.PI * variance)
    const exactLogZ =
      (1 - w) * normaliser(v0) + w * normaliser(v) - normaliser(1 / precision) - 0.5 * (b * m * m - precision * exact ** 2) // biome-ignore format: a formula
    expect(logZ).toBeCloseTo(exactLogZ, 1)
  })

  it('of one model under labels by name', async () => {
    using model = await newEnergy()
    const x = Float32Array.of(0.3, -1, 2, 0.1)
    const [p, q] = [await model.energyGrad(x, 0.7), await model.energyGrad(x, 0.7, { labels: { shape: 'bar' } })]
    const target = guided(model.conditioned(), model.conditioned({ shape: 'bar' }), { scale: 2 })
    expect(target.lambda).toBe(1)
    const { energy, grad } = await target.energyGrad(x, 0.7)
    energy.forEach((e, i) => {
      expect(e).toBeCloseTo(-p.energy[i] + 2 * q.energy[i], 9)
    })
    expect(worst(grad, p.grad.map((g, i) => -g + 2 * q.grad[i]))).toBeLessThan(1e-5) // biome-ignore format: one line
    const { diagnostics } = await smc(target, { particles: 16, sigmas: grid(8) })
    expect(diagnostics.evaluations).toBe(16 * 2 * 9)
  })
})
