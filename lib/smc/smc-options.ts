import { boolean, finiteNumber, float64Array, integer, oneOf } from '../base/args.js'
import { ArgumentError, invalid } from '../base/errors.js'
import { requireMemory } from '../base/memory.js'
import { sizeOf } from '../base/shape.js'
import { type Communicator, checkedRanks } from '../ranks/communicator.js'
import { driver, type WeightScheme, weightRules } from './annealing.js'
import { bearableAbove } from './consistency.js'
import { usualWeights } from './default-weights.js'
import type { EnergyFunction, Target } from './energy-function.js'
import type { LevelReport } from './events.js'
import { type Kernel, type Proposal, precisionForm } from './kernels.js'
import { factorsOf } from './likelihood.js'
import { defaultBatch, type MoveOptions } from './mcmc.js'
import { uncalibrated } from './precision/composed.js'
import { type ResamplingScheme, resamplingSchemes } from './resampling.js'
import { OwnRows, RankRows } from './rows.js'
import { checkedSigmas } from './schedule.js'

/** What a run of SMC can be asked for, and what that is once it is checked. */

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
   * errors between noise levels outweigh what the weights are to correct (default-weights.ts), or 'tilt' where a set or a reward is to be
   * weighed. Options that only weights make use of, controlDrift and weighAbove, ask for 'bridge'. 'likelihood' weighs once, by likelihoods of
   * that noise and above, which gradients alone give; until then the particles are plain ones of the model with the largest exponent
   * (docs/likelihood.md). It needs a target with exponents too.
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
   * 128. Log-weights have a variance in inverse proportion to it beside their own.
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
  /** Freezes the analytic proposals' m: `diagnostics.precisions` of a pilot run on the same sigmas. */
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

/** Names of the options of every run. */
export const runOptions = [
  'particles',
  'resampling',
  'essThreshold',
  'essAfter',
  'finalResample',
  'seed',
  'ranks',
  'gather',
  'signal',
  'onProgress',
  'checkpoint',
  'checkpointEvery',
]
/** Of a run on a target, beside those. */
export const targetOptions = [
  'sigmas',
  'weights',
  'weighAbove',
  'draws',
  'kernel',
  'proposal',
  'moves',
  'precisions',
  'controlDrift',
  'batchSize',
  'device',
]

/** Bytes of one particle's weights, ancestors and log-densities. */
const PARTICLE_BYTES = 80

/** @throws ArgumentError */
export function checkedRun(options: SmcRunOptions) {
  const particles = integer('particles', options.particles, 1, 0x7fffffff)
  requireMemory(particles * PARTICLE_BYTES, `${particles} particles`)
  const ranks = checkedRanks(options?.ranks)
  const essThreshold = finiteNumber('essThreshold', options.essThreshold ?? 0.5, { min: 0, max: 1 })
  return {
    particles,
    rows: ranks.size > 1 ? new RankRows(particles, ranks) : new OwnRows(particles),
    gather: oneOf('gather', options.gather ?? 'all', ['own', 'first', 'all']),
    resampling: oneOf('resampling', options.resampling ?? 'systematic', resamplingSchemes),
    essThreshold,
    essAfter: finiteNumber('essAfter', options.essAfter ?? 1, { min: essThreshold, max: 1 }),
    finalResample: boolean('finalResample', options.finalResample ?? false),
    seed: integer('seed', options.seed ?? 0, 0),
    signal: options.signal,
    onProgress: options.onProgress,
  }
}

