import { expect, test } from 'vitest'
import { ArgumentError } from '../lib/base/errors.js'
import { adaptSigmas } from '../lib/smc/adapt.js'
import { sigmaGrid } from '../lib/smc/schedule.js'
import { smc } from '../lib/smc/smc.js'
import { lowTemperature, product } from '../lib/smc/targets/linear.js'
import { energyOf, gaussian, two } from './smc-mixtures.js'

const range = { min: 0.01, max: 40 }
const within = (d: number, shift: number) =>
  energyOf({
    weights: [0.25, 0.75],
    means: [-3, 3].map((m) => Array.from({ length: d }, (_, i) => (i === 0 ? m + shift : 0))),
    covariances: [0.6, 0.8].map((v) => Array.from({ length: d }, (_, i) => (i < 6 ? v / 2 : 1))),
  })

/** Conditional ESS of every step as a share, means over a few runs. */
async function shares(target: Parameters<typeof smc>[0], sigmas: Float64Array, particles = 400) {
  const means = new Float64Array(sigmas.length - 1)
  const seeds = 3
  for (let seed = 50; seed < 50 + seeds; seed++) {
    const { diagnostics } = await smc(target, { particles, sigmas, seed })
    diagnostics.levels.slice(1).forEach((l, k) => {
      means[k] += l.conditionalEss / particles / seeds
    })
  }
  return means
}

const targets = [2, 32].flatMap((d) => [
  [`low temperature, d = ${d}`, lowTemperature(within(d, 0), { gamma: 2 })] as const,
  [`product, d = ${d}`, product([within(d, 0), within(d, 0.7)])] as const,
])

test.each(targets)('evens the steps out: %s', async (_, target) => {
  const steps = 24
  const { sigmas } = await adaptSigmas(target, { ...range, steps, seed: 3 })
  expect([sigmas.length, sigmas[0], sigmas[steps]]).toEqual([steps + 1, range.max, range.min])
  expect(Array.from(sigmas)).toEqual([...new Set(sigmas)].sort((a, b) => b - a))
  const [before, after] = [await shares(target, sigmaGrid({ ...range, steps })), await shares(target, sigmas)]
  // the third smallest: rare particles of large weight make single steps noisy
  expect(after.sort()[2]).toBeGreaterThan(before.sort()[2])
  const cost = (values: Float64Array) => values.reduce((sum, share) => sum - Math.log(share), 0)
  expect(cost(after)).toBeLessThan(0.9 * cost(before))
})

test('as many steps as keep a conditional ESS', async () => {
  const [, target] = targets[2]
  const some = await adaptSigmas(target, { ...range, conditionalEss: 0.8, seed: 1 })
  const many = await adaptSigmas(target, { ...range, conditionalEss: 0.95, seed: 1 })
  expect(many.sigmas.length).toBeGreaterThan(1.4 * some.sigmas.length)
  expect((await shares(target, many.sigmas)).sort()[1]).toBeGreaterThan(0.9)
  expect(some.barrier).toBeGreaterThan(1)
  expect(many.evaluations % 128).toBe(0)
})

test('a path without costs, reproducibility, bad options', async () => {
  const flat = await adaptSigmas(gaussian([0, 0], 0), { ...range, steps: 5, particles: 16 })
  expect(flat.sigmas).toHaveLength(6)
  const once = () => adaptSigmas(two, { ...range, steps: 6, particles: 32, seed: 4, proposal: 'posterior' })
  expect(await once()).toEqual(await once())
  for (const bad of [{}, { steps: 5, conditionalEss: 0.9 }, { steps: 0 }, { conditionalEss: 1 }, { conditionalEss: 0 }, { steps: 4, particles: 1 }, { steps: 4, rounds: 2 }, { steps: 4, weights: 'none' }]) // biome-ignore format: one line
    await expect(adaptSigmas(two, bad as { steps: number }), JSON.stringify(bad)).rejects.toThrow(ArgumentError)
  await expect(adaptSigmas(two, { conditionalEss: 1 - 1e-15, particles: 8 })).rejects.toThrow(/takes \d+ steps/)
  const signal = AbortSignal.abort(new Error('enough'))
  await expect(adaptSigmas(two, { steps: 4, signal })).rejects.toThrow('enough')
})
