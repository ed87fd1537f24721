import { ArgumentError } from '../base/errors.js'
import { inPieces, turns } from '../base/turns.js'
import type { Descent, RootArrays } from '../native/particle-ops.js'
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
  /** m of every step of the analytic proposals, which `meanPrecisions` of a later run freezes; h of the calibrated one. Empty for a FeynmanKacModel. */
  meanPrecisions: Float64Array[]
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
  #last: number // S at the weights last seen
  #before: Int32Array // the other half of a pair of buffers for the roots
  #families?: Float64Array // where native jobs add up the roots' shares; none before the first resampling, when every particle is its own

  static async begin(particles: number, signal?: AbortSignal): Promise<Roots> {
    return new Roots(await indices(particles, turns(signal)))
  }

  private constructor(own: Int32Array) {
    const particles = own.length
    this.of = own
    this.#before = new Int32Array(particles)
    this.distinct = particles
    this.#start = this.#last = 1 / particles
  }

  /** What it goes on from at the next level, beside `of`. */
  state(): RootsState {
    const { distinct } = this
    return { distinct, variance: this.#variance, start: this.#start, resampled: this.#families !== undefined }
  }

  restore(roots: ArrayLike<number>, { distinct, variance, start, resampled }: RootsState): void {
    const n = this.of.length
    for (let i = 0; i < n; i++)
      if (!(Number.isInteger(roots[i]) && roots[i] >= 0 && roots[i] < n))
        throw new ArgumentError(`checkpoint: root ${roots[i]} of particle ${i} is not one of its ${n} particles`)
    this.of.set(roots)
    this.distinct = distinct
    this.#variance = variance
    this.#start = start
    if (resampled) this.#families = new Float64Array(n)
  }

  /** For native.reweight, which gives S. */
  get arrays(): RootArrays {
    return { of: this.of, families: this.#families }
  }

  /** For the native job that makes the next generation, whose Descent `resampled` takes. */
  get descent(): RootArrays & { next: Int32Array } {
    this.#families ??= new Float64Array(this.of.length)
    return { of: this.of, families: this.#families, next: this.#before }
  }

  /** Standard error of log Z-hat at normalised weights of this S; Infinity where one root is left. */
  logZError(concentration: number): number {
    this.#last = concentration
    this.#since =
      this.distinct === 1 ? Number.POSITIVE_INFINITY : Math.log((1 - this.#start) / Math.max(0, 1 - concentration))
    return Math.sqrt(Math.max(0, this.#variance + this.#since))
  }

  /** 1 / S: how many initial particles the weight descends from, in effect. */
  get families(): number {
    return 1 / this.#last
  }

  /** After logZError of the weights that were resampled. */
  resampled({ distinct, concentration }: Descent): void {
    this.#variance += this.#since
    const parents = this.of
    this.of = this.#before
    this.#before = parents
    this.distinct = distinct
    this.#start = this.#last = concentration
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
