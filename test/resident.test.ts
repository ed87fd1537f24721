import { describe, expect, it } from 'vitest'
import { ArgumentError } from '../lib/base/errors.js'
import { Denoiser } from '../lib/models/denoiser.js'
import { EnergyModel } from '../lib/models/energy.js'
import { guidedDenoiser } from '../lib/models/guidance.js'
import { native, run } from '../lib/native/addon.js'
import { freeMemory } from '../lib/native/devices.js'
import { host, openSpace, toHost, toSpace } from '../lib/native/space.js'
import { residualMLP, songUNet } from '../lib/networks/config.js'
import type { EnergyFunction, ResidentEnergy } from '../lib/smc/energy-function.js'
import { mcmc, moveKernels } from '../lib/smc/mcmc.js'
import { gaussianMixture } from '../lib/smc/mixtures.js'
import { calibrate } from '../lib/smc/precision/calibrate.js'
import { sample, sampleMethods } from '../lib/smc/samplers.js'
import { sigmaGrid } from '../lib/smc/schedule.js'
import { smc } from '../lib/smc/smc.js'
import type { SmcOptions } from '../lib/smc/smc-options.js'
import { bounded } from '../lib/smc/targets/box.js'
import { lowTemperature, negation, product } from '../lib/smc/targets/linear.js'
import { mixture } from '../lib/smc/targets/mixture.js'
import { rewardTilt } from '../lib/smc/targets/reward.js'

/** Particles in a device's memory: the same numbers as on the host, up to the rounding of sums. */

const sigmas = sigmaGrid({ steps: 6, min: 0.2, max: 8 })
const ring = gaussianMixture({ weights: [1, 2], means: [[1, 0], [-1, 0.5]], covariances: [0.1, 0.2] }) // biome-ignore format: points

describe('where the particles are', () => {
  it('is the host for models of the CPU and functions of the caller', async () => {
    const own: EnergyFunction = { shape: [2], energyGrad: (x, sigma) => ring.energyGrad(x, sigma) }
    for (const target of [
      own,
      ring,
      product([own, ring]),
      rewardTilt(ring, (x, n) => x.subarray(0, n), { strength: 1 }),
    ])
      expect((await smc(target, { particles: 8, sigmas, device: 'cpu' })).samples).toBeInstanceOf(Float32Array)
    expect(product([own, ring]).residence).toBe('cpu')
    expect(bounded(product([ring, ring]), { lower: -1, upper: 1 }).residence).toBe('any')
    expect(rewardTilt(ring, () => [], { strength: 1 }).residence).toBe('cpu')
  })

  it('refuses a device that the models are not on', async () => {
    const own: EnergyFunction = { shape: [2], energyGrad: (x, sigma) => ring.energyGrad(x, sigma) }
    const options = { particles: 8, sigmas, device: 'cuda:0' }
    await expect(smc(own, options)).rejects.toThrow(ArgumentError)
    await expect(smc(own, options)).rejects.toThrow(/function of yours/)
    await expect(smc(ring, { ...options, device: 'cuda:99' })).rejects.toThrow(/CUDA|cuda:99/)
    await expect(smc(ring, { ...options, device: 'tpu' })).rejects.toThrow(/tpu/)
  })
})

