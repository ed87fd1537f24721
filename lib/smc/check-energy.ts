import { finiteNumber, float32Array, integer, knownOptions, numberList } from '../base/args.js'
import { digits, invalid } from '../base/errors.js'
import { purpose } from '../base/random.js'
import { sizeOf } from '../base/shape.js'
import { native } from '../native/addon.js'
import type { EnergyFunction } from './energy-function.js'
import { energyGrad, nameOf } from './evaluation.js'
import { checkedModel } from './targets/target.js'

/** Whether an energy of one's own is what smc takes it for. */

export interface CheckEnergyOptions {
  /** Samples of the density without noise [n, ...shape], 32 or more: what the noise levels are checked by. Without them points of N(0, 1) serve. */
  data?: Float32Array
  /** Noise levels to look at; default 0.05, 0.3, 1, 5. */
  sigmas?: ArrayLike<number>
  /** Relative error of the gradient that is let pass; default 0.02, as float32 has it. */
  tolerance?: number
  /** Default 0. */
  seed?: number
  signal?: AbortSignal
}

/** What was found at one noise level. */
export interface EnergyCheckLevel {
  sigma: number
  /** Points where the energy or its gradient is not finite. */
  notFinite: number
  /** Root mean square over points of finite difference - gradient, in units of the gradients' own. */
  gradientError: number
  /** Where data are given: slope of the noise on the score's prediction of it, with its standard error; 1 where sigma is right. */
  noiseSlope?: number
  noiseSlopeError?: number
}

/** What `checkEnergy` found. */
export interface EnergyCheck {
  ok: boolean
  /** What is wrong and what to look at, in sentences. */
  problems: string[]
  levels: EnergyCheckLevel[]
}

const POINTS = 32
/** Samples of the data that are looked at. */
const MOST = 512
/** Standard errors from 1 that a slope must be away, and how far at least, to be wrong. */
const [FAR, LEAST] = [5, 0.1]
/** Steps of the finite differences in units of the point's own scale: the best of them counts, as rounding and curvature pull two ways. */
const STEPS = [3e-2, 1e-2, 3e-3, 1e-3]
/** Other noise levels, as multiples, that an energy may be at by mistake. */
const OTHERS = [0.25, 0.5, Math.SQRT1_2, Math.SQRT2, 2, 4]

/** Documented in late.ts. */
export async function checkEnergy(energy: EnergyFunction, options: CheckEnergyOptions = {}): Promise<EnergyCheck> {
  knownOptions('checkEnergy', options, ['data', 'sigmas', 'tolerance', 'seed', 'signal'])
  const model = checkedModel('energy', energy)
  const d = sizeOf(model.shape)
  const sigmas = numberList('sigmas', options.sigmas ?? [0.05, 0.3, 1, 5], { above: 0, max: 1000 })
  if (sigmas.length === 0) throw invalid('sigmas', 'at least one noise level', options.sigmas)
  const tolerance = finiteNumber('tolerance', options.tolerance ?? 0.02, { above: 0 })
  const seed = integer('seed', options.seed ?? 0, 0)
  const { data, signal } = options
  const given = data === undefined ? POINTS : float32Array('data', data).length / d
  if (!Number.isInteger(given) || given < POINTS) throw invalid('data', `a Float32Array of ${POINTS} or more samples of [${model.shape}]`, data) // biome-ignore format: one line
  const n = Math.min(given, MOST)
  const clean = data?.slice(0, n * d) ?? normals(POINTS, d, seed, 0)
  const name = nameOf(model)
  const evaluate = (x: Float32Array, sigma: number) => energyGrad(model, x, sigma, signal)
  const levels: EnergyCheckLevel[] = []
  const problems: string[] = []

  for (const [k, sigma] of sigmas.entries()) {
    const noise = normals(n, d, seed, k + 1)
    const x = clean.map((value, i) => value + sigma * noise[i])
    const { energy: values, grad } = await evaluate(x, sigma)
    const finite = (i: number) => Number.isFinite(values[i]) && grad.subarray(i * d, (i + 1) * d).every(Number.isFinite)
    const good = Array.from({ length: n }, (_, i) => i).filter(finite)
    const level: EnergyCheckLevel = { sigma, notFinite: n - good.length, gradientError: Number.NaN }
    levels.push(level)
    const at = `at sigma = ${digits(sigma)}`
    if (level.notFinite > 0)
      problems.push(`${level.notFinite} of ${n} energies or gradients of ${name} are not finite ${at}: look for logarithms and quotients that underflow`) // biome-ignore format: one line
    if (good.length === 0) continue
    level.gradientError = await gradientError(evaluate, x, sigma, { grad, good, d, seed, k })
    if (!(level.gradientError <= tolerance))
      problems.push(`the gradient of ${name} is not that of its energy ${at}: finite differences differ by ${percent(level.gradientError)}. Look at the sign, at factors of sigma, and that it is of x`) // biome-ignore format: one line
    if (data === undefined) continue
    const { slope, error, loss } = noiseFit(grad, noise, sigma, good, d)
    level.noiseSlope = slope
    level.noiseSlopeError = error
    if (Math.abs(slope - 1) <= Math.max(LEAST, FAR * error)) continue
    let best = { by: 1, loss }
    for (const by of OTHERS) {
      const other = noiseFit((await evaluate(x, sigma * by)).grad, noise, sigma, good, d).loss
      if (other < best.loss) best = { by, loss: other }
    }
    const guess =
      best.by !== 1 && best.loss < 0.9 * loss
        ? `It fits better at ${digits(best.by)} times that: is its noise level ${digits(sigma)} taken for another quantity, such as a variance?`
        : slope > 1
          ? 'Its gradient is too small, or its noise too large'
          : 'Its gradient is too large, or its noise too small'
    problems.push(`the score of ${name} does not predict the noise of the data ${at}: the noise is ${digits(slope)} ± ${digits(error)} times what it says. ${guess}`) // biome-ignore format: one line
  }
  return { ok: problems.length === 0, problems, levels }
}

