import { notNegative, positive, type Rows, real, share, toggle, whole } from '../base/option-table.js'

/** Options of losses beside the objective's own, once: what they mean, ranges, defaults, flags and help. */

/** How long a run is. */
export const lengthRows: Rows<{ images: number; minutes: number }> = {
  images: whole('images to see in all, such as 200k'),
  minutes: positive('instead of --images: as many as this time allows, by the speed at the start'),
}

/** What is held out of training. */
export const holdOutRows: Rows<{ holdOut: number }> = {
  holdOut: share('of the data, to measure the loss on (0.1 of 100 or more)', { max: 0.9, value: 'share' }),
}

export const classifierRows = {
  holdOut: { ...holdOutRows.holdOut, help: 'of the images, to measure the accuracy on (0.1)' },
}

/** Samples drawn as it goes. */
export const previewRows: Rows<{ previewEvery: number }> = {
  previewEvery: whole('images between previews, 0 for none (1/10 of the run, as far as they cost 1/50 of it)', {
    min: 0,
    value: 'images',
  }),
}

/** What a run writes. */
export const recordRows: Rows<{ checkpointEvery: number; logEvery: number; tensorboard: boolean }> = {
  checkpointEvery: real('images between checkpoints (two minutes)', { min: 1, value: 'images' }),
  logEvery: real('images between lines of log.jsonl (1/200 of the run)', { min: 1, value: 'images' }),
  tensorboard: toggle('write event files for TensorBoard into the output directory, beside the log'),
}

/** Where energies are trained: the cross-entropy over noise levels. */
export interface LevelOptions {
  /**
   * Weight of a cross-entropy over noise levels, per dimension as the loss is, which sees the relative weight of separated modes
   * (docs/levelled.md): 0.5, say; 0, the default: none.
   */
  levelWeight?: number
  /** With levelWeight: noise levels that a sample is classified among (3), and samples per step that are (a quarter of the batch). */
  levels?: number
  levelBatch?: number
}

export const levelRows: Rows<LevelOptions> = {
  levelWeight: notNegative('of the cross-entropy over noise levels, such as 0.5 (0: none)'),
  levels: whole('noise levels that a sample is classified among', { min: 2, max: 64, default: 3 }),
  levelBatch: whole('samples per step that are classified (a quarter of the batch)'),
}

/** Options of `distill`. */
export interface PathOptions {
  /**
   * Weight of the path loss, per dimension as the loss is, which makes energies agree between noise levels (docs/residual.md): 0.5, say; 0, the
   * default: none.
   */
  pathWeight?: number
  /** With pathWeight: walks per step of training, from the first samples of the batch (half of it). */
  pathBatch?: number
  /** Steps of a walk (3), and the length of one in ln sigma (0.1). */
  pathSteps?: number
  pathStep?: number
}

export const pathRows: Rows<PathOptions> = {
  pathWeight: notNegative('of the path loss, which makes noise levels agree, such as 0.5 (0: none)'),
  pathBatch: whole('walks per step (half the batch)'),
  pathSteps: whole('steps of a walk', { max: 64, default: 3 }),
  pathStep: real('of a step in ln sigma', { min: 1e-3, max: 1, value: 'length', default: 0.1 }),
}
