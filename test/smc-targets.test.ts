import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import type { Target } from '../lib/smc/energy-function.js'
import { gaussianMixture } from '../lib/smc/mixtures.js'
import { sample } from '../lib/smc/samplers.js'
import { sigmaGrid } from '../lib/smc/schedule.js'
import { smc } from '../lib/smc/smc.js'
import type { SmcOptions } from '../lib/smc/smc-options.js'
import type { SmcResult } from '../lib/smc/smc-result.js'
import { bounded } from '../lib/smc/targets/box.js'
import { lowTemperature, negation, product } from '../lib/smc/targets/linear.js'
import {
  type DiagonalMixture,
  modeWeights,
  productOf,
  totalVariation,
} from '../packages/lab/src/experiments/mixtures.js'
import { shared } from './shared.js'
import { energyOf, equalWeights, moments } from './smc-mixtures.js'

const fixture = shared('fixtures/smc/targets.json')

interface Factor {
  type: string
  weights: number[]
  means: number[][]
  covariances: number[][][]
  exponent: number
  lo: number[]
  hi: number[]
  tau: number
}
interface Problem {
  name: string
  factors: Factor[]
  sigmas: Record<string, number[]>
  mode_centers: number[][]
  exact: { log_Z: number; mode_weights: number[]; mean: number[]; covariance: number[][] }
  tolerance: { N: number; K: number; tv: number; dmean: number; dcov: number; abs_dlogZ: number }[]
}

function targetOf({ name, factors }: Problem): Target {
  const [first, second] = factors.map((f) =>
    f.type === 'soft_box' ? f : gaussianMixture({ weights: f.weights, means: f.means, covariances: f.covariances }),
  ) as ReturnType<typeof gaussianMixture>[]
  if (name === 'lowT4') return lowTemperature(first, { gamma: factors[0].exponent })
  if (name === 'product') return product([first, second])
  if (name === 'negation') return negation(first, second, { strength: -factors[1].exponent })
  const { lo, hi, tau } = factors[1]
  return bounded(first, { lower: lo, upper: hi, softness: tau })
}

const norm = (v: number[]): number => Math.hypot(...v)

describe.skipIf(fixture.missing)('composed targets against quadrature', () => {
  const problems: Problem[] = fixture.missing ? [] : JSON.parse(readFileSync(fixture.path, 'utf8')).problems
  test.each(problems.map((p) => [p.name, p] as const))(
    '%s, default method, within the stated tolerance',
    async (_, problem) => {
      expect(problem.tolerance.length).toBeGreaterThan(0)
      const { exact } = problem
      for (const t of problem.tolerance) {
        const seeds = t.N > 1024 ? 1 : 3
        // the tolerances are about twice the mean errors of independent runs: errors are averaged here as well
        const errors = { tv: 0, dmean: 0, dcov: 0, abs_dlogZ: 0 }
        for (let seed = 0; seed < seeds; seed++) {
          const options = { particles: t.N, sigmas: problem.sigmas[t.K], seed }
          const { samples, logWeights, logZ } = await smc(targetOf(problem), options)
          const weights = logWeights.map(Math.exp)
          const { mean, covariance } = moments(samples, weights)
          const difference = covariance.flatMap((row, i) => row.map((c, j) => c - exact.covariance[i][j]))
          errors.tv += totalVariation(modeWeights(samples, weights, problem.mode_centers), exact.mode_weights) / seeds
          errors.dmean += norm(mean.map((m, i) => m - exact.mean[i])) / seeds
          errors.dcov += norm(difference) / norm(exact.covariance.flat()) / seeds
          errors.abs_dlogZ += Math.abs(logZ - exact.log_Z) / seeds
        }
        for (const [name, error] of Object.entries(errors))
          expect(error, `${name}, N = ${t.N}, K = ${t.K}`).toBeLessThan(t[name as keyof typeof errors])
      }
    },
  )
})

/** docs/concepts/kernels.md: unequal weights, anisotropic in the first coordinates, unit scale in the others. */
function mixtureIn(d: number, shift: number): DiagonalMixture {
  const pad = (head: number[], tail: (i: number) => number) => Array.from({ length: d }, (_, i) => head[i] ?? tail(i))
  return {
    weights: [0.25, 0.75],
    means: [pad([-3 + shift, 1], () => 0), pad([3 + shift, -1], () => 0)],
    covariances: [pad([0.6, 0.3], (i) => (i < 6 ? 0.25 : 1)), pad([0.8, 0.5], (i) => (i < 6 ? 0.5 : 1))],
  }
}

