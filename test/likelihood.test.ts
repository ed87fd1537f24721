import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import type { EnergyFunction } from '../lib/smc/energy-function.js'
import { gaussianMixture } from '../lib/smc/mixtures.js'
import { sigmaGrid } from '../lib/smc/schedule.js'
import { smc } from '../lib/smc/smc.js'
import type { SmcOptions } from '../lib/smc/smc-options.js'
import { guided, lowTemperature, product } from '../lib/smc/targets/linear.js'
import { mixture } from '../lib/smc/targets/mixture.js'

/** weights: 'likelihood' against mixtures of separated modes, whose powers and products are known. */

const WIDTHS = [0.3, 0.6]
const SHARES = [0.4, 0.6]

const twoModes = (d: number) =>
  gaussianMixture({
    weights: SHARES,
    means: WIDTHS.map((_, k) => Array.from({ length: d }, (_, i) => (i === 0 ? 4 * k : 0))),
    covariances: WIDTHS.map((s) => s * s),
  })

/** Weight of the first mode in p^gamma, and log Z. */
function cold(d: number, gamma: number) {
  const logs = WIDTHS.map(
    (s, k) => gamma * Math.log(SHARES[k]) - (d / 2) * ((gamma - 1) * Math.log(2 * Math.PI * s * s) + Math.log(gamma)),
  )
  const logZ = Math.log(logs.reduce((sum, log) => sum + Math.exp(log), 0))
  return { share: Math.exp(logs[0] - logZ), logZ }
}

const sigmas = sigmaGrid({ steps: 32, min: 0.02, max: 20 })
const options: SmcOptions = { particles: 1024, sigmas, weights: 'likelihood' }
const firstMode = ({ samples, logWeights }: { samples: Float32Array; logWeights: Float64Array }, d: number) =>
  logWeights.reduce((sum, lw, i) => sum + (samples[i * d] < 2 ? Math.exp(lw) : 0), 0)
const same = (a: ArrayLike<number>, b: ArrayLike<number>) => a.length === b.length && Array.from(a).every((v, i) => v === b[i]) // biome-ignore format: one line

