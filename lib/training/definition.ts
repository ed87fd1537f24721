import { integer } from '../base/args.js'
import { ArgumentError, invalid } from '../base/errors.js'
import { defaultsOf } from '../base/option-table.js'
import { turnsOf } from '../base/order.js'
import { type Dataset, type LabelSpec, labelDim } from '../data/dataset.js'
import type { Denoiser } from '../models/denoiser.js'
import type { EnergyModel } from '../models/energy.js'
import { deviceOptionNames } from '../native/devices.js'
import type { NetworkKind } from '../native/types.js'
import {
  configAugmentDim,
  configDropout,
  configLabelDim,
  configLabelDropout,
  givenNetworkConfig,
  type NetworkConfig,
} from '../networks/config.js'
import { halfNetwork } from '../networks/half.js'
import { networkFor } from './architecture.js'
import type { LevelSettings } from './levels.js'
import type { Architecture } from './network-options.js'
import { levelRows } from './options.js'
import { noPath, type PathSettings, pathOptionNames } from './path-loss.js'
import { augmentFor, generalSettings, holdOutFor, recipeFor } from './recipe.js'
import { type Settings, settingRows, settle } from './settings.js'
import type { Within } from './speed.js'
import type { TrainingOptions } from './types.js'

/** What fixes the weights of a run: from its options to its definition. */

/** Options of every training run, beside what defines it. */
export const runOptionNames = [
  ...['data', 'dataOptions', 'images', 'network', 'output', 'resume', 'checkpointEvery', 'logEvery', 'tensorboard'],
  ...[...deviceOptionNames, 'ranks', 'signal', 'onProgress'],
]

export const settingNames = Object.keys(settingRows) as (keyof Settings)[]

export const trainingOptionNames = [...runOptionNames, ...settingNames, 'minutes', 'holdOut', 'previewEvery', 'onPlan']

/** Everything that fixes the final weights. */
export interface Definition extends Settings, LevelSettings, PathSettings {
  /** Paths of each target in a round of own states; 0: none. */
  selfPlay: number
  objective: 'dsm' | 'distill'
  kind: NetworkKind
  headScale: number
  /** For a joint network only. */
  energyWeight: number
  sigmaData: number
  /** Share of the samples. */
  holdOut: number
  init: 'random' | 'teacher'
  network: NetworkConfig
  /** Fingerprints. */
  data: string
  teacher: string | null
}

/** How a front end differs from the others. */
export interface FrontEnd<M extends Denoiser | EnergyModel> {
  objective: Definition['objective']
  /** What the caller chose explicitly, and what holds otherwise. */
  given: Partial<Definition>
  defaults: Pick<Definition, 'kind' | 'headScale' | 'sigmaData' | 'init'>
  teacher?: Denoiser
  /** Name of the teacher's file, for the checkpoint. */
  teacherSource: string | null
  /** Whether the network is given the data's labels. */
  conditional: boolean
  create(definition: Definition, labels: LabelSpec | null): Promise<M>
  /** With the trained weights, before the model is saved. */
  finish?(model: M, data: Dataset, run: { images: number; seed: number }): Promise<void>
  /** Where minutes are given. */
  within?: Within
}

/** What the options lead to, besides their text. */
export interface Found {
  /** Those that the network is given. */
  labels: LabelSpec | null
  shape: readonly number[]
  /** Samples. */
  size: number
  /** Whether they are latents of images. */
  latent: boolean
  /** Fingerprints. */
  data: string
  teacher: string | null
}

const noLevels = { levelWeight: 0, levelBatch: 1, ...defaultsOf(levelRows, 'levels') }

/** Values of options that checkpoints of before there were these do not have. */
export const unknownBefore = {
  ...generalSettings,
  decay: 0,
  muon: 0,
  references: 0,
  sharpened: 0,
  smallFirst: 0,
  augment: 0,
  holdOut: 0,
  energyWeight: 1,
  ...noLevels,
  ...noPath,
  selfPlay: 0,
}

export type StoredDefinition = Definition & { images: number }

