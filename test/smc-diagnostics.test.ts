import { describe, expect, test } from 'vitest'
import { ArgumentError } from '../lib/base/errors.js'
import { native, run } from '../lib/native/addon.js'
import { branches, genealogyPng } from '../lib/report/genealogy.js'
import { Advisor, type Setting } from '../lib/smc/advice.js'
import { Roots } from '../lib/smc/diagnostics.js'
import type { LevelReport } from '../lib/smc/events.js'
import type { FeynmanKacModel } from '../lib/smc/feynman-kac.js'
import { extremes } from '../lib/smc/redraw.js'
import { sigmaGrid } from '../lib/smc/schedule.js'
import { smc } from '../lib/smc/smc.js'
import { lowTemperature } from '../lib/smc/targets/linear.js'
import { energyOf, gaussian, two } from './smc-mixtures.js'

/** Local level model: x_k = x_(k-1) + N(0, 1), y_k = x_k + N(0, 1/2); the Kalman filter knows the likelihood. */
const y = [0.5, 1.2, -0.3, 2, 1.4, 2.2, 0.1, -1]
const precision = 2
const model: FeynmanKacModel = {
  levels: y.length,
  initial: (_n, rng) => rng.normals(),
  propagate: (_k, x, rng) => rng.normals().map((z, i) => x[i] + z),
  logPotential: (k, _previous, x) =>
    Float64Array.from(x, (v) => (-precision * (y[k] - v) ** 2 + Math.log(precision / (2 * Math.PI))) / 2),
}
function likelihood(): number {
  let [m, v, log] = [0, 0, 0]
  for (const obs of y) {
    v += 1
    const s = v + 1 / precision
    log -= ((obs - m) ** 2 / s + Math.log(2 * Math.PI * s)) / 2
    m += (v / s) * (obs - m)
    v *= 1 - v / s
  }
  return log
}
const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length
const deviation = (values: readonly number[]) => Math.sqrt(mean(values.map((v) => (v - mean(values)) ** 2)))

describe('measured at every level', () => {
  test('conditional ESS and roots, by hand', async () => {
    const potentials: Float64Array[] = []
    const recorded: FeynmanKacModel = {
      ...model,
      async logPotential(k, previous, x) {
        potentials.push(await model.logPotential(k, previous, x))
        if (k === 3) potentials[k][0] = -Infinity
        return potentials[k].slice()
      },
    }
    const n = 40
    const { ancestors, diagnostics } = await smc(recorded, { particles: n, essThreshold: 0.6, seed: 2 })
    expect(diagnostics.resamplings).toBeGreaterThan(1)
    expect(diagnostics.resamplings).toBeLessThan(y.length - 1)
    let weights = new Array<number>(n).fill(1 / n)
    let roots = weights.map((_, i) => i)
    for (const [k, level] of diagnostics.levels.entries()) {
      const g = Array.from(potentials[k], Math.exp)
      const first = weights.reduce((sum, w, i) => sum + w * g[i], 0)
      const second = weights.reduce((sum, w, i) => sum + w * g[i] ** 2, 0)
      expect(level.conditionalEss / ((n * first ** 2) / second)).toBeCloseTo(1, 9)
      weights = weights.map((w, i) => (w * g[i]) / first)
      const a = ancestors[k]
      if (a) [weights, roots] = [weights.map(() => 1 / n), Array.from(a, (parent) => roots[parent])]
      expect(level.distinctRoots).toBe(new Set(roots).size)
      expect(level.meanEnergy).toBeNaN()
    }
    expect(Array.from(diagnostics.roots)).toEqual(roots)
  })

  test('mean energy of a Gaussian', async () => {
    const [d, v] = [3, 0.5]
    const run = await smc(gaussian([1, -1, 0.5], v), { particles: 4096, sigmas: sigmaGrid({ steps: 8, min: 0.1, max: 10 }) }) // biome-ignore format: one line
    for (const { meanEnergy, sigma } of run.diagnostics.levels)
      expect(Math.abs(meanEnergy - (d / 2) * (1 + Math.log(2 * Math.PI * (v + sigma ** 2))))).toBeLessThan(0.1)
  })

  test.each([
    ['multinomial', 0.5, 1],
    ['systematic', 0.5, 1],
    ['systematic', 0.9, 1],
    ['killing', 0.5, 1],
    ['systematic', 0.5, 0.8],
  ] as const)('error of log Z against its spread: %s below %s, to %s', async (resampling, essThreshold, essAfter) => {
    const runs = []
    for (let seed = 0; seed < 80; seed++)
      runs.push(await smc(model, { particles: 100, resampling, essThreshold, essAfter, seed }))
    const spread = deviation(runs.map(({ logZ }) => logZ))
    // 8 % of noise in the spread of 80 runs
    expect(Math.abs(Math.sqrt(mean(runs.map(({ logZError }) => logZError ** 2))) / spread - 1)).toBeLessThan(0.3)
  })

  test('no bound on the error where one root is left; none without weights', async () => {
    const run = await smc(model, { particles: 1 })
    expect([run.logZError, run.diagnostics.distinctRoots]).toEqual([Infinity, 1])
    const peaked: FeynmanKacModel = { ...model, logPotential: (_k, _p, x) => Float64Array.from(x, (v) => 1e4 * v) }
    const levels = (await smc(peaked, { particles: 20 })).diagnostics.levels
    expect(levels[1]).toMatchObject({ distinctRoots: 1, logZError: Infinity })
    const plain = await smc(two, { particles: 8, sigmas: [2, 1], weights: 'none' })
    expect([plain.logZError, plain.diagnostics.levels[1].conditionalEss]).toEqual([Number.NaN, expect.closeTo(8, 9)])
  })
})

