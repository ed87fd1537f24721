import { float64Array } from '../base/args.js'
import { NumericsError } from '../base/errors.js'
import { whilePresent } from '../base/stream.js'
import { inPieces, turns } from '../base/turns.js'
import { native, run } from '../native/addon.js'
import type { LogWeightStats } from '../native/particle-ops.js'
import { copyOf, fill, toHost, upload } from '../native/space.js'
import type { Doubles } from '../native/types.js'
import type { Advisor } from './advice.js'
import type { SmcCheckpoint } from './checkpoint.js'
import { hasCollapsed, Roots, type RootsState } from './diagnostics.js'
import { notANumber } from './evaluation.js'
import type { Level, LevelReport } from './events.js'
import type { Population } from './feynman-kac.js'
import type { WeightScheme } from './kernels.js'
import { redraw } from './redraw.js'
import type { Increment } from './rows.js'
import type { CheckedRun } from './smc-checks.js'
import type { SmcFields } from './smc-result.js'

/** A run: its particles, and what is asked of it. */
export interface Course {
  population: Population
  options: CheckedRun
  advisor: Advisor
  sigmas?: Float64Array
  scheme?: WeightScheme
  onLevel?: (level: Level) => Promise<void>
  checkpoint?: SmcCheckpoint
}

/** What the loop itself goes on from after a level, beside its arrays. */
interface LoopState {
  roots: RootsState
  levels: LevelReport[]
  logZ: number
  stats: LogWeightStats
  population: Record<string, unknown>
}

/** Weights whose effective sample size lacks no more than this share of the particles are even. */
const EVEN = 1e-6

/** Where a checkpoint has the ancestors of a level. */
const ancestorsOf = (level: number) => `ancestors ${level}`

/** The algorithm: move, weight, resample where the weights have become too uneven, move within the level. */
export async function runSmc(course: Course): Promise<Omit<SmcFields, 'shape'>> {
  const { population, options, advisor, sigmas, scheme, onLevel, checkpoint } = course
  const weighted = scheme !== 'none'
  const { particles: n, rows, seed, signal, resampling } = options
  const { space } = population
  const logWeights = space.doubles(n)
  const weights = space.doubles(n)
  const shares = weights instanceof Float64Array ? weights : new Float64Array(n) // the weights on the host
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
    const own = {
      logWeights: await toHost(logWeights),
      weights: await toHost(weights),
      roots: Float64Array.from(roots.of),
    }
    const drawn = ancestors.flatMap((of, k) => (of ? [[ancestorsOf(k), Float64Array.from(of)] as const] : []))
    const state: LoopState = { roots: roots.state(), levels, logZ, stats, population: rest }
    const all = { ...arrays, ...own, ...Object.fromEntries(drawn) }
    await checkpoint!.save({ level: levels.length - 1, arrays: all, rest: { ...state } })
  }
  if (checkpoint?.saved) {
    const { arrays, rest, level } = checkpoint.saved
    const state = rest as unknown as LoopState
    await population.restore({ arrays, rest: state.population }, level)
    await upload(logWeights, float64Array('logWeights of the checkpoint', arrays.logWeights, n), signal)
    await upload(weights, float64Array('weights of the checkpoint', arrays.weights, n), signal)
    levels.push(...state.levels)
    for (const k of levels.keys())
      ancestors.push(arrays[ancestorsOf(k)] ? Int32Array.from(arrays[ancestorsOf(k)]) : null)
    roots.restore(float64Array('roots of the checkpoint', arrays.roots, n), state.roots)
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
    const { concentration, meanEnergy, ...weighed } = await reweight(
      { logWeights, weights, shares, roots: roots.arrays, energy: population.energy, ...increment },
      signal,
    )
    stats = weighed
    if (stats.invalid >= 0) {
      const value = (await toHost(logWeights, signal))[stats.invalid]
      const suspect = await rows.firstText(await population.suspect())
      throw notANumber(population.where(k), suspect, value)
    }
    if (stats.ess === 0) throw collapsed(population.where(k))
    const level = logZ + stats.logSum - Math.log(n)
    const logZError = roots.logZError(concentration)
    const threshold = options.essThreshold > 0 && population.parts?.(k) ? 1 - EVEN : options.essThreshold
    const report: LevelReport = {
      level: k,
      lastLevel,
      sigma: sigmas?.[k] ?? Number.NaN,
      ess: stats.ess,
      // N (sum W G)^2 / sum W G^2 of the increment G: the sums of w, w G and w G^2 in the log domain
      conditionalEss: n * Math.exp(2 * stats.logSum - logSum - stats.logSumAgain),
      logZ: weighted ? level : Number.NaN,
      logZError: weighted ? logZError : Number.NaN,
      meanEnergy,
      resampled: k < lastLevel ? stats.ess < threshold * n : options.finalResample,
      uniqueAncestors: n,
      distinctRoots: roots.distinct,
      acceptance: Number.NaN,
      evaluations: 0,
    }
    if (report.resampled) {
      const essAfter = k < lastLevel ? options.essAfter : 1
      const how = { scheme: resampling, essAfter, seed, step: k, signal }
      const drawn = await redraw(population, rows, { logWeights, weights }, shares, roots, how)
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
    if (onLevel) await shown(report, { population, weights, ancestors: ancestors.at(-1)! }, onLevel)
  }

  const last = levels[lastLevel]
  const { families } = roots
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
      meanPrecisions: population.meanPrecisions ?? [],
      drift: population.drift ?? [],
    },
  }
  await checkpoint?.remove()
  return fields
}

/** Has the level heard, with its particles, which pass with it. */
async function shown(
  report: LevelReport,
  { population, weights, ancestors }: { population: Population; weights: Doubles; ancestors: Int32Array | null },
  onLevel: (level: Level) => Promise<void>,
): Promise<void> {
  const own = await copyOf(weights)
  await whilePresent(`level ${report.level}`, (present) =>
    onLevel({
      ...report,
      weights: own,
      ancestors: ancestors?.slice() ?? null,
      samples: () => present(() => copyOf(population.samples)),
      denoised: () => present(() => population.denoised()),
    }),
  )
}

function reweight(
  { coefficients, ...request }: Omit<Parameters<typeof native.reweight>[0], 'coefficients'> & Increment,
  signal?: AbortSignal,
) {
  return run(() => native.reweight({ ...request, coefficients: Float64Array.from(coefficients) }), signal)
}

function collapsed(where: string): NumericsError {
  return new NumericsError(
    `all particles have weight zero at ${where}: nothing is left to resample. ` +
      'Use more particles or more levels, or a target whose support the particles can reach',
  )
}
