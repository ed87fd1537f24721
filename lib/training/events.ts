/**
 * What a training run tells while it goes: one TrainingProgress for each step, to `onProgress` and from `stream`; some of them, with more, as
 * lines of log.jsonl in the run's folder. Before them the file has a line of what was chosen, `{ step: 0, time, ...plan, options, sources }`
 * (TrainingPlan; `options`: all that fixes the weights), and where the loss has diverged `{ step, diverged }`. A resumed run drops the lines after
 * its checkpoint.
 */

/** One step. */
export interface TrainingProgress {
  /** In the part at half the size before the others (`smallFirst`): that size. All else is this part's own. */
  size?: readonly number[]
  /** Steps done, images seen, and how many images the run has. */
  step: number
  images: number
  totalImages: number
  /**
   * This step's: mean of lambda(sigma) ||D - target||^2 / d; of a joint network its denoiser's, plus the energy's times its weight; of a
   * classifier the mean cross-entropy.
   */
  loss: number
  /** For a joint network: the energy's part of the loss, mean of (grad Phi - h_D)^2. */
  energyLoss?: number
  /** With `levelWeight`: the mean cross-entropy over noise levels, in nats; not in `loss`. */
  levelLoss?: number
  /** With `pathWeight`: the mean over walks of 32 ln cosh(r / 4), r^2 for small r, in squares of nats; not in `loss`. */
  pathLoss?: number
  /** Running median of the loss. */
  median: number
  /** Where it was measured after this step: the loss of the averaged weights on the samples held out. */
  heldOutLoss?: number
  gradNorm: number
  /** Learning rate of this step. */
  lr: number
  /** Since this call began, resumed steps left out. */
  imagesPerSecond: number
}

/**
 * One line of log.jsonl: as the progress, and, where there are noise levels, the mean loss in ten bins of ln sigma since the line before;
 * with `pathWeight` the mean r^2 of walks from below sigma = 0.3, from there to 1, and above.
 */
export interface LogLine extends TrainingProgress {
  /** When it was written, ISO 8601. */
  time: string
  binLosses?: (number | null)[]
  /** Samples drawn from the averaged weights after this step: the name of a picture in the run's folder, of vectors their first coordinates. */
  preview?: Preview
  pathResiduals?: (number | null)[]
}

/** The name of a picture within the run's folder, or points in the plane. */
export type Preview = string | (readonly [number, number])[]
