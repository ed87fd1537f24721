import { finiteNumber, knownOptions, numberList } from '../../base/args.js'
import type { EnergyFunction, ResidentEnergy, Target } from '../energy-function.js'
import { residenceOf } from '../evaluation.js'
import { isLearnt } from '../learnt.js'
import { summedPrecisions } from '../precision/composed.js'
import {
  checkedModel,
  checkedModels,
  checkedTarget,
  compose,
  type LambdaOption,
  lambdaOf,
  makeTarget,
} from './target.js'

/** The energy function itself as a target: what `smc` makes of a plain one. */
export function asTarget(model: EnergyFunction): Target {
  if (typeof (model as Target | undefined)?.combine === 'function') return checkedTarget(model as Target)
  return linear('energy', [checkedModel('target', model)], [1], {}, lambdaOf(model))
}

export function linear(
  name: string,
  models: readonly EnergyFunction[],
  exponents: readonly number[],
  options: LambdaOption,
  lambda = linearLambda(models, exponents),
): Target {
  const coefficients = Float64Array.from(exponents)
  const combine: Target['combine'] = async (parts, _x, _sigma, wanted = {}) =>
    exponents.length === 1 && exponents[0] === 1 && !wanted.squares
      ? parts[0]
      : compose('linear', parts, coefficients, wanted)
  const calibration = summedPrecisions(models, exponents)
  return makeTarget({ name, models, exponents, lambda, calibration, combine }, options)
}

/** The sum of the exponents; with negative ones among them not below 0.75 (measured: 0.75 to 1 beats 0.5). */
function linearLambda(models: readonly EnergyFunction[], exponents: readonly number[]): number {
  const sum = exponents.reduce((total, w, j) => total + w * lambdaOf(models[j]), 0)
  return exponents.some((w) => w < 0) ? Math.max(sum, 0.75) : sum
}

/**
 * pi proportional to p^gamma, gamma above 0: above 1 sharpens, below 1 flattens. U = gamma E, Lambda = gamma (Thornton et al. 2025).
 * Throws ArgumentError.
 * @example
 * ```js
 * import { gaussianMixture, lowTemperature, sigmaGrid, smc } from 'feynkac'
 *
 * const normal = gaussianMixture({ weights: [1], means: [[0, 0]], covariances: [1] })
 * const target = lowTemperature(normal, { gamma: 2 }) // N(0, I/2)
 * const { samples, logZ } = await smc(target, { particles: 256, sigmas: sigmaGrid({ steps: 32, min: 0.01, max: 20 }) })
 * ```
 */
export function lowTemperature(energy: EnergyFunction, options: { gamma: number } & LambdaOption): Target {
  knownOptions('lowTemperature', options, ['gamma', 'lambda'])
  const gamma = finiteNumber('gamma', options.gamma, { above: 0 })
  return linear('lowTemperature', [checkedModel('energy', energy)], [gamma], options)
}

/**
 * AND: pi proportional to the product of p_i^w_i, U = sum_i w_i E_i. Weights may be negative. The conditions of one model,
 * p(x | c_1, ..., c_n) where they are independent given x, are product([E(x|c_1), ..., E(x|c_n), E(x)], { weights: [1, ..., 1, -(n - 1)] }).
 * The energies are of samples of one shape. A product of experts (Hinton 2002), of diffusion models as Du et al. 2023 have it. Throws ArgumentError.
 * @param options.weights one exponent per energy, of any sign; default all 1. Their sum is Lambda, 0.75 at least where some are negative
 * @example
 * ```js
 * import { gaussianMixture, product, sigmaGrid, smc } from 'feynkac'
 *
 * const normal = gaussianMixture({ weights: [1], means: [[0, 0]], covariances: [1] })
 * const other = gaussianMixture({ weights: [1], means: [[1, 0]], covariances: [1] })
 * const target = product([normal, other]) // N((0.5, 0), I/2)
 * const { samples, logZ } = await smc(target, { particles: 256, sigmas: sigmaGrid({ steps: 32, min: 0.01, max: 20 }) })
 * ```
 */
