import { positive, type RowsOf, toggle, whole } from '../base/option-table.js'
import type { Dataset } from '../data/dataset.js'
import type { DeviceOptions } from '../native/devices.js'
import type { DataOptions, TrainingPlan } from '../training/types.js'
import type { Findings } from './findings.js'
import type { FitProgress } from './result.js'

/** What a fit can be asked for. */

export interface FitOptions extends DeviceOptions {
  /** Pictures, or their specification for `loadDataset`. */
  data: Dataset | string
  /** How `loadDataset` is to read the specification. What it leaves open is chosen: one small size, and one channel where pictures are grey. */
  dataOptions?: Omit<DataOptions, 'autoencoder'>
  /** Time for all of it, on this machine as busy as it is at the start (10). */
  minutes?: number
  /** Instead: images that the teacher sees. All else follows from them, and the same numbers give the same bits. */
  images?: number
  /** With images: images that the energy sees (by rule; a fit of minutes gives it what is left of them). */
  energyImages?: number
  /** Folder for all that is written; a fit that was stopped there is gone on with. */
  output: string
  /** Replace what another fit has left in `output`. */
  overwrite?: boolean
  /** Seed of all random numbers (0). */
  seed?: number
  /** Also write event files of TensorBoard's beside the log of each training, in `output`/runs (false). */
  tensorboard?: boolean
  /** Aborting ends the fit after the step in progress, with a checkpoint. */
  signal?: AbortSignal
  /** What was found in the data; called before the work. */
  onFindings?: (findings: Findings) => void
  /** What the training of the teacher is going to do, and then that of the energy; called before its first step. */
  onPlan?: (plan: TrainingPlan, stage: 'teacher' | 'energy') => void
  onProgress?: (progress: FitProgress) => void
}

/** The options, once: ranges, defaults, flags and help. */
export const fitRows = {
  minutes: positive('time for all of it', { default: 10 }),
  images: whole('instead: images that the teacher sees; gives the same bits again'),
  energyImages: whole('with --images: images that the energy sees (by rule)'),
  overwrite: toggle('replace what another fit has left in --output', { default: false }),
  seed: whole('of all random numbers', { min: 0, flag: false, default: 0 }),
  tensorboard: toggle('write event files for TensorBoard into the folder of each training', { default: false }),
} satisfies RowsOf<FitOptions, 'minutes' | 'images' | 'energyImages' | 'overwrite' | 'seed' | 'tensorboard'>
