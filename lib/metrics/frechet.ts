import { knownOptions } from '../base/args.js'
import { ArgumentError, invalid, NumericsError } from '../base/errors.js'
import { requireMemory } from '../base/memory.js'
import { innerBlocks } from './blocks.js'
import { FeatureMoments } from './moments.js'
import { choleskyFactor, symmetricEigenvalues } from './symmetric.js'

/** What `frechetDistance` takes beside the two sides. */
export interface FrechetOptions {
  /** Number of features of a sample; needed where features are given, and not their moments. */
  dim?: number
  signal?: AbortSignal
}

/**
 * The Fréchet distance of two Gaussians fitted to features (Heusel et al. 2017; squared, as FID is given):
 * |m1 - m2|^2 + tr S1 + tr S2 - 2 tr (S1 S2)^(1/2). With S1 = R^T R the last trace is the sum of the square roots of the eigenvalues of
 * R S2 R^T. These are exact to 1e-16 of the largest, so their roots, and with them the distance, to about 1e-7 of the traces.
 *
 * It depends on how many samples there are: fitted covariances bias it upwards, by about 1/n, and differently for different models
 * (Chong & Forsyth 2020). Compare values only at the same n, on both sides.
 *
 * a, b: features [n, dim] or their moments, at least 2 samples. Throws ArgumentError, NumericsError, OutOfMemoryError, the signal's reason when aborted.
 * @example
 * ```js
 * import { frechetDistance, gaussianMixture } from 'feynkac'
 *
 * const normal = gaussianMixture({ weights: [1], means: [[0, 0]], covariances: [1] })
 * const a = normal.sample(500, { seed: 1 }) // [500, 2]
 * const b = normal.sample(500, { seed: 2 })
 * console.log(await frechetDistance(a, b, { dim: 2 })) // near 0
 * ```
 */
export async function frechetDistance(
  a: Float32Array | FeatureMoments,
  b: Float32Array | FeatureMoments,
  options: FrechetOptions = {},
): Promise<number> {
  knownOptions('frechetDistance', options, ['dim', 'signal'])
  const first = await momentsOf('a', a, options)
  const second = await momentsOf('b', b, options)
  const { dim } = first
  if (second.dim !== dim) throw new ArgumentError(`a has ${dim} features but b has ${second.dim}`)
  requireMemory(5 * 8 * dim * dim, `covariances of ${dim} features and their products`)
  // the fewer samples, the lower the rank and the smaller the matrix whose eigenvalues are wanted
  const [small, large] = first.count <= second.count ? [first, second] : [second, first]
  const s1 = await small.covarianceInTurns(options.signal)
  const s2 = await large.covarianceInTurns(options.signal)
  let distance = 0
  for (let k = 0; k < dim; k++) distance += (first.mean[k] - second.mean[k]) ** 2 + s1[k * dim + k] + s2[k * dim + k]
  if (!Number.isFinite(distance)) throw new NumericsError('the features are too large for a covariance')
  return Math.max(0, distance - 2 * (await rootTrace(s1, s2, dim, options.signal)))
}

async function momentsOf(
  name: string,
  given: Float32Array | FeatureMoments,
  { dim, signal }: FrechetOptions,
): Promise<FeatureMoments> {
  if (given instanceof FeatureMoments) return given
  if (dim === undefined) throw invalid('dim', `the number of features, as ${name} has no moments`, dim)
  return FeatureMoments.of(given, dim, { signal })
}

/** tr (S1 S2)^(1/2) */
async function rootTrace(s1: Float64Array, s2: Float64Array, dim: number, signal?: AbortSignal): Promise<number> {
  const { factor, rank } = await choleskyFactor(s1, dim, signal)
  const product = new Float64Array(rank * dim) // R S2
  for await (const { first, rows, second, columns, values } of innerBlocks(factor, s2, dim, signal))
    for (let i = 0; i < rows; i++)
      product.set(values.subarray(i * columns, (i + 1) * columns), (first + i) * dim + second)
  const inner = new Float64Array(rank * rank) // R S2 R^T, its lower triangle
  for await (const { first, rows, second, columns, values } of innerBlocks(factor, product, dim, signal, true))
    for (let i = 0; i < rows; i++)
      for (let j = 0; j < columns; j++) inner[(second + j) * rank + first + i] = values[i * columns + j]
  const eigenvalues = await symmetricEigenvalues(inner, rank, signal)
  return eigenvalues.reduce((sum, value) => sum + Math.sqrt(Math.max(0, value)), 0)
}
