import { integer, knownOptions } from '../base/args.js'
import { ArgumentError, invalid } from '../base/errors.js'
import { turns } from '../base/turns.js'
import { ParticleRng } from '../smc/random.js'
import { heldRows, normalisedWeights, ownWeights } from './inputs.js'

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
  const breath = turns(signal)
  let sum = 0
  for (let p = 0; p < count; p++) {
    const direction = directions.subarray(p * dim, (p + 1) * dim)
    sum += transport(quantiles(project(a, direction), w), quantiles(project(b, direction), v))
    await breath()
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

function project(x: Float32Array, direction: Float32Array): Float64Array {
  const dim = direction.length
  const out = new Float64Array(x.length / dim)
  for (let i = 0; i < out.length; i++) {
    let sum = 0
    for (let k = 0, at = i * dim; k < dim; k++, at++) sum += x[at] * direction[k]
    out[i] = sum
  }
  return out
}

/** A distribution on the line: points in order, and the mass up to and with each. */
interface Quantiles {
  points: Float64Array
  mass: Float64Array
}

function quantiles(values: Float64Array, weights: Float64Array | undefined): Quantiles {
  const n = values.length
  if (weights === undefined)
    return { points: values.sort(), mass: Float64Array.from({ length: n }, (_, i) => (i + 1) / n) }
  const order = Uint32Array.from({ length: n }, (_, i) => i).sort((i, j) => values[i] - values[j])
  let sum = 0
  const mass = Float64Array.from(order, (i) => {
    sum += weights[i]
    return Math.min(1, sum)
  })
  mass[n - 1] = 1
  return { points: Float64Array.from(order, (i) => values[i]), mass }
}

/** Squared 2-Wasserstein distance on the line: the integral over u of the squared difference of the u-quantiles. */
function transport(a: Quantiles, b: Quantiles): number {
  let [i, j, done, sum] = [0, 0, 0, 0]
  while (i < a.points.length && j < b.points.length) {
    const next = Math.min(a.mass[i], b.mass[j])
    sum += (next - done) * (a.points[i] - b.points[j]) ** 2
    done = next
    if (a.mass[i] === next) i++
    if (b.mass[j] === next) j++
  }
  return sum
}
