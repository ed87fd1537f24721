import { integer, knownOptions } from '../base/args.js'
import { ArgumentError } from '../base/errors.js'
import { sizeOf } from '../base/shape.js'
import { type ResamplingScheme, resample } from './resampling.js'
import { type ArrayForm, encoded } from './result-json.js'

/** What `smc`, `mcmc` and `sample` return: weighted samples, with what is asked of them most. */

export interface JsonOptions {
  /** Typed arrays as texts, `{ type, base64 }` (little-endian; the default), or as plain arrays of numbers, four times as long. */
  arrays?: ArrayForm
}

/** Options of `save`. */
export interface SaveOptions {
  /** Replace what a run before has left in the folder; default false. */
  overwrite?: boolean
}

/** Options of `resampled`. */
export interface ResampledOptions {
  /** Default 'systematic'. */
  scheme?: ResamplingScheme
  /** Default 0. */
  seed?: number
}

/** The fields of every kind. */
export interface SampleFields {
  samples: Float32Array
  shape: readonly number[]
  logWeights: Float64Array
  ess: Float64Array
  warnings: string[]
  collapsed: boolean
  note?: string
}

/** Weighted samples of a run: of `smc`, of chains or of samplers without weights, whose weights are all equal. */
export abstract class WeightedSamples implements SampleFields {
  /** [particles, ...shape], weighted by logWeights. */
  readonly samples: Float32Array
  /** Shape of one sample. */
  readonly shape: readonly number[]
  /** Normalised: their exponentials sum to one. */
  readonly logWeights: Float64Array
  /** Effective sample size before resampling, per level; without weights all of them, once. */
  readonly ess: Float64Array
  /** What went wrong on the way, and what to change: sentences. */
  readonly warnings: string[]
  /**
   * Whether weights have left next to nothing of the population: the samples' weight belongs to fewer families than 8, or than a
   * sixteenth of the particles where those are fewer (but 1.5 at least), a family being what descends from one initial particle, and their
   * number `diagnostics.families`. The samples are then copies of a few, and logZ means nothing. Never without weights.
   */
  readonly collapsed: boolean
  /** What the samples are of where that is not the target itself, or what to try where they collapsed: one sentence or two. */
  readonly note?: string
  #weights?: Float64Array

  /** @internal */
  constructor({ samples, shape, logWeights, ess, warnings, collapsed, note }: SampleFields) {
    this.samples = samples
    this.shape = shape
    this.logWeights = logWeights
    this.ess = ess
    this.warnings = warnings
    this.collapsed = collapsed
    if (note !== undefined) this.note = note
  }

  /** What drew them. */
  abstract readonly kind: 'smc' | 'mcmc' | 'sample'

  /** How many samples there are. */
  get particles(): number {
    return this.logWeights.length
  }

  /** exp(logWeights): they sum to one. */
  get weights(): Float64Array {
    this.#weights ??= this.logWeights.map(Math.exp)
    return this.#weights
  }

  /**
   * The weighted mean of each coordinate, as long as one sample. Synchronous, as all that follows but `save`. Throws ArgumentError where the
   * samples are one rank's.
   */
  mean(): Float64Array {
    return this.#moments((x) => x)
  }

  /** The weighted variance of each coordinate: sum_i w_i (x_i - mean)^2. Errors as `mean`. */
  variance(): Float64Array {
    const mean = this.mean()
    return this.#moments((x, j) => (x - mean[j]) ** 2)
  }