describe("weights: 'likelihood'", () => {
  test('have the mode weights and log Z of low temperatures, where no weights have not', async () => {
    for (const [d, gamma] of [
      [2, 2],
      [2, 3],
      [6, 2],
    ]) {
      const p = twoModes(d)
      const target = lowTemperature(p, { gamma })
      const truth = cold(d, gamma)
      const runs = [0, 1].map((seed) => smc(target, { ...options, seed, weighAbove: 0.05, draws: 192 }))
      const weighed = await Promise.all(runs)
      const share = weighed.reduce((sum, run) => sum + firstMode(run, d) / runs.length, 0)
      const logZ = weighed.reduce((sum, run) => sum + run.logZ / runs.length, 0)
      const plain = firstMode(await smc(target, { ...options, weights: 'none' }), d)
      expect(Math.abs(share - truth.share), `d = ${d}, gamma = ${gamma}`).toBeLessThan(0.06)
      expect(Math.abs(plain - truth.share), `d = ${d}, gamma = ${gamma}`).toBeGreaterThan(0.2)
      // the noise of the draws, whose exponential is above 1 on average, and the density at 0.05 in place of that at 0
      expect(Math.abs(logZ - truth.logZ), `d = ${d}, gamma = ${gamma}`).toBeLessThan(0.6)
    }
  })

  test('are biased by the noise that they go down to, which falls with it', async () => {
    const target = lowTemperature(twoModes(2), { gamma: 2 })
    const errors: number[] = []
    for (const weighAbove of [2, 0.5, 0.1])
      errors.push(cold(2, 2).share - firstMode(await smc(target, { ...options, weighAbove }), 2))
    expect(errors[0]).toBeGreaterThan(errors[1] + 0.03)
    expect(errors[1]).toBeGreaterThan(errors[2] + 0.03)
    expect(Math.abs(errors[2])).toBeLessThan(0.08)
  })

  test('of a product follow one model and weigh by the others', async () => {
    const [p, q] = [twoModes(2), gaussianMixture({ weights: [1], means: [[1, 0]], covariances: [1] })]
    const target = product([p, q])
    const right = await smc(target, { ...options, weights: 'bridge' })
    const run = await smc(target, { ...options, weighAbove: 0.1 })
    expect(Math.abs(firstMode(run, 2) - firstMode(right, 2))).toBeLessThan(0.06)
    expect(Math.abs(run.logZ - right.logZ)).toBeLessThan(0.4)
    // nested, a model is taken once: p^2 / p is p, and weighs nothing
    const nothing = await smc(product([lowTemperature(p, { gamma: 2 }), p], { weights: [1, -1] }), options)
    expect([nothing.logZ, nothing.diagnostics.families]).toEqual([0, 1024])
  })

  test('see gradients alone: an energy that is wrong between noise levels changes nothing', async () => {
    const p = twoModes(2)
    const wrong: EnergyFunction = {
      shape: p.shape,
      async energyGrad(x, sigma) {
        const { energy, grad } = await p.energyGrad(x, sigma)
        return { energy: energy.map((_, i) => 100 * Math.sin(1e4 * x[2 * i] + 1e3 * sigma)), grad }
      },
    }
    const few = { ...options, particles: 128, seed: 4 }
    const clean = await smc(lowTemperature(p, { gamma: 2 }), few)
    const run = await smc(lowTemperature(wrong, { gamma: 2 }), { ...few, batchSize: 31 })
    expect(same(run.samples, clean.samples) && same(run.logWeights, clean.logWeights)).toBe(true)
    expect(run.logZ).toBe(clean.logZ)
    expect((await smc(lowTemperature(wrong, { gamma: 2 }), { ...few, weights: 'bridge' })).collapsed).toBe(true)
    expect(same((await smc(lowTemperature(p, { gamma: 2 }), { ...few, seed: 5 })).samples, clean.samples)).toBe(false)
  })

  test('by default leave half of the particles, and say how far they went', async () => {
    const target = product([twoModes(8), twoModes(8)], { weights: [3, 3] })
    const { ess, note, collapsed, scheme, diagnostics } = await smc(target, { ...options, draws: 64 })
    expect(Math.min(...ess)).toBeGreaterThanOrEqual(512)
    expect([collapsed, scheme]).toEqual([false, 'likelihood'])
    expect(Number(/from ([\d.]+) up/.exec(note!)![1])).toBeGreaterThan(1)
    expect(diagnostics.evaluations).toBeGreaterThan(1024 * 33)
    // as far as they are told to, whatever they leave
    const told = await smc(target, { ...options, draws: 64, weighAbove: 0.1 })
    expect(Math.min(...told.ess)).toBeLessThan(512)
    // a power of one model goes in stages, which need less at once
    const power = await smc(lowTemperature(twoModes(8), { gamma: 6 }), { ...options, draws: 64 })
    expect(power.diagnostics.levels.filter(({ resampled }) => resampled)).toHaveLength(5)
    expect(Math.min(...power.ess)).toBeGreaterThanOrEqual(512)
    expect(power.note).toMatch(/from 1 up:/)
  })

  test('are resampled where copies part again, whatever they leave: no sample is another', async () => {
    const target = lowTemperature(twoModes(2), { gamma: 2 })
    const { samples, logWeights, logZ, ess, diagnostics } = await smc(target, { ...options, particles: 256 })
    expect(Math.min(...ess)).toBeGreaterThanOrEqual(128)
    expect(new Set(logWeights).size).toBe(1)
    expect(diagnostics.distinctRoots).toBeLessThan(230)
    expect(new Set(samples.filter((_, i) => i % 2 === 0)).size).toBe(256)
    const uneven = await smc(target, { ...options, particles: 256, essThreshold: 0 })
    expect(new Set(uneven.logWeights).size).toBeGreaterThan(200)
    expect([uneven.logZ, uneven.diagnostics.distinctRoots]).toEqual([expect.closeTo(logZ, 9), 256])
  })

  test('go on from a checkpoint with the same bits, before the weighing and after', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'feynkac-likelihood-'))
    const target = lowTemperature(twoModes(2), { gamma: 3 })
    const few = { ...options, particles: 32, draws: 32 }
    const whole = await smc(target, few)
    const stages = whole.diagnostics.levels.flatMap(({ resampled }, level) => (resampled ? [level] : []))
    expect(stages[1] - stages[0]).toBe(1)
    for (const level of [3, ...stages, 30]) {
      const stop = new AbortController()
      const kept = { ...few, checkpoint: join(folder, `${level}`), checkpointEvery: 0 }
      const onProgress = (report: { level: number }) => report.level === level && stop.abort()
      await expect(smc(target, { ...kept, signal: stop.signal, onProgress })).rejects.toThrow()
      const { samples, logWeights, note, diagnostics } = await smc(target, kept)
      expect(same(samples, whole.samples) && same(logWeights, whole.logWeights)).toBe(true)
      expect([note, diagnostics.evaluations]).toEqual([whole.note, whole.diagnostics.evaluations])
    }
    await rm(folder, { recursive: true, force: true })
  })

  test('are refused where they cannot be', async () => {
    const p = twoModes(2)
    const few = { ...options, particles: 4 }
    await expect(smc(mixture([p, p]), few)).rejects.toThrow(/linear in the energies, not 'mixture'/)
    await expect(smc(product([mixture([p, p]), p]), few)).rejects.toThrow(/linear in the energies, not 'mixture'/)
    await expect(smc(p, { ...few, moves: { kernel: 'mala' } })).rejects.toThrow(/moves go with/)
    await expect(smc(p, { ...few, meanPrecisions: [] })).rejects.toThrow(/meanPrecisions with weights: 'likelihood'/)
    await expect(smc(p, { ...few, weights: 'bridge', draws: 8 })).rejects.toThrow(/draws with weights: 'bridge'/)
    for (const draws of [0, 1.5, '8' as never]) await expect(smc(p, { ...few, draws })).rejects.toThrow(/draws/)
    const broken: EnergyFunction = {
      ...p,
      energyGrad: async (x, sigma) => {
        const known = await p.energyGrad(x, sigma)
        return x.length === 8 && sigma > 19.9 && sigma < 20 ? { ...known, grad: known.grad.fill(Number.NaN) } : known
      },
    }
    await expect(smc(lowTemperature(broken, { gamma: 2 }), { ...few, draws: 2000 })).rejects.toThrow(/NaN|not finite/i)
    expect((await smc(guided(p, p, { scale: 2 }), few)).diagnostics.families).toBe(4)
  })
})
