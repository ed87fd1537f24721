import { choice, notNegative, orFalse, positive, type Rows, real, share, toggle, whole } from '../base/option-table.js'
import { heads } from '../networks/energy-heads.js'

/** Options of losses beside the objective's own, once: what they mean, ranges, defaults, flags and help. */

/** How long a run is. */
export const lengthRows: Rows<{ images: number; minutes: number }> = {
  images: whole('images to see in all, such as 200k'),
  minutes: positive('instead of --images: as many as this time allows, by the speed at the start'),
}

/** What training on data is given beside its data. */
export const denoisingRows: Rows<{ sigmaData: number; conditional: boolean }> = {
  sigmaData: positive('standard deviation of the data (0.5; vectors: measured)'),
  conditional: toggle('give the network the labels of the data, of which there must be some (where there are any)', {
    flag: 'labels',
    no: 'ignore the labels of the data',
  }),
}

/** What an energy is made of; without: what holds where no head is given. */
export const headRows = <H extends string>(
  without: string,
  forms: readonly H[],
): Rows<{ head: H; headScale: number }> => ({
  head: choice(`form of the energy (${without})`, forms, { value: 'form' }),
  headScale: positive('a of the dot head (0.5; distilled pictures: 1)', { value: 'a' }),
})

export const distilledHeadRows = headRows('dot', heads)
export const trainedHeadRows = {
  ...headRows('without: a denoiser; joint: both in one network', [...heads, 'joint'] as const),
  energyWeight: positive("of the energy's part of the joint loss (1)"),
}

/** Where a distillation begins, what it also learns from, and what it ends with. */
export const distillRows: Rows<{ init: 'teacher' | 'random'; selfPlay: number; calibrate: number | false }> = {
  init: choice("begin with the teacher's weights or new ones (teacher)", ['teacher', 'random'], { value: 'weights' }),
  selfPlay: whole("also train on states of the energy's own paths, such as 32 (0: none)", {
    min: 0,
    max: 2 ** 16,
    value: 'paths',
  }),
  calibrate: orFalse(
    whole("draws of data for the energy's table of precisions (a twentieth of the run)"),
    'make no table: feynkac calibrate can do it later',
  ),
}

/** Noise while networks of images that know no noise levels are trained. */
const noise = (help: string, usual: number) => notNegative(help, { value: 'std', default: usual })
export const latentNoiseRows = { noise: noise('standard deviation of the noise on the latents', 0.1) }
export const imageNoiseRows = { noise: noise('largest standard deviation of the noise on the images', 0) }

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
