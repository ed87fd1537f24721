import { choice, notNegative, orWord, type RowsOf, share, toggle, whole } from '../base/option-table.js'
import type { Communicator } from '../ranks/communicator.js'
import type { LevelReport } from './events.js'
import { type Kernel, kernels, type Proposal, proposals, type WeightScheme, weightSchemes } from './kernels.js'
import type { MoveOptions } from './mcmc.js'
import { type ResamplingScheme, resamplingSchemes } from './resampling.js'

/** What a run of SMC can be asked for; smc-checks.ts says what that is once it is checked. */

/** Options of a run on any model. */
export interface SmcRunOptions {
  particles: number
  /** Default 'systematic'. */
  resampling?: ResamplingScheme
  /** Resample when the effective sample size falls below this share of the particles, 0 to 1; default 0.5. */
  essThreshold?: number
  /**
   * Share of the particles that resampling brings the effective sample size back to, from essThreshold to 1. Default 1: all take part. Below 1
   * only the fewest particles of the largest and smallest weights do, and the others keep their weights and their own ancestors.
   */
  essAfter?: number
  /** Resample after the last level, so that the samples have equal weights; default false. */
  finalResample?: boolean
  /** Default 0. Same seed, same result; batches and threads do not matter. */
  seed?: number
  /**
   * What `communicator()` gives: the processes that share the particles, each with a block of them in its host's memory. Weights, ancestors and log Z are
   * those of one process with the particles on the CPU, to the bit, on all ranks. A model of one's own is asked for the rows that are here, and must treat each by
   * itself. Default: this process alone.
   */
  ranks?: Communicator
  /** With ranks: whose samples each gets, those of all ('all', default), its own ('own'), or the first all and the others their own ('first'). */
  gather?: 'own' | 'first' | 'all'
  signal?: AbortSignal
  /** After each level; the run waits where it returns a promise. `smc.stream` gives the particles besides. */
  onProgress?: (report: LevelReport) => unknown
  /**
   * A file that the run's state is kept in while it goes. Where it is there already, the run goes on from it, with the same bits as if it had never
   * been stopped; it is removed at the end. Of a run with other options or another target it is refused.
   */
  checkpoint?: string
  /** Seconds between two writes of it; default 10, 0 after every level. Besides it is written when the run is aborted between two levels. */
  checkpointEvery?: number
}

/** Options of a run on a target. */
export interface SmcOptions extends SmcRunOptions {
  /** Strictly decreasing, positive: sigmaGrid, or one's own. */
  sigmas: ArrayLike<number>
  /**
   * 'fkc' and 'rne' need a target with exponents (linear in the energies). Default 'bridge'; of learnt energies of pictures 'none', as their
   * errors between noise levels outweigh what the weights are to correct (default-weights.ts), 'likelihood' for a low temperature of one of pixels,
   * or 'tilt' where a set or a reward is to be weighed. Options that only weights make use of, controlDrift and weighAbove, ask for 'bridge'. 'likelihood' weighs once, by likelihoods of
   * that noise and above, which gradients alone give; until then the particles are plain ones of the model with the largest exponent, and there they
   * are resampled, as copies part again (docs/likelihood.md). It needs a target with exponents too.
   */
  weights?: WeightScheme
  /**
   * Weights act at noise levels from here up alone; below, the same proposals go on without. Default 0: at all. For networks, whose energies
   * err most at small noise; what the samples are of there is not corrected. 'auto': as far down as the weights' variance that `calibrate` of a
   * model has measured stays bearable (4 nats squared), or not at all. With 'likelihood' by default as far as half of the particles are left
   * by effective sample size, and no further than 1, for samples from -1 to 1.
   */
  weighAbove?: number | 'auto'
  /**
   * With weights: 'likelihood': noise levels that each particle's likelihood is averaged over, at one evaluation of every model each; default
   * 128, which the stages of a power above 2 share. Log-weights have a variance in inverse proportion to it beside their own.
   */
  draws?: number
  /** Variance of the backward kernel: (s^2 - s'^2) / Lambda ('scaled', default) or s^2 - s'^2 ('plain', all that fkc and rne have); Lambda of 'tilt' is its base model's. */
  kernel?: Kernel
  /**
   * Variances of the step; default 'calibrated' where every model of the target has a table of precisions (`calibrate`), the weights are
   * 'bridge' or 'none' and the kernel is 'scaled'; else 'analytic' ('sde' for fkc and rne). 'tempered' goes with fkc alone.
   */
  proposal?: Proposal
  /** MCMC moves at every level, after its resampling; default none. With bridge weights, or none. */
  moves?: MoveOptions
  /**
   * Adds a control drift b = sum_j theta_j grad E_j of the target's models to both kernels of a step: proposal N(x'; x - v (grad U - b), tau),
   * backward kernel N(x; x' - v b'(x'), v). theta is fitted after each step to lower the variance of the next one's weights, on past particles
   * alone, at no further evaluation, and the weights stay exact (in the manner of DriftLite, Ren et al. 2026, arXiv 2509.21655; see
   * docs/degeneracy.md). Default false. With weights 'bridge' only. Helps where the scaled kernel's Lambda is off, as with experts of very
   * different width, negations and boxes, and with the plain kernel; hurts with fewer than some 16 particles. The gradient
   * of every model is kept beside the target's.
   */
  controlDrift?: boolean
  /** Freezes the analytic proposals' m, the mean precisions: `diagnostics.meanPrecisions` of a pilot run on the same sigmas. */
  meanPrecisions?: readonly Float64Array[]
  /** @deprecated `meanPrecisions` */
  precisions?: readonly Float64Array[]
  /** Largest number of particles that a model on the host gets at once; default about 4 MB of them. */
  batchSize?: number
  /** @deprecated `batchSize` */
  batch?: number
  /**
   * Where the particles are: 'cpu' or 'cuda:0'; default where the models are. Targets that call functions of yours, and models on several
   * devices, have them on the CPU.
   */
  device?: string
}

