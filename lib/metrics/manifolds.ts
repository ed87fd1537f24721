import { integer, knownOptions } from '../base/args.js'
import { type Block, distanceBlocks } from './blocks.js'
import { heldRows } from './inputs.js'

/** What `precisionRecall` and `densityCoverage` take beside the two sides. */
export interface ManifoldOptions {
  /** Number of features of a sample. */
  dim: number
  /** Which nearest neighbour gives a ball its radius; default 3 for precision and recall, 5 for density and coverage. */
  k?: number
  signal?: AbortSignal
}

/** What `precisionRecall` returns. */
export interface PrecisionRecall {
  /** Share of the samples that lie in a ball of the data: are samples like the data? */
  precision: number
  /** Share of the data that lie in a ball of the samples: do samples reach all of the data? */
  recall: number
}

/** What `densityCoverage` returns. */
export interface DensityCoverage {
  /** Mean number of balls of the data around a sample, over k; may exceed 1. */
  density: number
  /** Share of the data whose ball holds a sample. */
  coverage: number
}

/**
 * Improved precision and recall (Kynkäänniemi et al. 2019). Every point has a closed ball that reaches to its k-th nearest neighbour in its
 * own set. samples, data: features [n, dim] and [m, dim], more than k of each. Throws ArgumentError, the signal's reason when aborted.
 * @example
 * ```js
 * import { gaussianMixture, precisionRecall } from 'feynkac'
 *
 * const normal = gaussianMixture({ weights: [1], means: [[0, 0]], covariances: [1] })
 * const a = normal.sample(500, { seed: 1 }) // [500, 2]
 * const b = normal.sample(500, { seed: 2 })
 * const { precision, recall } = await precisionRecall(a, b, { dim: 2 })
 * ```
 */
export async function precisionRecall(
  samples: Float32Array,
  data: Float32Array,
  options: ManifoldOptions,
): Promise<PrecisionRecall> {
  knownOptions('precisionRecall', options, ['dim', 'k', 'signal'])
  return (await compareManifolds(samples, data, { ...options, precisionRecall: options.k ?? 3 })).precisionRecall!
}

/**
 * Density and coverage (Naeem et al. 2020), by closed balls around the data only, so that outliers among the samples do no harm.
 * samples, data: features [n, dim] and [m, dim], more than k data. Throws ArgumentError, the signal's reason when aborted.
 * @example
 * ```js
 * import { densityCoverage, gaussianMixture } from 'feynkac'
 *
 * const normal = gaussianMixture({ weights: [1], means: [[0, 0]], covariances: [1] })
 * const a = normal.sample(500, { seed: 1 }) // [500, 2]
 * const b = normal.sample(500, { seed: 2 })
 * const { density, coverage } = await densityCoverage(a, b, { dim: 2 })
 * ```
 */
export async function densityCoverage(
  samples: Float32Array,
  data: Float32Array,
  options: ManifoldOptions,
): Promise<DensityCoverage> {
  knownOptions('densityCoverage', options, ['dim', 'k', 'signal'])
  return (await compareManifolds(samples, data, { ...options, densityCoverage: options.k ?? 5 })).densityCoverage!
}