interface Score {
  tv: number
  variance: number
  logZ: number
  ess: number
  roots: number
}

const N = 1024
const sigmas = sigmaGrid({ steps: 64, min: 0.02, max: 20 })

function scores(kind: 'product' | 'low temperature', d: number) {
  const p = mixtureIn(d, 0)
  const q = kind === 'product' ? mixtureIn(d, 0.7) : p
  const target = kind === 'product' ? product([energyOf(p), energyOf(q)]) : lowTemperature(energyOf(p), { gamma: 2 })
  const { logZ, weights: shares, means, covariances } = productOf(p, q, 0.02)
  const centres = [means[0], means[3]]
  const left = shares.reduce((sum, w, i) => sum + (means[i][0] < 0 ? w : 0), 0)
  const exact = [left, 1 - left]
  const spread = d > 6 ? covariances[0][d - 1] : Number.NaN

  /** Error of the mode weights, and the variance of the plain coordinates over the exact one. */
  const shape = (samples: Float32Array, weights: Float64Array) => {
    let variance = 0
    for (let i = 0; i < N; i++)
      for (let k = 6; k < d; k++) variance += (weights[i] * samples[i * d + k] ** 2) / (d - 6) / spread
    return { tv: totalVariation(modeWeights(samples, weights, centres), exact), variance }
  }
  return {
    async run(options: Partial<SmcOptions>, seeds = 2): Promise<Score> {
      const results: SmcResult[] = []
      for (let seed = 0; seed < seeds; seed++)
        results.push(await smc(target, { particles: N, sigmas, seed, ...options }))
      const shapes = results.map((r) => shape(r.samples, r.logWeights.map(Math.exp)))
      const mean = (f: (i: number) => number) => results.reduce((sum, _, i) => sum + f(i) / seeds, 0)
      return {
        tv: mean((i) => shapes[i].tv),
        variance: mean((i) => shapes[i].variance),
        logZ: Math.sqrt(mean((i) => (results[i].logZ - logZ) ** 2)),
        ess: mean((i) => Math.min(...results[i].ess)),
        roots: mean((i) => results[i].diagnostics.distinctRoots),
      }
    },
    async ancestral() {
      const { samples } = await sample(target, { particles: N, sigmas, method: 'ancestral', seed: 0 })
      return shape(samples, equalWeights(N))
    },
  }
}

describe.each(['product', 'low temperature'] as const)('the choice of kernels: %s', (kind) => {
  test('d = 2: every scheme with weights is right, the scaled analytic bridge best', async () => {
    const { run } = scores(kind, 2)
    const ours = await run({}, 3)
    expect(ours.tv).toBeLessThan(0.04)
    expect(ours.logZ).toBeLessThan(0.06)
    expect(ours.ess).toBeGreaterThan(N / 2)
    for (const options of [{ weights: 'tilt' }, { kernel: 'plain', proposal: 'sde' }] as const) {
      const other = await run(options, 3)
      expect(other.tv, JSON.stringify(options)).toBeLessThan(0.15)
      expect(other.logZ, JSON.stringify(options)).toBeGreaterThan(ours.logZ)
      expect(other.ess, JSON.stringify(options)).toBeLessThan(ours.ess)
    }
  })

  test('d = 32: the scaled analytic bridge holds where the others collapse', async () => {
    const { run, ancestral } = scores(kind, 32)
    const ours = await run({})
    expect(ours.tv).toBeLessThan(0.1)
    expect(Math.abs(ours.variance - 1)).toBeLessThan(0.05)
    expect(ours.logZ).toBeLessThan(0.2)
    expect(ours.roots).toBeGreaterThan(200)
    const others = [{ weights: 'tilt' }, { kernel: 'plain', proposal: 'sde' }, { weights: 'fkc' }] as const
    for (const options of others) {
      const other = await run(options)
      expect(other.logZ, JSON.stringify(options)).toBeGreaterThan(5 * ours.logZ)
      expect(other.roots, JSON.stringify(options)).toBeLessThan(ours.roots / 5)
    }
    // without weights the spread is wrong, however many the particles
    const plain = await ancestral()
    expect(plain.variance).toBeLessThan(0.8)
    // per coordinate, and with tuned HMC moves: as good
    const diagonal = await run({ proposal: 'analytic-diagonal' })
    expect(diagonal.logZ).toBeLessThan(0.2)
    const moved = await run({ moves: { kernel: 'hmc', tune: true } })
    expect(moved.roots).toBeGreaterThan(200)
    expect(moved.logZ).toBeLessThan(0.2)
  })
})
