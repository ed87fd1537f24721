import { ArgumentError, invalid } from '../base/errors.js'
import { defaultsOf, givenOptions } from '../base/option-table.js'
import { purpose, uniformAt } from '../base/random.js'
import { sizeOf } from '../base/shape.js'
import { type Dataset, encodeLabel, type LabelSpec, labelDim } from '../data/dataset.js'
import type { Denoiser } from '../models/denoiser.js'
import { cellAt, interpolate } from '../models/log-normaliser.js'
import type { NativeWalks } from '../native/types.js'
import type { EnergyFunction } from '../smc/energy-function.js'
import { measure } from '../smc/precision/calibrate.js'
import type { Calibration } from '../smc/precision/calibration.js'
import { evenLevels } from '../smc/schedule.js'
import { type PathOptions, pathRows } from './options.js'
import type { Settings } from './settings.js'

/**
 * The path loss of a distillation (docs/residual.md; a regulariser of He et al. 2025, arXiv 2506.05668, with the teacher's score and over
 * several steps): along a short noising walk x_0, ..., x_m the energies at its ends differ by what the kernels of the teacher's denoiser say,
 *
 *   E(x_m, s_m) - E(x_0, s_0) = sum_j log N(x_(j-1); x_j + v_j (D(x_j) - x_j) / s_j^2, tau_j) - log N(x_j; x_(j-1), v_j) + c(s_0).
 *
 * c is learnt along, as a running mean, and shared by all labels.
 */

export const pathOptionNames = Object.keys(pathRows) as (keyof PathOptions)[]

export type PathSettings = Required<PathOptions>

/** A run without it. */
export const noPath: PathSettings = { pathWeight: 0, pathBatch: 1, ...defaultsOf(pathRows, 'pathSteps', 'pathStep') }

/** Those that are given, checked; throws ArgumentError. */
export function givenPath(options: PathOptions): PathOptions {
  return givenOptions(pathRows, options)
}

/** c(s_0) at equally spaced ln s_0, and how many walks each value has seen. */
export interface PathState {
  means: number[]
  seen: number[]
}

/** Where walks begin, uniformly in ln sigma: up to this many standard deviations of the training's ln sigma below and above its mean. */
const REACH = { below: 2, above: 2.5 }
const CELLS = 24
/** A value of c moves as if it had been seen so often before. */
const INERTIA = 10
const row = 0xffffffff // particle number of nothing else in a step
/** Upper edges of the noise levels that residuals are logged for. */
const EDGES = [0.3, 1, Number.POSITIVE_INFINITY]

export class PathLoss {
  readonly #min: number
  readonly #max: number
  readonly #state: PathState
  readonly #request: NativeWalks
  readonly #firsts: Int32Array
  readonly #squares = new Float64Array(EDGES.length)
  readonly #counts = new Float64Array(EDGES.length)

  /** range: noise levels that the network can be told; table: of the teacher's precisions. */
  readonly #settings: PathSettings & Pick<Settings, 'seed' | 'pMean' | 'pStd'>
  readonly #table: Calibration

  constructor(
    settings: PathSettings & Pick<Settings, 'seed' | 'pMean' | 'pStd'>,
    range: { sigmaMin: number; sigmaMax: number },
    table: Calibration,
    state?: PathState,
  ) {
    this.#settings = settings
    this.#table = table
    const { pathBatch, pathSteps, pathWeight } = settings
    ;[this.#min, this.#max] = startsWithin(settings, range)
    if (state && [state.means, state.seen].some(({ length }) => length !== CELLS + 1))
      throw new ArgumentError(`the checkpoint's path loss has not the ${CELLS + 1} constants of this run`)
    const zeros = () => new Array<number>(CELLS + 1).fill(0)
    this.#state = state ?? { means: zeros(), seen: zeros() }
    const { groups } = table.data
    this.#firsts = Int32Array.from({ length: groups.count }, (_, g) => groups.of.indexOf(g))
    this.#request = {
      steps: pathSteps,
      groups: groups.count,
      weight: pathWeight / groups.of.length,
      sigma: new Float64Array((pathSteps + 1) * pathBatch),
      constant: new Float64Array(pathBatch),
      share: new Float64Array(pathBatch),
      variances: new Float64Array(pathSteps * pathBatch * groups.count),
      group: groups.of,
      cosines: table.basis === 'dct',
      residual: new Float64Array(pathBatch),
    }
  }

  /** Of a batch, the first ones, that walk. */
  get rows(): number {
    return this.#settings.pathBatch
  }

