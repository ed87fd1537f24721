import { knownOptions, numberList } from '../../base/args.js'
import { invalid } from '../../base/errors.js'
import type { EnergyFunction, Target } from '../energy-function.js'
import { mixedPrecisions } from '../precision/composed.js'
import { checkedModels, compose, type LambdaOption, lambdaOf, makeTarget } from './target.js'

/**
 * OR: pi = sum_i w_i p_i, U = -log sum_i w_i exp(-E_i - logZ_i). The energies are of samples of one shape. Throws ArgumentError.
 * @param options.weights at least 0, one above it; default 1/n each
 * @param options.logZ the log-normalisers of exp(-E_i), which decide the branches' relative mass; default 0 (normalised energies)
 * @example
 * ```js
 * import { gaussianMixture, mixture, sigmaGrid, smc } from 'feynkac'
 *
 * const normal = gaussianMixture({ weights: [1], means: [[0, 0]], covariances: [1] })
 * const other = gaussianMixture({ weights: [1], means: [[1, 0]], covariances: [1] })
 * const target = mixture([normal, other], { weights: [0.25, 0.75] })
 * const { samples, logZ } = await smc(target, { particles: 256, sigmas: sigmaGrid({ steps: 32, min: 0.01, max: 20 }) })
 * ```
 */
export function mixture(
  energies: readonly EnergyFunction[],
  options: { weights?: ArrayLike<number>; logZ?: ArrayLike<number> } & LambdaOption = {},
): Target {
  knownOptions('mixture', options, ['weights', 'logZ', 'lambda'])
  const models = checkedModels(energies)
  const { length } = models
  const weights = numberList('weights', options.weights ?? models.map(() => 1 / length), { length, min: 0 })
  if (!weights.some((w) => w > 0)) throw invalid('weights', 'at least one positive number', weights)
  const logZ = numberList('logZ', options.logZ ?? models.map(() => 0), { length })
  const coefficients = Float64Array.from(weights, (w, i) => Math.log(w) - logZ[i])
  const lambda = Math.max(...models.map(lambdaOf))
  return makeTarget(
    {
      name: 'mixture',
      models,
      lambda,
      calibration: mixedPrecisions(models, weights, lambda),
      combine: (parts, _x, _sigma, wanted = {}) => compose('mixture', parts, coefficients, wanted),
    },
    options,
  )
}