test('roots of a generation and their shares, whatever the order of the ancestors; a checkpoint of others is refused', async () => {
  const n = 300
  const uniforms = new Float64Array(3 * n)
  native.uniforms(uniforms, 1, 0, 11, 0)
  const [parents, ancestors] = [0, n].map((from) => Int32Array.from({ length: n }, (_, i) => n * uniforms[from + i]))
  const weights = uniforms.slice(2 * n)
  const next = new Int32Array(n).fill(-1)
  const families = new Float64Array(n)
  const { distinct, concentration } = await run(() =>
    native.descend({ ancestors, weights, roots: { of: parents, next, families } }),
  )
  const roots = Array.from(ancestors, (a) => parents[a])
  expect([...next]).toEqual(roots)
  expect(distinct).toBe(new Set(roots).size)
  const shares = new Float64Array(n)
  for (const [i, root] of roots.entries()) shares[root] += weights[i]
  expect(concentration).toBe(shares.reduce((sum, share) => sum + share * share, 0))
  expect(families.every((share) => share === 0)).toBe(true)
  const state = { distinct: 2, variance: 0, start: 0.5, resampled: true }
  for (const wrong of [3, -1, 0.5, Number.NaN])
    await expect((async () => (await Roots.begin(3)).restore([0, wrong, 2], state))()).rejects.toThrow(
      /root .* of particle 1/,
    )
})

