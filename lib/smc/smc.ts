import {
  boolean,
  finiteNumber,
  float64Array,
  integer,
  knownOptions,
  oneOf,
  plainObject,
  renamed,
} from '../base/args.js'
import { ArgumentError, invalid, NumericsError } from '../base/errors.js'
import { requireMemory } from '../base/memory.js'
import { sizeOf } from '../base/shape.js'
import { type Stream, streamOf, whilePresent } from '../base/stream.js'
import { inPieces, turns } from '../base/turns.js'
import { native, run } from '../native/addon.js'
import type { LogWeightStats } from '../native/particle-ops.js'
import { copyOf, fill, inSpaceOf, toHost, upload } from '../native/space.js'
import type { Doubles } from '../native/types.js'
import { type Communicator, checkedRanks } from '../ranks/communicator.js'
import { Advisor } from './advice.js'
import { AnnealedPopulation, driver, type WeightScheme, weightRules } from './annealing.js'
import type { SmcCheckpoint } from './checkpoint.js'
import { bearableAbove } from './consistency.js'
import { usualWeights } from './default-weights.js'
import { hasCollapsed, Roots, type RootsState, weightedMean } from './diagnostics.js'
import type { EnergyFunction, Target } from './energy-function.js'
import { notANumber } from './evaluation.js'
import type { Level, LevelReport } from './events.js'
import { type FeynmanKacModel, type Increment, ModelPopulation, type Population } from './feynman-kac.js'
import { type Kernel, type Proposal, precisionForm } from './kernels.js'
import { isLearnt } from './learnt.js'
import { factorsOf, LikelihoodPopulation } from './likelihood.js'
import { defaultBatch, type MoveOptions } from './mcmc.js'
import { noteOf } from './notes.js'
import { uncalibrated } from './precision/composed.js'
import { redraw } from './redraw.js'
import { type ResamplingScheme, resamplingSchemes } from './resampling.js'
import { OwnRows, RankRows } from './rows.js'
import { checkedSigmas } from './schedule.js'
import { type SmcFields, SmcResult } from './smc-result.js'
import { asTarget } from './targets/linear.js'

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

/**
 * Sequential Monte Carlo on a target (or a plain energy function), or on a Feynman–Kac model of one's own.
 * @throws ArgumentError; NumericsError where every particle lost its weight or a model gave NaN; the signal's reason within one step
 * @example
 * ```js
 * import { gaussianMixture, lowTemperature, sigmaGrid, smc } from 'feynkac'
 *
 * const normal = gaussianMixture({ weights: [1], means: [[0, 0]], covariances: [1] })
 * const target = lowTemperature(normal, { gamma: 2 })
 * const { samples, logWeights, logZ, ess } = await smc(target, {
 *   particles: 1000,
 *   sigmas: sigmaGrid({ steps: 32, min: 0.01, max: 20 }),
 * })
 * console.log(logZ) // -log(4 pi) = -2.53, as p^2 of N(0, I) has that normaliser
 * ```
 */
export function smc(model: FeynmanKacModel, options: SmcRunOptions): Promise<SmcResult>
export function smc(target: EnergyFunction, options: SmcOptions): Promise<SmcResult>
export function smc(model: EnergyFunction | FeynmanKacModel, options: SmcRunOptions | SmcOptions): Promise<SmcResult> {
  return start(model, options)
}

/**
 * The same as a loop over the levels, with the particles of each: `for await (const level of smc.stream(target, options))`. The run waits for the
 * loop's body and stops where the loop is left; `result` of the stream is what `smc` returns.
 * @example
 * ```js
 * import { gaussianMixture, sigmaGrid, smc } from 'feynkac'
 *
 * const normal = gaussianMixture({ weights: [1], means: [[0, 0]], covariances: [1] })
 * const run = smc.stream(normal, { particles: 64, sigmas: sigmaGrid({ steps: 16, min: 0.01, max: 20 }) })
 * for await (const level of run) console.log(level.sigma, level.ess, await level.denoised())
 * const { logZ } = await run.result
 * ```
 */
smc.stream = stream

