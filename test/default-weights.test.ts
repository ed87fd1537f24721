import { describe, expect, test } from 'vitest'
import { usualWeights } from '../lib/smc/default-weights.js'
import { hasCollapsed } from '../lib/smc/diagnostics.js'
import type { EnergyFunction, Target } from '../lib/smc/energy-function.js'
import { gaussianMixture } from '../lib/smc/mixtures.js'
import { sample } from '../lib/smc/samplers.js'
import { sigmaGrid } from '../lib/smc/schedule.js'
import { smc } from '../lib/smc/smc.js'
import type { SmcOptions } from '../lib/smc/smc-options.js'
import { bounded } from '../lib/smc/targets/box.js'
import { asTarget, guided, lowTemperature, negation, product } from '../lib/smc/targets/linear.js'
import { mixture } from '../lib/smc/targets/mixture.js'
import { rewardTilt } from '../lib/smc/targets/reward.js'

/** Weights by default, what smc says of them, and weights above a noise level. */

const shape = [1, 4, 4]
const d = 16
const exact = gaussianMixture({ weights: [1], means: [new Array(d).fill(0.2)], covariances: [0.25] })

/** A picture's energy as a network has it: right slopes, and an error of its own at every noise level. */
function network(error: number): EnergyFunction {
  return {
    shape,
    learnt: true,
    async energyGrad(x, sigma) {
      const { energy, grad } = await exact.energyGrad(x, sigma)
      return { energy: energy.map((e, i) => e + error * Math.sin(1e4 * x[i * d] + 1e3 * sigma)), grad }
    },
  }
}
const picture = network(40)
/** Whether two arrays have the same numbers; a matcher takes minutes to word a difference. */
const same = (a: ArrayLike<number>, b: ArrayLike<number>) => a.length === b.length && Array.from(a).every((v, i) => v === b[i]) // biome-ignore format: one line
const sigmas = sigmaGrid({ steps: 24, min: 0.05, max: 20 })
const options: SmcOptions = { particles: 64, sigmas, seed: 2 }
const contains = (x: Float32Array, count: number) => Array.from({ length: count }, (_, i) => x[i * d] > 0)
const brightness = (x: Float32Array, count: number) => Float64Array.from({ length: count }, (_, i) => x[i * d])
const compositions = (p: EnergyFunction, q = p): Target[] => [
  asTarget(p),
  lowTemperature(p, { gamma: 2 }),
  product([p, q]),
  mixture([p, q]),
  negation(p, q, { strength: 0.5, floor: 0.1 }),
  guided(p, q, { scale: 2 }),
  bounded(p, { lower: -1, upper: 1 }),
  product([lowTemperature(p, { gamma: 2 }), q], { weights: [1, -1] }),
]

describe('the default', () => {
  test('is the bridge for closed forms and vectors, none for learnt energies of pictures but at low temperature of pixels', () => {
    const vectors: EnergyFunction = { ...picture, shape: [d] }
    for (const target of [...compositions(exact), ...compositions(vectors), ...compositions({ ...picture, learnt: false })]) // biome-ignore format: one line
      expect(usualWeights(target), target.name).toBe('bridge')
    for (const target of [...compositions(picture), ...compositions({ ...picture, learnt: false }, picture).slice(2, 3)]) // biome-ignore format: one line
      expect(usualWeights(target), target.name).toBe(target.name === 'lowTemperature' ? 'likelihood' : 'none')
    for (const flat of [
      lowTemperature(picture, { gamma: 0.5 }),
      lowTemperature(product([picture, picture]), { gamma: 2 }),
    ])
      expect(usualWeights(flat)).toBe('none')
    // nobody has measured what likelihoods do to latents
    expect(usualWeights(lowTemperature({ ...picture, latent: true }, { gamma: 2 }))).toBe('none')
  })

  test('weighs sets and rewards, which proposals do not see', () => {
    const set = bounded(picture, { contains })
    expect(usualWeights(set)).toBe('tilt')
    expect(usualWeights(rewardTilt(lowTemperature(picture, { gamma: 2 }), brightness, { strength: 1 }))).toBe('tilt')
    for (const inside of [lowTemperature(set, { gamma: 2 }), product([set, picture]), bounded(set, { contains })])
      expect(usualWeights(inside)).toBe('bridge')
  })
})

