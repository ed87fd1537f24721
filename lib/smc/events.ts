/**
 * What a run of `smc` tells while it goes: one LevelReport for each noise level, to `onProgress`; the same with access to the particles, a
 * Level, from `smc.stream`. Reports are plain data, JSON but for NaN and Infinity; SmcResult.diagnostics.levels holds them all.
 */

/** One level with its particles, which are there until the loop goes on: ask for what you need before. */
export interface Level extends LevelReport {
  /** Normalised weights of the samples as they are now, after the level's resampling: a copy. */
  readonly weights: Float64Array
  /** Where the level has resampled: the particle that each one now was before. Null where it has not. A copy. */
  readonly ancestors: Int32Array | null
  /** The particles at this level's noise [particles, ...shape]: a copy. */
  samples(): Promise<Float32Array>
  /**
   * A preview: what the particles are of without their noise, D = x - sigma^2 / Lambda grad U, like `samples`; under weights 'tilt' the base model's.
   * Throws ArgumentError for a FeynmanKacModel of one's own.
   */
  denoised(): Promise<Float32Array>
}

/** One level of a run, as it is reported and collected. */
export interface LevelReport {
  level: number
  /** Index of the last level. */
  lastLevel: number
  /** Noise level; NaN for a FeynmanKacModel of one's own. */
  sigma: number
  /** Effective sample size of the weights before resampling. */
  ess: number
  /**
   * Conditional effective sample size of the step that led here (Zhou, Johansen & Aston 2016): N (sum W G)^2 / sum W G^2 with the weights W
   * before it. Unlike `ess` it starts again at every step: N where the step changed no weight, near 0 where it was too large.
   */
  conditionalEss: number
  /** log Z-hat so far; NaN without weights. */
  logZ: number
  /** Estimated standard error of logZ (see Roots); Infinity once all particles descend from one, NaN without weights. */
  logZError: number
  /** Weighted mean of U; NaN for a FeynmanKacModel of one's own. */
  meanEnergy: number
  resampled: boolean
  /** Different ancestors in the resampling of this level; the number of particles where there was none. */
  uniqueAncestors: number
  /** How many initial particles have descendants so far. */
  distinctRoots: number
  /** Mean acceptance of the MCMC moves; NaN where there are none. */
  acceptance: number
  /** Evaluations of a model at a particle, of this level. */
  evaluations: number
  /** What went wrong at this level, and what to change; each kind of trouble is reported where it first shows. */
  warning?: string
}

/** One step of a sampler without weights, as `sample.stream` has them. */
export interface Step {
  level: number
  lastLevel: number
  /** Noise level after the step. */
  sigma: number
  /** The samples at this noise [particles, ...shape]: a copy. */
  samples(): Promise<Float32Array>
  /** What they are of, D(x, sigma): a preview, by an evaluation of its own. */
  denoised(): Promise<Float32Array>
}

/** One level of Markov chains, as `mcmc.stream` has them. */
export interface ChainLevel {
  level: number
  lastLevel: number
  sigma: number
  /** Mean acceptance of the level's moves; NaN for ULA and UHMC. */
  acceptance: number
  /** Step length of the level's last move, in units of x. */
  stepSize: number
  /** U of every chain: a copy. */
  readonly energy: Float64Array
  /** The chains [chains, ...shape]: a copy. */
  samples(): Promise<Float32Array>
}
