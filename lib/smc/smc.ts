import { boolean, finiteNumber, integer, knownOptions, oneOf } from '../args.js'
import { ArgumentError, invalid, NumericsError } from '../errors.js'
import { requireMemory } from '../memory.js'
import { native, run } from '../native.js'
import { AnnealedPopulation, type WeightScheme, weightRules } from './annealing.js'
import { type LevelReport, rootsOf, type SmcDiagnostics } from './diagnostics.js'
import type { EnergyFunction } from './energy-function.js'
import { notANumber, sizeOf } from './evaluation.js'
import { type FeynmanKacModel, type Increment, ModelPopulation, type Population } from './feynman-kac.js'
import { type Kernel, type Proposal, precisionForm } from './kernels.js'
import { defaultBatch, type MoveOptions } from './mcmc.js'
import type { LogWeightStats } from './native-particles.js'
import { uncalibrated } from './precisions.js'
import { type ResamplingScheme, resamplingSchemes } from './resampling.js'
import { checkedSigmas } from './schedule.js'
import { type Doubles, fill, inSpaceOf, toHost } from './space.js'
import { asTarget, type Target } from './targets.js'

/** Options of a run on any model. */
export interface SmcRunOptions {
  particles: number
  /** Default 'systematic'. */
  resampling?: ResamplingScheme
  /** Resample when the effective sample size falls below this share of the particles, 0 to 1; default 0.5. */
  essThreshold?: number
  /** Resample after the last level, so that the samples have equal weights; default false. */
  finalResample?: boolean
  /** Default 0. Same seed, same result; batches and threads do not matter. */
  seed?: number
  signal?: AbortSignal
  onProgress?: (report: LevelReport) => void
}

/** Options of a run on a target. */
export interface SmcOptions extends SmcRunOptions {
  /** Strictly decreasing, positive: sigmaGrid, or one's own. */
  sigmas: ArrayLike<number>
  /** Default 'bridge'. 'fkc' and 'rne' need a target with exponents (linear in the energies). */
  weights?: WeightScheme
  /** Variance of the backward kernel: (s^2 - s'^2) / Lambda ('scaled', default) or s^2 - s'^2 ('plain', all that tilt, fkc and rne have). */
  kernel?: Kernel
  /**
   * Variances of the step; default 'calibrated' where every model of the target has a table of precisions (`calibrate`), the weights are
   * 'bridge' or 'none' and the kernel is 'scaled'; else 'analytic' ('sde' for fkc and rne).
   */
  proposal?: Proposal
  /** MCMC moves at every level, after its resampling; default none. With bridge weights, or none. */
  moves?: MoveOptions
  /** Freezes the analytic proposals' m: `diagnostics.precisions` of a pilot run on the same sigmas. */
  precisions?: readonly Float64Array[]
  /** Largest number of particles that a model on the host gets at once; default about 4 MB of them. */
  batch?: number
  /**
   * Where the particles are: 'cpu' or 'cuda:0'; default where the models are. Targets that call functions of yours, and models on several
   * devices, have them on the CPU.
   */
  device?: string
}

export interface SmcResult {
  /** [particles, ...shape], weighted by logWeights. */
  samples: Float32Array
  /** Normalised: their exponentials sum to one. */
  logWeights: Float64Array
  /** log of the estimated normaliser of the last level's exp(-U); NaN without weights. */
  logZ: number
  /** Effective sample size before resampling, per level. */
  ess: Float64Array
  /** Ancestors drawn at each level, null where there was no resampling: the genealogy. */
  ancestors: (Int32Array | null)[]
  diagnostics: SmcDiagnostics
}

/**
 * Sequential Monte Carlo on a target (or a plain energy function), or on a Feynman–Kac model of one's own.
 * @throws ArgumentError; NumericsError where every particle lost its weight or a model gave NaN; the signal's reason within one step
 */
