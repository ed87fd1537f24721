import { finiteNumber, integer, knownOptions, numberList } from '../base/args.js'
import { invalid } from '../base/errors.js'
import { requireMemory } from '../base/memory.js'
import { native, run } from '../native/addon.js'
import type { MixtureArrays } from '../native/particle-ops.js'
import { host } from '../native/space.js'
import { type HostEvaluation, type ResidentEnergy, trust } from './energy-function.js'
import { checkedPoints } from './evaluation.js'

/** The components of a mixture. */
export interface GaussianMixtureOptions {
  /** Positive or zero; normalised here. */
  weights: ArrayLike<number>
  /** One mean of d numbers per component. */
  means: readonly ArrayLike<number>[]
  /** Per component: a variance, d variances, or a symmetric d x d matrix (rows); positive semidefinite, 0 is a point. */
  covariances: readonly (number | ArrayLike<number> | readonly ArrayLike<number>[])[]
}

/** A Gaussian mixture as an energy, exact at every noise level, and its draws. */
export interface GaussianMixture extends ResidentEnergy {
  /** n independent draws [n, d] of the mixture without noise. Reproducible from the seed (default 0). */
  sample(n: number, options?: { seed?: number }): Float32Array
}

/**
 * A Gaussian mixture as an energy function, exact at every noise level: E(x, sigma) = -log sum_i w_i N(x; mean_i, covariance_i + sigma^2 I),
 * normalised, in float64 inside. Throws ArgumentError.
 * @example
 * ```js
 * import { gaussianMixture } from 'feynkac'
 *
 * const mixture = gaussianMixture({
 *   weights: [0.3, 0.7],
 *   means: [[-1, 0], [1, 0]],
 *   covariances: [0.01, [0.01, 0.04]], // of all coordinates, of each
 * })
 * const { energy, grad } = await mixture.energyGrad(mixture.sample(4), 0.5)
 * ```
 */
export function gaussianMixture(options: GaussianMixtureOptions): GaussianMixture {
  knownOptions('gaussianMixture', options, ['weights', 'means', 'covariances'])
  const mixture = mixtureArrays(options)
  const d = mixture.means.length / mixture.logWeights.length
  const energyGradIn: ResidentEnergy['energyGradIn'] = async (space, x, sigma, { signal } = {}) => {
    const out = { energy: space.doubles(x.length / d), grad: space.floats(x.length) }
    await run(() => native.mixtureEnergy({ ...out, x, sigma, mixture }), signal)
    return out
  }
  return trust({
    shape: [d],
    residence: 'any',
    energyGradIn,
    async energyGrad(x, sigma, options = {}) {
      const own = await checkedPoints(x, sigma, d, options)
      return (await energyGradIn(host, own, sigma, options)) as HostEvaluation
    },
    sample(n, sampleOptions = {}) {
      knownOptions('sample', sampleOptions, ['seed'])
      const length = integer('n', n, 0, 0x7fffffff) * d
      requireMemory(4 * length, `${n} samples of [${d}]`)
      const out = new Float32Array(length)
      const seed = integer('seed', sampleOptions.seed ?? 0, 0)
      native.mixtureSample(out, mixture, seed)
      return out
    },
  })
}

/** Components, and dimensions. */
const MOST = 2 ** 20

function mixtureArrays({ weights, means, covariances }: GaussianMixtureOptions): MixtureArrays {
  const w = numberList('weights', weights, { min: 0, max: MOST })
  const count = w.length
  if (count === 0) throw invalid('weights', 'at least one number', weights)
  const total = w.reduce((a, b) => a + b, 0)
  if (!(total > 0)) throw invalid('weights', 'a positive sum', weights)
  if (!Array.isArray(means) || means.length !== count) throw invalid('means', `${count} means`, means)
  if (!Array.isArray(covariances) || covariances.length !== count)
    throw invalid('covariances', `${count} covariances`, covariances)
  const d = numberList('means[0]', means[0], { max: MOST }).length
  if (d === 0) throw invalid('means[0]', 'at least one number', means[0])
  const logWeights = Float64Array.from(w, (value) => Math.log(value / total))
  const flatMeans = Float64Array.from(Array.from(means, (mean, i) => row(`means[${i}]`, mean, d)).flat())
  const forms = Array.from(covariances, (c) =>
    typeof c === 'number' ? 'scalar' : typeof c?.[0] === 'number' ? 'diagonal' : 'full',
  )
  const form = forms.includes('full') ? 'full' : forms.includes('diagonal') ? 'diagonal' : 'scalar'
  const flat = Array.from(covariances, (c, i) => covariance(`covariances[${i}]`, c, d, form)).flat()
  return { logWeights, means: flatMeans, covariances: Float64Array.from(flat), form }
}

function row(name: string, value: ArrayLike<number>, d: number, range: { min?: number } = {}): number[] {
  return numberList(name, value, { length: d, ...range })
}

/** One covariance in the mixture's common form. */
function covariance(
  name: string,
  value: number | ArrayLike<number> | readonly ArrayLike<number>[],
  d: number,
  form: MixtureArrays['form'],
): number[] {
  if (typeof value === 'number' || typeof value?.[0] === 'number') {
    const variances =
      typeof value === 'number'
        ? new Array<number>(d).fill(finiteNumber(name, value, { min: 0 }))
        : row(name, value as ArrayLike<number>, d, { min: 0 })
    if (form === 'scalar') return variances.slice(0, 1)
    if (form === 'diagonal') return variances
    return variances.flatMap((v, i) => variances.map((_, j) => (i === j ? v : 0)))
  }
  if (value?.length !== d) throw invalid(name, `a variance, ${d} variances or a ${d} x ${d} matrix`, value)
  const rows = Array.from(value as readonly ArrayLike<number>[], (r, i) => row(`${name}[${i}]`, r, d))
  rows.forEach((r, i) => {
    for (let j = 0; j < i; j++)
      if (Math.abs(r[j] - rows[j][i]) > 1e-9 * Math.max(Math.abs(r[j]), Math.abs(rows[j][i])))
        throw invalid(name, 'a symmetric matrix', rows)
  })
  if (d <= MOST_FACTORED && !isSemidefinite(rows)) throw invalid(name, 'a positive semidefinite matrix', rows)
  return rows.flat()
}

/** Dimensions up to which a covariance is factored here, in some milliseconds. */
const MOST_FACTORED = 256

/** Whether Cholesky's factorisation goes through, up to the rounding of the matrix' own numbers. */
function isSemidefinite(matrix: readonly (readonly number[])[]): boolean {
  const scale = Math.max(...matrix.map((r, i) => r[i]))
  const slack = 1e-9 * scale
  const factor: number[][] = []
  for (const [i, r] of matrix.entries()) {
    factor.push([])
    for (let j = 0; j <= i; j++) {
      let rest = r[j] + (i === j ? slack : 0)
      for (let k = 0; k < j; k++) rest -= factor[i][k] * factor[j][k]
      if (i === j && !(rest >= 0)) return false
      factor[i].push(i === j ? Math.sqrt(rest) : factor[j][j] > 0 ? rest / factor[j][j] : 0)
    }
  }
  return true
}
