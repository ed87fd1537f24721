/** One level of a run, as it is reported and collected. */
export interface LevelReport {
  level: number
  /** Index of the last level. */
  lastLevel: number
  /** Noise level; NaN for a FeynmanKacModel of one's own. */
  sigma: number
  /** Effective sample size of the weights before resampling. */
  ess: number
  /** log Z-hat so far; NaN without weights. */
  logZ: number
  resampled: boolean
  /** Different ancestors in the resampling of this level; the number of particles where there was none. */
  uniqueAncestors: number
  /** Mean acceptance of the MCMC moves; NaN where there are none. */
  acceptance: number
  /** Evaluations of a model at a particle, of this level. */
  evaluations: number
}

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
  /** m of every step of the analytic proposals, which `precisions` of a later run freezes; h of the calibrated one. Empty for a FeynmanKacModel. */
  precisions: Float64Array[]
}

/** Follows the genealogy down: the initial particle that every final one descends from. */
export function rootsOf(ancestors: readonly (Int32Array | null)[], particles: number): Int32Array {
  let roots = Int32Array.from({ length: particles }, (_, i) => i)
  for (const a of ancestors) if (a) roots = a.map((parent) => roots[parent])
  return roots
}
