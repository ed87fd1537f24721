import { float64Array, integer, knownOptions, oneOf } from '../base/args.js'
import { invalid, NumericsError } from '../base/errors.js'
import { native } from '../native/addon.js'
import type { LogWeightStats } from '../native/particle-ops.js'

/**
 * Resampling schemes. Each draws n ancestors with E[offspring of i] = n W_i. Systematic and SSP give floor or ceil of n W_i copies;
 * SSP (Gerber, Chopin & Whiteley 2019) is consistent as well; killing needs as many draws as weights and keeps survivors in place.
 */
export const resamplingSchemes = ['systematic', 'stratified', 'multinomial', 'residual', 'ssp', 'killing'] as const
/** Ways to draw ancestors by their weights. */
export type ResamplingScheme = (typeof resamplingSchemes)[number]

/** Options of `resample`. */
export interface ResampleOptions {
  /** Default 'systematic'. */
  scheme?: ResamplingScheme
  /** Number of draws; default the number of weights. */
  n?: number
  /** Uniforms in [0, 1) in the order in which the scheme consumes them (as the Python package `particles` does; killing: u_keep, then u). */
  uniforms?: Float64Array
  /** Where no uniforms are given: the seed to draw them from; default 0. */
  seed?: number
}

/**
 * Draws ancestors by weight.
 * @param weights finite, not negative, with a positive sum; normalised here if they are not
 * @returns n indices of weights, 0-based; never one with weight zero; sorted by all schemes but residual (copies first) and killing
 * Throws ArgumentError.
 * @example
 * ```js
 * import { resample } from 'feynkac'
 *
 * const ancestors = resample(Float64Array.of(0.5, 0.5, 0, 0), { scheme: 'systematic', seed: 1 }) // [0, 0, 1, 1]
 * ```
 */
export function resample(weights: Float64Array, options: ResampleOptions = {}): Int32Array {
  knownOptions('resample', options, ['scheme', 'n', 'uniforms', 'seed'])
  float64Array('weights', weights)
  const scheme = oneOf('scheme', options.scheme ?? 'systematic', resamplingSchemes)
  const n = integer('n', options.n ?? weights.length, 0, 0x7fffffff)
  const seed = integer('seed', options.seed ?? 0, 0)
  const uniforms = options.uniforms === undefined ? null : float64Array('uniforms', options.uniforms)
  if (uniforms?.some((u) => !(u >= 0 && u < 1))) throw invalid('uniforms', 'numbers in [0, 1)', uniforms)
  return native.resample(weights, scheme, n, uniforms, seed)
}

function stats(logWeights: Float64Array): LogWeightStats {
  if (float64Array('logWeights', logWeights).length === 0)
    throw invalid('logWeights', 'at least one number', logWeights)
  const result = native.logWeightStats(logWeights)
  if (result.invalid >= 0)
    throw new NumericsError(
      `logWeights[${result.invalid}] is ${logWeights[result.invalid]}: log-weights are finite or -Infinity`,
    )
  return result
}

/**
 * Effective sample size (sum w)^2 / sum w^2 of w = exp(logWeights), from 1 to N; 0 when all are -Infinity. Throws NumericsError on NaN.
 * @example
 * ```js
 * import { effectiveSampleSize } from 'feynkac'
 *
 * console.log(effectiveSampleSize(Float64Array.of(0, 0, -Infinity))) // 2
 * ```
 */
export function effectiveSampleSize(logWeights: Float64Array): number {
  return stats(logWeights).ess
}

/**
 * log of the mean of exp(logWeights), safe at any magnitude; -Infinity when all are. Throws NumericsError on NaN or +Infinity.
 * @example
 * ```js
 * import { logMeanExp } from 'feynkac'
 *
 * console.log(logMeanExp(Float64Array.of(1000, 1000))) // 1000
 * ```
 */
export function logMeanExp(logWeights: Float64Array): number {
  return stats(logWeights).logSum - Math.log(logWeights.length)
}
