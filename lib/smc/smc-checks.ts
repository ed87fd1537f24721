import { finiteNumber, float64Array, integer, oneOf } from '../base/args.js'
import { ArgumentError, invalid } from '../base/errors.js'
import { requireMemory } from '../base/memory.js'
import { reader } from '../base/option-table.js'
import { sizeOf } from '../base/shape.js'
import { checkedRanks } from '../ranks/communicator.js'
import { driver, weightRules } from './annealing.js'
import { bearableAbove } from './consistency.js'
import { usualWeights } from './default-weights.js'
import type { EnergyFunction, Target } from './energy-function.js'
import { type Kernel, type Proposal, precisionForm, type WeightScheme, weightSchemes } from './kernels.js'
import { factorsOf } from './likelihood.js'
import { defaultBatch } from './mcmc.js'
import { uncalibrated } from './precision/composed.js'
import { OwnRows, RankRows } from './rows.js'
import { checkedSigmas } from './schedule.js'
import { runRows, type SmcOptions, type SmcRunOptions, targetRows } from './smc-options.js'

/** What the options of smc come to on a target, or an ArgumentError. */

/** Bytes of one particle's weights, ancestors and log-densities. */
const PARTICLE_BYTES = 80

/** Throws ArgumentError. */
export function checkedRun(options: SmcRunOptions) {
  const option = reader(runRows, options)
  const particles = option('particles')
  requireMemory(particles * PARTICLE_BYTES, `${particles} particles`)
  const ranks = checkedRanks(options?.ranks)
  const essThreshold = option('essThreshold')
  return {
    particles,
    rows: ranks.size > 1 ? new RankRows(particles, ranks) : new OwnRows(particles),
    gather: option('gather'),
    resampling: option('resampling'),
    essThreshold,
    essAfter: finiteNumber('essAfter', options.essAfter ?? 1, { min: essThreshold, max: 1 }),
    finalResample: option('finalResample'),
    seed: option('seed'),
    signal: options.signal,
    onProgress: options.onProgress,
  }
}

/** Throws ArgumentError. */
export function checkedTarget(target: Target, options: SmcOptions) {
  const option = reader(targetRows, options)
  const sigmas = checkedSigmas(options.sigmas, 2)
  const controlDrift = option('controlDrift')
  const usualScheme = controlDrift || options.weighAbove !== undefined ? 'bridge' : usualFor(target, options)
  const asked = oneOf('weights', options.weights ?? usualScheme, weightSchemes)
  const weighAbove = checkedWeighAbove(options.weighAbove, asked, target, sigmas)
  if (asked === 'likelihood') factorsOf(target)
  else if (options.draws !== undefined) throw invalid(`draws with weights: '${asked}'`, 'nothing', options.draws)
  const bearable = options.weighAbove === undefined || options.weighAbove === 'auto'
  const draws = option('draws')
  const weights = weighAbove === Number.POSITIVE_INFINITY ? 'none' : asked
  const rule = weightRules[weights]
  const { calibration } = driver(target, weights)
  const kernel = oneOf(`kernel with weights '${weights}'`, options.kernel ?? rule.kernels[0], rule.kernels)
  const allowed: readonly Proposal[] = rule.proposals
  const usual =
    calibration && kernel === 'scaled' && options.meanPrecisions === undefined && allowed.includes('calibrated')
      ? 'calibrated'
      : allowed[0]
  const proposal = oneOf(`proposal with weights '${weights}'`, options.proposal ?? usual, allowed)
  if (proposal === 'calibrated') checkCalibrated(driver(target, weights), kernel, options.meanPrecisions)
  const { extra } = rule
  if (extra === 'squares' && !target.exponents)
    throw new ArgumentError(`weights: '${weights}' needs a target that is linear in the energies, not '${target.name}'`)
  if (options.moves !== undefined && (extra !== 'none' || weights === 'likelihood'))
    throw new ArgumentError(`moves go with weights: 'bridge' or 'none', not with '${weights}'`)
  if (controlDrift && weights !== 'bridge')
    throw new ArgumentError(
      `controlDrift goes with weights: 'bridge', whose kernels may have any drift, not with '${weights}'`,
    )
  if (options.meanPrecisions !== undefined && weights === 'likelihood')
    throw invalid("meanPrecisions with weights: 'likelihood'", 'nothing', options.meanPrecisions)
  const meanPrecisions = checkedPrecisions(options.meanPrecisions, target, proposal, sigmas.length - 1)
  const batch = integer('batchSize', options.batchSize ?? defaultBatch(target.shape), 1)
  const { moves } = options
  return { sigmas, weights, weighAbove, draws, bearable, kernel, proposal, moves, meanPrecisions, controlDrift, batch }
}

/** Likelihoods do without what is told of steps and moves: where there is any of that, there are no weights instead. */
function usualFor(target: Target, { moves, precisions, kernel, proposal, ranks }: SmcOptions): WeightScheme {
  const usual = usualWeights(target)
  if (usual !== 'likelihood') return usual
  const { kernels, proposals } = weightRules.likelihood
  const fits = <T>(given: T | undefined, all: readonly T[]) => given === undefined || all.includes(given)
  const alone = moves === undefined && precisions === undefined && checkedRanks(ranks).size === 1
  return alone && fits<Kernel>(kernel, kernels) && fits<Proposal>(proposal, proposals) ? usual : 'none'
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
  precisions: SmcOptions['meanPrecisions'],
  target: Target,
  proposal: Proposal,
  steps: number,
): Float64Array[] | undefined {
  if (precisions === undefined) return undefined
  const length = precisionForm(proposal) === 'diagonal' ? sizeOf(target.shape) : 1
  if (!Array.isArray(precisions) || precisions.length !== steps)
    throw invalid(
      'meanPrecisions',
      `${steps} Float64Arrays of length ${length}, from a run on the same sigmas`,
      precisions,
    )
  return Array.from(precisions, (m, k) => {
    const own = new Float64Array(float64Array(`meanPrecisions[${k}]`, m, length))
    if (!own.every(Number.isFinite)) throw invalid(`meanPrecisions[${k}]`, 'finite numbers', m)
    return own
  })
}

function checkCalibrated(target: EnergyFunction, kernel: Kernel, precisions: unknown): void {
  if (kernel === 'plain') throw invalid("kernel with proposal 'calibrated'", "'scaled'", kernel)
  if (precisions !== undefined)
    throw invalid("meanPrecisions with proposal 'calibrated'", 'none, as the tables have them', precisions)
  if (target.calibration) return
  throw new ArgumentError(
    `proposal: 'calibrated' needs a table of precisions of every model, and ${uncalibrated(target)} has none: ` +
      "measure it with 'feynkac calibrate' (a box has one where it has both walls or none)",
  )
}

export type CheckedRun = ReturnType<typeof checkedRun>
