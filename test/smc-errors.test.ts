import { expect, test } from 'vitest'
import { ArgumentError, FeynkacError, NumericsError, OutOfMemoryError } from '../lib/base/errors.js'
import type { EnergyFunction } from '../lib/smc/energy-function.js'
import { gaussianMixture } from '../lib/smc/mixtures.js'
import { sigmaGrid } from '../lib/smc/schedule.js'
import { smc } from '../lib/smc/smc.js'
import { bounded } from '../lib/smc/targets/box.js'
import { guided, lowTemperature, negation, product } from '../lib/smc/targets/linear.js'
import { mixture } from '../lib/smc/targets/mixture.js'
import { rewardTilt } from '../lib/smc/targets/reward.js'
import { gaussian, other, two } from './smc-mixtures.js'

const sigmas = sigmaGrid({ steps: 32, min: 0.02, max: 20 })
const options = { particles: 512, sigmas, seed: 3 }

const broken = (energyGrad: EnergyFunction['energyGrad']): EnergyFunction & { name: string } => ({ name: 'broken', shape: [2], energyGrad }) // biome-ignore format: one line
const answer = (n: number, energy: number, grad = 0) => ({
  energy: new Float64Array(n).fill(energy),
  grad: new Float32Array(2 * n).fill(grad),
})

test('all weights lost: level and target are named', async () => {
  const wall = broken(async (x, sigma) => answer(x.length / 2, sigma < 1 ? Infinity : 0))
  const run = smc(product([two, wall]), options)
  await expect(run).rejects.toThrow(NumericsError)
  await expect(run).rejects.toThrow(/level \d+ of 32 \(sigma = 0\.9.*\) of target 'product'/)
})

test('some particles may be lost for good', async () => {
  const half = broken(async (x) => {
    const out = answer(x.length / 2, 0)
    for (let i = 0; i < out.energy.length; i++) if (!(x[2 * i] > -100)) out.energy[i] = x[2 * i] <= -100 ? Infinity : 0
    return out
  })
  expect(Math.abs((await smc(product([two, half], { lambda: 1 }), options)).logZ)).toBeLessThan(0.2)
})

test('an infinite log-potential is said as it is', async () => {
  const model = {
    levels: 2,
    initial: (n: number) => new Float32Array(n),
    propagate: (_k: number, x: Float32Array) => x,
    logPotential: (k: number, _before: unknown, x: Float32Array) => new Float64Array(x.length).fill(k * Infinity || 0),
  }
  await expect(smc(model, { particles: 4 })).rejects.toThrow(/log-potential of the model is Infinity at level 1/)
})

test('NaN: model and level are named', async () => {
  const model = broken(async (x, sigma) => answer(x.length / 2, sigma < 1 ? Number.NaN : 0))
  const run = smc(product([two, model]), options)
  await expect(run).rejects.toThrow(NumericsError)
  await expect(run).rejects.toThrow(/broken is NaN at level \d+ of 32/)
  const gradient = broken(async (x) => answer(x.length / 2, 0, Number.NaN))
  await expect(smc(gradient, options)).rejects.toThrow(NumericsError)
  await expect(smc(gradient, { ...options, proposal: 'sde' })).rejects.toThrow(NumericsError)
})

test('callbacks that throw or answer wrongly', async () => {
  const thrower = broken(() => Promise.reject(new TypeError('no such layer')))
  await expect(smc(thrower, options)).rejects.toThrow(FeynkacError)
  await expect(smc(thrower, options)).rejects.toThrow(/energyGrad of broken at sigma = 20 failed: no such layer/)
  await expect(
    smc(
      broken(async (x) => answer(x.length, 0)),
      options,
    ),
  ).rejects.toThrow(ArgumentError)
  // biome-ignore lint/suspicious/noExplicitAny: wrong types on purpose
  const anything = (v: unknown) => v as any
  await expect(
    smc(
      broken(async () => anything(undefined)),
      options,
    ),
  ).rejects.toThrow(ArgumentError)
  await expect(
    smc(
      broken(async () => anything({ energy: [1], grad: [1] })),
      options,
    ),
  ).rejects.toThrow(ArgumentError)
  await expect(smc(bounded(two, { contains: () => [true] }), options)).rejects.toThrow(ArgumentError)
  await expect(
    smc(
      rewardTilt(two, () => [1], { strength: 1 }),
      options,
    ),
  ).rejects.toThrow(ArgumentError)
  const grad = new Float32Array(1)
  await expect(smc(rewardTilt(two, (_x, n) => ({ value: new Float64Array(n), grad }), { strength: 1 }), options)).rejects.toThrow(ArgumentError) // biome-ignore format: one line
  await expect(smc(rewardTilt(two, (_x, n) => new Float64Array(n).fill(Number.NaN), { strength: 1 }), options)).rejects.toThrow(NumericsError) // biome-ignore format: one line
})

