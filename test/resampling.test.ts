import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { ArgumentError, NumericsError } from '../lib/base/errors.js'
import {
  effectiveSampleSize,
  logMeanExp,
  type ResamplingScheme,
  resample,
  resamplingSchemes,
} from '../lib/smc/resampling.js'
import { shared } from './shared.js'

const fixture = shared('fixtures/smc/resampling.json')
interface Fixture {
  weights: { W: number[] }[]
  cases: { w: number; scheme: ResamplingScheme; M: number; A: number[]; u: number | number[]; u_keep?: number[] }[]
  edge_cases: { name: string; scheme: ResamplingScheme; W: number[]; u: number; safe_A: number[] }[]
  log_weights: { name: string; log_w: (number | string)[]; exact: { ess: number; log_mean_exp: number } | null }[]
  increments: { log_w: number[]; log_g: number[]; log_Z_increment: number; ess_after: number }[]
}
const load = (): Fixture => JSON.parse(readFileSync(fixture.path, 'utf8'))
const number = (v: number | string): number =>
  typeof v === 'number' ? v : v === 'nan' ? Number.NaN : v === 'inf' ? Infinity : -Infinity

describe.skipIf(fixture.missing)('against the reference', () => {
  test('all cases, exactly', () => {
    const { weights, cases } = load()
    expect(cases).toHaveLength(260)
    for (const c of cases) {
      const uniforms = Float64Array.from([...(c.u_keep ?? []), ...[c.u].flat()])
      const a = resample(Float64Array.from(weights[c.w].W), { scheme: c.scheme, n: c.M, uniforms })
      expect(Array.from(a), `${c.scheme}, weights ${c.w}, ${c.M} draws`).toEqual(c.A)
    }
  })

  test('the safe answers at ties and at the end of the cumulative sum', () => {
    for (const c of load().edge_cases) {
      const a = resample(Float64Array.from(c.W), { scheme: c.scheme, uniforms: Float64Array.of(c.u) })
      expect(Array.from(a), c.name).toEqual(c.safe_A)
    }
  })

  test('ESS and log-mean-exp against 60-digit arithmetic', () => {
    for (const c of load().log_weights) {
      const lw = Float64Array.from(c.log_w, number)
      if (c.exact) {
        expect(Math.abs(effectiveSampleSize(lw) / c.exact.ess - 1), c.name).toBeLessThan(1e-12)
        const scale = Math.max(1, Math.abs(c.exact.log_mean_exp))
        expect(Math.abs(logMeanExp(lw) - c.exact.log_mean_exp) / scale, c.name).toBeLessThan(1e-14)
      } else if (lw.some((v) => Number.isNaN(v) || v === Infinity)) {
        expect(() => effectiveSampleSize(lw), c.name).toThrow(NumericsError)
        expect(() => logMeanExp(lw), c.name).toThrow(NumericsError)
      } else {
        expect([effectiveSampleSize(lw), logMeanExp(lw)], c.name).toEqual([0, -Infinity])
      }
    }
  })

  test('weight increments', () => {
    for (const { log_w, log_g, ...want } of load().increments) {
      const after = Float64Array.from(log_w, (v, i) => v + log_g[i])
      const increment = logMeanExp(after) - logMeanExp(Float64Array.from(log_w))
      expect(Math.abs(increment - want.log_Z_increment)).toBeLessThan(1e-13)
      expect(Math.abs(effectiveSampleSize(after) / want.ess_after - 1)).toBeLessThan(1e-12)
    }
  })
})

/** Largest deviation of the mean offspring from N W, in standard errors. */
function offspringBias(draw: (seed: number) => ArrayLike<number>, w: Float64Array, runs: number): number {
  const n = w.length
  const [sum, squares] = [new Float64Array(n), new Float64Array(n)]
  for (let seed = 0; seed < runs; seed++) {
    const copies = new Float64Array(n)
    for (const a of Array.from(draw(seed))) copies[a]++
    copies.forEach((c, i) => {
      sum[i] += c
      squares[i] += c * c
    })
  }
  return Math.max(
    ...Array.from(w, (weight, i) => {
      const mean = sum[i] / runs
      const error = Math.sqrt(Math.max(squares[i] / runs - mean * mean, 1e-4) / runs)
      return Math.abs(mean - n * weight) / error
    }),
  )
}