function stream(model: FeynmanKacModel, options: SmcRunOptions): Stream<Level, SmcResult>
function stream(target: EnergyFunction, options: SmcOptions): Stream<Level, SmcResult>
function stream(
  model: EnergyFunction | FeynmanKacModel,
  options: SmcRunOptions | SmcOptions,
): Stream<Level, SmcResult> {
  const { signal, onProgress } = plainObject('options of smc.stream', options) as unknown as SmcRunOptions
  if (onProgress !== undefined)
    throw invalid('onProgress of smc.stream', 'nothing, as the loop has the levels', onProgress)
  return streamOf((emit, whole) => start(model, { ...options, signal: whole }, emit), signal)
}

/** Both forms; onLevel is awaited. */
async function start(
  model: EnergyFunction | FeynmanKacModel,
  asked: SmcRunOptions | SmcOptions,
  onLevel?: (level: Level) => Promise<void>,
): Promise<SmcResult> {
  const options = renamed('smc', asked, { batch: 'batchSize' })
  if (checkedRanks(options?.ranks).size > 1 && (onLevel || options.checkpoint !== undefined))
    throw new ArgumentError('smc: particles that ranks share have no checkpoint and no stream')
  if (isFeynmanKac(model)) {
    knownOptions('smc on a FeynmanKacModel', options, runOptions)
    const common = checkedRun(options)
    const population = new ModelPopulation(model, common.rows, common.seed, common.signal)
    const advisor = new Advisor({ ...common, where: (k) => population.where(k) })
    const checkpoint = await openCheckpoint(options, { ...identityOf(common), levels: population.levels })
    const fields = await runSmc({ population, options: common, advisor, onLevel, checkpoint })
    return new SmcResult({ ...fields, shape: [population.samples.length / common.rows.count] })
  }
  knownOptions('smc', options, [...runOptions, ...targetOptions])
  const target = asTarget(model)
  const common = checkedRun(options)
  const annealing = { ...common, ...checkedTarget(target, options as SmcOptions) }
  const { signal } = common
  const { device } = options as SmcOptions
  const shared = common.rows instanceof RankRows
  if (shared && device !== undefined && device !== 'auto' && device !== 'cpu')
    throw invalid('device of particles that ranks share', "'cpu'", device)
  if (shared && annealing.weights === 'likelihood')
    throw new ArgumentError("smc: ranks share particles of other weights than 'likelihood'")
  return inSpaceOf(target.residence, shared ? 'cpu' : device, signal, async (space) => {
    const weighed = annealing.weights === 'likelihood' ? new LikelihoodPopulation(target, annealing, space) : undefined
    const population = weighed ?? new AnnealedPopulation(target, annealing, space, common.rows)
    const setting = { ...annealing, learnt: isLearnt(target), where: (k: number) => population.where(k) }
    const { sigmas, weights: scheme } = annealing
    const checkpoint = await openCheckpoint(options, { ...identityOf(annealing), ...describedTarget(target) })
    const course = { population, options: common, advisor: new Advisor(setting), sigmas, scheme, onLevel, checkpoint }
    const fields = await runSmc(course)
    const note = noteOf(target, { ...annealing, ...(weighed && { weighAbove: weighed.reach }) }, fields)
    return new SmcResult({ ...fields, shape: [...target.shape], scheme, ...(note && { note }) })
  })
}

/** Everything about a run that its bits depend on, but the model. */
function identityOf({
  signal,
  onProgress,
  rows,
  gather,
  ...options
}: ReturnType<typeof checkedRun>): Record<string, unknown> {
  return { ...options }
}

/** What a target is, as far as its own words say; the energies of particles say the rest (AnnealedPopulation.restore). */
function describedTarget({ name, shape, lambda, exponents, models }: Target) {
  return { target: { name, shape, lambda, exponents, models: models.length } }
}