describe('without weights', () => {
  test('every composition keeps its particles, and says what they are', async () => {
    for (const target of compositions(picture)) {
      const { collapsed, note, scheme, logZ, diagnostics } = await smc(target, { ...options, weights: 'none' })
      expect([collapsed, scheme, logZ, diagnostics.distinctRoots]).toEqual([false, 'none', Number.NaN, 64])
      expect(note, target.name).toMatch(/^no weights: the samples (are|approximate) .*To weigh, of which no gain was measured on pictures: weighAbove: 0\.5 \(--weigh-above 0\.5\)$/) // biome-ignore format: one line
      expect(/nothing corrects the shares of its modes/.test(note!)).toBe(target.name !== 'energy')
    }
    const { samples } = await smc(lowTemperature(picture, { gamma: 2 }), {
      ...options,
      weights: 'none',
      particles: 1024,
    })
    const mean = samples.reduce((sum, v) => sum + v, 0) / samples.length
    const variance = samples.reduce((sum, v) => sum + (v - mean) ** 2, 0) / samples.length
    // of one Gaussian the kernels alone are right
    expect(mean).toBeCloseTo(0.2, 1)
    expect(Math.abs(variance / (0.25 / 2) - 1)).toBeLessThan(0.1)
  })

  test('AND of conditions says how to ask for more of them', async () => {
    const noted = async (weights: number[]) => (await smc(product(weights.map(() => ({ ...picture })), { weights }), options)).note! // biome-ignore format: one line
    expect(await noted([1, -1, 1])).toContain(
      'Where conditions are missed: weights [2, -3, 2] (--guidance 2). To weigh',
    )
    expect(await noted([1, 1, 1, -2])).toContain('weights [2, 2, 2, -5] (--guidance 2)')
    for (const other of [[2, 2, -3], [1, 1], [1, 1, 1], [1, 1, -0.5]]) expect(await noted(other)).not.toContain('missed') // biome-ignore format: one line
    // NOT: p(x | a) p(x) / p(x | b)
    const not = product([picture, picture, { ...picture, conditional: true }], { weights: [1, 1, -1] })
    expect((await smc(not, options)).note).not.toContain('missed')
  })

  test('NOT says how the noise is taken from it', async () => {
    const [p, q] = [{ ...picture }, { ...picture }]
    const noted = async (target: Target) => (await smc(target, options)).note!
    expect(await noted(negation(p, q, { strength: 0.5 }))).toContain('exponents sum to 0.5, so that more noise stays than the models are told of: times p(x)^0.5 they sum to 1') // biome-ignore format: one line
    expect(await noted(product([p, p, q], { weights: [1, 0.3, -0.5] }))).toContain('exponents sum to 0.8')
    for (const target of [guided(p, q, { scale: -0.5 }), product([p, q]), product([p, q, q], { weights: [1, 1, -1] })])
      expect(await noted(target)).not.toContain('exponents sum')
  })

  test('are taken at low temperature where steps are told of that likelihoods have not', async () => {
    const cold = lowTemperature(picture, { gamma: 2 })
    const scheme = async (more: Partial<SmcOptions>) => (await smc(cold, { ...options, ...more })).scheme
    expect(await scheme({})).toBe('likelihood')
    expect(await scheme({ draws: 4 })).toBe('likelihood')
    for (const more of [{ kernel: 'plain' }, { proposal: 'sde' }, { moves: { kernel: 'mala' } }] as const)
      expect(await scheme(more)).toBe('none')
  })

  test('a closed form says nothing but where it is told none', async () => {
    const target = lowTemperature(exact, { gamma: 2 })
    const { note, scheme, collapsed } = await smc(target, options)
    expect([note, scheme, collapsed]).toEqual([undefined, 'bridge', false])
    expect((await smc(target, { ...options, weights: 'none' })).note).toMatch(/weights: 'bridge' \(--weights bridge\)$/)
  })

  test('a reward is weighed exactly: the energy has no say', async () => {
    // wrong at all noise levels but that of the start
    const wrong: EnergyFunction = {
      ...picture,
      energyGrad: (x, sigma) => network(sigma < sigmas[0] ? 40 : 0).energyGrad(x, sigma),
    }
    const tilted = (p: EnergyFunction) =>
      smc(rewardTilt(p, brightness, { strength: 2 }), { ...options, particles: 4096, proposal: 'posterior' })
    const [run, clean] = [await tilted(wrong), await tilted(network(0))]
    expect([run.scheme, run.collapsed]).toEqual(['tilt', false])
    expect(run.note).toMatch(/^weighed by the set or the reward alone/)
    expect(same(run.samples, clean.samples)).toBe(true)
    for (const [i, lw] of run.logWeights.entries()) expect(Math.abs(lw - clean.logWeights[i])).toBeLessThan(1e-9)
    // what there is without the reward, a Gaussian, times exp(2 x): shifted by twice its variance
    const { samples } = await smc(network(0), { ...options, particles: 4096, proposal: 'posterior' })
    const first = Array.from({ length: 4096 }, (_, i) => samples[i * d])
    const centre = first.reduce((sum, x) => sum + x, 0) / 4096
    const variance = first.reduce((sum, x) => sum + (x - centre) ** 2, 0) / 4096
    const mean = run.logWeights.reduce((sum, lw, i) => sum + Math.exp(lw) * run.samples[i * d], 0)
    expect(Math.abs(mean - centre - 2 * variance)).toBeLessThan(0.04)
    const inside = await smc(bounded(picture, { contains }), { ...options, finalResample: true })
    expect(inside.scheme).toBe('tilt')
    const kept = contains(inside.samples, 64).filter(Boolean).length
    expect(kept).toBeGreaterThan(60)
  })

  test('options that only weights use ask for them', async () => {
    expect((await smc(picture, { ...options, controlDrift: true })).scheme).toBe('bridge')
    expect((await smc(picture, { ...options, weighAbove: 5 })).scheme).toBe('bridge')
    await expect(smc(picture, { ...options, weights: 'none', weighAbove: 5 })).rejects.toThrow(/weighAbove with weights: 'none'/) // biome-ignore format: one line
  })
})