/** Options of every run, once: ranges, defaults, flags and help. */
export const runRows: RowsOf<
  SmcRunOptions,
  'particles' | 'resampling' | 'essThreshold' | 'essAfter' | 'finalResample' | 'seed' | 'gather' | 'checkpointEvery'
> = {
  particles: whole('samples to draw', { max: 0x7fffffff }),
  resampling: choice('of smc: how ancestors are drawn', resamplingSchemes, { value: 'scheme', default: 'systematic' }),
  essThreshold: share('of smc: resample below this share of the particles', { value: 'share', default: 0.5 }),
  essAfter: share('of smc: resample extreme weights alone, up to this share (1: all)', { value: 'share', default: 1 }),
  finalResample: toggle('of smc: resample after the last level, for samples of equal weight', { default: false }),
  seed: whole('of all random numbers', { min: 0, flag: false, default: 0 }),
  gather: choice('with ranks: whose samples each gets', ['own', 'first', 'all'], { flag: false, default: 'all' }),
  checkpointEvery: notNegative('seconds between two writes of the checkpoint', { flag: false, default: 10 }),
}

/** What a run on a target has besides. */
export const targetRows: RowsOf<
  SmcOptions,
  'weights' | 'weighAbove' | 'draws' | 'kernel' | 'proposal' | 'controlDrift' | 'batchSize'
> = {
  weights: choice(
    'of smc (bridge; of learnt energies of pictures none, or likelihood at low temperature)',
    weightSchemes,
    { value: 'form' },
  ),
  weighAbove: orWord(
    notNegative('of smc: no weights below this noise, where networks err; auto: as was measured (calibrate)', {
      value: 'sigma',
    }),
    'auto',
  ),
  draws: whole('with weights likelihood: noise levels that each is averaged over', { max: 0xffff, default: 128 }),
  kernel: choice('of smc (scaled; plain of fkc and rne)', kernels, { value: 'form' }),
  proposal: choice('of smc (calibrated where every model has a table, else analytic)', proposals, { value: 'form' }),
  controlDrift: toggle("of smc: a drift of the models' gradients, fitted step by step to even the weights", {
    default: false,
  }),
  batchSize: whole('most particles that a model on the host gets at once (4 MB of them)', { flag: false }),
}

/** Names of the options of every run, and of a run on a target beside those. */
export const runOptions = [...Object.keys(runRows), 'ranks', 'signal', 'onProgress', 'checkpoint']
export const targetOptions = [...Object.keys(targetRows), 'sigmas', 'moves', 'meanPrecisions', 'device']
