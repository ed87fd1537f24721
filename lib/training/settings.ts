import { isDeepStrictEqual } from 'node:util'
import { finiteNumber, integer } from '../base/args.js'
import { ArgumentError, describe, invalid } from '../base/errors.js'

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
  /** Rate of dropout in the network's blocks: the network's own when it is trained on data (0 where there is none), 0 in distillation. */
  dropout: number
  /** Mirror images left to right at random (false). */
  flips: boolean
  seed: number
  /** The run stops when the loss exceeds this many times its running median (10). */
  divergence: number
}

/** Checks those that are given; throws ArgumentError. */
export function checkSettings(given: Partial<Settings>): void {
  const check = <K extends keyof Settings>(name: K, test: (name: string, value: unknown) => unknown) => {
    if (given[name] !== undefined) test(name, given[name])
  }
  const probability = (name: string, value: unknown) => finiteNumber(name, value, { min: 0, max: 1 })
  const positive = (name: string, value: unknown) => finiteNumber(name, value, { above: 0 })
  const notNegative = (name: string, value: unknown) => finiteNumber(name, value, { min: 0 })
  const decay = (name: string, value: unknown) => finiteNumber(name, value, { min: 0, max: 1 - 1e-12 })
  check('batchSize', (name, value) => integer(name, value, 1, 2 ** 20))
  check('microBatch', (name, value) => integer(name, value, 1, 2 ** 20))
  check('lr', positive)
  check('warmUp', notNegative)
  check('decay', probability)
  check('emaHalfLife', notNegative)
  check('clip', notNegative)
  check('beta1', decay)
  check('beta2', decay)
  check('eps', positive)
  check('muon', decay)
  check('pMean', finiteNumber)
  check('pStd', positive)
  check('labelDropout', probability)
  check('dropout', (name, value) => finiteNumber(name, value, { min: 0, max: 0.99 }))
  check('flips', (name, value) => {
    if (typeof value !== 'boolean') throw invalid(name, 'true or false', value)
  })
  check('seed', (name, value) => integer(name, value, 0))
  check('divergence', (name, value) => finiteNumber(name, value, { above: 1 }))
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
