import { type RowsOf, rowsOf, share, whole } from '../base/option-table.js'
import { sigmaGridRows } from './schedule.js'
import type { SmcOptions } from './smc-options.js'

/** What `adaptSigmas` can be asked for. */

/** Options of the pilot runs as for smc; their weights are 'bridge' by default, as it is weights that the levels are placed by. */
export interface AdaptSigmasOptions
  extends Pick<
    SmcOptions,
    | 'weights'
    | 'kernel'
    | 'proposal'
    | 'moves'
    | 'controlDrift'
    | 'seed'
    | 'batchSize'
    | 'batch'
    | 'device'
    | 'signal'
    | 'onProgress'
  > {
  /** Transitions of the result; or give `conditionalEss`. */
  steps?: number
  /**
   * Share of the particles, above 0 and below 1, that the conditional effective sample size of each step is to keep: as many steps as it
   * takes until a pilot run keeps it, or six have not.
   */
  conditionalEss?: number
  /** Particles of a pilot run; default 128. */
  particles?: number
  /** Transitions of the first pilot run; default `steps`, or 64. */
  pilotSteps?: number
  /** Smallest and largest noise level, and spacing in the pilot run: as for sigmaGrid. */
  min?: number
  max?: number
  rho?: number
}

/** More steps than this are refused. */
export const MOST_STEPS = 100_000

/** The options of its own, once: ranges, defaults and help. */
export const adaptRows: RowsOf<
  AdaptSigmasOptions,
  'steps' | 'conditionalEss' | 'particles' | 'pilotSteps' | 'min' | 'max' | 'rho'
> = {
  steps: whole('transitions of the result; or give conditionalEss', { max: MOST_STEPS, flag: false }),
  conditionalEss: share(
    'of the particles, that the conditional effective sample size of each step is to keep; or give steps',
    { above: 0, max: 1 - Number.EPSILON / 2, flag: false },
  ),
  particles: whole('of a pilot run', { min: 2, max: 0x7fffffff, flag: false, default: 128 }),
  pilotSteps: whole('transitions of the first pilot run (steps, or 64)', { max: MOST_STEPS, flag: false }),
  ...rowsOf(sigmaGridRows, 'min', 'max', 'rho'),
}

/** Names of all its options. */
export const adaptOptionNames = [
  ...Object.keys(adaptRows),
  ...['weights', 'kernel', 'proposal', 'moves', 'controlDrift', 'seed', 'batchSize', 'device', 'signal', 'onProgress'],
]