async function openCheckpoint({ checkpoint: path, checkpointEvery }: SmcRunOptions, identity: Record<string, unknown>) {
  const seconds = finiteNumber('checkpointEvery', checkpointEvery ?? 10, { min: 0 })
  if (path === undefined) {
    if (checkpointEvery !== undefined) throw invalid('checkpointEvery', 'nothing without checkpoint', checkpointEvery)
    return undefined
  }
  if (typeof path !== 'string' || path === '') throw invalid('checkpoint', 'the name of a file', path)
  const { SmcCheckpoint } = await import('./checkpoint.js')
  return SmcCheckpoint.open(path, identity, 1000 * seconds)
}

const runOptions = [
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
const targetOptions = [
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

function isFeynmanKac(model: unknown): model is FeynmanKacModel {
  const m = model as FeynmanKacModel
  return [m?.initial, m?.propagate, m?.logPotential].every((f) => typeof f === 'function')
}

/** Bytes of one particle's weights, ancestors and log-densities. */
const PARTICLE_BYTES = 80

function checkedRun(options: SmcRunOptions) {
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

function checkedTarget(target: Target, options: SmcOptions) {
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

/** A run: its particles, and what is asked of it. */
interface Course {
  population: Population
  options: ReturnType<typeof checkedRun>
  advisor: Advisor
  sigmas?: Float64Array
  scheme?: WeightScheme
  onLevel?: (level: Level) => Promise<void>
  checkpoint?: SmcCheckpoint
}

/** What the loop itself goes on from after a level, beside its arrays. */
interface LoopState {
  roots: RootsState
  ancestors: (Int32Array | null)[]
  levels: LevelReport[]
  logZ: number
  stats: LogWeightStats
  population: Record<string, unknown>
}

/** The algorithm: move, weight, resample where the weights have become too uneven, move within the level. */
async function runSmc(course: Course): Promise<Omit<SmcFields, 'shape'>> {
  const { population, options, advisor, sigmas, scheme, onLevel, checkpoint } = course
  const weighted = scheme !== 'none'
  const { particles: n, rows, seed, signal, resampling } = options
  const { space } = population
  const logWeights = space.doubles(n)
  const weights = space.doubles(n)
  await fill(logWeights, 0, signal)
  await fill(weights, 1 / n, signal)
  const ancestors: (Int32Array | null)[] = []
  const roots = await Roots.begin(n, signal)
  const levels: LevelReport[] = []
  const lastLevel = population.levels - 1
  let logZ = 0 // of the levels up to the last resampling, which sets the mean weight to one
  let stats: LogWeightStats = { logSum: Math.log(n), ess: n, invalid: -1, logSumAgain: Math.log(n) }

  const save = async () => {
    const { arrays, rest } = await population.state()
    const own = { logWeights: await toHost(logWeights), weights: await toHost(weights) }
    const state: LoopState = { roots: roots.state(), ancestors, levels, logZ, stats, population: rest }
    await checkpoint!.save({ level: levels.length - 1, arrays: { ...arrays, ...own }, rest: { ...state } })
  }
  if (checkpoint?.saved) {
    const { arrays, rest, level } = checkpoint.saved
    const state = rest as unknown as LoopState
    await population.restore({ arrays, rest: state.population }, level)
    await upload(logWeights, float64Array('logWeights of the checkpoint', arrays.logWeights, n), signal)
    await upload(weights, float64Array('weights of the checkpoint', arrays.weights, n), signal)
    ancestors.push(...state.ancestors)
    levels.push(...state.levels)
    roots.restore(state.roots)
    logZ = state.logZ
    stats = state.stats
    for (const report of levels) advisor.look(report)
  }

  for (let k = levels.length; k <= lastLevel; k++) {
    if (signal?.aborted && checkpoint && k > 0) await save()
    signal?.throwIfAborted()
    const before = population.evaluations
    const increment = k === 0 ? await population.start() : await population.advance(k, weights)
    const { logSum } = stats
    stats = await reweight({ logWeights, weights, ...increment }, signal)
    if (stats.invalid >= 0) {
      const value = (await toHost(logWeights, signal))[stats.invalid]
      const suspect = await rows.firstText(await population.suspect())
      throw notANumber(population.where(k), suspect, value)
    }
    if (stats.ess === 0) throw collapsed(population.where(k))
    const level = logZ + stats.logSum - Math.log(n)
    const share = await toHost(weights, signal) // until they are resampled
    const logZError = await roots.logZError(share)
    const report: LevelReport = {
      level: k,
      lastLevel,
      sigma: sigmas?.[k] ?? Number.NaN,
      ess: stats.ess,
      // N (sum W G)^2 / sum W G^2 of the increment G: the sums of w, w G and w G^2 in the log domain
      conditionalEss: n * Math.exp(2 * stats.logSum - logSum - stats.logSumAgain),
      logZ: weighted ? level : Number.NaN,
      logZError: weighted ? logZError : Number.NaN,
      meanEnergy: population.energy
        ? await weightedMean(await toHost(population.energy, signal), share, signal)
        : Number.NaN,
      resampled: k < lastLevel ? stats.ess < options.essThreshold * n : options.finalResample,
      uniqueAncestors: n,
      distinctRoots: roots.distinct,
      acceptance: Number.NaN,
      evaluations: 0,
    }
    if (report.resampled) {
      const essAfter = k < lastLevel ? options.essAfter : 1
      const how = { scheme: resampling, essAfter, seed, step: k, signal }
      const drawn = await redraw(population, rows, { logWeights, weights }, share, how)
      await roots.resample(drawn.ancestors, drawn.weights)
      ancestors.push(drawn.ancestors)
      report.uniqueAncestors = drawn.unique
      report.distinctRoots = roots.distinct
      logZ = level
      stats = { ...stats, logSum: Math.log(n) }
    } else ancestors.push(null)
    report.acceptance = await population.move(k, weights)
    report.evaluations = population.evaluations - before
    const warning = advisor.look(report)
    if (warning) report.warning = warning
    levels.push(report)
    space.keep([logWeights, weights, ...population.live()])
    if (checkpoint?.due && k < lastLevel) await save()
    await options.onProgress?.(report)
    if (onLevel) await shown(report, population, weights, onLevel)
  }

  const last = levels[lastLevel]
  const families = await roots.families(await toHost(weights, signal))
  const normalised = await copyOf(logWeights, signal)
  await inPieces(n, turns(signal), (first, end) => {
    for (let i = first; i < end; i++) normalised[i] -= stats.logSum
  })
  const warnings = levels.flatMap(({ warning }) => warning ?? [])
  const samples = await rows.collect(await toHost(population.samples, signal), options.gather)
  const fields = {
    samples,
    ...(samples.length < (population.samples.length / rows.count) * n && { first: rows.first }),
    collapsed: weighted && hasCollapsed(families, n),
    logWeights: normalised,
    logZ: last.logZ,
    logZError: last.logZError,
    ess: Float64Array.from(levels, (l) => l.ess),
    warnings,
    ancestors,
    diagnostics: {
      levels,
      evaluations: population.evaluations,
      resamplings: ancestors.filter(Boolean).length,
      roots: roots.of,
      distinctRoots: roots.distinct,
      families,
      warnings,
      precisions: population instanceof AnnealedPopulation ? population.precisions : [],
      drift: population instanceof AnnealedPopulation ? population.drift : [],
    },
  }
  await checkpoint?.remove()
  return fields
}

/** Has the level heard, with its particles, which pass with it. */
async function shown(
  report: LevelReport,
  population: Population,
  weights: Doubles,
  onLevel: (level: Level) => Promise<void>,
): Promise<void> {
  const own = await copyOf(weights)
  await whilePresent(`level ${report.level}`, (present) =>
    onLevel({
      ...report,
      weights: own,
      samples: () => present(() => copyOf(population.samples)),
      denoised: () => present(() => population.denoised()),
    }),
  )
}

function reweight(
  { coefficients, ...request }: { logWeights: Doubles; weights: Doubles } & Increment,
  signal?: AbortSignal,
): Promise<LogWeightStats> {
  return run(() => native.reweight({ ...request, coefficients: Float64Array.from(coefficients) }), signal)
}

function collapsed(where: string): NumericsError {
  return new NumericsError(
    `all particles have weight zero at ${where}: nothing is left to resample. ` +
      'Use more particles or more levels, or a target whose support the particles can reach',
  )
}
