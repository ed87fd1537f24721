import type { Dataset } from '../data/dataset.js'
import type { LoadDatasetOptions } from '../data/options.js'
import type { DeviceOptions } from '../native/devices.js'
import type { NetworkConfig } from '../networks/config.js'
import type { Communicator } from '../ranks/communicator.js'
import type { TrainingProgress } from './events.js'
import type { LevelState } from './levels.js'
import type { Architecture } from './network-options.js'
import type { PathState } from './path-loss.js'
import type { Recipe } from './recipe.js'
import type { Settings } from './settings.js'

export interface LoopState {
  /** Steps done. */
  step: number
  watch: { losses: number[]; means: number[] }
  /** Free energies of the levels, where there are any. */
  levels?: LevelState
  /** Constants of the path loss, where there is one. */
  path?: PathState
  /** State at the averaged weights with the lowest held-out loss, where there are any. */
  best?: BestState
  /** How often the run has diverged and gone on at half of its rate. */
  slowed?: number
}

export interface BestState {
  loss: number
  /** Seen by then. */
  images: number
}

/** What a training learns from. */
export interface DataOptions extends Omit<LoadDatasetOptions, 'signal' | 'onProgress'> {
  /** File of an autoencoder: the data are its latents. */
  autoencoder?: string
}

/** Options of every training. */
export interface TrainingOptions extends Partial<Settings>, DeviceOptions {
  /** Training data, or its specification for `loadDataset`. Only a resumed run can do without: its checkpoint knows. */
  data?: Dataset | string
  /** How `loadDataset` is to read the specification. */
  dataOptions?: DataOptions
  /** Images (samples) to see in all; a resumed run may extend it, and its rate then falls towards the new end. */
  images?: number
  /** Instead: as many as are seen in this time at the speed measured at the start. A resumed run keeps its images. */
  minutes?: number
  /** Share of the samples that the run is not trained on but measured on (0.1 where there are 100 or more), chosen by the seed; 0: none. */
  holdOut?: number
  /** A new network's shape (default: small), or all of its configuration. */
  network?: Architecture | NetworkConfig
  /** Directory of checkpoints, log.jsonl and the final model.safetensors; without it nothing is written. */
  output?: string
  /**
   * Go on from the newest checkpoint in `output`; other options are taken from it and must not contradict it. 'auto': begin where there is
   * none.
   */
  resume?: boolean | 'auto'
  /** Images between checkpoints (default: two minutes) and between lines of the log (1/200 of the run). */
  checkpointEvery?: number
  logEvery?: number
  /** Also write what log.jsonl has into an event file of TensorBoard's in `output` (false). */
  tensorboard?: boolean
  /**
   * Images between previews: samples of the averaged weights, drawn into `output` for log.jsonl. Default a tenth of the run, or as many as make
   * them a fiftieth of its work, so that short runs have none; 0: none. The run's bits do not depend on them.
   */
  previewEvery?: number
  /**
   * What `communicator()` gives: the processes that do each step together, a run of its micro-batches each. The model, the
   * checkpoints and the log are those of one process, to the bit. The first one writes. Default: this process alone.
   */
  ranks?: Communicator
  /** Aborting ends the run after the step in progress, with a checkpoint where there is an output directory. */
  signal?: AbortSignal
  /** What the run is going to do; called once, before its first step. */
  onPlan?: (plan: TrainingPlan) => void
  /** After each step; the run waits where it returns a promise. */
  onProgress?: (progress: TrainingProgress) => unknown
}

/** What a run is going to do. */
export interface TrainingPlan {
  images: number
  /** Where it was measured to choose the images. */
  imagesPerSecond: number | null
  recipe: Recipe
  /** Samples that it is trained on, and those held out. */
  samples: { training: number; heldOut: number }
  /** All that in a line. */
  text: string
}

/** What a training returns. */
export interface TrainingResult<M> {
  /** The trained model: the averaged weights. Its `dispose` is the caller's. */
  model: M
  steps: number
  images: number
  /** Running median of the loss at the end. */
  loss: number
  /** The loss of the model on the samples held out; null where none were. */
  heldOutLoss: number | null
  /** The images seen when the averaged weights were those of the model: of the ten times that the loss was measured at, the best. */
  averagedAt: number
  /** The model's file, where there is an output directory. */
  path: string | null
}