  /** Numbers of a sample. Throws ArgumentError where the samples are one rank's, the weights all ranks'. */
  #size(): number {
    const d = sizeOf(this.shape)
    if (this.samples.length === d * this.particles) return d
    throw new ArgumentError("these are one rank's samples: gather: 'all' brings all of them together")
  }

  #moments(of: (x: number, coordinate: number) => number): Float64Array {
    const { samples, weights } = this
    const d = this.#size()
    const sums = new Float64Array(d)
    for (let i = 0; i < weights.length; i++)
      if (weights[i] > 0) for (let j = 0; j < d; j++) sums[j] += weights[i] * of(samples[i * d + j], j)
    return sums
  }

  /**
   * n samples of equal weight [n, ...shape], drawn by the weights; default as many as there are. Many copies of few where the weights are uneven.
   * Throws ArgumentError.
   */
  resampled(n: number = this.particles, options: ResampledOptions = {}): Float32Array {
    knownOptions('resampled', options, ['scheme', 'seed'])
    const d = this.#size()
    integer('n', n, 0, Math.floor(2 ** 31 / d))
    const out = new Float32Array(n * d)
    resample(this.weights, { ...options, n }).forEach((ancestor, i) => {
      out.set(this.samples.subarray(ancestor * d, (ancestor + 1) * d), i * d)
    })
    return out
  }

  /**
   * All of it as plain data for JSON, which `resultFromJSON` reads back. Numbers that are not finite become 'NaN', 'Infinity' and '-Infinity'.
   * JSON.stringify calls it with the name of a property, which says nothing here. Throws ArgumentError where the samples are one rank's.
   */
  toJSON(options: JsonOptions | string = {}): Record<string, unknown> {
    this.#size()
    const given = typeof options === 'string' ? {} : options
    return { kind: this.kind, ...(encoded({ ...this }, given) as object) }
  }

  /**
   * Writes samples.npy, weights.npy (of smc: else all are equal), result.json and, of images, samples.png (drawn by their weights; left out where sharp is not installed) to
   * a folder, which `loadResult` reads. Returns the paths. Throws FileError, ArgumentError where the folder holds a result already.
   */
  async save(folder: string, options: SaveOptions = {}): Promise<string[]> {
    knownOptions('save', options, ['overwrite'])
    this.#size()
    const { saveResult } = await import('./result-files.js')
    return saveResult(folder, this, options.overwrite ?? false)
  }
}

/** Samples that all have the same weight. */
export const unweighted = (
  samples: Float32Array,
  shape: readonly number[],
  n = samples.length / sizeOf(shape),
): SampleFields => {
  const [logWeights, ess] = [new Float64Array(n).fill(-Math.log(n)), Float64Array.of(n)]
  return { samples, shape: [...shape], logWeights, ess, warnings: [], collapsed: false }
}

/** The fields that mcmc adds. */
export interface McmcFields extends SampleFields {
  energy: Float64Array
  acceptance: Float64Array
  chainAcceptance: Float64Array
  stepSizes: Float64Array
  evaluations: number
}

/** What `mcmc` returns; `particles` are its chains. */
export class McmcResult extends WeightedSamples implements McmcFields {
  /** U of every chain at the last level. */
  readonly energy: Float64Array
  /** Mean acceptance per level; NaN for ULA and UHMC. */
  readonly acceptance: Float64Array
  /** Share of accepted moves per chain; NaN for ULA and UHMC. */
  readonly chainAcceptance: Float64Array
  /** Step length of the last move of each level, in units of x. */
  readonly stepSizes: Float64Array
  /** Evaluations of a model at a chain. */
  readonly evaluations: number

  /** @internal */
  constructor(fields: McmcFields) {
    super(fields)
    this.energy = fields.energy
    this.acceptance = fields.acceptance
    this.chainAcceptance = fields.chainAcceptance
    this.stepSizes = fields.stepSizes
    this.evaluations = fields.evaluations
  }

  /** What drew them. */
  get kind(): 'mcmc' {
    return 'mcmc'
  }
}

/** What `sample` returns: its note says what the samples are of where the model is a composed target, which is not it. */
export class SampleResult extends WeightedSamples {
  /** Evaluations of a model at a particle. */
  readonly evaluations: number
  /** The number of the first sample, where these are a rank's own (`gather` of `sample`). */
  readonly first?: number

  /** @internal */
  constructor(fields: SampleFields & { evaluations: number; first?: number }) {
    super(fields)
    this.evaluations = fields.evaluations
    if (fields.first !== undefined) this.first = fields.first
  }

  /** What drew them. */
  get kind(): 'sample' {
    return 'sample'
  }
}
