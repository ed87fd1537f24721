import { isDeepStrictEqual } from 'node:util'
import { ArgumentError, describe } from '../base/errors.js'
import {
  checkOptions,
  notNegative,
  positive,
  type Rows,
  type RowsOf,
  real,
  share,
  toggle,
  whole,
} from '../base/option-table.js'

/** Options that define a run: with the data and the weights at the start they fix every weight at the end. */
export interface Settings {
  /** Samples per step and per pass through the network; smaller micro-batches need less memory. */
  batchSize: number
  microBatch: number
  /** Adam's learning rate, reached after `warmUp` images. */
  lr: number
  warmUp: number
  /** Share of the run, at its end, over which the rate falls to 0. */
  decay: number
  /** Half-life of the averaged weights in images; at most 5 % of the images seen. */
  emaHalfLife: number
  /** Largest global gradient norm (1); 0: no clipping. */
  clip: number
  beta1: number
  beta2: number
  eps: number
  /**
   * Momentum of Muon, which moves the weights of convolutions between 16 channels and more, while Adam moves all else (docs/recipe.md); 0: Adam
   * moves all.
   */
  muon: number
  /** Noise levels: ln sigma ~ N(pMean, pStd^2). */
  pMean: number
  pStd: number
  /** Probability of leaving out each attribute of a label, independently. */
  labelDropout: number
  /**
   * Samples of the data that a step's targets are averaged over, instead of being single ones (docs/smoothed-targets.md): 1024 to train on pictures;
   * 0: none. A teacher is a target at any state: 0 to distil.
   */
  references: number
  /**
   * Share of the rows that have less noise than their level says, down to 1/sqrt(3) of it, as the states of low temperatures have: 0.5 of pictures. To
   * train on data it needs references.
   */
  sharpened: number
  /**
   * Images seen at half their height and width before the others, as a share of these: 1 of denoisers of pictures whose network has such a size
   * (docs/recipe.md); 0: none.
   */
  smallFirst: number
  /**
   * Probability that a picture is seen mirrored or turned, of which the network is told (`augment_dim`), without its labels: 0.5 of denoisers of so few
   * pictures that samples would become copies otherwise (docs/recipe.md); 0: none.
   */
  augment: number
  /** Rate of dropout in the network's blocks: the network's own when it is trained on data (0 where there is none), 0 in distillation. */
  dropout: number
  /** Mirror images left to right at random (false). */
  flips: boolean
  seed: number
  /** The run stops when the loss exceeds this many times its running median (10). */
  divergence: number
}

/** Those options, once: ranges, defaults, flags and help; `recipe.ts` chooses what has no default. */
export const loopRows: RowsOf<Settings, Exclude<keyof Settings, NoiseSetting>> = {
  batchSize: whole('images per step', { max: 2 ** 20, flag: 'batch' }),
  microBatch: whole('images per pass through the network (as memory allows)', { max: 2 ** 20 }),
  lr: positive('learning rate'),
  warmUp: notNegative('images until the full learning rate', { value: 'images' }),
  decay: share('of the run, at its end, over which the rate falls to 0', { value: 'share' }),
  emaHalfLife: notNegative('half-life of the averaged weights', { value: 'images' }),
  clip: notNegative('largest gradient norm, 0 for none', { value: 'norm', default: 1 }),
  beta1: share("Adam's beta1", { max: 1 - 1e-12, default: 0.9 }),
  beta2: share("Adam's beta2", { max: 1 - 1e-12, default: 0.999 }),
  eps: positive("Adam's epsilon", { default: 1e-8 }),
  muon: share(
    'momentum of Muon, for the weights of convolutions (0.95 of denoisers and energies of pictures; 0: Adam moves all)',
    {
      max: 1 - 1e-12,
      value: 'momentum',
    },
  ),
  flips: toggle('mirror images left to right at random', { default: false }),
  seed: whole('of all random numbers', { min: 0, flag: false, default: 0 }),
  divergence: real('stop when the loss exceeds this many running medians', { above: 1, value: 'factor', default: 10 }),
}

type NoiseSetting =
  | 'pMean'
  | 'pStd'
  | 'labelDropout'
  | 'references'
  | 'sharpened'
  | 'smallFirst'
  | 'augment'
  | 'dropout'

/** What networks that know noise levels have besides. */
export const noiseRows: RowsOf<Settings, NoiseSetting> = {
  pMean: real('mean of ln sigma (-1.2; -0.6 of labelled pictures)'),
  pStd: positive('standard deviation of ln sigma (1.2; 1.4 of labelled pictures)'),
  labelDropout: share('of each attribute of a label (0.1; 0.25 of two or more)', { value: 'probability' }),
  references: whole('samples that targets are averaged over (1024 to train on pictures; 0: none)', {
    min: 0,
    max: 2 ** 20,
  }),
  sharpened: share('of the rows, with less noise than their level says, as low temperatures have (0.5 of pictures)', {
    value: 'share',
  }),
  smallFirst: real(
    'images at half the size before the others, as a share of these (1 of denoisers of pictures; 0: none)',
    {
      min: 0,
      max: 100,
      value: 'share',
    },
  ),
  augment: share('that a picture is seen mirrored or turned, and the network told so (0.5 of few pictures; 0: none)', {
    value: 'probability',
  }),
  dropout: share("of the network's blocks (the network's own; 0 to distil)", { max: 0.99, value: 'rate' }),
}

export const settingRows: Rows<Settings> = { ...loopRows, ...noiseRows }

/** Checks those that are given; throws ArgumentError. */
export function checkSettings(given: Partial<Settings>): void {
  checkOptions(settingRows, given)
}

/**
 * Values of a run's options: what was given, then what the checkpoint holds, then the default. Throws ArgumentError naming
 * every option that was given and contradicts the checkpoint.
 */
export function settle<T extends object>(given: Partial<T>, stored: T | undefined, defaults: T): T {
  const settled = { ...defaults }
  const conflicts: string[] = []
  for (const key of Object.keys(defaults) as (keyof T & string)[]) {
    const value = given[key]
    if (stored && value !== undefined && !isDeepStrictEqual(value, stored[key]))
      conflicts.push(`${key} (${short(value)}, the checkpoint has ${short(stored[key])})`)
    settled[key] = stored ? stored[key] : ((value ?? defaults[key]) as T[typeof key])
  }
  if (conflicts.length)
    throw new ArgumentError(
      `cannot resume with other options than the run began with: ${conflicts.join('; ')}. Leave them out, or start a new run in another directory`,
    )
  return settled
}

function short(value: unknown): string {
  return typeof value === 'object' && value !== null ? JSON.stringify(value).slice(0, 200) : describe(value)
}