describe.runIf(native.cuda().devices.length > 0)('particles in the memory of a device', () => {
  const unet = songUNet([1, 4, 4], {
    model_channels: 8,
    channel_mult: [1],
    num_blocks: 1,
    attn_resolutions: [4],
    label_dim: 2,
  })

  const distance = (a: ArrayLike<number>, b: ArrayLike<number>) => {
    let [num, den] = [0, 1e-30]
    for (let i = 0; i < b.length; i++) [num, den] = [num + (a[i] - b[i]) ** 2, den + b[i] ** 2]
    return Math.sqrt(num / den)
  }

  async function bothWays(target: EnergyFunction, options: Partial<SmcOptions> = {}) {
    const all = { particles: 37, sigmas, seed: 5, essThreshold: 0.9, ...options }
    const there = await smc(target, { ...all, device: 'cuda:0' })
    const here = await smc(target, { ...all, device: 'cpu' })
    expect(distance(there.samples, here.samples)).toBeLessThan(1e-4)
    expect(distance(there.logWeights, here.logWeights)).toBeLessThan(1e-4)
    expect(there.ancestors).toEqual(here.ancestors)
    expect(there.diagnostics.evaluations).toBe(here.diagnostics.evaluations)
    expect(there.diagnostics.resamplings).toBeGreaterThan(0)
    for (const [k, level] of here.diagnostics.levels.entries())
      for (const name of ['conditionalEss', 'meanEnergy', 'logZError', 'distinctRoots'] as const) {
        const value = there.diagnostics.levels[k][name]
        if (value !== level[name]) expect(value / level[name]).toBeCloseTo(1, 3) // one may be Infinity, in both
      }
    if (!Number.isNaN(here.logZ))
      expect(Math.abs(there.logZ - here.logZ)).toBeLessThan(1e-4 * (1 + Math.abs(here.logZ)))
  }

  const other = gaussianMixture({ weights: [1], means: [[0.5, 0.5]], covariances: [[0.3, 0.4]] })
  const full = gaussianMixture({ weights: [1], means: [[0, 0]], covariances: [[[0.5, 0.1], [0.1, 0.4]]] }) // biome-ignore format: a matrix
  it.each([
    ['lowTemperature', lowTemperature(ring, { gamma: 3 })],
    ['product', product([ring, other, full], { weights: [1, 0.5, 1] })],
    ['mixture', mixture([ring, full], { logZ: [0, 0.4] })],
    ['negation', negation(ring, other, { strength: 0.4, floor: 0.5 })],
    ['nested', bounded(product([mixture([ring, other]), full]), { lower: -1, upper: [0.5, Infinity] })],
  ])('%s', (_, target) => bothWays(target))

  it('calibrated, in coordinates and in cosines', async () => {
    const tables = [ring, other].map((e, j) => ({
      ...e,
      calibration: { basis: 'identity', precisionAt: (s: number, noise = s) => Float64Array.of(1 / (0.5 + j + noise * noise), 1 / (0.2 + noise * noise)) }, // biome-ignore format: one line
    })) as ResidentEnergy[]
    await bothWays(product(tables), { proposal: 'calibrated' })
    // images
    const flat = gaussianMixture({ weights: [1], means: [new Array(15).fill(0.2)], covariances: [0.3] })
    const image = { ...flat, shape: [1, 3, 5] }
    const calibration = await calibrate(image, { data: flat.sample(20), count: 20, sigmas: [8, 1, 0.2] })
    await bothWays(lowTemperature({ ...image, calibration } as ResidentEnergy, { gamma: 2 }), { essThreshold: 1 })
    await bothWays(lowTemperature({ ...image, calibration } as ResidentEnergy, { gamma: 2 }), { essThreshold: 1, controlDrift: true }) // biome-ignore format: one line
    const residing = { ...image, residence: 'cuda:0' }
    const there = await calibrate(residing, { data: flat.sample(20), count: 20, sigmas: [8, 1, 0.2] })
    expect(distance(there.precisionAt(0.7), calibration.precisionAt(0.7))).toBeLessThan(1e-5)
  })

  it.each([
    { weights: 'tilt', sigmas: sigmaGrid({ steps: 12, min: 0.2, max: 8 }) },
    { weights: 'fkc' },
    { weights: 'rne', proposal: 'posterior' },
    { proposal: 'analytic-diagonal', resampling: 'killing' },
    { proposal: 'sde', resampling: 'ssp', finalResample: true },
    { moves: { kernel: 'mala', steps: 2 }, resampling: 'residual' },
    { moves: { kernel: 'uhmc' }, resampling: 'stratified' },
    { controlDrift: true, kernel: 'plain', moves: { kernel: 'mala' } },
    { essAfter: 0.95, weights: 'fkc', proposal: 'tempered', finalResample: true },
  ] as const)('smc with %j', (options) => bothWays(product([ring, other]), options))

  it.each(moveKernels)('%s', async (kernel) => {
    const initial = Float32Array.from({ length: 2 * 19 }, (_, i) => Math.sin(i))
    for (const start of [{}, { initial }]) {
      const options = { chains: 19, sigmas: [1, 0.5], steps: 3, kernel, seed: 2, tune: true, ...start }
      const there = await mcmc(product([ring, other]), { ...options, device: 'cuda:0' })
      const here = await mcmc(product([ring, other]), options)
      expect(distance(there.samples, here.samples)).toBeLessThan(1e-4)
      expect(distance(there.energy, here.energy)).toBeLessThan(1e-4)
      expect(there.acceptance).toEqual(here.acceptance)
      expect(there.chainAcceptance).toEqual(here.chainAcceptance)
    }
  })

  it('stays with the networks, and passes labels on', async () => {
    using a = await EnergyModel.create({ kind: 'dot', network: unet }, { device: 'cuda:0', seed: 1 })
    using b = await EnergyModel.create({ kind: 'l2', network: unet }, { device: 'cuda:0', seed: 2 })
    const labels = Float32Array.from({ length: 10 }, (_, i) => i % 2)
    using c = await EnergyModel.create({ kind: 'joint', network: unet }, { device: 'cuda:0', seed: 3 })
    const target = product([a.conditioned(labels), b, c, c.withGradient('energy').conditioned(labels)])
    expect(target.residence).toBe('cuda:0')
    const options = { particles: 5, sigmas: sigmaGrid({ steps: 3, min: 0.5, max: 8 }), seed: 3 }
    const there = await smc(target, options)
    const here = await smc(target, { ...options, device: 'cpu' })
    expect(distance(there.samples, here.samples)).toBeLessThan(1e-4)
    const free = freeMemory('cuda:0')!
    await smc(target, options)
    expect(freeMemory('cuda:0')).toBeGreaterThanOrEqual(free) // nothing waits for a collection
  })

  it.each(sampleMethods)('samples by %s', async (method) => {
    using energy = await EnergyModel.create({ kind: 'dot', network: residualMLP(2) }, { device: 'cuda:0' })
    using denoiser = await Denoiser.create({ network: residualMLP(2, { hidden: 16, layers: 1 }) }, { device: 'cuda:0' })
    using labelled = await Denoiser.create(
      { network: residualMLP(2, { hidden: 16, label_dim: 2 }) },
      { device: 'cuda:0' },
    )
    const weights = Float32Array.from({ length: labelled.network.parameterCount() }, (_, i) => Math.sin(7 * i) / 4)
    await run(() => labelled.network.write('params', weights))
    const guided = guidedDenoiser(labelled, { labels: [1], scale: 2, interval: [0.3, 4] })
    expect(guided.residence).toBe('cuda:0')
    for (const model of [denoiser, energy, lowTemperature(ring, { gamma: 2 }), guided, labelled.conditioned([0])]) {
      const options = { particles: 9, sigmas, method, seed: 4 }
      const there = await sample(model, { ...options, device: 'cuda:0' })
      const here = await sample(model, { ...options, device: 'cpu' })
      expect(distance(there.samples, here.samples)).toBeLessThan(1e-4)
      expect(there.evaluations).toBe(here.evaluations)
    }
  })

  it('names the model that gave NaN', async () => {
    using model = await EnergyModel.create({ kind: 'dot', network: residualMLP(2) }, { device: 'cuda:0' })
    const weights = new Float32Array(model.network.parameterCount()).fill(Number.NaN)
    await run(() => model.network.write('params', weights))
    await expect(smc(product([ring, model]), { particles: 6, sigmas })).rejects.toThrow(/EnergyModel is NaN/)
    let calls = 0 // NaN from the second evaluation on, which is the move's
    const later: ResidentEnergy = {
      ...ring,
      energyGradIn: (space, ...rest) => (calls++ > 0 ? model : ring).energyGradIn(space, ...rest),
    }
    const options = { chains: 6, sigmas: [1], kernel: 'ula', device: 'cuda:0' } as const
    await expect(mcmc(later, options)).rejects.toThrow(/is NaN at sigma = 1 in an MCMC move/)
  })

  it('uses memory again and refuses arrays that are gone', async () => {
    const space = await openSpace('cuda:0')
    const first = space.floats(6)
    const kept = await toSpace(space, Float32Array.of(1, 2, 3, 4, 5, 6))
    space.keep([kept])
    expect(space.floats(6)).toBe(first)
    expect([...(await toHost(kept.subarray(2, 5)))]).toEqual([3, 4, 5])
    expect(() => kept.subarray(5, 7)).toThrow(/part of the array/)
    const out = space.doubles(3)
    const request = { terms: [kept.subarray(0, 6)], coefficients: Float64Array.of(1) }
    expect(() => native.rowSquares({ ...request, out: host.doubles(3) })).toThrow(/all be on the host/)
    expect(() => native.rowSquares({ ...request, out: space.floats(3) as never })).toThrow(/Float64Array/)
    space.close()
    expect(() => native.rowSquares({ ...request, out })).toThrow(/disposed/)
    expect(() => space.floats(1)).toThrow(/disposed/)
  })
})
