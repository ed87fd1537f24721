import { knownOptions, plainObject, renamed } from '../base/args.js'
import { ArgumentError, invalid } from '../base/errors.js'
import { reader } from '../base/option-table.js'
import { type Stream, streamOf } from '../base/stream.js'
import { inSpaceOf } from '../native/space.js'
import { Advisor } from './advice.js'
import { AnnealedPopulation } from './annealing.js'
import type { EnergyFunction, Target } from './energy-function.js'
import type { Level } from './events.js'
import { type FeynmanKacModel, ModelPopulation } from './feynman-kac.js'
import { isLearnt } from './learnt.js'
import { LikelihoodPopulation } from './likelihood.js'
import { noteOf } from './notes.js'
import { RankRows } from './rows.js'
import { type CheckedRun, checkedRun, checkedTarget } from './smc-checks.js'
import { runSmc } from './smc-loop.js'
import { runOptions, runRows, type SmcOptions, type SmcRunOptions, targetOptions } from './smc-options.js'
import { SmcResult } from './smc-result.js'
import { asTarget } from './targets/linear.js'

/**
 * Sequential Monte Carlo on a target (or a plain energy function), or on a Feynman–Kac model of one's own.
 * Throws ArgumentError; NumericsError where every particle lost its weight or a model gave NaN; the signal's reason within one step.
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
  const options = renamed('smc', asked, { batch: 'batchSize', precisions: 'meanPrecisions' })
  if (isFeynmanKac(model)) {
    knownOptions('smc on a FeynmanKacModel', options, runOptions)
    const common = checkedRun(options)
    if (isShared(common)) checkShared(options, onLevel)
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
  const shared = isShared(common)
  if (shared) checkShared(options, onLevel, device, annealing.weights)
  return inSpaceOf(target.residence, shared ? 'cpu' : device, signal, async (space) => {
    const weighed = annealing.weights === 'likelihood' ? new LikelihoodPopulation(target, annealing, space) : undefined
    const population = weighed ?? new AnnealedPopulation(target, annealing, space, common.rows)
    const setting = { ...annealing, learnt: isLearnt(target), where: (k: number) => population.where(k) }
    const { sigmas, weights: scheme } = annealing
    const checkpoint = await openCheckpoint(options, {
      ...identityOf(annealing),
      ...describedTarget(target),
      device: space.device,
    })
    const course = { population, options: common, advisor: new Advisor(setting), sigmas, scheme, onLevel, checkpoint }
    const fields = await runSmc(course)
    const note = noteOf(target, { ...annealing, ...(weighed && { weighAbove: weighed.reach }) }, fields)
    return new SmcResult({ ...fields, shape: [...target.shape], scheme, ...(note && { note }) })
  })
}

const isShared = ({ rows }: CheckedRun) => rows instanceof RankRows

/** What particles that ranks share cannot have. Throws ArgumentError. */
function checkShared({ checkpoint }: SmcRunOptions, onLevel: unknown, device = 'cpu', weights?: string): void {
  if (onLevel || checkpoint !== undefined)
    throw new ArgumentError('smc: with ranks there is neither checkpoint nor stream')
  if (device !== 'auto' && device !== 'cpu') throw invalid('device of particles that ranks share', "'cpu'", device)
  if (weights === 'likelihood') throw new ArgumentError("smc: ranks cannot share particles with weights: 'likelihood'")
}

function isFeynmanKac(model: unknown): model is FeynmanKacModel {
  const m = model as FeynmanKacModel
  return [m?.initial, m?.propagate, m?.logPotential].every((f) => typeof f === 'function')
}

/** Everything about a run that its bits depend on, but the model. */
function identityOf({ signal, onProgress, rows, gather, ...options }: CheckedRun): Record<string, unknown> {
  return { ...options }
}

/** What a target is, as far as its own words say; the energies of particles say the rest (AnnealedPopulation.restore). */
function describedTarget({ name, shape, lambda, exponents, models }: Target) {
  return { target: { name, shape, lambda, exponents, models: models.length } }
}

async function openCheckpoint(options: SmcRunOptions, identity: Record<string, unknown>) {
  const { checkpoint: path, checkpointEvery } = options
  const seconds = reader(runRows, options)('checkpointEvery')
  if (path === undefined) {
    if (checkpointEvery !== undefined) throw invalid('checkpointEvery', 'nothing without checkpoint', checkpointEvery)
    return undefined
  }
  if (typeof path !== 'string' || path === '') throw invalid('checkpoint', 'the name of a file', path)
  const { SmcCheckpoint } = await import('./checkpoint.js')
  return SmcCheckpoint.open(path, identity, 1000 * seconds)
}
