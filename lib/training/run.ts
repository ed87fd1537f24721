import { finiteNumber, integer, knownOptions } from '../args.js'
import { checkDataset, type Dataset, type LabelSpec, labelDim } from '../data/dataset.js'
import { latentDataset } from '../data/latents.js'
import { type LoadDatasetOptions, loadDataset } from '../data/load.js'
import { type DeviceOptions, deviceOptionNames, freeMemory } from '../devices.js'
import { ArgumentError, FileError, invalid } from '../errors.js'
import { fingerprintData, fingerprintNetwork } from '../fingerprint.js'
import { Autoencoder } from '../models/autoencoder.js'
import {
  configDropout,
  configLabelDim,
  configLabelDropout,
  givenNetworkConfig,
  type NetworkConfig,
} from '../models/config.js'
import type { Denoiser } from '../models/denoiser.js'
import type { EnergyModel } from '../models/energy.js'
import { type NoiseConditioning, vpSigma } from '../models/noise-conditioning.js'
import { type NativeNetwork, type NetworkKind, run } from '../native.js'
import { type Architecture, networkFor } from './architecture.js'
import { Batches } from './batches.js'
import { type Checkpoint, checkDefinition, type DataSource, readCheckpoint, restore } from './checkpoint.js'
import { runWithCheckpoints } from './checkpointed.js'
import { RunFolder } from './folder.js'
import { type LevelSettings, Levels } from './levels.js'
import type { TrainingProgress } from './loop.js'
import { checkSettings, defaultSettings, type Settings, settle } from './settings.js'

export type { TrainingProgress } from './loop.js'

/** What dsm.ts and distill.ts share: from options to a trained model, with or without a directory to resume from. */

export interface DataOptions extends Omit<LoadDatasetOptions, 'signal' | 'onProgress'> {
  /** File of an autoencoder: the data are its latents. */
  autoencoder?: string
}

export interface TrainingOptions extends Partial<Settings>, DeviceOptions {
  /** Training data, or its specification for `loadDataset`. Only a resumed run can do without: its checkpoint knows. */
  data?: Dataset | string
  /** How `loadDataset` is to read the specification. */
  dataOptions?: DataOptions
  /** Images (samples) to see in all; a resumed run may extend it. */
  images?: number
  /** A new network's shape (default: small), or all of its configuration. */
  network?: Architecture | NetworkConfig
  /** Directory of checkpoints, log.jsonl and the final model.safetensors; without it nothing is written. */
  output?: string
  /**
   * Go on from the newest checkpoint in `output`; other options are taken from it and must not contradict it. 'auto': begin where there is
   * none.
   */
  resume?: boolean | 'auto'
  /** Images between checkpoints (default: two minutes) and between lines of the log (1/200 of the run). */
  checkpointEvery?: number
  logEvery?: number
  /** Aborting ends the run after the step in progress, with a checkpoint where there is an output directory. */
  signal?: AbortSignal
  onProgress?: (progress: TrainingProgress) => void
}

export const trainingOptionNames = [
  ...[
    'data',
    'dataOptions',
    'images',
    'network',
    'output',
    'resume',
    'checkpointEvery',
    'logEvery',
    ...deviceOptionNames,
    'signal',
    'onProgress',
  ],
  ...['batchSize', 'microBatch', 'lr', 'warmUp', 'emaHalfLife', 'clip', 'beta1', 'beta2', 'eps', 'pMean', 'pStd'],
  ...['labelDropout', 'dropout', 'flips', 'seed', 'divergence'],
]

export interface TrainingResult<M> {
  /** The trained model: the averaged weights. Its `dispose` is the caller's. */
  model: M
  steps: number
  images: number
  /** Running median of the loss at the end. */
  loss: number
  /** The model's file, where there is an output directory. */
  path: string | null
}

/** Everything that fixes the final weights. */
export interface Definition extends Settings, LevelSettings {
  objective: 'dsm' | 'distill'
  kind: NetworkKind
  headScale: number
  /** Of a joint network. */
  energyWeight: number
  sigmaData: number
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
}

/** The directory and the checkpoint to resume from; opened first, as it may name the data and the teacher. */
export interface Opened {
  folder: RunFolder | null
  checkpoint: Checkpoint | null
}

/** Runs `work` with the directory of a run, which other runs may have afterwards. */
export async function inRun<T>(opening: Promise<Opened>, work: (opened: Opened) => Promise<T>): Promise<T> {
  const opened = await opening
  try {
    return await work(opened)
  } finally {
    await opened.folder?.close()
  }
}