/** Both, or one, from the same distances: each measure with its k. */
export async function compareManifolds(
  givenSamples: Float32Array,
  givenData: Float32Array,
  options: { dim: number; precisionRecall?: number; densityCoverage?: number; signal?: AbortSignal },
): Promise<{ precisionRecall?: PrecisionRecall; densityCoverage?: DensityCoverage }> {
  const { dim, signal } = options
  const [kPR, kDC] = [options.precisionRecall, options.densityCoverage]
  const ks = [kPR, kDC].filter((k) => k !== undefined).map((k) => integer('k', k, 1, 1000))
  const samples = await heldRows('samples', givenSamples, dim, kPR === undefined ? 1 : kPR + 1, signal)
  const data = await heldRows('data', givenData, dim, Math.max(...ks) + 1, signal)
  const [n, m] = [samples.length / dim, data.length / dim]
  const nearest = await nearestSquares(data, dim, Math.max(...ks), signal)
  const [ballPR, ballDC] = [kPR, kDC].map((k) => (k === undefined ? null : column(nearest, Math.max(...ks), k)))
  const ballSamples = kPR === undefined ? null : await nearestSquares(samples, dim, kPR, signal)
  const ballOfSample = ballSamples && column(ballSamples, kPR!, kPR!)
  const [precise, recalled, covered] = [new Uint8Array(n), new Uint8Array(m), new Uint8Array(m)]
  const look = ({ first, rows, second, columns, values }: Block) => {
    let members = 0
    for (let i = 0; i < rows; i++)
      for (let j = 0; j < columns; j++) {
        const square = values[i * columns + j]
        if (ballPR !== null && square <= ballPR[second + j]) precise[first + i] = 1
        if (ballOfSample !== null && square <= ballOfSample[first + i]) recalled[second + j] = 1
        if (ballDC !== null && square <= ballDC[second + j]) {
          covered[second + j] = 1
          members++
        }
      }
    return members
  }
  let memberships = 0
  for await (const block of distanceBlocks(samples, data, dim, signal)) memberships += look(block)
  return {
    ...(kPR !== undefined && { precisionRecall: { precision: share(precise), recall: share(recalled) } }),
    ...(kDC !== undefined && {
      densityCoverage: { density: memberships / (kDC * n), coverage: share(covered) },
    }),
  }
}

function share(flags: Uint8Array): number {
  return flags.reduce((sum, flag) => sum + flag, 0) / flags.length
}

/** The k-th of each row of `width` numbers. */
function column(table: Float64Array, width: number, k: number): Float64Array {
  return Float64Array.from({ length: table.length / width }, (_, i) => table[i * width + k - 1])
}

/**
 * Tells which samples lie among the data: in the ball of one of them that reaches to its k-th nearest other. data: features [m, dim], more
 * than k. Errors as `precisionRecall`.
 */
export async function membership(
  givenData: Float32Array,
  { dim, k = 3, signal }: ManifoldOptions,
): Promise<(samples: Float32Array) => Promise<boolean[]>> {
  const data = await heldRows('data', givenData, dim, integer('k', k, 1, 1000) + 1, signal)
  const balls = column(await nearestSquares(data, dim, k, signal), k, k)
  return async (given) => {
    const samples = await heldRows('samples', given, dim, 1, signal)
    const inside = new Array<boolean>(samples.length / dim).fill(false)
    const look = ({ first, rows, second, columns, values }: Block) => {
      for (let i = 0; i < rows; i++)
        for (let j = 0; j < columns; j++) if (values[i * columns + j] <= balls[second + j]) inside[first + i] = true
    }
    for await (const block of distanceBlocks(samples, data, dim, signal)) look(block)
    return inside
  }
}

/** Squared distances to the k nearest others of the same set, nearest first: [n, k]. */
export async function nearestSquares(
  x: Float32Array,
  dim: number,
  k: number,
  signal?: AbortSignal,
): Promise<Float64Array> {
  const nearest = new Float64Array((x.length / dim) * k).fill(Infinity)
  const insert = (row: number, square: number) => {
    const first = row * k
    let at = first + k - 1
    if (square >= nearest[at]) return
    for (; at > first && nearest[at - 1] > square; at--) nearest[at] = nearest[at - 1]
    nearest[at] = square
  }
  const look = ({ first, rows, second, columns, values }: Block) => {
    for (let i = 0; i < rows; i++)
      for (let j = first === second ? i + 1 : 0; j < columns; j++) {
        insert(first + i, values[i * columns + j])
        insert(second + j, values[i * columns + j])
      }
  }
  for await (const block of distanceBlocks(x, null, dim, signal)) look(block)
  return nearest
}
