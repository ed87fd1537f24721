import { describe, expect, test } from 'vitest'
import { ArgumentError } from '../lib/base/errors.js'
import { native, run } from '../lib/native/addon.js'
import { host } from '../lib/native/space.js'
import { ControlDrift } from '../lib/smc/control-drift.js'
import { DriftFit } from '../lib/smc/drift-fit.js'
import type { EnergyFunction } from '../lib/smc/energy-function.js'
import { Evaluator } from '../lib/smc/evaluation.js'
import { stepKernel } from '../lib/smc/kernels.js'
import { calibrate } from '../lib/smc/precision/calibrate.js'
import { OwnRows } from '../lib/smc/rows.js'
import { sigmaGrid } from '../lib/smc/schedule.js'
import { smc } from '../lib/smc/smc.js'
import type { SmcOptions } from '../lib/smc/smc-options.js'
import type { SmcResult } from '../lib/smc/smc-result.js'
import { bounded } from '../lib/smc/targets/box.js'
import { lowTemperature, product } from '../lib/smc/targets/linear.js'
import { mixture } from '../lib/smc/targets/mixture.js'
import { equalWeights, gaussian, other, two } from './smc-mixtures.js'

/** The control drift: exact weights, slopes, and what it is good for. */

const sigmas = sigmaGrid({ steps: 32, min: 0.02, max: 20 })
const options = { particles: 256, sigmas, seed: 3, controlDrift: true }

/** One expert is far narrower than the other: down to the other's width the sum of exponents is twice the path's Lambda. */
const uneven = (d: number) => product([gaussian(new Array(d).fill(0), 25), gaussian(new Array(d).fill(0), 0.01)])
const unevenLogZ = (d: number, noise: number) => (-d / 2) * Math.log(2 * Math.PI * (25.01 + 2 * noise ** 2))

const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length
const smallestEss = (r: SmcResult) => Math.min(...r.ess)

describe('exactness', () => {
  test.each<Partial<SmcOptions>>([
    { kernel: 'plain', proposal: 'sde' },
    { kernel: 'scaled', proposal: 'analytic' },
    { kernel: 'scaled', proposal: 'analytic-diagonal', essThreshold: 1 },
  ])('Z-hat has no bias in 6 steps: %j', async (how) => {
    const few = sigmaGrid({ steps: 6, min: 0.2, max: 4 })
    const ratios: number[] = []
    for (let seed = 0; seed < 100; seed++) {
      const { logZ, diagnostics } = await smc(uneven(2), { ...options, ...how, particles: 64, sigmas: few, seed })
      ratios.push(Math.exp(logZ - unevenLogZ(2, 0.2)))
      if (seed === 0) expect(Math.abs(diagnostics.drift[5][1])).toBeGreaterThan(0.01)
    }
    const error = Math.sqrt(mean(ratios.map((r) => (r - mean(ratios)) ** 2)) / ratios.length)
    expect(error).toBeLessThan(0.06)
    expect(Math.abs(mean(ratios) - 1)).toBeLessThan(4 * error)
  })

  test('tables of precisions, in cosines', async () => {
    const flat = gaussian(new Array(15).fill(0.2), 0.3)
    const image = { ...flat, shape: [1, 3, 5] }
    const data = flat.sample(64)
    // tables for data of twice the size, so that the drift has something to mend
    const calibration = await calibrate(image, { data: data.map((v) => 2 * v), count: 64, sigmas: [20, 1, 0.02] })
    const target = lowTemperature({ ...image, calibration }, { gamma: 2 })
    const { logZ, diagnostics } = await smc(target, { ...options, particles: 2048 })
    expect(diagnostics.meanPrecisions[0].length).toBe(15)
    expect(Math.abs(logZ - (-15 / 2) * Math.log(4 * Math.PI * (0.3 + 0.02 ** 2)))).toBeLessThan(0.1)
  })

  test('mixtures, boxes and moves', async () => {
    const all = { ...options, particles: 1024 }
    expect(Math.abs((await smc(mixture([two, other]), all)).logZ)).toBeLessThan(0.1)
    const box = bounded(gaussian([0, 0], 1), { lower: -1, upper: 1 })
    for (const kernel of ['mala', 'hmc'] as const) {
      const { logZ } = await smc(box, { ...all, moves: { kernel, steps: 2 } })
      expect(Math.abs(logZ - 2 * Math.log(0.68269))).toBeLessThan(0.1)
    }
  })
})

