import {
  choice,
  type OptionRow,
  pair,
  positive,
  type Rows,
  type RowsOf,
  real,
  rowsOf,
  toggle,
} from '../base/option-table.js'
import { moveKernels } from '../smc/mcmc.js'
import { sampleMethods } from '../smc/samplers.js'
import { sigmaGridRows } from '../smc/schedule.js'
import { runRows, type SmcOptions, targetRows } from '../smc/smc-options.js'
import type { NamedLabels } from './composition.js'

/** What a request for samples can be asked for; the command `sample` has most of it in common. */

const requestMethods = ['smc', ...sampleMethods] as const
/** 'likelihood' is not among them: it is experimental, and takes 128 evaluations of every model more for each particle. */
const weightSchemes = ['bridge', 'tilt', 'fkc', 'rne', 'none'] as const

/** One density of a composition. */
export interface TermRequest {
  /** Name of a model; default that of the request. */
  model?: string
  /** Classes of its attributes, by index or name; default none. */
  attributes?: NamedLabels
}

/** What a request to an engine or a service asks for; each field is checked. */
export interface SampleRequest {
  /** Name of a model of the engine. */
  model: string
  /** Samples; default 16. */
  particles?: number
  /** Transitions between noise levels; default 64. */
  steps?: number
  /** Noise levels, and their spacing (7); default the model's. */
  sigmaMin?: number
  sigmaMax?: number
  rho?: number
  /** Default 'smc' for energies, 'ancestral' for denoisers. */
  method?: (typeof requestMethods)[number]
  attributes?: NamedLabels
  /** The density to this power. */
  gamma?: number
  /** AND: multiplies by these. */
  with?: TermRequest[]
  /** NOT: divides by these, to the power `strength` (0.5). */
  not?: TermRequest[]
  strength?: number
  dividePrior?: boolean
  /** Guidance towards the attributes; 1: none. */
  guidance?: number
  /** For denoisers: guide at these noise levels only. */
  guidanceInterval?: [number, number]
  /** Keeps all coordinates between two bounds. */
  box?: [number, number]
  /** As for `smc`, where the method is 'smc'. */
  weights?: SmcOptions['weights']
  weighAbove?: number | 'auto'
  kernel?: SmcOptions['kernel']
  proposal?: SmcOptions['proposal']
  resampling?: SmcOptions['resampling']
  essThreshold?: number
  essAfter?: number
  finalResample?: boolean
  controlDrift?: boolean
  moves?: (typeof moveKernels)[number]
  seed?: number
}

/** A level that the model says where it is not given. */
const ofModel = ({ flag: _, default: __, help, ...row }: OptionRow<number>): OptionRow<number> => ({
  ...row,
  help: `${help} (the model's)`,
})

/** Noise levels: those of `sigmaGrid`. */
export const gridRows: RowsOf<SampleRequest, 'steps' | 'sigmaMin' | 'sigmaMax' | 'rho'> = {
  steps: { ...sigmaGridRows.steps, help: 'noise levels to go through', flag: undefined, default: 64 },
  sigmaMin: ofModel(sigmaGridRows.min),
  sigmaMax: ofModel(sigmaGridRows.max),
  rho: sigmaGridRows.rho,
}

/** What is sampled, beside the models and their labels. */
export const compositionRows: RowsOf<
  SampleRequest,
  'gamma' | 'dividePrior' | 'strength' | 'guidance' | 'guidanceInterval' | 'box'
> = {
  gamma: positive('the density to this power: above 1, low temperature', { default: 1 }),
  dividePrior: toggle('AND of independent conditions: divide the unconditional density out; NOT: multiply by it', {
    default: false,
  }),
  strength: positive('power of what NOT divides by', { default: 0.5 }),
  guidance: real('classifier-free guidance by the labels; 1: none', { value: 'scale', default: 1 }),
  guidanceInterval: pair('of a denoiser: guide at these noise levels only', 'noise levels', { min: 0 }),
  box: pair('keep all coordinates between two bounds', 'bounds'),
}

/** How smc works, where it is it that samples. */
export type SmcChoices = Pick<
  SampleRequest,
  | 'weights'
  | 'kernel'
  | 'proposal'
  | 'resampling'
  | 'essThreshold'
  | 'essAfter'
  | 'finalResample'
  | 'weighAbove'
  | 'controlDrift'
  | 'moves'
>

export const smcRows: Rows<SmcChoices> = {
  ...rowsOf(targetRows, 'weights', 'kernel', 'proposal'),
  ...rowsOf(runRows, 'resampling', 'essThreshold', 'essAfter', 'finalResample'),
  ...rowsOf(targetRows, 'weighAbove', 'controlDrift'),
  moves: choice('of smc: MCMC moves at every level', moveKernels, { value: 'kernel' }),
}

/** All that a request has, but for its models and their labels. */
export const requestRows = {
  particles: { ...runRows.particles, default: 16 },
  ...gridRows,
  method: choice('smc for energies, ancestral for denoisers', requestMethods),
  ...compositionRows,
  ...smcRows,
  weights: choice(
    'of smc (bridge; of learnt energies of pictures none, or likelihood at low temperature)',
    weightSchemes,
  ),
  seed: runRows.seed,
}