  /**
   * The walks of a step: their levels are functions of the seed and the step, but for rows that are states at a noise of their own. Valid until
   * the next one.
   */
  prepare(step: number, states?: Float64Array): NativeWalks {
    const [min, max, firsts] = [this.#min, this.#max, this.#firsts]
    const [request, table, state] = [this.#request, this.#table, this.#state]
    const { seed, pathBatch, pathSteps, pathStep } = this.#settings
    for (let i = 0; i < pathBatch; i++) {
      const own = states?.[i] ?? 0
      const start = own > 0 ? Math.log(own) : min + (max - min) * uniformAt(seed, purpose.walk, step, row - i, 0)
      for (let j = 0; j <= pathSteps; j++) {
        const sigma = Math.exp(start + j * pathStep)
        request.sigma[j * pathBatch + i] = sigma
        if (j === 0) continue
        const precision = table.precisionAt(sigma)
        firsts.forEach((first, g) => {
          const at = ((j - 1) * pathBatch + i) * firsts.length + g
          request.variances[at] = first < 0 ? 0 : Math.max(0, 1 / precision[first]! - sigma ** 2)
        })
      }
      const at = cellAt(start, min, max, CELLS)
      request.constant[i] = interpolate(state.means, at)
      // where c is not known yet a walk only measures it
      request.share[i] = state.seen[at.cell]! > 0 && state.seen[at.cell + 1]! > 0 ? 1 : 0
    }
    return request
  }

  /** Moves c after a step. Returns the mean of 32 ln cosh(r / 4) over the walks that were learnt from, undefined where none were. */
  learn(): number | undefined {
    const { sigma, constant, share, residual } = this.#request
    const { means, seen } = this.#state
    const [sums, starts, counts] = [0, 0, 0].map(() => new Float64Array(CELLS + 1))
    let [loss, rows] = [0, 0]
    residual.forEach((r, i) => {
      const { cell, part } = cellAt(Math.log(sigma[i]!), this.#min, this.#max, CELLS)
      for (const [knot, weight] of [
        [cell, 1 - part],
        [cell + 1, part],
      ] as const) {
        // biome-ignore format: one line
        sums![knot]! += weight * r
        starts![knot]! += weight * (r + constant[i]!)
        counts![knot]! += weight
      }
      if (share[i] === 0) return
      const x = Math.abs(r / 4)
      loss += 32 * (x + Math.log1p(Math.exp(-2 * x)) - Math.LN2)
      rows++
      const bin = EDGES.findIndex((edge) => sigma[i]! < edge)
      this.#squares[bin]! += r * r
      this.#counts[bin]! += 1
    })
    counts!.forEach((count, knot) => {
      if (count === 0) return
      means[knot] = seen[knot]! > 0 ? means[knot]! + sums![knot]! / (count + INERTIA) : starts![knot]! / count
      seen[knot]! += count
    })
    return rows > 0 ? loss / rows : undefined
  }

  /** Mean r^2 since the last call, of walks that began below sigma = 0.3, below 1 and above; null where there were none. */
  take(): (number | null)[] {
    const found = Array.from(this.#squares, (sum, i) => (this.#counts[i]! > 0 ? sum / this.#counts[i]! : null))
    this.#squares.fill(0)
    this.#counts.fill(0)
    return found
  }

  stored(): PathState {
    return structuredClone(this.#state)
  }
}

/** ln sigma of the lowest and highest beginnings. Throws ArgumentError. */
export function startsWithin(
  { pMean, pStd, pathSteps, pathStep }: PathSettings & Pick<Settings, 'pMean' | 'pStd'>,
  range: { sigmaMin: number; sigmaMax: number },
): [number, number] {
  const min = Math.max(pMean - REACH.below * pStd, Math.log(range.sigmaMin))
  const max = Math.min(pMean + REACH.above * pStd, Math.log(range.sigmaMax) - pathSteps * pathStep)
  const told = (lnSigma: number) => Math.fround(Math.exp(lnSigma)) > 0 && Number.isFinite(Math.exp(2 * lnSigma))
  if (!(max > min && told(min) && told(max + pathSteps * pathStep)))
    throw invalid('pMean and pStd', 'noise that the network can be told and walks can begin at', [pMean, pStd])
  return [min, max]
}

/** Draws of data and noise levels of the table. */
const DRAWS = 64
const TABLE_LEVELS = 16

/** The mean precisions of the density whose score is the teacher's, under the data's labels: what the variances of the walks' kernels follow. */
export function teacherTable(
  teacher: Denoiser,
  data: Dataset,
  labels: LabelSpec | null,
  settings: PathSettings & Pick<Settings, 'seed' | 'pMean' | 'pStd'>,
  range: { sigmaMin: number; sigmaMax: number },
  signal?: AbortSignal,
): Promise<Calibration> {
  const [min, max] = startsWithin(settings, range)
  const sigmas = evenLevels(Math.exp(min), Math.exp(max + settings.pathSteps * settings.pathStep), TABLE_LEVELS)
  const seenAs = (vectors?: Float32Array): EnergyFunction => ({
    shape: teacher.shape,
    energyGrad: async (x, sigma, options) => {
      const denoised = await teacher.denoise(x, sigma, { ...options, labels: vectors })
      const grad = x.map((value, i) => (value - denoised[i]!) / sigma ** 2)
      return { energy: new Float64Array(x.length / sizeOf(teacher.shape)), grad }
    },
  })
  const under = (indices: Int32Array) => {
    if (!labels || teacher.labelDim === 0) return seenAs()
    const dim = labelDim(labels)
    const vectors = new Float32Array(indices.length * dim)
    for (const [at, index] of indices.entries()) encodeLabel(labels, data.label(index), vectors, at * dim)
    return seenAs(vectors)
  }
  return measure(seenAs(), under, { data, sigmas, count: DRAWS, seed: settings.seed, signal })
}