export function smc(model: FeynmanKacModel, options: SmcRunOptions): Promise<SmcResult>
export function smc(target: EnergyFunction, options: SmcOptions): Promise<SmcResult>
export async function smc(
  model: EnergyFunction | FeynmanKacModel,
  options: SmcRunOptions | SmcOptions,
): Promise<SmcResult> {
  if (isFeynmanKac(model)) {
    knownOptions('smc on a FeynmanKacModel', options, runOptions)
    const common = checkedRun(options)
    return runSmc(new ModelPopulation(model, common.particles, common.seed, common.signal), common)
  }
  knownOptions('smc', options, [...runOptions, ...targetOptions])
  const target = asTarget(model)
  const common = checkedRun(options)
  const annealing = { ...common, ...checkedTarget(target, options as SmcOptions) }
  return inSpaceOf(target.residence, (options as SmcOptions).device, common.signal, (space) =>
    runSmc(new AnnealedPopulation(target, annealing, space), common, annealing.sigmas, annealing.weights !== 'none'),
  )
}

const runOptions = ['particles', 'resampling', 'essThreshold', 'finalResample', 'seed', 'signal', 'onProgress']
const targetOptions = ['sigmas', 'weights', 'kernel', 'proposal', 'moves', 'precisions', 'batch', 'device']

function isFeynmanKac(model: unknown): model is FeynmanKacModel {
  const m = model as FeynmanKacModel
  return [m?.initial, m?.propagate, m?.logPotential].every((f) => typeof f === 'function')
}

/** Bytes of one particle's weights, ancestors and log-densities. */
const PARTICLE_BYTES = 80

function checkedRun(options: SmcRunOptions) {
  const particles = integer('particles', options.particles, 1, 0x7fffffff)
  requireMemory(particles * PARTICLE_BYTES, `${particles} particles`)
  return {
    particles,
    resampling: oneOf('resampling', options.resampling ?? 'systematic', resamplingSchemes),
    essThreshold: finiteNumber('essThreshold', options.essThreshold ?? 0.5, { min: 0, max: 1 }),
    finalResample: boolean('finalResample', options.finalResample ?? false),
    seed: integer('seed', options.seed ?? 0, 0),
    signal: options.signal,
    onProgress: options.onProgress,
  }
}

function checkedTarget(target: Target, options: SmcOptions) {
  const sigmas = checkedSigmas(options.sigmas, 2)
  const weights = oneOf('weights', options.weights ?? 'bridge', Object.keys(weightRules) as WeightScheme[])
  const rule = weightRules[weights]
  const kernel = oneOf(`kernel with weights '${weights}'`, options.kernel ?? rule.kernels[0], rule.kernels)
  const proposals: readonly Proposal[] = rule.proposals
  const usual =
    target.calibration && kernel === 'scaled' && options.precisions === undefined && proposals.includes('calibrated')
      ? 'calibrated'
      : proposals[0]
  const proposal = oneOf(`proposal with weights '${weights}'`, options.proposal ?? usual, proposals)
  if (proposal === 'calibrated') checkCalibrated(target, kernel, options.precisions)
  const { extra } = rule
  if (extra === 'squares' && !target.exponents)
    throw new ArgumentError(`weights: '${weights}' needs a target that is linear in the energies, not '${target.name}'`)
  if (options.moves !== undefined && extra !== 'none')
    throw new ArgumentError(`moves go with weights: 'bridge' or 'none', not with '${weights}'`)
  const { precisions } = options
  const length = precisionForm(proposal) === 'diagonal' ? sizeOf(target.shape) : 1
  const fits = (m: unknown) => m instanceof Float64Array && m.length === length && m.every(Number.isFinite)
  if (precisions !== undefined && (precisions?.length !== sigmas.length - 1 || !precisions.every(fits)))
    throw invalid(
      'precisions',
      `${sigmas.length - 1} Float64Arrays of length ${length}, from a run on the same sigmas`,
      precisions,
    )
  const batch = integer('batch', options.batch ?? defaultBatch(target.shape), 1)
  return { sigmas, weights, kernel, proposal, moves: options.moves, precisions, batch }
}

