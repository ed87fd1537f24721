import { integer, knownOptions } from '../base/args.js'
import { ArgumentError, NumericsError } from '../base/errors.js'
import { permutation } from '../base/order.js'
import { turns } from '../base/turns.js'
import { innerBlocks, type Kernel, sumBetween, sumWithin } from './blocks.js'
import { heldRows, rowsAt } from './inputs.js'

/** What `kernelDistance` takes beside the two sides. */
export interface KernelDistanceOptions {
  /** Number of features of a sample. */
  dim: number
  /** Samples of either side in a subset; default a tenth of the smaller side, at most 1000. */
  subsetSize?: number
  /** Most subsets to take; default as many as there are. */
  subsets?: number
  /** Seed of the order in which samples go into subsets; default 0. */
  seed?: number
  signal?: AbortSignal
}

/** What `kernelDistance` returns. */
export interface KernelDistance {
  /** Squared maximum mean discrepancy, unbiased: it may be below 0 where both are alike. */
  mean: number
  /** Standard error of the mean, from the subsets, which have no sample in common. */
  standardError: number
  subsets: number
  subsetSize: number
}

/**
 * The kernel distance of features (KID; Bińkowski et al. 2018): unbiased MMD^2 with the kernel (x·y / dim + 1)^3, the mean over
 * disjoint random subsets. Its expectation depends neither on the number of samples nor on the size of the subsets.
 *
 * Features a [n, dim] and b [m, dim], at least 4 of each. Throws ArgumentError, NumericsError where they are too large, the signal's reason when aborted.
 * @example
 * ```js
 * import { gaussianMixture, kernelDistance } from 'feynkac'
 *
 * const normal = gaussianMixture({ weights: [1], means: [[0, 0]], covariances: [1] })
 * const a = normal.sample(500, { seed: 1 }) // [500, 2]
 * const b = normal.sample(500, { seed: 2 })
 * const { mean, standardError } = await kernelDistance(a, b, { dim: 2, subsetSize: 100 })
 * ```
 */
export async function kernelDistance(
  givenA: Float32Array,
  givenB: Float32Array,
  options: KernelDistanceOptions,
): Promise<KernelDistance> {
  knownOptions('kernelDistance', options, ['dim', 'subsetSize', 'subsets', 'seed', 'signal'])
  const { dim, signal } = options
  const [a, b] = [await heldRows('a', givenA, dim, 4, signal), await heldRows('b', givenB, dim, 4, signal)]
  const [n, m] = [a.length / dim, b.length / dim]
  const least = Math.min(n, m)
  const subsetSize = integer('subsetSize', options.subsetSize ?? Math.max(2, Math.min(1000, Math.floor(least / 10))), 2)
  const subsets = Math.min(integer('subsets', options.subsets ?? least, 2), Math.floor(least / subsetSize))
  const seed = integer('seed', options.seed ?? 0, 0)
  if (subsets < 2)
    throw new ArgumentError(`two subsets of ${subsetSize} need ${2 * subsetSize} samples but there are ${least}`)
  const [orderA, orderB] = [permutation(seed, 0, n), permutation(seed, 1, m)]
  const values: number[] = []
  const breath = turns(signal)
  for (let s = 0; s < subsets; s++) {
    const x = rowsAt(a, dim, orderA, s * subsetSize, subsetSize)
    const y = rowsAt(b, dim, orderB, s * subsetSize, subsetSize)
    values.push(await polynomialDiscrepancy(x, y, dim, signal))
    await breath()
  }
  const mean = values.reduce((sum, v) => sum + v, 0) / subsets
  const variance = values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / (subsets - 1)
  if (!Number.isFinite(variance)) throw new NumericsError('the features are too large for the kernel distance')
  return { mean, standardError: Math.sqrt(variance / subsets), subsets, subsetSize }
}

/** The U-statistic of MMD^2 of equally many points (Gretton et al. 2012, eq. 3). */
async function polynomialDiscrepancy(x: Float32Array, y: Float32Array, dim: number, signal?: AbortSignal) {
  const n = x.length / dim
  const kernel: Kernel = (values, count) => {
    for (let i = 0; i < count; i++) {
      const base = values[i] / dim + 1
      values[i] = base * base * base
    }
  }
  const ones = new Float64Array(n).fill(1)
  const within = async (z: Float32Array) =>
    (await sumWithin(innerBlocks(z, null, dim, signal), kernel, ones)) / (n * (n - 1))
  const between = (await sumBetween(innerBlocks(x, y, dim, signal), kernel, ones, ones)) / (n * n)
  return (await within(x)) + (await within(y)) - 2 * between
}