/** `read` reads a checkpoint of the run's kind. */
export async function openRun(
  options: Pick<TrainingOptions, 'output' | 'resume'>,
  read: (path: string) => Promise<Checkpoint> = (path) => readCheckpoint(path),
): Promise<Opened> {
  const { resume } = options
  if (resume !== undefined && resume !== 'auto' && typeof resume !== 'boolean')
    throw invalid('resume', "true, false or 'auto'", resume)
  if (options.output === undefined) {
    if (options.resume) throw invalid('output', 'the directory of the run to resume', undefined)
    return { folder: null, checkpoint: null }
  }
  if (typeof options.output !== 'string' || options.output === '')
    throw invalid('output', 'the name of a directory', options.output)
  const folder = await RunFolder.open(options.output)
  try {
    if (!resume && (await folder.checkpoints()).length)
      throw new ArgumentError(
        `${options.output} holds the checkpoints of a run: resume it, or choose another directory`,
      )
    const whole = async (path: string) => {
      const found = await read(path)
      checkDefinition(found)
      return found
    }
    const checkpoint = resume ? await folder.newest(whole) : null
    if (!checkpoint && resume === true)
      throw new FileError(`there is no checkpoint to resume from in ${options.output}`, options.output)
    return { folder, checkpoint }
  } catch (error) {
    await folder.close()
    throw error
  }
}

/** The data and, where they were named, by what. A resumed run reads what its checkpoint names. */
export async function openData(
  options: Pick<TrainingOptions, 'data' | 'dataOptions' | 'device' | 'precision' | 'signal'>,
  { checkpoint }: Opened,
): Promise<{ data: Dataset; source: DataSource | null }> {
  const { data, dataOptions = {}, signal } = options
  knownOptions('dataOptions', dataOptions, ['labels', 'resize', 'channels', 'icc', 'limit', 'autoencoder'])
  if (data !== undefined && typeof data !== 'string') {
    if (dataOptions.autoencoder !== undefined)
      throw invalid(
        'autoencoder',
        'nothing where the data are a data set: latentDataset encodes it',
        dataOptions.autoencoder,
      )
    return { data: checkDataset(data), source: checkpoint?.sources.data ?? null }
  }
  const source = data === undefined ? checkpoint?.sources.data : { spec: data, options: dataOptions }
  if (!source) throw invalid('data', 'a data set or its specification', data)
  const { autoencoder: file, ...loading } = source.options
  const images = await loadDataset(source.spec, { ...loading, signal })
  if (file === undefined) return { data: images, source }
  using autoencoder = await Autoencoder.load(file, { device: options.device, precision: options.precision })
  return { data: await latentDataset(images, autoencoder, { signal }), source }
}

export async function train<M extends Denoiser | EnergyModel>(
  options: TrainingOptions,
  opened: Opened,
  { data, source }: { data: Dataset; source: DataSource | null },
  front: FrontEnd<M>,
): Promise<TrainingResult<M>> {
  checkSettings(options)
  const { checkpoint } = opened
  // checkpoints of before there was dropout had none, nor joint networks, nor levels
  const stored = checkpoint
    ? ({ dropout: 0, energyWeight: 1, ...noLevels, ...checkpoint.definition } as Definition & { images: number })
    : undefined
  const images = integer('images', options.images ?? stored?.images, 1)
  for (const name of ['checkpointEvery', 'logEvery'] as const)
    if (options[name] !== undefined) finiteNumber(name, options[name], { min: 1 })

  const labels = front.conditional ? data.labels : null
  const definition = define(options, front, stored, {
    images,
    labels,
    shape: data.shape,
    data: await fingerprintData(data),
    teacher: front.teacher ? await fingerprintNetwork(front.teacher.network) : null,
  })
  if (definition.flips && (data.shape.length !== 3 || data.latent))
    throw invalid('flips', 'false, as the data are not images', true)
  if (definition.labelDropout > 0 && !labels)
    throw invalid('labelDropout', '0, as the network is given no labels', definition.labelDropout)

  const nullClass = front.teacher?.info.nullClass
  if (definition.labelDropout > 0 && nullClass === null)
    throw invalid('labelDropout', '0, as no row of the teacher’s class table stands for no class (nullClass)', definition.labelDropout) // biome-ignore format: one line

  if (definition.levelWeight > 0 && labels)
    throw invalid(
      'levelWeight',
      '0, as the network is given labels, of which the normaliser would be a function',
      definition.levelWeight,
    )

  const model = await front.create(definition, labels)
  try {
    if (!stored && options.microBatch === undefined)
      definition.microBatch = fittingBatch(
        model.network.device(),
        model.network.workingBytes('train', definition.kind, 1),
        definition.batchSize,
      )
    if (checkpoint) await restore(model.network, checkpoint)
    else if (definition.init === 'teacher') await copyWeights(front.teacher!.network, model.network)

    const range = conditionedRange(model.info.preconditioning.noise)
    const dims = data.shape.reduce((product, extent) => product * extent, 1)
    const { sigmaData } = model.info
    const levels =
      definition.levelWeight > 0 ? new Levels(definition, dims, sigmaData, range, checkpoint?.loop.levels) : undefined
    return await runWithCheckpoints(
      {
        model,
        steps: model.network,
        definition,
        sources: { data: source, teacher: front.teacherSource },
        images,
        teacher: front.teacher?.network,
        kind: definition.kind,
        headScale: definition.headScale,
        energyWeight: definition.energyWeight,
        range,
        levels,
        batches: new Batches(data, labels, definition, nullClass),
        finish: async () => {
          if (levels) model.info.logNormaliser = levels.normaliser(dims, sigmaData)
          await front.finish?.(model, data, { images, seed: definition.seed })
        },
      },
      opened,
      options,
    )
  } catch (error) {
    model.dispose()
    throw error
  }
}

