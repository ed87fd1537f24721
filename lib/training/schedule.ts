import type { Settings } from './settings.js'

/** Learning rate and averaging as functions of the images seen, after Karras et al. 2022 (EDM, training loop). */

/**
 * The rate of a step of a run of `total` images: rises linearly over the first `warmUp` images, and falls linearly to 0 over the last share
 * `decay` of the run (Defazio et al. 2023; Hägele et al. 2024). `images`: seen after the step. The last step still moves the weights.
 */
export function learningRate(
  { lr, warmUp, decay, batchSize }: Pick<Settings, 'lr' | 'warmUp' | 'decay' | 'batchSize'>,
  images: number,
  total: number,
): number {
  const risen = warmUp > 0 ? Math.min(1, images / warmUp) : 1
  const left = decay > 0 ? Math.min(1, (total - images + batchSize) / (decay * total)) : 1
  return lr * risen * left
}

/** The half-life of the average is at most this share of the images seen. */
const RAMP_UP = 0.05

/**
 * Factor that the averaged weights keep in a step of `batchSize` images, for a half-life in images. Early on the half-life
 * is at most 5 % of the images seen before the step, so that the average forgets the start.
 */
export function emaDecay(halfLife: number, imagesBefore: number, batchSize: number): number {
  const effective = Math.min(halfLife, imagesBefore * RAMP_UP)
  return effective > 0 ? 0.5 ** (batchSize / effective) : 0
}