const percent = (share: number) => (Number.isNaN(share) ? 'something that is not finite' : `${digits(100 * share)} %`)

function normals(n: number, d: number, seed: number, step: number): Float32Array {
  const out = new Float32Array(n * d)
  native.normals(out, n, seed, purpose.user, step)
  return out
}

interface At {
  grad: Float32Array
  good: readonly number[]
  d: number
  seed: number
  k: number
}

/** Central differences along one random direction per point, against <grad, direction>, relative to the root mean square of the latter. */
async function gradientError(
  evaluate: (x: Float32Array, sigma: number) => Promise<{ energy: Float64Array }>,
  x: Float32Array,
  sigma: number,
  { grad, good, d, seed, k }: At,
): Promise<number> {
  const points = good.slice(0, POINTS)
  const directions = normals(points.length, d, seed, 10_000 + k)
  const slopes = new Float64Array(points.length)
  points.forEach((i, p) => {
    const length = Math.sqrt(directions.subarray(p * d, (p + 1) * d).reduce((sum, u) => sum + u * u, 0))
    for (let j = 0; j < d; j++) {
      directions[p * d + j] /= length
      slopes[p] += directions[p * d + j] * grad[i * d + j]
    }
  })
  const size = Math.sqrt(slopes.reduce((sum, s) => sum + s * s, 0) / points.length) || 1
  const errors = new Float64Array(points.length).fill(Number.POSITIVE_INFINITY)
  for (const relative of STEPS) {
    const h = relative * Math.min(1, sigma) * Math.sqrt(d)
    // as float32 has them
    const shifted = (sign: number) =>
      Float32Array.from(directions, (u, at) => x[points[Math.floor(at / d)] * d + (at % d)] + sign * h * u)
    const [above, below] = [shifted(1), shifted(-1)]
    const [plus, minus] = [(await evaluate(above, sigma)).energy, (await evaluate(below, sigma)).energy]
    points.forEach((i, p) => {
      let expected = 0
      for (let j = 0; j < d; j++) expected += grad[i * d + j] * (above[p * d + j] - below[p * d + j])
      errors[p] = Math.min(errors[p], Math.abs(plus[p] - minus[p] - expected) / (2 * h))
    })
  }
  const error = Math.sqrt(errors.reduce((sum, e) => sum + e * e, 0) / points.length)
  return Number.isFinite(error) ? error / size : Number.NaN
}

/** The regression through 0 of the noise n on what the score says of it, sigma grad E = E[n | x] (Tweedie): its slope, and the mean square left at 1. */
function noiseFit(grad: Float32Array, noise: Float32Array, sigma: number, good: readonly number[], d: number) {
  let [xx, xy] = [0, 0]
  const rows: [number, number][] = []
  let loss = 0
  for (const i of good) {
    let [a, b] = [0, 0]
    for (let j = i * d; j < (i + 1) * d; j++) {
      const said = sigma * grad[j]
      a += said * said
      b += said * noise[j]
      loss += (noise[j] - said) ** 2
    }
    rows.push([a, b])
    xx += a
    xy += b
  }
  const slope = xy / xx
  const squares = rows.reduce((sum, [a, b]) => sum + (b - slope * a) ** 2, 0)
  return { slope, error: Math.sqrt(squares) / xx, loss }
}
