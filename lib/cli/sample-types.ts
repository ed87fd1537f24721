import { allDefaults, rowsOf } from '../base/option-table.js'
import type { Part } from '../ranks/part.js'
import type { NamedLabels, TermSpec } from '../service/composition.js'
import { compositionRows, gridRows, type SampleRequest, type SmcChoices, smcRows } from '../service/request-options.js'
import type { SampleResult } from '../smc/result.js'
import { runRows, targetRows } from '../smc/smc-options.js'
import type { SmcResult } from '../smc/smc-result.js'
import type { CommonOptions } from './options.js'

export const methods = ['smc', 'heun', 'stochastic-heun', 'sde', 'ancestral'] as const

/** The options of smc, with that of weights that a request cannot have. */
export const smcFlagRows = { ...smcRows, ...rowsOf(targetRows, 'draws') }

/** What is drawn, where it is not said. */
export const drawDefaults = { particles: 64, ...allDefaults({ ...gridRows, ...compositionRows }) }
export const particlesRow = { particles: { ...runRows.particles, default: drawDefaults.particles } }

type Settled = 'particles' | 'steps' | 'rho' | 'gamma' | 'strength' | 'guidance'

export interface SampleFlags
  extends CommonOptions,
    SmcChoices,
    Required<Pick<SampleRequest, Settled>>,
    Pick<SampleRequest, 'sigmaMin' | 'sigmaMax' | 'dividePrior' | 'guidanceInterval' | 'box'> {
  output: string
  overwrite?: boolean
  previews: boolean
  tensorboard?: boolean
  watch?: number | true
  again?: string
  autoencoder?: string
  method?: (typeof methods)[number]
  class?: number | string
  nullClass?: number
  attributes?: NamedLabels
  with?: TermSpec[]
  not?: TermSpec[]
  draws?: number
  allowCollapse?: boolean
  adaptLevels?: true | number
  part?: Part
}

/** What the command `sample` draws. */
export interface Drawn {
  /** With several ranks, the first has all samples. */
  result: SmcResult | SampleResult
  /** What was decoded, where the model is one of latents. */
  latents?: { samples: Float32Array; shape: readonly number[] }
  /** Draws the PNG, of SMC. */
  genealogy?: () => Promise<Buffer>
  /** For people, and all of the diagnostics for samples.json. */
  summary: Record<string, number | string | boolean>
  report: object
}