test('slopes are the derivatives of log G with the noise held fixed', async () => {
  const target = product([two, other])
  const [s, next, rows, v, tau] = [1, 0.8, 64, Float64Array.of(0.18), Float64Array.of(0.15)]
  const evaluator = new Evaluator(target, rows, 'none', undefined, host, true)
  const from = new Float32Array(2 * rows).map((_, i) => 2 * Math.sin(i))
  const before = await evaluator.evaluate(from, s)
  const weights = equalWeights(rows)
  const at = async (theta: Float64Array) => {
    const control = new ControlDrift(2, new OwnRows(rows), host)
    control.theta = theta
    const grad = await control.drive(before)
    const [to, forward, backward] = [new Float32Array(2 * rows), new Float64Array(rows), new Float64Array(rows)]
    const unused = { alignment: new Float64Array(rows), gradSquares: new Float64Array(rows) }
    const request = { out: to, logForward: forward, logBackward: backward, ...unused, x: from, grad, v, tau }
    await run(() => native.propose({ ...request, seed: 1, step: 1 }))
    const after = await evaluator.evaluate(to, next)
    const terms = [before.energy, after.energy, backward, forward]
    const increment = { terms, coefficients: [1, -1, 1, -1], constant: 0 }
    return (await control.measure(increment, { from, to, before, after, v, weights })).sample
  }
  const { slopes } = await at(Float64Array.of(0, 0))
  const h = 1e-2
  for (const j of [0, 1]) {
    const [up, down] = [await at(Float64Array.from([0, 1], (k) => (k === j ? h : 0))), await at(Float64Array.from([0, 1], (k) => (k === j ? -h : 0)))] // biome-ignore format: one line
    slopes[j].forEach((slope, r) => {
      const difference = (up.logG[r] - down.logG[r]) / (2 * h)
      expect(Math.abs(slope - difference)).toBeLessThan(0.01 * (1 + Math.abs(slope)))
    })
  }
})

test('the variance that goes with the drift is the reverse one of a Gaussian', () => {
  // x = a x' + sqrt(v) z takes variance S' to S; h is such that the reverse mean, x (1 - v/S) / a, has 1/a = 1 + v h / (1 - v/S)
  const [v, before, after] = [0.36, 0.9, 0.65]
  const a = Math.sqrt((before - v) / after)
  const h = ((1 / a - 1) * (1 - v / before)) / v
  expect(stepKernel(1, 0.8, 1, 'analytic', Float64Array.of(1 / before), h).tau[0]).toBeCloseTo((v * after) / before, 12)
  expect(stepKernel(1, 0.8, 1, 'analytic', Float64Array.of(1 / before), 1e9).tau[0]).toBeCloseTo(v, 12)
  expect(stepKernel(1, 0.8, 1, 'analytic', Float64Array.of(5), h).tau[0]).toBeCloseTo(v * 0.64, 12)
})