describe('resampling of the extremes alone', () => {
  const weights = (n: number, spread: number) => {
    const raw = Float64Array.from({ length: n }, (_, i) => Math.exp(spread * Math.sin(7 * i + 1)))
    const total = raw.reduce((a, b) => a + b)
    return raw.map((w) => w / total)
  }
  const essOf = (w: Float64Array) => 1 / w.reduce((sum, v) => sum + v * v, 0)

  test.each([0.5, 2, 8])('chooses few, and reaches the share: spread %s', async (spread) => {
    for (const n of [1, 2, 7, 300]) {
      const w = weights(n, spread)
      const chosen = await extremes(w, 0.8)
      const total = chosen.reduce((sum, i) => sum + w[i], 0)
      const after = w.slice()
      for (const i of chosen) after[i] = total / chosen.length
      expect(essOf(after)).toBeGreaterThanOrEqual(0.8 * n - 1e-9)
      expect(Array.from(chosen)).toEqual([...new Set(chosen)].sort((i, j) => i - j))
      // those left out lie between those chosen
      const others = Array.from(w.keys()).filter((i) => !chosen.includes(i))
      const low = chosen.filter((i) => w[i] < 1 / n)
      if (low.length) for (const i of others) expect(w[i]).toBeGreaterThanOrEqual(Math.max(...low.map((j) => w[j])))
    }
    const counts = [await extremes(weights(300, spread), 0.6), await extremes(weights(300, spread), 0.95)].map((all) => all.length) // biome-ignore format: one line
    expect(counts[0]).toBeLessThan(counts[1])
  })

  test('keeps expectations: Z is unbiased', async () => {
    const ratios = []
    const exact = likelihood()
    for (let seed = 0; seed < 600; seed++) {
      const { logZ } = await smc(model, { particles: 12, essThreshold: 0.7, essAfter: 0.85, seed })
      ratios.push(Math.exp(logZ - exact))
    }
    expect(Math.abs(mean(ratios) - 1) / (deviation(ratios) / Math.sqrt(ratios.length))).toBeLessThan(3.5)
  })

  test('leaves the others as they are, and more roots', async () => {
    const options = { particles: 200, essThreshold: 0.5, seed: 5 }
    const [whole, some] = [await smc(model, options), await smc(model, { ...options, essAfter: 0.7 })]
    const first = some.ancestors.findIndex(Boolean)
    const kept = some.ancestors[first]!.filter((parent, i) => parent === i).length
    expect(kept).toBeGreaterThan(50)
    expect(new Set(some.ancestors[first]).size).toBe(some.diagnostics.levels[first].uniqueAncestors)
    expect(some.diagnostics.levels[first].distinctRoots).toBeGreaterThan(whole.diagnostics.levels[first].distinctRoots)
    expect(some.logWeights.reduce((sum, lw) => sum + Math.exp(lw), 0)).toBeCloseTo(1, 9)
    const final = await smc(model, { ...options, essAfter: 0.7, finalResample: true })
    expect(new Set(final.logWeights)).toEqual(new Set([-Math.log(200)]))
  })

  test('not below the threshold', async () => {
    for (const essAfter of [0.4, 1.1, Number.NaN])
      await expect(smc(model, { particles: 8, essAfter })).rejects.toThrow(ArgumentError)
  })
})

