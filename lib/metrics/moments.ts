import { integer, knownOptions } from '../base/args.js'
import { ArgumentError } from '../base/errors.js'
import { requireMemory } from '../base/memory.js'
import { inPieces, NUMBERS, turns } from '../base/turns.js'
import { innerProducts } from './blocks.js'
import { heldRows } from './inputs.js'

/** Samples that are taken in at a time, and the rows and columns of the covariance's blocks: short of 5 ms even before they are compiled. */
const SAMPLES = 256
const ROWS = 16
const COLUMNS = 64

/**
 * Mean and covariance of features in float64, of any number of samples: none is kept. Blocks are joined by the update of Chan,
 * Golub & LeVeque (1979), which subtracts no large sums.
 * @example
 * ```js
 * import { FeatureMoments, frechetDistance, gaussianMixture } from 'feynkac'
 *
 * const normal = gaussianMixture({ weights: [1], means: [[0, 0]], covariances: [1] })
 * const moments = new FeatureMoments(2)
 * for (let seed = 0; seed < 4; seed++) await moments.add(normal.sample(256, { seed })) // as they come
 * console.log(moments.count, await frechetDistance(moments, normal.sample(500), { dim: 2 }))
 * ```
 */
export class FeatureMoments {
  /** Samples so far. */
  count = 0
  /** Numbers of a sample's features. */
  readonly dim: number
  /** Their mean so far [dim]. */
  readonly mean: Float64Array
  /** Sums of products of deviations from the mean [dim, dim], on and above the diagonal's blocks. */
  readonly #scatter: Float64Array

  /** Throws OutOfMemoryError: the covariance takes 8 dim^2 bytes. */
  constructor(dim: number) {
    this.dim = integer('dim', dim, 1, 2 ** 15)
    requireMemory(8 * dim * dim, `covariances of ${dim} features`)
    this.mean = new Float64Array(dim)
    this.#scatter = new Float64Array(dim * dim)
  }

  /** Moments of features [n, dim] that are there already. Throws what the constructor and `add` throw. */
  static async of(features: Float32Array, dim: number, options?: { signal?: AbortSignal }): Promise<FeatureMoments> {
    const moments = new FeatureMoments(dim)
    await moments.add(features, options)
    return moments
  }

  /** Takes in features [n, dim]. Throws ArgumentError; the signal's reason when aborted, after which the moments are of no use. */
  async add(features: Float32Array, options: { signal?: AbortSignal } = {}): Promise<void> {
    knownOptions('add', options, ['signal'])
    const { dim } = this
    const own = await heldRows('features', features, dim, 1, options.signal)
    const breath = turns(options.signal)
    for (let at = 0; at < own.length; at += SAMPLES * dim) await this.#add(own.subarray(at, at + SAMPLES * dim), breath)
  }

  async #add(block: Float32Array, breath: () => Promise<void>): Promise<void> {
    const { dim, mean } = this
    const rows = block.length / dim
    const centre = new Float64Array(dim)
    const columns = new Float64Array(dim * rows) // deviations from the block's mean, feature by feature
    const sum = (first: number, end: number) => {
      for (let r = first; r < end; r++) for (let k = 0; k < dim; k++) centre[k] += block[r * dim + k] / rows
    }
    const centred = (first: number, end: number) => {
      for (let r = first; r < end; r++)
        for (let k = 0; k < dim; k++) columns[k * rows + r] = block[r * dim + k] - centre[k]
    }
    await inPieces(rows, breath, sum, Math.ceil(NUMBERS / dim))
    await inPieces(rows, breath, centred, Math.ceil(NUMBERS / dim))
    const shift = centre.map((c, k) => c - mean[k])
    const share = rows / (this.count + rows)
    const joint = this.count * share // n m / (n + m), the weight of the shift's products
    for (let k = 0; k < dim; k++) mean[k] += share * shift[k]
    this.count += rows
    const products = new Float64Array(ROWS * COLUMNS)
    for (let i = 0; i < dim; i += ROWS)
      for (let j = i; j < dim; j += COLUMNS) {
        const [m, n] = [Math.min(ROWS, dim - i), Math.min(COLUMNS, dim - j)]
        innerProducts(columns.subarray(i * rows), m, columns.subarray(j * rows), n, rows, products)
        for (let p = 0; p < m; p++)
          for (let q = 0; q < n; q++)
            this.#scatter[(i + p) * dim + j + q] += products[p * n + q] + joint * shift[i + p] * shift[j + q]
        await breath()
      }
  }

  /** The unbiased covariance [dim, dim] (divided by n - 1). Throws ArgumentError for fewer than two samples. */
  covariance(): Float64Array {
    const out = this.#emptyCovariance()
    for (let i = 0; i < this.dim; i++) this.#fillRow(out, i)
    return out
  }

  /** The same as `covariance`, with pauses for the event loop, for many features. Throws ArgumentError; the signal's reason when aborted. */
  async covarianceInTurns(signal?: AbortSignal): Promise<Float64Array> {
    const out = this.#emptyCovariance()
    const breath = turns(signal)
    for (let i = 0; i < this.dim; i++) {
      this.#fillRow(out, i)
      await breath()
    }
    return out
  }

  #emptyCovariance(): Float64Array {
    const { count, dim } = this
    if (count < 2) throw new ArgumentError(`a covariance needs at least 2 samples but there are ${count}`)
    return new Float64Array(dim * dim)
  }

  /** Row and column i from the diagonal on. */
  #fillRow(out: Float64Array, i: number): void {
    const { count, dim } = this
    for (let j = i; j < dim; j++) {
      out[i * dim + j] = this.#scatter[i * dim + j] / (count - 1)
      out[j * dim + i] = out[i * dim + j]
    }
  }
}