describe('the fit', () => {
  const n = 400
  const values = (seed: number) => Float64Array.from({ length: n }, (_, i) => Math.sin(i * i * seed + i))
  const [z, noise, y] = [values(0.37), values(0.71), values(0.53)]
  const sum = (a: Float64Array, b: Float64Array, c = 1) => a.map((v, i) => v + c * b[i])
  const update = (sample: Partial<Parameters<DriftFit['update']>[1]>) =>
    new DriftFit(1).update(Float64Array.of(0), { weights: equalWeights(n), logG: y, slopes: [z], instruments: [z], ...sample }) // biome-ignore format: one line

  test('answers to what the states decide, not to the noise that log G and slopes share', async () => {
    const slopes = [sum(z, noise)]
    expect((await update({ logG: z.map((v) => -0.5 * v), slopes }))[0]).toBeCloseTo(0.5, 1)
    expect(Math.abs((await update({ logG: noise, slopes }))[0])).toBeLessThan(0.1)
  })

  test('survives what is not finite, constant or without weight', async () => {
    const broken = z.map((v, i) => (i === 3 ? Number.NaN : i === 4 ? -Infinity : v))
    expect((await update({ logG: broken }))[0]).toBeCloseTo(-1, 1)
    expect([...(await update({ slopes: [new Float64Array(n)] }))]).toEqual([0])
    expect([...(await update({ logG: new Float64Array(n).fill(-Infinity) }))]).toEqual([0])
    expect([...(await update({ weights: Float64Array.from({ length: n }, (_, i) => (i === 0 ? 1 : 0)) }))]).toEqual([0])
  })

  test('shares theta among models with the same gradient', async () => {
    const sample = { weights: equalWeights(n), logG: z, slopes: [z, z], instruments: [z, z] }
    const [a, b] = await new DriftFit(2).update(new Float64Array(2), sample)
    expect(a).toBeCloseTo(b, 6)
    expect(a + b).toBeCloseTo(-1, 1)
  })
})

describe('what it mends', () => {
  const compare = async (target: EnergyFunction, how: Partial<SmcOptions>) => {
    const results: SmcResult[][] = []
    for (const controlDrift of [false, true]) {
      const runs: SmcResult[] = []
      for (let seed = 0; seed < 4; seed++) runs.push(await smc(target, { ...options, ...how, controlDrift, seed }))
      results.push(runs)
    }
    return results
  }

  test('a Lambda that is off', async () => {
    const [without, drifted] = await compare(uneven(16), {})
    const error = (runs: SmcResult[]) => mean(runs.map((r) => Math.abs(r.logZ - unevenLogZ(16, 0.02))))
    expect(error(drifted)).toBeLessThan(error(without) / 2)
    const roots = (runs: SmcResult[]) => mean(runs.map((r) => r.diagnostics.distinctRoots))
    expect(roots(drifted)).toBeGreaterThan(3 * roots(without))
  })

  test('the plain kernel', async () => {
    const target = product([gaussian(new Array(16).fill(0), 0.5), gaussian(new Array(16).fill(0.5), 0.5)])
    const [without, drifted] = await compare(target, { kernel: 'plain', proposal: 'sde' })
    expect(mean(drifted.map(smallestEss))).toBeGreaterThan(2 * mean(without.map(smallestEss)))
  })

  test('and leaves alone what is right', async () => {
    const [without, drifted] = await compare(lowTemperature(two, { gamma: 2 }), {})
    expect(mean(drifted.map(smallestEss))).toBeGreaterThan(0.95 * mean(without.map(smallestEss)))
  })
})

test('same seed, same result; batches do not matter; theta is told', async () => {
  const target = product([two, other])
  const moves = { kernel: 'mala' } as const
  const results: SmcResult[] = []
  for (const batch of [1000, 1000, 7]) results.push(await smc(target, { ...options, batch, moves, essThreshold: 0.9 }))
  for (const { samples, logZ, diagnostics } of results) {
    expect(samples).toEqual(results[0].samples)
    expect(logZ).toBe(results[0].logZ)
    expect(diagnostics.drift).toEqual(results[0].diagnostics.drift)
  }
  const { drift, evaluations } = results[0].diagnostics
  expect(drift.length).toBe(sigmas.length - 1)
  expect([...drift[0]]).toEqual([0, 0])
  expect(drift.every((theta) => theta.length === 2)).toBe(true)
  const without = await smc(target, { ...options, controlDrift: false, moves, essThreshold: 0.9 })
  expect(evaluations).toBe(without.diagnostics.evaluations)
  expect(without.diagnostics.drift).toEqual([])
})

test('refused where it cannot be', async () => {
  for (const weights of ['tilt', 'fkc', 'rne', 'none'] as const)
    await expect(smc(two, { ...options, weights })).rejects.toThrow(/controlDrift goes with weights: 'bridge'/)
  // biome-ignore lint/suspicious/noExplicitAny: wrong types on purpose
  await expect(smc(two, { ...options, controlDrift: 'yes' as any })).rejects.toThrow(ArgumentError)
})
