import { integer, knownOptions } from '../base/args.js'
import { ArgumentError, invalid } from '../base/errors.js'
import { inPieces, NUMBERS, turns } from '../base/turns.js'
import { ParticleRng } from '../smc/random.js'
import { heldRows, normalisedWeights, ownWeights } from './inputs.js'
import { quantiles, transport } from './line.js'

/** What `slicedWasserstein` takes beside the two sides. */
export interface SlicedWassersteinOptions {
  /** Number of features of a sample. */
  dim: number
  /** Number of random directions; default 128. */
  projections?: number
  /** Directions of one's own instead, [projections, dim], of length 1. */
  directions?: Float32Array
  /** Weights of the samples of a and b; default equal. */
  weightsA?: Float64Array
  weightsB?: Float64Array
  /** Seed of the random directions; default 0. */
  seed?: number
  signal?: AbortSignal
}

/**
 * Sliced 2-Wasserstein distance (Rabin et al. 2011; Bonneel et al. 2015), in the units of the features: the root of the mean, over
 * directions, of the squared 2-Wasserstein distance of the projections, which in one dimension is exact.
 *
 * Features a [n, dim] and b [m, dim], weighted or not. Throws ArgumentError, the signal's reason when aborted.
 * @example
 * ```js
 * import { gaussianMixture, slicedWasserstein } from 'feynkac'
 *
 * const normal = gaussianMixture({ weights: [1], means: [[0, 0]], covariances: [1] })
 * const a = normal.sample(500, { seed: 1 }) // [500, 2]
 * const b = normal.sample(500, { seed: 2 })
 * console.log(await slicedWasserstein(a, b, { dim: 2 })) // in the units of the samples
 * ```
 */
export async function slicedWasserstein(
  givenA: Float32Array,
  givenB: Float32Array,
  options: SlicedWassersteinOptions,
): Promise<number> {
  knownOptions('slicedWasserstein', options, [
    ...['dim', 'projections', 'directions', 'weightsA', 'weightsB', 'seed', 'signal'],
  ])
  const { dim, signal } = options
  const [weightsA, weightsB] = [ownWeights('weightsA', options.weightsA), ownWeights('weightsB', options.weightsB)]
  const directions = await directionsOf(options)
  const [a, b] = [await heldRows('a', givenA, dim, 1, signal), await heldRows('b', givenB, dim, 1, signal)]
  const w = weightsA && normalisedWeights('weightsA', weightsA, a.length / dim)
  const v = weightsB && normalisedWeights('weightsB', weightsB, b.length / dim)
  const count = directions.length / dim
  const turn = turns(signal)
  let sum = 0
  for (let p = 0; p < count; p++) {
    const direction = directions.subarray(p * dim, (p + 1) * dim)
    const left = await quantiles(await project(a, direction, turn), w, turn)
    const right = await quantiles(await project(b, direction, turn), v, turn)
    sum += await transport(left, right, turn)
    await turn()
  }
  return Math.sqrt(sum / count)
}

async function directionsOf(options: SlicedWassersteinOptions): Promise<Float32Array> {
  const { dim, projections, seed, signal } = options
  if (options.directions === undefined) {
    integer('dim', dim, 1)
    const count = integer('projections', projections ?? 128, 1, 2 ** 20)
    const normals = new ParticleRng(integer('seed', seed ?? 0, 0), 0, count).normals(dim)
    for (let p = 0; p < count; p++) {
      const row = normals.subarray(p * dim, (p + 1) * dim)
      const length = lengthOf(row)
      row.set(row.map((x) => x / length))
    }
    return normals
  }
  if (projections !== undefined) throw new ArgumentError('give projections or directions, not both')
  const directions = await heldRows('directions', options.directions, dim, 1, signal)
  for (let p = 0; p < directions.length / dim; p++) {
    const length = lengthOf(directions.subarray(p * dim, (p + 1) * dim))
    if (Math.abs(length - 1) > 1e-3) throw invalid('directions', 'directions of length 1', length)
  }
  return directions
}

function lengthOf(row: Float32Array): number {
  return Math.sqrt(row.reduce((sum, x) => sum + x * x, 0))
}

async function project(x: Float32Array, direction: Float32Array, turn: () => Promise<void>): Promise<Float64Array> {
  const dim = direction.length
  const out = new Float64Array(x.length / dim)
  const rows = (first: number, end: number) => {
    for (let i = first; i < end; i++) {
      let sum = 0
      for (let k = 0, at = i * dim; k < dim; k++, at++) sum += x[at] * direction[k]
      out[i] = sum
    }
  }
  await inPieces(out.length, turn, rows, Math.ceil(NUMBERS / dim))
  return out
}