export function product(
  energies: readonly EnergyFunction[],
  options: { weights?: ArrayLike<number> } & LambdaOption = {},
): Target {
  knownOptions('product', options, ['weights', 'lambda'])
  const models = checkedModels(energies)
  return linear(
    'product',
    models,
    numberList('weights', options.weights ?? models.map(() => 1), { length: models.length }),
    options,
  )
}

/**
 * NOT: pi proportional to p / q^strength, U = E - strength F (Du et al. 2020, 2023). Normalisable for strength below 1, or on a bounded domain.
 * Throws ArgumentError.
 * @param options.strength above 0
 * @param options.floor the negated density's noise level is not taken below this (default 0): q at small noise is sharp, and far from its
 * own samples, where NOT sends the particles, a learnt energy is not to be trusted
 * @example
 * ```js
 * import { gaussianMixture, negation, sigmaGrid, smc } from 'feynkac'
 *
 * const normal = gaussianMixture({ weights: [1], means: [[0, 0]], covariances: [1] })
 * const other = gaussianMixture({ weights: [1], means: [[1, 0]], covariances: [1] })
 * const target = negation(normal, other, { strength: 0.5 })
 * const { samples, logZ } = await smc(target, { particles: 256, sigmas: sigmaGrid({ steps: 32, min: 0.01, max: 20 }) })
 * ```
 */
export function negation(
  energy: EnergyFunction,
  negated: EnergyFunction,
  options: { strength: number; floor?: number } & LambdaOption,
): Target {
  knownOptions('negation', options, ['strength', 'floor', 'lambda'])
  const strength = finiteNumber('strength', options.strength, { above: 0 })
  const floor = finiteNumber('floor', options.floor ?? 0, { min: 0 })
  const [model, other] = checkedModels([energy, negated])
  const { calibration } = other
  const smooth: ResidentEnergy = {
    shape: other.shape,
    calibration: calibration && {
      basis: calibration.basis,
      precisionAt: (sigma, noise = sigma) => calibration.precisionAt(Math.max(sigma, floor), Math.max(noise, floor)),
      consistency: calibration.consistency,
    },
    residence: residenceOf([other]),
    learnt: isLearnt(other),
    energyGrad: (x, sigma, given) => other.energyGrad(x, Math.max(sigma, floor), given),
    energyGradIn: (space, x, sigma, given) =>
      (other as ResidentEnergy).energyGradIn(space, x, Math.max(sigma, floor), given),
  }
  return linear(
    'negation',
    [model, floor > 0 ? smooth : other],
    [1, -strength],
    options,
    linearLambda([model, other], [1, -strength]),
  )
}

/**
 * Guidance (Ho & Salimans 2021): pi proportional to p(x)^(1 - scale) p(x|c)^scale. U = (1 - scale) E_uncond + scale E_cond, Lambda = 1. Throws
 * ArgumentError.
 * @param options.scale any number: 0 the unconditional density, 1 the conditional, above 1 more of what the condition adds
 * @example
 * ```js
 * import { EnergyModel, guided, sigmaGrid, smc } from 'feynkac'
 *
 * const energy = await EnergyModel.load('energy.safetensors')
 * const target = guided(energy.conditioned(), energy.conditioned({ hair: 3 }), { scale: 2 })
 * const { samples, logZ } = await smc(target, { particles: 32, sigmas: sigmaGrid({ steps: 32, min: 0.01, max: 20 }) })
 * ```
 */
export function guided(
  unconditional: EnergyFunction,
  conditional: EnergyFunction,
  options: { scale: number } & LambdaOption,
): Target {
  knownOptions('guided', options, ['scale', 'lambda'])
  const scale = finiteNumber('scale', options.scale)
  return linear('guided', checkedModels([unconditional, conditional]), [1 - scale, scale], { lambda: 1, ...options })
}
