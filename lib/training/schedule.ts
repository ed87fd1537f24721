/** Learning rate and averaging as functions of the images seen, after Karras et al. 2022 (EDM, training loop). */

/** Linear warm-up over the first `warmUp` images, then constant; `images` counts those seen after the step. */
export function learningRate(lr: number, warmUp: number, images: number): number {
  return warmUp > 0 ? lr * Math.min(1, images / warmUp) : lr
}

const rampUp = 0.05

/**
 * Factor that the averaged weights keep in a step of `batchSize` images, for a half-life in images. Early on the half-life
 * is at most 5 % of the images seen before the step, so that the average forgets the start.
 */
export function emaDecay(halfLife: number, imagesBefore: number, batchSize: number): number {
  const effective = Math.min(halfLife, imagesBefore * rampUp)
  return effective > 0 ? 0.5 ** (batchSize / effective) : 0
}
