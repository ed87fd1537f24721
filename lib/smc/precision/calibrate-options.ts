import { type Rows, type RowsOf, whole } from '../../base/option-table.js'
import type { Dataset } from '../../data/dataset.js'
import type { Communicator } from '../../ranks/communicator.js'

/** What the calibration of an energy can be asked for. */

/** Options of `calibrate`. */
export interface CalibrateOptions {
  /** Samples without noise that the energy is of: a data set, or [n, ...shape]; taken evenly, more than once where there are fewer than `count`. */
  data: Dataset | Float32Array
  /** Noise levels of the table, strictly decreasing; default 32 from 80 to 0.002, in equal ratios. */
  sigmas?: ArrayLike<number>
  /** Draws of data; the energy is evaluated at two points for each at every level. Default 4096. */
  count?: number
  /** For vectors: group of every coordinate, numbered from 0, whose precisions are taken for one. Images are pooled by frequency. */
  pool?: ArrayLike<number>
  /** Seed of the noise; default 0. */
  seed?: number
  /** What `communicator()` gives: the processes that share the noise levels, to the bit of one process. Default: this process alone. */
  ranks?: Communicator
  signal?: AbortSignal
  /** Draws times levels done, of all. */
  onProgress?: (progress: { done: number; total: number }) => void
}

/** Those that are numbers, once: ranges, defaults, flags and help. */
export const calibrateRows: RowsOf<CalibrateOptions, 'count' | 'seed'> = {
  count: whole('draws of data at every noise level', { min: 2, max: 0x7fffffff, default: 4096 }),
  seed: whole('of the noise', { min: 0, flag: false, default: 0 }),
}

/** Of the noise levels of a model's own table, over its own range. */
export const tableRows: Rows<{ levels: number }> = {
  levels: whole('noise levels, over the range of the model', { min: 2, max: 1000, default: 32 }),
}

export const calibrateOptionNames = [...Object.keys(calibrateRows), 'data', 'sigmas', 'pool', 'ranks', 'signal', 'onProgress'] // biome-ignore format: one line
