/**
 * What a run of `smc` tells while it goes: one LevelReport for each noise level, to `onProgress`; the same with access to the particles, a
 * Level, from `smc.stream`. Reports are plain data, JSON but for NaN and Infinity; SmcResult.diagnostics.levels holds them all.
 */

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
   * before it. Unlike `ess` it starts anew at every step: N where the step changed no weight, near 0 where it was too large.
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