const noLevels = { levelWeight: 0, levels: 3, levelBatch: 1 }

function define<M extends Denoiser | EnergyModel>(
  options: TrainingOptions,
  front: FrontEnd<M>,
  stored: Definition | undefined,
  found: { images: number; labels: LabelSpec | null; shape: readonly number[]; data: string; teacher: string | null },
): Definition {
  const { objective, teacher } = front
  const identity = { objective, data: found.data, teacher: found.teacher }
  const dims = found.labels ? labelDim(found.labels) : 0
  const network = options.network === undefined ? undefined : configure(options.network, found.shape, dims)
  const teacherNeedsClass = teacher?.info.nullClass === null
  const general = defaultSettings(found.images, found.labels !== null)
  const chosen = network ?? teacher?.info.network ?? networkFor(found.shape, dims)
  const defaults: Definition = {
    ...general,
    microBatch: general.batchSize,
    dropout: objective === 'dsm' ? configDropout(chosen) : 0,
    labelDropout: teacherNeedsClass ? 0 : ((found.labels && configLabelDropout(chosen)) ?? general.labelDropout),
    energyWeight: 1,
    ...noLevels,
    levelBatch: Math.ceil((options.batchSize ?? general.batchSize) / 4),
    ...front.defaults,
    ...identity,
    network: chosen,
  }
  const settled = settle({ ...onlySettings(options), ...front.given, ...identity, network }, stored, defaults)
  const { shape } = settled.network
  if (shape.join() !== found.shape.join())
    throw invalid('network', `a network for samples of [${found.shape}]`, [...shape])
  const taken = configLabelDim(settled.network)
  if (taken !== dims) throw new ArgumentError(`the network takes ${taken} label entries but the data have ${dims}`)
  if (settled.init === 'teacher' && JSON.stringify(settled.network) !== JSON.stringify(teacher?.info.network))
    throw invalid('init', "'random', as the network is not the teacher's", settled.init)
  if (settled.dropout > 0 && settled.network.class === 'ResidualMLP')
    throw invalid('dropout', '0, as a network of vectors has none', settled.dropout)
  if (!(settled.levelWeight > 0))
    for (const name of ['levels', 'levelBatch'] as const)
      if (front.given[name] !== undefined) throw invalid(name, 'nothing without levelWeight', front.given[name])
  if (settled.levelWeight > 0) integer('levelBatch', settled.levelBatch, 1, settled.batchSize)
  settled.microBatch = Math.min(settled.microBatch, settled.batchSize)
  return settled
}

function configure(network: Architecture | NetworkConfig, shape: readonly number[], labels: number): NetworkConfig {
  if (network === null || typeof network !== 'object') throw invalid('network', 'an object', network)
  if (!('class' in network)) return networkFor(shape, labels, network)
  return givenNetworkConfig(network)
}

const settingNames = Object.keys(defaultSettings(1, false)).concat('microBatch') as (keyof Settings)[]

export function onlySettings(options: Partial<Settings>): Partial<Settings> {
  return Object.fromEntries(
    settingNames.filter((name) => options[name] !== undefined).map((name) => [name, options[name]]),
  )
}

/** The noise levels that a network can be told: all, or those of its table. */
function conditionedRange(noise: NoiseConditioning): { sigmaMin: number; sigmaMax: number } {
  if (noise.kind === 'table') return { sigmaMin: noise.sigmas[0], sigmaMax: noise.sigmas[noise.sigmas.length - 1] }
  if (noise.kind === 'vp') return { sigmaMin: vpSigma(noise, noise.epsilonT), sigmaMax: vpSigma(noise, 1) }
  return { sigmaMin: Number.MIN_VALUE, sigmaMax: Number.MAX_VALUE }
}

/** Size of equal micro-batches whose activations, of `sample` bytes each, stay within 1 GiB, or within half of what is free on a GPU. */
export function fittingBatch(device: string, sample: number, batchSize: number): number {
  const free = freeMemory(device)
  const bytes = free === undefined ? 2 ** 30 : free / 2
  const most = Math.max(1, Math.floor(bytes / sample))
  return Math.ceil(batchSize / Math.ceil(batchSize / most))
}

async function copyWeights(from: NativeNetwork, to: NativeNetwork): Promise<void> {
  const values = new Float32Array(from.parameterCount())
  await run(() => from.read('params', values))
  await run(() => to.write('params', values))
  await run(() => to.write('ema', values))
}