test('bad options', async () => {
  // biome-ignore lint/suspicious/noExplicitAny: wrong types on purpose
  const run = (wrong: any, target: any = two) => smc(target, { ...options, ...wrong })
  const wrong = [{ particles: 0 }, { particles: 1.5 }, { sigmas: [1] }, { sigmas: [1, 2] }, { sigmas: [1, 0] }, { sigmas: 'x' }, { seed: -1 }, { essThreshold: 2 }, { resampling: 'best' }, { weights: 'x' }, { kernel: 'x' }, { proposal: 'calibrate' }, { batchSize: 0 }, { particle: 3 }, { moves: { kernel: 'x' } }, { moves: { step: 1 } }, { weights: 'fkc', kernel: 'scaled' }, { weights: 'fkc', proposal: 'analytic' }, { weights: 'tilt', moves: {} }, { meanPrecisions: [new Float64Array(1)] }] // biome-ignore format: a list
  for (const w of wrong) await expect(run(w), JSON.stringify(w)).rejects.toThrow(ArgumentError)
  for (const target of [null, {}, 3, { shape: [2] }]) await expect(run({}, target)).rejects.toThrow(ArgumentError)
  await expect(run({ weights: 'fkc' }, mixture([two, other]))).rejects.toThrow(ArgumentError)
  // biome-ignore lint/suspicious/noExplicitAny: wrong types on purpose
  await expect(smc(two, undefined as any)).rejects.toThrow(ArgumentError)
})

test('bad targets', () => {
  // biome-ignore lint/suspicious/noExplicitAny: wrong types on purpose
  const any = (v: unknown) => v as any
  const wrong = [
    () => lowTemperature(two, { gamma: 0 }),
    () => lowTemperature(any({}), { gamma: 1 }),
    () => lowTemperature(two, any({ gama: 2 })),
    () => product([]),
    () => product([two, gaussian([0], 1)]),
    () => product([two], { weights: [1, 2] }),
    () => product([two, other], { weights: [1, Number.NaN] }),
    () => product([two], { lambda: -1 }),
    () => mixture([two], { weights: [-1] }),
    () => mixture([two], { weights: [0] }),
    () => negation(two, other, { strength: -1 }),
    () => guided(two, other, { scale: Number.NaN }),
    () => bounded(two, { lower: 1, upper: 0 }),
    () => bounded(two, { lower: [0], upper: 1 }),
    () => bounded(two, { lower: 0, upper: 1, softness: -1 }),
    () => bounded(two, any({ contains: 3 })),
    () => bounded(two, any(null)),
    () => rewardTilt(two, any(null), { strength: 1 }),
    () => rewardTilt(two, () => [], { strength: any('x') }),
    () =>
      gaussianMixture({
        weights: [1],
        means: [[0, 0]],
        covariances: [
          [
            [1, 0.5],
            [0.2, 1],
          ],
        ],
      }),
    () => gaussianMixture({ weights: [1], means: [[0, 0]], covariances: [-1] }),
    () => gaussianMixture({ weights: [0], means: [[0]], covariances: [1] }),
    () => gaussianMixture({ weights: [1, 1], means: [[0]], covariances: [1, 1] }),
    () => gaussianMixture(any(undefined)),
    () => sigmaGrid({ steps: 0 }),
    () => sigmaGrid({ steps: 4, min: 2, max: 1 }),
    () => two.sample(-1),
  ]
  for (const make of wrong) expect(make, String(make)).toThrow(ArgumentError)
})

test('an indefinite covariance', () => {
  const covariances = [[[1, 2], [2, 1]]] // biome-ignore format: one line
  expect(() => gaussianMixture({ weights: [1], means: [[0, 0]], covariances })).toThrow(ArgumentError)
})

test('abort: within one step, with the reason', async () => {
  const reason = new Error('enough')
  const controller = new AbortController()
  let levels = 0
  const run = smc(two, {
    ...options,
    signal: controller.signal,
    onProgress: () => {
      if (++levels === 3) controller.abort(reason)
    },
  })
  await expect(run).rejects.toBe(reason)
  expect(levels).toBe(3)
  await expect(smc(two, { ...options, signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
  // by what never answers, and by what aborts before it does
  let late = new AbortController()
  for (const wait of [() => setTimeout(() => late.abort(reason), 5), () => late.abort(reason)]) {
    late = new AbortController()
    const never = broken(() => new Promise(() => void wait()))
    await expect(smc(never, { ...options, signal: late.signal })).rejects.toBe(reason)
  }
})

test.each([
  ['signal', { signal: 'stop' }],
  ['onProgress', { onProgress: 1 }],
  ['finalResample', { finalResample: 'yes' }],
  ['moves', { moves: 0 }],
  ['moves.tune', { moves: { tune: 1 } }],
  ['meanPrecisions', { meanPrecisions: 0 }],
])('a wrong %s is named', async (name, wrong) => {
  const error = await smc(two, { ...options, ...(wrong as object) }).catch((e) => e)
  expect(error).toBeInstanceOf(ArgumentError)
  expect(error.message).toContain(name)
})

test('a shape that no array can have is rejected', async () => {
  for (const shape of [[1e300], [0], [1.5], [10n], ['2'], []] as number[][])
    await expect(smc({ ...two, shape }, options)).rejects.toThrow(ArgumentError)
})

test('particles beyond the memory are refused before they are allocated', async () => {
  const large = { ...two, shape: [3, 4096, 4096] }
  await expect(smc(two, { ...options, particles: 2 ** 31 - 1 })).rejects.toThrow(OutOfMemoryError)
  await expect(smc(large, { ...options, particles: 1e6 })).rejects.toThrow(OutOfMemoryError)
})