/** From the options, what a checkpoint says, and rules for the rest. Throws ArgumentError. */
export function define<M extends Denoiser | EnergyModel>(
  options: TrainingOptions,
  front: FrontEnd<M>,
  stored: Definition | undefined,
  found: Found & { images: number },
): Definition {
  const { objective, teacher } = front
  const identity = { objective, data: found.data, teacher: found.teacher }
  const dims = found.labels ? labelDim(found.labels) : 0
  const { images, labels, size, latent } = found
  const holdOut = options.holdOut ?? stored?.holdOut ?? holdOutFor(size)
  const pictures = found.shape.length === 3 && !latent
  const turning = pictures && front.defaults.kind === 'denoiser' && objective === 'dsm' && !isConfig(options.network)
  const byRule = turning ? augmentFor(images, size - Math.ceil(holdOut * size)) : 0
  const augment = stored?.augment ?? options.augment ?? byRule
  const augmentDim = pictures && augment > 0 ? turnsOf(found.shape) : 0
  const network = options.network === undefined ? undefined : configure(options.network, found.shape, dims, augmentDim)
  const needsClass = teacher?.info.nullClass === null
  const chosen = network ?? teacher?.info.network ?? networkFor(found.shape, dims, {}, augmentDim)
  const attributes = labels?.attributes.length ?? 0
  const situation = { objective, images, samples: size, latent, attributes, network: chosen }
  const own = needsClass ? 0 : labels && configLabelDropout(chosen)
  const classified = (stored ?? front.given).levelWeight
  const recipe = recipeFor(situation, {
    ...(classified && { references: 0, sharpened: 0 }),
    ...(typeof own === 'number' && { labelDropout: own }),
    ...(front.defaults.kind !== 'denoiser' && { smallFirst: 0 }),
    augment,
    ...onlySettings(options),
  })
  const defaults: Definition = {
    ...generalSettings,
    ...recipe,
    microBatch: recipe.batchSize,
    dropout: objective === 'dsm' ? configDropout(chosen) : 0,
    holdOut,
    energyWeight: 1,
    ...noLevels,
    levelBatch: Math.ceil(recipe.batchSize / 4),
    ...noPath,
    selfPlay: 0,
    pathBatch: Math.ceil(recipe.batchSize / 2),
    ...front.defaults,
    ...identity,
    network: chosen,
  }
  const given = { ...onlySettings(options), holdOut: options.holdOut, ...front.given, ...identity, network }
  const settled = settle(given, stored, defaults)
  const { shape } = settled.network
  if (shape.join() !== found.shape.join())
    throw invalid('network', `a network for samples of [${found.shape}]`, [...shape])
  const taken = configLabelDim(settled.network)
  if (taken !== dims) {
    const without = objective === 'dsm' ? ', or leave the labels out: conditional: false (--no-labels)' : ''
    throw new ArgumentError(
      `the network takes ${taken} label entries but the data have ${dims}: give it as many (label_dim, or num_class_embeds of UNet2DModel)${without}`,
    )
  }
  if (settled.init === 'teacher' && JSON.stringify(settled.network) !== JSON.stringify(teacher?.info.network))
    throw invalid('init', "'random', as the network is not the teacher's", settled.init)
  if (settled.dropout > 0 && settled.network.class === 'ResidualMLP')
    throw invalid('dropout', '0, as a network of vectors has none', settled.dropout)
  if (!(settled.levelWeight > 0))
    for (const name of ['levels', 'levelBatch'] as const)
      if (front.given[name] !== undefined) throw invalid(name, 'nothing without levelWeight', front.given[name])
  if (settled.levelWeight > 0) integer('levelBatch', settled.levelBatch, 1, settled.batchSize)
  if (!(settled.pathWeight > 0))
    for (const name of pathOptionNames)
      if (name !== 'pathWeight' && front.given[name] !== undefined)
        throw invalid(name, 'nothing without pathWeight', front.given[name])
  if (settled.selfPlay > 0 && settled.levelWeight > 0)
    throw invalid('selfPlay', 'nothing beside levelWeight, which classifies noised data', settled.selfPlay)
  if (settled.levelWeight > 0 && (settled.references > 0 || settled.sharpened > 0))
    throw invalid('levelWeight', '0 with references or sharpened, as it classifies noised data', settled.levelWeight)
  if (settled.references > 0 && objective === 'distill')
    throw invalid('references', '0, as the teacher is the target at any state', settled.references)
  if (settled.sharpened > 0 && settled.references === 0 && objective === 'dsm')
    throw invalid('sharpened', '0 without references: a clean sample is no target there', settled.sharpened)
  if (settled.augment > 0) {
    const none = (what: string) => invalid('augment', `0, as ${what}`, settled.augment)
    if (!pictures) throw none('the data are not images')
    if (objective === 'distill') throw none('the teacher is asked for images as they are')
    if (configAugmentDim(settled.network) !== turnsOf(found.shape))
      throw none(
        `the network does not take the augmentation labels that say how (augment_dim: ${turnsOf(found.shape)})`,
      )
  }
  if (settled.smallFirst > 0) {
    const none = (what: string) => invalid('smallFirst', `0, as ${what}`, settled.smallFirst)
    if (settled.kind !== 'denoiser') throw none('only denoisers begin at half the size')
    if (latent || settled.network.class === 'ResidualMLP') throw none('the data are not images')
    if (!halfNetwork(settled.network)) throw none('not every level of the network has a half of its size')
  }
  if (settled.pathWeight > 0) integer('pathBatch', settled.pathBatch, 1, settled.batchSize)
  settled.microBatch = Math.min(settled.microBatch, settled.batchSize)
  return settled
}

function configure(
  network: Architecture | NetworkConfig,
  shape: readonly number[],
  labels: number,
  augmentDim: number,
): NetworkConfig {
  if (network === null || typeof network !== 'object') throw invalid('network', 'an object', network)
  return isConfig(network) ? givenNetworkConfig(network) : networkFor(shape, labels, network, augmentDim)
}

function isConfig(network: unknown): network is NetworkConfig {
  return typeof network === 'object' && network !== null && 'class' in network
}

export function onlySettings(options: Partial<Settings>): Partial<Settings> {
  return Object.fromEntries(
    settingNames.filter((name) => options[name] !== undefined).map((name) => [name, options[name]]),
  )
}