describe('unbiased', () => {
  const raw = Array.from({ length: 9 }, (_, i) => (i === 4 ? 0 : Math.exp(Math.sin(7 * i) * 1.5)))
  const total = raw.reduce((a, b) => a + b)
  const w = Float64Array.from(raw, (v) => v / total)

  test.each(resamplingSchemes)('%s: mean offspring is N W', (scheme) => {
    expect(offspringBias((seed) => resample(w, { scheme, seed }), w, 20_000)).toBeLessThan(4.5)
  })

  test('the check sees a wrong scheme', () => {
    // residual resampling that draws its rest from the weights instead of from their fractions, a bug known from public code
    const wrong = (seed: number) => {
      const copies = Array.from(w).flatMap((v, i) => new Array<number>(Math.floor(9 * v)).fill(i))
      const rest = resample(w, { scheme: 'multinomial', n: 9 - copies.length, seed })
      return [...copies, ...rest]
    }
    expect(offspringBias(wrong, w, 20_000)).toBeGreaterThan(10)
  })
})

test('another number of draws, weights that are not normalised, reproducibility', () => {
  const w = Float64Array.of(0, 2, 6)
  expect(Array.from(resample(w, { n: 8, uniforms: Float64Array.of(0.5) }))).toEqual([1, 1, 2, 2, 2, 2, 2, 2])
  expect(resample(w, { n: 0 })).toHaveLength(0)
  expect(resample(w, { n: 1000, scheme: 'multinomial', seed: 5 })).toEqual(
    resample(w, { n: 1000, scheme: 'multinomial', seed: 5 }),
  )
  expect(resample(w, { n: 1000, scheme: 'multinomial', seed: 5 })).not.toEqual(
    resample(w, { n: 1000, scheme: 'multinomial', seed: 6 }),
  )
})

test('equal weights give every particle once', () => {
  for (const scheme of ['systematic', 'residual', 'ssp'] as const)
    for (const n of [1, 49, 98, 4097]) {
      const a = resample(new Float64Array(n).fill(1 / n), { scheme, seed: 3 })
      expect(Array.from(a), `${scheme} ${n}`).toEqual(Array.from({ length: n }, (_, i) => i))
    }
})

test('bad arguments are typed errors', () => {
  const w = Float64Array.of(0.5, 0.5)
  for (const bad of [[0, 0], [Number.NaN, 1], [-1, 2], [Infinity, 1], []])
    expect(() => resample(Float64Array.from(bad)), String(bad)).toThrow(ArgumentError)
  // biome-ignore lint/suspicious/noExplicitAny: wrong types on purpose
  const anything = (v: unknown) => v as any
  expect(() => resample(anything([0.5, 0.5]))).toThrow(ArgumentError)
  expect(() => resample(w, { scheme: anything('best') })).toThrow(ArgumentError)
  expect(() => resample(w, anything({ sheme: 'ssp' }))).toThrow(ArgumentError)
  expect(() => resample(w, { n: -1 })).toThrow(ArgumentError)
  expect(() => resample(w, { scheme: 'killing', n: 3 })).toThrow(ArgumentError)
  expect(() => resample(w, { scheme: 'stratified', uniforms: Float64Array.of(0.5) })).toThrow(ArgumentError)
  expect(() => resample(w, { uniforms: Float64Array.of(1) })).toThrow(ArgumentError)
  expect(() => resample(w, { uniforms: new Float64Array(0) })).toThrow(ArgumentError)
  expect(() => effectiveSampleSize(new Float64Array(0))).toThrow(ArgumentError)
  expect(() => logMeanExp(anything(null))).toThrow(ArgumentError)
})
