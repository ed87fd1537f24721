import { float32Array, float64Array, integer } from '../base/args.js'
import { ArgumentError, invalid } from '../base/errors.js'
import { host, type Space } from '../native/space.js'
import type { Doubles, Floats, Values } from '../native/types.js'
import { callback } from './evaluation.js'
import { ParticleRng } from './random.js'
import type { Increment, PopulationRows } from './rows.js'

/**
 * A Feynman–Kac model in the convention of Chopin & Papaspiliopoulos and of the Python package `particles`: an initial law M_0, Markov
 * kernels M_k and potentials G_k. `smc` runs any object of this shape; all methods may be asynchronous.
 */
export interface FeynmanKacModel {
  /** Number of levels, the initial one included. */
  readonly levels: number
  /** X_0 ~ M_0: n particles, n rows of any length. */
  initial(n: number, rng: ParticleRng): Float32Array | Promise<Float32Array>
  /** X_k ~ M_k(. | x), row by row; x is left as it is. */
  propagate(k: number, x: Float32Array, rng: ParticleRng): Float32Array | Promise<Float32Array>
  /** log G_k for every particle, -Infinity allowed; xPrev is null at k = 0. */
  logPotential(k: number, xPrev: Float32Array | null, x: Float32Array): Float64Array | Promise<Float64Array>
}

/** Copies of row-wise arrays with the ancestors' rows. */
export type Gather = <T extends Record<string, Floats | Doubles>>(from: T) => Promise<T>

/** What a population goes on from: arrays of the host, and plain data that may hold typed arrays. */
export interface PopulationState {
  arrays: Record<string, Float32Array | Float64Array>
  rest: Record<string, unknown>
}

/** A population of particles as the SMC loop sees it: it moves through levels, says what its weights change by, and is resampled. */
export interface Population {
  readonly levels: number
  /** Where the arrays are. */
  readonly space: Space
  /** Where level k is, for messages: 'level 3 of 64 (sigma = 12.3) of product'. */
  where(k: number): string
  start(): Promise<Increment>
  /** From level k - 1 to k; `weights` are the normalised ones at k - 1. */
  advance(k: number, weights: Doubles): Promise<Increment>
  /** Takes what `gather` makes of its rows in their place. */
  resample(gather: Gather): Promise<void>
  /**
   * Whether what comes after level k parts copies that are made there for good: then uneven weights are resampled there, so that the samples at
   * the end are different ones of equal weight, and not few that count for many.
   */
  parts?(k: number): boolean
  /** MCMC moves at level k after its resampling; the mean acceptance, NaN where there are none. */
  move(k: number, weights: Doubles): Promise<number>
  /** The model to name when the weights hold NaN. */
  suspect(): Promise<string | undefined>
  /** Its arrays of the space that the next level needs. */
  live(): (Values | undefined)[]
  /** The samples of the rows that are here. */
  readonly samples: Floats
  /** The mean of what the samples were before the noise, D(x), on the host. Throws ArgumentError where the model has none. */
  denoised(): Promise<Float32Array>
  /** All that the next level goes on from: for a checkpoint. */
  state(): Promise<PopulationState>
  /** Goes on from a state after level k. Throws ArgumentError where it is not of this population's model. */
  restore(state: PopulationState, k: number): Promise<void>
  /** U of every particle, where the model has one. */
  readonly energy?: Doubles
  /** Evaluations of a model at a particle so far. */
  readonly evaluations: number
  /** m and theta of its steps, where it has some. */
  readonly meanPrecisions?: Float64Array[]
  readonly drift?: Float64Array[]
}

/** The population of a model of the user's own; what the model gets and gives are copies: it may keep them, and give them away. */
export class ModelPopulation implements Population {
  readonly levels: number
  readonly space = host
  evaluations = 0
  samples: Float32Array = new Float32Array()

  constructor(
    readonly model: FeynmanKacModel,
    readonly rows: PopulationRows,
    readonly seed: number,
    readonly signal?: AbortSignal,
  ) {
    if (!Number.isSafeInteger(model.levels) || model.levels < 1 || model.levels > 0xffff)
      throw invalid('levels of the model', 'an integer from 1 to 65535', model.levels)
    this.levels = model.levels
  }

  where(k: number): string {
    return `level ${k} of ${this.levels - 1} of the model`
  }

  async start(): Promise<Increment> {
    const rng = this.#rng(0)
    const x = await callback('initial', this.signal, () => this.model.initial(this.rows.count, rng))
    if (float32Array('the result of initial', x).length === 0 || x.length % this.rows.count !== 0)
      throw invalid('the result of initial', `${this.rows.count} rows of one length`, x)
    this.samples = new Float32Array(x)
    return this.#potential(0, null)
  }

  async advance(k: number): Promise<Increment> {
    const [x, rng] = [this.samples, this.#rng(k)]
    const next = await callback(`propagate at level ${k}`, this.signal, () => this.model.propagate(k, x.slice(), rng))
    this.samples = new Float32Array(float32Array(`the result of propagate at level ${k}`, next, x.length))
    return this.#potential(k, x)
  }

  async resample(gather: Gather): Promise<void> {
    const { x } = await gather({ x: this.samples })
    this.samples = x
  }

  async move(): Promise<number> {
    return Number.NaN
  }

  async suspect(): Promise<string> {
    return 'a log-potential of the model'
  }

  live(): Values[] {
    return []
  }

  async denoised(): Promise<never> {
    throw new ArgumentError('a FeynmanKacModel knows no noise levels: there are no denoised samples')
  }

  async state(): Promise<PopulationState> {
    return { arrays: { samples: this.samples }, rest: { evaluations: this.evaluations } }
  }

  async restore({ arrays: { samples }, rest: { evaluations } }: PopulationState): Promise<void> {
    const { count } = this.rows
    if (!(samples instanceof Float32Array) || samples.length === 0 || samples.length % count !== 0)
      throw new ArgumentError(`checkpoint: it has no samples of ${count} particles`)
    this.samples = samples
    this.evaluations = integer('evaluations of the checkpoint', evaluations, 0)
  }

  #rng(k: number): ParticleRng {
    return new ParticleRng(this.seed, k, this.rows.count, this.rows.first)
  }

  async #potential(k: number, previous: Float32Array | null): Promise<Increment> {
    const where = `logPotential at level ${k}`
    const logG = await callback(where, this.signal, () =>
      this.model.logPotential(k, previous?.slice() ?? null, this.samples.slice()),
    )
    this.evaluations += this.rows.total
    const own = new Float64Array(float64Array(`the result of ${where}`, logG, this.rows.count))
    return { terms: [await this.rows.whole(own)], coefficients: [1], constant: 0 }
  }
}
