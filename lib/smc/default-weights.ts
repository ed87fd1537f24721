import type { EnergyFunction, Target } from './energy-function.js'
import type { WeightScheme } from './kernels.js'
import { isLearnt, modelsOf } from './learnt.js'

/**
 * The weights that smc takes where it is told none: this is the one place that decides (docs/degeneracy.md, "Learnt energies").
 *
 * Weights are differences of energies between noise levels. A closed form has them to the last digit, and 'bridge' is exact at any number
 * of levels. A network has them as well as it was trained: in a few dimensions well enough that the bridge samples nearer to the target
 * than no weights do, while of pictures its errors add up to hundreds of nats below a tenth of the data's scale, and the population ends
 * as copies of one picture. Likelihoods (docs/likelihood.md), which no energy's error between noise levels enters, bring the low temperature of one
 * model of pictures nearer to the truth than no weights, and products no nearer; of latents nobody has measured them. A form of weights is the
 * default for a kind of model and target only where it was measured to beat no weights (`feynkac experiment consistency`).
 */
export function usualWeights(target: Target): WeightScheme {
  if (!isPicture(target.shape) || !isLearnt(target)) return 'bridge'
  // the factor alone is weighed: the learnt energy cancels from its weights
  if (target.factored) return isFactored(target.models[0]) ? 'bridge' : 'tilt'
  // a set or a reward within is seen by weights alone
  if (isFactored(target)) return 'bridge'
  return isCold(target) && !target.models[0].latent ? 'likelihood' : 'none'
}

/** Samples of [channels, height, width], of pixels or of an autoencoder's latents; vectors and other shapes are not pictures. */
export const isPicture = (shape: readonly number[]): boolean => shape.length === 3

/** One model, to a power above 1. */
const isCold = ({ models, exponents }: Target): boolean =>
  models.length === 1 && modelsOf(models[0]).length === 0 && (exponents?.[0] ?? 1) > 1

function isFactored(energy: EnergyFunction): boolean {
  return (energy as Partial<Target>).factored === true || modelsOf(energy).some(isFactored)
}