describe('a collapse', () => {
  test('is few families, by number or share', () => {
    for (const [families, n, is] of [
      [1, 1, false],
      [1.4, 2, true],
      [1.6, 8, false],
      [1.9, 32, true],
      [3.9, 64, true],
      [4.1, 64, false],
      [7.9, 4096, true],
      [8.1, 4096, false],
    ] as const)
      expect(hasCollapsed(families, n), `${families} of ${n}`).toBe(is)
  })

  test('is said first, with what to try', async () => {
    const target = lowTemperature(picture, { gamma: 2 })
    const { collapsed, note, diagnostics } = await smc(target, { ...options, weights: 'bridge' })
    expect(collapsed).toBe(true)
    expect(note).toMatch(/^collapsed: .* all descend from \d+ of 64 .*Try no weights, weights: 'none' \(--weights none\)/) // biome-ignore format: one line
    expect(diagnostics.families).toBeLessThan(4)
    expect(diagnostics.families).toBeLessThanOrEqual(diagnostics.distinctRoots)
    expect(diagnostics.warnings.join()).toMatch(/In this order: weights only above some noise \(weighAbove/)
    // weights that were never resampled count as well
    const worse = lowTemperature(network(1000), { gamma: 2 })
    const uneven = await smc(worse, { ...options, weights: 'bridge', essThreshold: 0 })
    expect([uneven.collapsed, uneven.diagnostics.distinctRoots]).toEqual([true, 64])
    const wrong = { ...picture, learnt: false }
    expect((await smc(wrong, options)).note).toMatch(/^collapsed: .*Try four times the levels \(sigmas, --steps\)$/)
  })
})

describe('weighAbove', () => {
  const target = lowTemperature(exact, { gamma: 2 })
  test('is the whole run where it is below all levels, and its beginning where it is not', async () => {
    const whole = await smc(target, options)
    const last = await smc(target, { ...options, weighAbove: sigmas.at(-1)! })
    expect(same(last.samples, whole.samples) && same(last.logWeights, whole.logWeights)).toBe(true)
    expect([last.logZ, last.note]).toEqual([whole.logZ, undefined])
    const k = 12
    const above = { ...options, weighAbove: sigmas[k] }
    const part = await smc(target, above)
    const upTo = await smc(target, { ...options, sigmas: sigmas.slice(0, k + 1) })
    expect(part.logZ).toBe(upTo.logZ)
    expect(same(part.logWeights, upTo.logWeights)).toBe(true)
    const levels = part.diagnostics.levels
    expect(levels.slice(0, k + 1)).toEqual(
      whole.diagnostics.levels.slice(0, k + 1).map((l) => ({ ...l, lastLevel: 24 })),
    )
    for (const { conditionalEss, resampled } of levels.slice(k + 1)) {
      expect(conditionalEss).toBeCloseTo(64, 6)
      expect(resampled).toBe(false)
    }
    expect(part.note).toMatch(/^weighed only at noise levels from [\d.]+ up/)
    // same seed, same bits, and other random numbers in every step
    const again = await smc(target, { ...above, batchSize: 7 })
    expect(same(again.samples, part.samples) && same(again.logWeights, part.logWeights)).toBe(true)
    expect(same((await smc(target, { ...above, seed: 3 })).samples, part.samples)).toBe(false)
    // below it the particles are those of no weights, from where they stand
    const variance = part.samples.reduce((sum, v) => sum + (v - 0.2) ** 2, 0) / part.samples.length
    expect(Math.abs(variance / (0.25 / 2) - 1)).toBeLessThan(0.2)
  })

  test('keeps off an error below it, with a control drift too', async () => {
    const silent: EnergyFunction = {
      ...picture,
      energyGrad: (x, sigma) => (sigma < 1 ? picture : network(0)).energyGrad(x, sigma),
    }
    const kept = await smc(silent, { ...options, weighAbove: 1, weights: 'bridge' })
    const lost = await smc(silent, { ...options, weights: 'bridge' })
    expect([kept.collapsed, lost.collapsed]).toEqual([false, true])
    const drifted = await smc(product([silent, silent]), { ...options, weighAbove: 1, controlDrift: true })
    expect(drifted.collapsed).toBe(false)
    expect(drifted.diagnostics.drift.length).toBe(sigmas.filter((s) => s >= 1).length - 1)
  })

  test('leaves a step to weigh', async () => {
    for (const weighAbove of [19, 100]) await expect(smc(exact, { ...options, weighAbove })).rejects.toThrow(/leaves no step from the largest noise, 20/) // biome-ignore format: one line
    for (const weighAbove of [-1, Number.NaN, '1' as never]) await expect(smc(exact, { ...options, weighAbove })).rejects.toThrow(/weighAbove/) // biome-ignore format: one line
  })
})

test('summed scores of a composition say that they are a baseline', async () => {
  const short = { particles: 4, sigmas: [2, 1] }
  expect((await sample(lowTemperature(exact, { gamma: 2 }), short)).note).toMatch(/^a baseline: .*lowTemperature/)
  expect((await sample(product([exact, exact]), short)).note).toMatch(/--method smc/)
  expect((await sample(exact, short)).note).toBeUndefined()
})