function checkCalibrated(target: Target, kernel: Kernel, precisions: unknown): void {
  if (kernel === 'plain') throw invalid("kernel with proposal 'calibrated'", "'scaled'", kernel)
  if (precisions !== undefined)
    throw invalid("precisions with proposal 'calibrated'", 'none, as the tables have them', precisions)
  if (target.calibration) return
  throw new ArgumentError(
    `proposal: 'calibrated' needs a table of precisions of every model, and ${uncalibrated(target)} has none: ` +
      "measure it with 'feynkac calibrate' (a box has one where it has both walls or none)",
  )
}

/** The algorithm: move, weight, resample where the weights have become too uneven, move within the level. */
async function runSmc(
  population: Population,
  options: ReturnType<typeof checkedRun>,
  sigmas?: Float64Array,
  weighted = true,
): Promise<SmcResult> {
  const { particles: n, seed, signal, resampling: scheme } = options
  const { space } = population
  const logWeights = space.doubles(n)
  const weights = space.doubles(n)
  const even = async () => {
    await fill(logWeights, 0, signal)
    await fill(weights, 1 / n, signal)
  }
  await even()
  const ancestors: (Int32Array | null)[] = []
  const levels: LevelReport[] = []
  const lastLevel = population.levels - 1
  let logZ = 0 // of the levels up to the last resampling, which sets the log-weights to zero
  let stats: LogWeightStats = { logSum: Math.log(n), ess: n, invalid: -1 }

  for (let k = 0; k <= lastLevel; k++) {
    signal?.throwIfAborted()
    const before = population.evaluations
    const increment = k === 0 ? await population.start() : await population.advance(k, weights)
    stats = await reweight(logWeights, weights, increment, signal)
    if (stats.invalid >= 0) throw notANumber(population.where(k), await population.suspect())
    if (stats.ess === 0) throw collapsed(population.where(k))
    const level = logZ + stats.logSum - Math.log(n)

    let [drawn, unique] = [null as Int32Array | null, n]
    if (k < lastLevel ? stats.ess < options.essThreshold * n : options.finalResample) {
      const there = space.ints(n)
      const request = { ancestors: there, weights, scheme, seed, step: k }
      unique = await run(() => native.resampleJob(request), signal)
      await population.gather(there)
      drawn = await toHost(there, signal)
      logZ = level
      await even()
    }
    ancestors.push(drawn)
    const acceptance = await population.move(k, weights)
    levels.push({
      level: k,
      lastLevel,
      sigma: sigmas?.[k] ?? Number.NaN,
      ess: stats.ess,
      logZ: weighted ? level : Number.NaN,
      resampled: drawn !== null,
      uniqueAncestors: unique,
      acceptance,
      evaluations: population.evaluations - before,
    })
    space.keep([logWeights, weights, ...population.live()])
    options.onProgress?.(levels[k])
  }

  const logSum = ancestors[lastLevel] ? Math.log(n) : stats.logSum
  const roots = rootsOf(ancestors, n)
  return {
    samples: await toHost(population.samples, signal),
    logWeights: (await toHost(logWeights, signal)).map((lw) => lw - logSum),
    logZ: levels[lastLevel].logZ,
    ess: Float64Array.from(levels, (l) => l.ess),
    ancestors,
    diagnostics: {
      levels,
      evaluations: population.evaluations,
      resamplings: ancestors.filter(Boolean).length,
      roots,
      distinctRoots: new Set(roots).size,
      precisions: population instanceof AnnealedPopulation ? population.precisions : [],
    },
  }
}

function reweight(
  logWeights: Doubles,
  weights: Doubles,
  { terms, coefficients, constant }: Increment,
  signal?: AbortSignal,
): Promise<LogWeightStats> {
  return run(
    () => native.reweight({ logWeights, weights, terms, coefficients: Float64Array.from(coefficients), constant }),
    signal,
  )
}

function collapsed(where: string): NumericsError {
  return new NumericsError(
    `all particles have weight zero at ${where}: nothing is left to resample. ` +
      'Use more particles or more levels, or a target whose support the particles can reach',
  )
}
