import type { Part } from '../ranks/part.js'
import type { NamedLabels, TermSpec } from '../service/composition.js'
import type { SmcOptions } from '../smc/smc-options.js'
import type { CommonOptions } from './options.js'

export const methods = ['smc', 'heun', 'stochastic-heun', 'sde', 'ancestral'] as const

export interface SampleFlags extends CommonOptions {
  output: string
  overwrite?: boolean
  again?: string
  autoencoder?: string
  particles: number
  steps: number
  sigmaMin?: number
  sigmaMax?: number
  rho: number
  method?: (typeof methods)[number]
  class?: number | string
  nullClass?: number
  attributes?: NamedLabels
  gamma: number
  with?: TermSpec[]
  not?: TermSpec[]
  strength: number
  dividePrior?: boolean
  guidance: number
  guidanceInterval?: [number, number]
  box?: [number, number]
  weights?: SmcOptions['weights']
  kernel?: SmcOptions['kernel']
  proposal?: SmcOptions['proposal']
  resampling?: SmcOptions['resampling']
  essThreshold?: number
  essAfter?: number
  weighAbove?: number | 'auto'
  allowCollapse?: boolean
  adaptLevels?: true | number
  controlDrift?: boolean
  moves?: 'mala' | 'ula' | 'hmc' | 'uhmc'
  part?: Part
}

/** What the command `sample` draws. */
export interface Drawn {
  samples: Float32Array
  /** Normalised; null for the methods without weights. */
  logWeights: Float64Array | null
  shape: readonly number[]
  /** The samples for a picture: as many, drawn by their weights. */
  shown: Float32Array
  /** What was decoded, where the model is one of latents. */
  latents?: { samples: Float32Array; shape: readonly number[] }
  /** Draws the PNG, of SMC. */
  genealogy?: () => Promise<Buffer>
  /** For people, and all of the diagnostics for samples.json. */
  summary: Record<string, number | string | boolean>
  report: object
}