describe('advice by symptom', () => {
  const setting: Setting = { particles: 100, essThreshold: 0.5, essAfter: 1, where: (k) => `level ${k}`, weights: 'bridge', kernel: 'scaled', proposal: 'analytic' } // biome-ignore format: one line
  /** The warnings of a run whose levels differ from a good one by `change`. */
  function warnings(change: (level: number) => Partial<LevelReport>, other: Partial<Setting> = {}) {
    const advisor = new Advisor({ ...setting, ...other })
    const good = { conditionalEss: 90, ess: 80, distinctRoots: 60, acceptance: 0.6 } as LevelReport
    return Array.from({ length: 24 }, (_, level) => advisor.look({ ...good, level, ...change(level) })).flatMap(
      (warning, level) => (warning ? [`${level}: ${warning}`] : []),
    )
  }

  test('none for a good run, or one particle', () => {
    expect(warnings(() => ({}))).toEqual([])
    expect(warnings(() => ({ conditionalEss: 1, distinctRoots: 1 }), { particles: 1 })).toEqual([])
  })

  test('a start that does not cover the target', () => {
    expect(warnings((k) => (k === 0 ? { conditionalEss: 2, ess: 2 } : {}))).toEqual([expect.stringMatching(/^0: the start is worth 2\.0 of 100 particles at level 0.*larger noise/)]) // biome-ignore format: one line
  })

  test('one step that is too large, and a later one that is much worse', () => {
    const given = warnings((k) => (k === 9 ? { conditionalEss: 8 } : k === 11 ? { conditionalEss: 6 } : k === 15 ? { conditionalEss: 2 } : {})) // biome-ignore format: one line
    expect(given).toEqual([
      expect.stringMatching(/^9: the step to level 9 alone.*8\.0 of 100, where 90 of 100 is usual.*--adapt-levels/),
      expect.stringMatching(/^15: the step to level 15/),
    ])
  })

  test('a steady decline', () => {
    const decline = () => ({ conditionalEss: 30 })
    const [given, ...more] = warnings(decline)
    expect(more).toEqual([])
    expect(given).toMatch(/^8: the weights decline steadily.*dimension.*analytic-diagonal.*--moves mala/)
    expect(given).not.toMatch(/scaled/)
    expect(warnings(decline, { weights: 'fkc', kernel: 'plain', proposal: 'sde' })[0]).toMatch(/kernel: 'scaled'/)
    const own = warnings(decline, { weights: undefined, kernel: undefined, proposal: undefined })
    expect(own[0]).toMatch(/proposals nearer to the model$/)
  })

  test('none that cannot be followed, and no fair steps once they were not', () => {
    const few = (k: number) => ({ distinctRoots: k > 12 ? 4 : 60 })
    expect(warnings(few)[0]).toMatch(/--ess-after.*--moves mala/)
    expect(warnings(few, { weights: 'tilt' })[0]).not.toMatch(/moves/)
    expect(warnings(few, { essThreshold: 0.9 })[0]).not.toMatch(/essAfter/)
    expect(warnings(few, { essAfter: 0.8 })[0]).not.toMatch(/essAfter/)
    const collapsed = warnings((k) => ({ conditionalEss: k < 9 ? 30 : 90, distinctRoots: k > 2 ? 1 : 60 }))
    expect(collapsed.some((warning) => /each step is fair/.test(warning))).toBe(false)
  })

  test('few roots although every step is fair, then one', () => {
    const given = warnings((k) => ({ distinctRoots: k > 20 ? 1 : k > 12 ? 4 : 60 }))
    expect(given).toEqual([
      expect.stringMatching(/^13: only 4 of 100.*many small losses.*--ess-threshold/),
      expect.stringMatching(/^21: one initial particle is the ancestor of all/),
    ])
    expect(warnings((k) => ({ distinctRoots: k > 12 ? 4 : 60 }), { essThreshold: 0.2 })[0]).not.toMatch(/threshold/)
  })

  test('moves that are not accepted', () => {
    expect(warnings(() => ({ acceptance: 0.02 }))).toEqual([expect.stringMatching(/2\.0 % of the moves.*stepSize/)])
    expect(warnings(() => ({ acceptance: Number.NaN }))).toEqual([])
  })

  test('comes with the level and in the diagnostics', async () => {
    const target = lowTemperature(energyOf({ weights: [1], means: [Array(64).fill(0)], covariances: [Array(64).fill(1)] }), { gamma: 3 }) // biome-ignore format: one line
    const live: string[] = []
    const { diagnostics } = await smc(target, {
      particles: 64,
      sigmas: sigmaGrid({ steps: 12, min: 0.05, max: 20 }),
      weights: 'tilt',
      onProgress: ({ warning }) => warning && live.push(warning),
    })
    expect(live.join('\n')).toMatch(/level \d+ of 12 \(sigma = .*kernel: 'scaled'/)
    expect(diagnostics.warnings).toEqual(live)
    expect(diagnostics.levels.flatMap(({ warning }) => warning ?? [])).toEqual(live)
  })
})

describe('the picture of a genealogy', () => {
  test('lines of a small one', async () => {
    // of three particles the first is lost at level 1, and the last doubled
    const lines = await branches([null, Int32Array.of(2, 1, 2), null], 3)
    expect(lines).toEqual([
      { from: 0, to: 1, y: 0, yTo: 0, survives: false },
      { from: 0, to: 1, y: 0.5, yTo: 0.5, survives: true },
      { from: 0, to: 1, y: 1, yTo: 1, survives: true },
      { from: 1, to: 2, y: 1, yTo: 0.5, survives: true },
      { from: 1, to: 2, y: 0.5, yTo: 0, survives: true },
      { from: 1, to: 2, y: 1, yTo: 1, survives: true },
    ])
  })

  test('lines never cross, and lead to the roots', async () => {
    const run = await smc(model, { particles: 50, seed: 3, resampling: 'killing', essAfter: 0.8, essThreshold: 0.7 })
    const lines = await branches(run.ancestors, 50)
    for (const a of lines)
      for (const b of lines)
        if (a.from === b.from && a.to === b.to && a.y < b.y) expect(a.yTo).toBeLessThanOrEqual(b.yTo)
    expect(lines.filter(({ from, survives }) => from === 0 && survives)).toHaveLength(run.diagnostics.distinctRoots)
    const thinned = await branches(run.ancestors, 50, 10)
    expect(thinned.length).toBeLessThan(lines.length / 3)
    expect(thinned.length).toBeGreaterThan(10)
  })

  test.each([1, 1500])('PNG of %i particles', async (particles) => {
    const run = await smc(model, { particles, finalResample: true })
    const png = await genealogyPng(run)
    expect(png.subarray(1, 4).toString()).toBe('PNG')
    expect(png.length).toBeGreaterThan(10_000)
  })
})
