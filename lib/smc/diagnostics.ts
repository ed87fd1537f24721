import { inPieces, turns } from '../base/turns.js'
import type { LevelReport } from './events.js'

/** What happened on the way: whether to trust a result, and where particles were lost. */
export interface SmcDiagnostics {
  levels: LevelReport[]
  /** Evaluations of a model at a particle, in all. */
  evaluations: number
  resamplings: number
  /** The initial particle that every final one descends from. */
  roots: Int32Array
  /** How many initial particles have descendants: 1 means that the population collapsed. */
  distinctRoots: number
  /**
   * Effective number of initial particles that the samples' weight descends from, 1 / sum over them of their share squared: at most distinctRoots,
   * and less where few of them have most of the weight.
   */
  families: number
  /** The levels' warnings. */
  warnings: string[]
  /** m of every step of the analytic proposals, which `precisions` of a later run freezes; h of the calibrated one. Empty for a FeynmanKacModel. */
  precisions: Float64Array[]
  /** theta of every step, one value for each model of the target; empty without `controlDrift`. */
  drift: Float64Array[]
}

/** Fewer families than MANY are a collapse, or than this share of a population that is small, though one and a half are not. */
const [MANY, SHARE, LEAST] = [8, 1 / 16, 1.5]

/** Whether weights have left next to nothing of a population of n particles: SmcResult.collapsed. */
export const hasCollapsed = (families: number, n: number): boolean =>
  n > 1 && families < Math.max(LEAST, Math.min(MANY, SHARE * n))

export interface RootsState {
  distinct: number
  variance: number
  start: number
  resampled: boolean
}

/**
 * Follows the genealogy down: the initial particle that every particle descends from, and what the roots tell of log Z.
 *
 * Families of different roots go their ways independently, so pairs of them estimate Z^2 without the bias of Z-hat^2 (Lee & Whiteley 2018;
 * Chan & Lai 2013). With S the sum over roots of their descendants' squared share of the weight, Z^2 / Z-hat^2 is about the product of
 * (1 - S at the end) / (1 - S at the start) over the stretches between resamplings, and the variance of log Z-hat minus its logarithm.
 * A stretch starts at the S that the resampling left, which for multinomial resampling is their factor N/(N - 1) on average, and holds for
 * schemes with less noise too. With few roots left the estimate is noisy, and more often too small: below ten or so, trust neither it nor log Z.
 */
export class Roots {
  /** The root of every particle. */
  of: Int32Array
  distinct: number
  #variance = 0 // of log Z-hat, up to the last resampling
  #since = 0 // and from there to where it was last asked for
  #start: number // S after the resampling
  #before: Int32Array // the other half of a pair of buffers for the roots
  readonly #marks: Int32Array // of every root that is left after a resampling: its number
  #resamplings = 0
  /** The roots' shares while they are added up, zeros otherwise; none before the first resampling, when every particle is its own. */
  #families?: Float64Array

  readonly #turn: () => Promise<void>

  static async begin(particles: number, signal?: AbortSignal): Promise<Roots> {
    const turn = turns(signal)
    return new Roots(await indices(particles, turn), turn)
  }

  private constructor(own: Int32Array, turn: () => Promise<void>) {
    const particles = own.length
    this.#turn = turn
    this.of = own
    this.#before = new Int32Array(particles)
    this.#marks = new Int32Array(particles)
    this.distinct = particles
    this.#start = 1 / particles
  }

  /** What it goes on from at the next level, beside `of`. */
  state(): RootsState {
    const { distinct } = this
    return { distinct, variance: this.#variance, start: this.#start, resampled: this.#families !== undefined }
  }

  restore(roots: ArrayLike<number>, { distinct, variance, start, resampled }: RootsState): void {
    this.of.set(roots)
    this.distinct = distinct
    this.#variance = variance
    this.#start = start
    if (resampled) this.#families = new Float64Array(this.of.length)
  }

  /** Standard error of log Z-hat at these normalised weights; Infinity where one root is left. */
  async logZError(weights: Float64Array): Promise<number> {
    this.#since = await this.#stretch(weights)
    return Math.sqrt(Math.max(0, this.#variance + this.#since))
  }

  /** 1 / S: how many initial particles the weight descends from, in effect. */
  async families(weights: Float64Array): Promise<number> {
    return 1 / (await this.#concentration(weights))
  }

  /** After logZError of the weights that were resampled. @param weights those that resampling left */
  async resample(ancestors: Int32Array, weights: Float64Array): Promise<void> {
    this.#variance += this.#since
    this.#families ??= new Float64Array(this.of.length)
    const [parents, roots, families] = [this.of, this.#before, this.#families]
    const [marks, mark] = [this.#marks, ++this.#resamplings]
    let distinct = 0
    await inPieces(ancestors.length, this.#turn, (first, end) => {
      let fresh = 0
      for (let i = first; i < end; i++) {
        const root = parents[ancestors[i]]
        roots[i] = root
        if (marks[root] !== mark) fresh++
        marks[root] = mark
        families[root] += weights[i]
      }
      distinct += fresh
    })
    this.of = roots
    this.#before = parents
    this.distinct = distinct
    this.#start = await this.#takeSquares(families)
  }

  async #stretch(weights: Float64Array): Promise<number> {
    if (this.distinct === 1) return Number.POSITIVE_INFINITY
    return Math.log((1 - this.#start) / Math.max(0, 1 - (await this.#concentration(weights))))
  }

  /** S = sum over roots of (sum of their descendants' weights)^2 */
  async #concentration(weights: Float64Array): Promise<number> {
    const [families, roots] = [this.#families, this.of]
    if (families) {
      await inPieces(weights.length, this.#turn, (first, end) => {
        for (let i = first; i < end; i++) families[roots[i]] += weights[i]
      })
      return await this.#takeSquares(families)
    }
    let sum = 0
    await inPieces(weights.length, this.#turn, (first, end) => {
      let part = sum
      for (let i = first; i < end; i++) part += weights[i] * weights[i]
      sum = part
    })
    return sum
  }

  /** The sum of the squares; the values are zeros afterwards. */
  async #takeSquares(values: Float64Array): Promise<number> {
    let sum = 0
    await inPieces(values.length, this.#turn, (first, end) => {
      let part = sum // a local one: what a closure captures is a new object for every number
      for (let i = first; i < end; i++) {
        part += values[i] * values[i]
        values[i] = 0
      }
      sum = part
    })
    return sum
  }
}

/** 0 .. n - 1, in turns. */
export async function indices(n: number, turn: () => Promise<void>): Promise<Int32Array> {
  const all = new Int32Array(n)
  await inPieces(n, turn, (first, end) => {
    for (let i = first; i < end; i++) all[i] = i
  })
  return all
}

/** sum_i weights[i] values[i]; particles without weight have no say, whatever their value. */
export async function weightedMean(values: Float64Array, weights: Float64Array, signal?: AbortSignal): Promise<number> {
  let sum = 0
  await inPieces(values.length, turns(signal), (first, end) => {
    let part = sum
    for (let i = first; i < end; i++) if (weights[i] > 0) part += weights[i] * values[i]
    sum = part
  })
  return sum
}
