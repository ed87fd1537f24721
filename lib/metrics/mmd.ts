import { integer, knownOptions, numberList } from '../base/args.js'
import { ArgumentError, invalid } from '../base/errors.js'
import { permutation } from '../base/order.js'
import { inPieces, turns } from '../base/turns.js'
import { type Block, distanceBlocks, type Kernel, sumBetween, sumWithin } from './blocks.js'
import { heldRows, normalisedWeights, ownWeights, rowsAt } from './inputs.js'

/** What `mmd` takes beside the two sides. */
export interface MmdOptions {
  /** Number of features of a sample. */
  dim: number
  /** Widths of the Gaussian kernels that are summed; default the median distance of two samples of both sides together. */
  bandwidths?: readonly number[]
  /** Weights of the samples of a and b; default equal. */
  weightsA?: Float64Array
  weightsB?: Float64Array
  /** Seed of the samples that the median is taken of; default 0. */
  seed?: number
  signal?: AbortSignal
}

/** What `mmd` returns. */
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
 * Features a [n, dim] and b [m, dim], at least two samples with weight in each. Throws ArgumentError, the signal's reason when aborted.
 * @example
 * ```js
 * import { gaussianMixture, mmd } from 'feynkac'
 *
 * const normal = gaussianMixture({ weights: [1], means: [[0, 0]], covariances: [1] })
 * const a = normal.sample(500, { seed: 1 }) // [500, 2]
 * const b = normal.sample(500, { seed: 2 })
 * console.log(await mmd(a, b, { dim: 2 }))
 * ```
 */
export async function mmd(givenA: Float32Array, givenB: Float32Array, options: MmdOptions): Promise<Mmd> {
  knownOptions('mmd', options, ['dim', 'bandwidths', 'weightsA', 'weightsB', 'seed', 'signal'])
  const { dim, signal } = options
  const seed = integer('seed', options.seed ?? 0, 0)
  const given =
    options.bandwidths === undefined ? [] : numberList('bandwidths', options.bandwidths, { above: 0, max: 1000 })
  if (options.bandwidths !== undefined && given.length === 0) throw invalid('bandwidths', 'at least one number', given)
  const [weightsA, weightsB] = [ownWeights('weightsA', options.weightsA), ownWeights('weightsB', options.weightsB)]
  const [a, b] = [await heldRows('a', givenA, dim, 2, signal), await heldRows('b', givenB, dim, 2, signal)]
  const w = normalisedWeights('weightsA', weightsA, a.length / dim)
  const v = normalisedWeights('weightsB', weightsB, b.length / dim)
  const bandwidths = given.length > 0 ? given : [await medianDistance(a, b, dim, seed, signal)]
  const scales = bandwidths.map((s) => -1 / (2 * s ** 2))
  const kernel: Kernel = (values, count) => {
    for (let i = 0; i < count; i++) {
      let sum = 0
      for (let s = 0; s < scales.length; s++) sum += Math.exp(scales[s] * values[i])
      values[i] = sum
    }
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
  const points = pooled.length / dim
  const squares = new Float64Array((points * (points - 1)) / 2)
  let filled = 0
  const keep = ({ first, rows, second, columns, values }: Block) => {
    for (let i = 0; i < rows; i++)
      for (let j = first === second ? i + 1 : 0; j < columns; j++) squares[filled++] = values[i * columns + j]
  }
  for await (const block of distanceBlocks(pooled, null, dim, signal)) keep(block)
  const middle = Math.sqrt(await medianOf(squares, signal))
  if (middle === 0) throw new ArgumentError('most samples are the same, so their median distance is 0: give bandwidths')
  return middle
}

/**
 * The median of numbers from 0: counted by their upper 20 bits, in which such numbers have their order, so that only the few with the
 * median's own bits are sorted.
 */
async function medianOf(values: Float64Array, signal?: AbortSignal): Promise<number> {
  const turn = turns(signal)
  const words = new Uint32Array(values.buffer) // the machines here are little-endian: the upper word is the second
  const upper = (i: number) => words[2 * i + 1] >>> 12
  const counts = new Uint32Array(2 ** 20)
  await inPieces(values.length, turn, (from, end) => {
    for (let i = from; i < end; i++) counts[upper(i)]++
  })
  const places = [(values.length - 1) >> 1, values.length >> 1]
  let [below, first] = [0, 0]
  while (below + counts[first] <= places[0]) below += counts[first++]
  let [last, found] = [first, counts[first]]
  while (below + found <= places[1]) found += counts[++last]
  const middle = new Float64Array(found)
  let at = 0
  await inPieces(values.length, turn, (from, end) => {
    for (let i = from; i < end; i++) if (upper(i) >= first && upper(i) <= last) middle[at++] = values[i]
  })
  middle.sort()
  return (middle[places[0] - below] + middle[places[1] - below]) / 2
}