/** @throws ArgumentError */
export function checkedTarget(target: Target, options: SmcOptions) {
  const sigmas = checkedSigmas(options.sigmas, 2)
  const controlDrift = boolean('controlDrift', options.controlDrift ?? false)
  const usualScheme = controlDrift || options.weighAbove !== undefined ? 'bridge' : usualWeights(target)
  const asked = oneOf('weights', options.weights ?? usualScheme, Object.keys(weightRules) as WeightScheme[])
  const weighAbove = checkedWeighAbove(options.weighAbove, asked, target, sigmas)
  if (asked === 'likelihood') factorsOf(target)
  else if (options.draws !== undefined) throw invalid(`draws with weights: '${asked}'`, 'nothing', options.draws)
  const bearable = options.weighAbove === undefined || options.weighAbove === 'auto'
  const draws = integer('draws', options.draws ?? 128, 1, 0xffff)
  const weights = weighAbove === Number.POSITIVE_INFINITY ? 'none' : asked
  const rule = weightRules[weights]
  const { calibration } = driver(target, weights)
  const kernel = oneOf(`kernel with weights '${weights}'`, options.kernel ?? rule.kernels[0], rule.kernels)
  const proposals: readonly Proposal[] = rule.proposals
  const usual =
    calibration && kernel === 'scaled' && options.precisions === undefined && proposals.includes('calibrated')
      ? 'calibrated'
      : proposals[0]
  const proposal = oneOf(`proposal with weights '${weights}'`, options.proposal ?? usual, proposals)
  if (proposal === 'calibrated') checkCalibrated(driver(target, weights), kernel, options.precisions)
  const { extra } = rule
  if (extra === 'squares' && !target.exponents)
    throw new ArgumentError(`weights: '${weights}' needs a target that is linear in the energies, not '${target.name}'`)
  if (options.moves !== undefined && (extra !== 'none' || weights === 'likelihood'))
    throw new ArgumentError(`moves go with weights: 'bridge' or 'none', not with '${weights}'`)
  if (controlDrift && weights !== 'bridge')
    throw new ArgumentError(
      `controlDrift goes with weights: 'bridge', whose kernels may have any drift, not with '${weights}'`,
    )
  if (options.precisions !== undefined && weights === 'likelihood')
    throw invalid("precisions with weights: 'likelihood'", 'nothing', options.precisions)
  const precisions = checkedPrecisions(options.precisions, target, proposal, sigmas.length - 1)
  const batch = integer('batchSize', options.batchSize ?? defaultBatch(target.shape), 1)
  const { moves } = options
  return { sigmas, weights, weighAbove, draws, bearable, kernel, proposal, moves, precisions, controlDrift, batch }
}

/** Default of weighAbove with likelihoods. */
const LIKELIHOODS_ABOVE = 1

/** Infinity: nothing is to be weighed. */
function checkedWeighAbove(
  given: SmcOptions['weighAbove'],
  weights: WeightScheme,
  target: Target,
  sigmas: Float64Array,
): number {
  if (weights === 'likelihood' && (given === undefined || given === 'auto'))
    return Math.min(LIKELIHOODS_ABOVE, sigmas[1])
  if (given === undefined) return 0
  if (weights === 'none') throw invalid("weighAbove with weights: 'none'", 'nothing', given)
  if (given === 'auto') return bearableAbove(target, sigmas)
  const above = finiteNumber('weighAbove', given, { min: 0 })
  if (above <= sigmas[1]) return above
  throw new ArgumentError(
    `weighAbove: ${above} leaves no step from the largest noise, ${sigmas[0]}, to one that is weighed`,
  )
}

/** A copy. */
function checkedPrecisions(
  precisions: SmcOptions['precisions'],
  target: Target,
  proposal: Proposal,
  steps: number,
): Float64Array[] | undefined {
  if (precisions === undefined) return undefined
  const length = precisionForm(proposal) === 'diagonal' ? sizeOf(target.shape) : 1
  if (!Array.isArray(precisions) || precisions.length !== steps)
    throw invalid('precisions', `${steps} Float64Arrays of length ${length}, from a run on the same sigmas`, precisions)
  return Array.from(precisions, (m, k) => {
    const own = new Float64Array(float64Array(`precisions[${k}]`, m, length))
    if (!own.every(Number.isFinite)) throw invalid(`precisions[${k}]`, 'finite numbers', m)
    return own
  })
}

function checkCalibrated(target: EnergyFunction, kernel: Kernel, precisions: unknown): void {
  if (kernel === 'plain') throw invalid("kernel with proposal 'calibrated'", "'scaled'", kernel)
  if (precisions !== undefined)
    throw invalid("precisions with proposal 'calibrated'", 'none, as the tables have them', precisions)
  if (target.calibration) return
  throw new ArgumentError(
    `proposal: 'calibrated' needs a table of precisions of every model, and ${uncalibrated(target)} has none: ` +
      "measure it with 'feynkac calibrate' (a box has one where it has both walls or none)",
  )
}

export type CheckedRun = ReturnType<typeof checkedRun>
