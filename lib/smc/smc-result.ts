import type { SmcDiagnostics } from './diagnostics.js'
import type { WeightScheme } from './kernels.js'
import { type SampleFields, WeightedSamples } from './result.js'

/** The fields that smc adds. */
export interface SmcFields extends SampleFields {
  scheme?: WeightScheme
  logZ: number
  logZError: number
  first?: number
  ancestors: (Int32Array | null)[]
  diagnostics: SmcDiagnostics
}

/** What `smc` returns. */
export class SmcResult extends WeightedSamples implements SmcFields {
  /** How they were weighed; none for a FeynmanKacModel, which weighs by itself. */
  readonly scheme?: WeightScheme
  /** log of the estimated normaliser of exp(-U) at the last level that was weighed; NaN without weights. */
  readonly logZ: number
  /** Its estimated standard error, from the genealogy; Infinity where all particles descend from one. */
  readonly logZError: number
  /** The number of the first sample, where these are a rank's own, a part of those that the weights are of (`gather` of `smc`). */
  readonly first?: number
  /** Ancestors drawn at each level, null where there was no resampling: the genealogy. */
  readonly ancestors: (Int32Array | null)[]
  /** What each level came to: effective sample sizes, weights, roots, acceptance of moves. */
  readonly diagnostics: SmcDiagnostics

  /** @internal */
  constructor(fields: SmcFields) {
    super(fields)
    if (fields.scheme !== undefined) this.scheme = fields.scheme
    this.logZ = fields.logZ
    this.logZError = fields.logZError
    if (fields.first !== undefined) this.first = fields.first
    this.ancestors = fields.ancestors
    this.diagnostics = fields.diagnostics
  }

  /** What drew them. */
  get kind(): 'smc' {
    return 'smc'
  }
}
