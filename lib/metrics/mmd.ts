import { finiteNumber, integer, knownOptions } from '../args.js'
import { ArgumentError, invalid } from '../errors.js'
import { permutation } from '../training/order.js'
import { distanceBlocks, sumBetween, sumWithin } from './blocks.js'
import { countRows, normalisedWeights, rowsAt } from './inputs.js'

export interface MmdOptions {
  /** Number of features of a sample. */
  dim: number
  /** Of the Gaussian kernels that are summed; default the median distance of two samples of both sides together. */
  bandwidths?: readonly number[]
  /** Weights of the samples of a and b; default equal. */
  weightsA?: Float64Array
  weightsB?: Float64Array
  /** Of the samples that the median is taken of; default 0. */
  seed?: number
  signal?: AbortSignal
}

export interface Mmd {
  /** Squared maximum mean discrepancy, unbiased for equal weights: it may be below 0 where both are alike. */
  squared: number
  bandwidths: number[]
}

/** Samples of either side that the median distance is taken of. */
const MEDIAN_OF = 500

/**
 * Maximum mean discrepancy (Gretton et al. 2012) with the kernel sum_s exp(-|x - y|^2 / (2 s^2)) over the bandwidths s. Within a set the
 * mean is over pairs i != j, sum w_i w_j k(x_i, x_j) / (1 - sum w_i^2), which for equal weights is the U-statistic.
 *
 * a, b: features [n, dim] and [m, dim], at least two samples with weight in each. Throws ArgumentError, the signal's reason when aborted.
 */
export async function mmd(a: Float32Array, b: Float32Array, options: MmdOptions): Promise<Mmd> {
  knownOptions('mmd', options, ['dim', 'bandwidths', 'weightsA', 'weightsB', 'seed', 'signal'])
  const { dim, signal } = options
  const w = normalisedWeights('weightsA', options.weightsA, countRows('a', a, dim, 2))
  const v = normalisedWeights('weightsB', options.weightsB, countRows('b', b, dim, 2))
  const seed = integer('seed', options.seed ?? 0, 0)
  const bandwidths = [...(options.bandwidths ?? [await medianDistance(a, b, dim, seed, signal)])]
  if (bandwidths.length === 0) throw invalid('bandwidths', 'at least one number', bandwidths)
  const scales = bandwidths.map((s) => -1 / (2 * finiteNumber('bandwidths', s, { above: 0 }) ** 2))
  const kernel = (squared: number) => {
    let sum = 0
    for (let s = 0; s < scales.length; s++) sum += Math.exp(scales[s] * squared)
    return sum
  }
  const within = async (name: string, x: Float32Array, weights: Float64Array) => {
    const pairs = 1 - weights.reduce((sum, p) => sum + p * p, 0)
    if (!(pairs > Number.EPSILON))
      throw new ArgumentError(`all weight of ${name} is on one sample: expected two or more`)
    return (await sumWithin(distanceBlocks(x, null, dim, signal), kernel, weights)) / pairs
  }
  const between = await sumBetween(distanceBlocks(a, b, dim, signal), kernel, w, v)
  return { squared: (await within('a', a, w)) + (await within('b', b, v)) - 2 * between, bandwidths }
}

async function medianDistance(a: Float32Array, b: Float32Array, dim: number, seed: number, signal?: AbortSignal) {
  const parts = [a, b].map((x, side) => {
    const n = x.length / dim
    return rowsAt(x, dim, permutation(seed, side, n), 0, Math.min(n, MEDIAN_OF))
  })
  const pooled = new Float32Array(parts[0].length + parts[1].length)
  pooled.set(parts[0])
  pooled.set(parts[1], parts[0].length)
  const squares: number[] = []
  for await (const { first, rows, second, columns, values } of distanceBlocks(pooled, null, dim, signal))
    for (let i = 0; i < rows; i++)
      for (let j = first === second ? i + 1 : 0; j < columns; j++) squares.push(values[i * columns + j])
  const sorted = Float64Array.from(squares).sort()
  const middle = Math.sqrt((sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2)
  if (middle === 0) throw new ArgumentError('most samples are the same, so their median distance is 0: give bandwidths')
  return middle
}
