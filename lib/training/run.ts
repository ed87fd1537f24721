import { integer, knownOptions } from '../base/args.js'
import { ArgumentError, FileError, invalid } from '../base/errors.js'
import { checkOptions, defaultsOf } from '../base/option-table.js'
import { sizeOf } from '../base/shape.js'
import { checkDataset, type Dataset, type Decoder, type LabelSpec, labelDim } from '../data/dataset.js'
import { fingerprintFor, fingerprintNetwork } from '../data/fingerprint.js'
import { loadDataset } from '../data/load.js'
import { readingRows } from '../data/options.js'
import { Autoencoder } from '../models/autoencoder.js'
import type { Denoiser } from '../models/denoiser.js'
import type { EnergyModel } from '../models/energy.js'
import { encoded } from '../models/latents.js'
import { run } from '../native/addon.js'
import { deviceOptionNames, freeMemory } from '../native/devices.js'
import type { NativeNetwork, NetworkKind } from '../native/types.js'
import {
  configDropout,
  configLabelDim,
  configLabelDropout,
  givenNetworkConfig,
  type NetworkConfig,
} from '../networks/config.js'
import { halfNetwork } from '../networks/half.js'
import { type NoiseConditioning, vpSigma } from '../networks/noise-conditioning.js'
import { type Communicator, checkedRanks } from '../ranks/communicator.js'
import { fromFirst } from '../ranks/share.js'
import { networkFor } from './architecture.js'
import { Batches } from './batches.js'
import { averaged, lossesBeside } from './beside.js'
import { type Checkpoint, checkDefinition, type DataSource, readCheckpoint, restore } from './checkpoint.js'
import { type Opened, type Run, runWithCheckpoints } from './checkpointed.js'
import { RunFolder, removeCheckpoints } from './folder.js'
import { HeldOutLoss, MEASUREMENTS } from './held-out-loss.js'
import { holdOut, type Split } from './hold-out.js'
import type { LevelSettings } from './levels.js'
import type { Architecture } from './network-options.js'
import { NoisyStates } from './noisy-states.js'
import { holdOutRows, lengthRows, levelRows, previewRows, recordRows } from './options.js'
import { noPath, type PathSettings, pathOptionNames } from './path-loss.js'
import { Previews, previewEveryFor, samplesOf } from './previews.js'
import { describeRecipe, generalSettings, holdOutFor, recipeFor, recipeOf } from './recipe.js'
import { checkSettings, type Settings, settingRows, settle } from './settings.js'
import { beginFromHalf, type Half, halfOf } from './small-first.js'
import { imagesOf, imagesPerSecond } from './speed.js'
import type { TrainingOptions, TrainingPlan, TrainingResult } from './types.js'

export type { TrainingProgress } from './events.js'

/** What dsm.ts and distill.ts share: from options to a trained model, with or without a directory to resume from. */

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
}

/** What the options lead to, besides their text. */
interface Found {
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
  options: Pick<TrainingOptions, 'output' | 'resume' | 'tensorboard' | 'ranks'>,
  read: (path: string) => Promise<Checkpoint> = (path) => readCheckpoint(path),
): Promise<Opened> {
  const { resume, tensorboard } = options
  if (tensorboard !== undefined) recordRows.tensorboard.check('tensorboard', tensorboard)
  if (tensorboard && options.output === undefined)
    throw invalid('tensorboard', 'false without an output directory', true)
  if (resume !== undefined && resume !== 'auto' && typeof resume !== 'boolean')
    throw invalid('resume', "true, false or 'auto'", resume)
  const ranks = checkedRanks(options.ranks)
  if (options.output === undefined) {
    if (options.resume) throw invalid('output', 'the directory of the run to resume', undefined)
    return { folder: null, checkpoint: null, ranks }
  }
  if (typeof options.output !== 'string' || options.output === '')
    throw invalid('output', 'the name of a directory', options.output)
  // the first makes the directory and tidies it before the others look, and writes when all have
  if (ranks.rank > 0) await ranks.barrier()
  const folder = ranks.rank > 0 ? RunFolder.read(options.output) : await RunFolder.open(options.output)
  try {
    if (ranks.rank === 0) await ranks.barrier()
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
    const step = checkpoint?.loop.step ?? -1
    const first = await fromFirst(ranks, step)
    if (first !== step)
      throw new FileError(
        `rank 0 goes on from step ${first} and rank ${ranks.rank} from ${step} (-1: there is no checkpoint): all ranks need the same ${options.output}`,
        options.output,
      )
    return { folder, checkpoint, ranks }
  } catch (error) {
    await folder.close()
    throw error
  }
}

/** The data and, where they were named, by what. A resumed run reads what its checkpoint names. */
export async function openData(
  options: Pick<TrainingOptions, 'data' | 'dataOptions' | 'device' | 'precision' | 'signal'>,
  { checkpoint }: Pick<Opened, 'checkpoint'>,
): Promise<{ data: Dataset; source: DataSource | null }> {
  const { data, dataOptions = {}, signal } = options
  knownOptions('dataOptions', dataOptions, [...Object.keys(readingRows), 'autoencoder'])
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
  const open = () => Autoencoder.load(file, { device: options.device, precision: options.precision })
  using autoencoder = await open()
  const { shape } = autoencoder
  // previews are few: in memory only while one is decoded
  const decode: Decoder['decode'] = async (latents, call) => {
    using decoder = await open()
    return await decoder.decode(latents, call)
  }
  return { data: await encoded(images, autoencoder, { signal, decoder: { shape, decode } }), source }
}

/** Trains from the options, or on from the checkpoint. */
export async function train<M extends Denoiser | EnergyModel>(
  options: TrainingOptions,
  opened: Opened,
  { data, source }: { data: Dataset; source: DataSource | null },
  front: FrontEnd<M>,
): Promise<TrainingResult<M>> {
  checkSettings(options)
  const { minutes, signal } = options
  checkOptions({ ...lengthRows, ...holdOutRows, ...previewRows, ...recordRows }, options)
  if (minutes !== undefined && options.images !== undefined) throw invalid('minutes', 'nothing beside images', minutes)
  if (options.onPlan !== undefined && typeof options.onPlan !== 'function')
    throw invalid('onPlan', 'a function', options.onPlan)
  const runs = await runsOf(options, opened, data, front)
  let [images, rate] = [options.images ?? runs.stored?.images, undefined as number | undefined]
  if (images === undefined && minutes !== undefined) {
    const batchOf = (count: number) => runs.defined(count).batchSize
    ;({ images, rate } = await imagesOf(minutes, batchOf, (count) => speedOf(runs, count, minutes, opened, signal)))
  }
  const run = await runs.prepare(integer('images', images, 1))
  const { half } = run
  try {
    const plan = planOf(run, rate)
    options.onPlan?.(plan)
    const sources = { data: source, teacher: front.teacherSource }
    const begin = half && (() => beginAtHalf(run.model, half, front))
    const result = await runWithCheckpoints({ ...run, plan, sources, begin }, opened, options)
    if (half?.options.output !== undefined && opened.folder?.writes) await removeCheckpoints(half.options.output)
    return result
  } catch (error) {
    run.model.dispose()
    throw error
  }
}

/** The runs that some options lead to, of any number of images. */
interface Runs<M extends Denoiser | EnergyModel> {
  front: FrontEnd<M>
  stored: StoredDefinition | undefined
  defined(images: number): Definition
  prepare(images: number): Promise<Prepared<M>>
}

async function runsOf<M extends Denoiser | EnergyModel>(
  options: TrainingOptions,
  opened: Opened,
  data: Dataset,
  front: FrontEnd<M>,
): Promise<Runs<M>> {
  const { checkpoint } = opened
  const stored = checkpoint ? ({ ...unknownBefore, ...checkpoint.definition } as StoredDefinition) : undefined
  const found: Found = {
    labels: front.conditional ? data.labels : null,
    shape: data.shape,
    size: data.size,
    latent: data.latent === true,
    data: await fingerprintFor(data, stored),
    teacher: front.teacher ? await fingerprintNetwork(front.teacher.network) : null,
  }
  const defined = (images: number) => define(options, front, stored, { ...found, images })
  const prepare = (images: number) => prepareRun(options, opened, data, front, defined(images), found.labels, images)
  return { front, stored, defined, prepare }
}

/** Images in a second of a run of a number of them, the part at half the size among its time; measured in the time that goes with the minutes. */
async function speedOf<M extends Denoiser | EnergyModel>(
  runs: Runs<M>,
  images: number,
  minutes: number,
  opened: Opened,
  signal?: AbortSignal,
): Promise<number> {
  const { half, ...trial } = await runs.prepare(images)
  const each = half ? minutes / 2 : minutes
  let rate: number
  try {
    rate = await fromFirst(opened.ranks, await imagesPerSecond({ ...trial, ranks: opened.ranks }, each, signal))
  } finally {
    trial.model.dispose()
  }
  if (!half) return rate
  const before = await runsOf(half.options, { ...opened, checkpoint: null }, half.data, runs.front)
  const rateBefore = await speedOf(before, half.options.images, each, opened, signal)
  return 1 / (1 / rate + half.options.images / images / rateBefore)
}

/** Trains at half the size, or on from where that was, and begins the model with what was learnt. */
async function beginAtHalf<M extends Denoiser | EnergyModel>(
  model: M,
  { options, data }: Half,
  front: FrontEnd<M>,
): Promise<void> {
  const { model: half } = await inRun(openRun(options), (opened) =>
    train(options, opened, { data, source: null }, front),
  )
  try {
    await beginFromHalf(model.network, half.network, model.shape)
  } finally {
    half.dispose()
  }
}

const noLevels = { levelWeight: 0, levelBatch: 1, ...defaultsOf(levelRows, 'levels') }

/** Values of options that checkpoints of before there were these do not have. */
const unknownBefore = {
  ...generalSettings,
  decay: 0,
  muon: 0,
  references: 0,
  sharpened: 0,
  smallFirst: 0,
  holdOut: 0,
  energyWeight: 1,
  ...noLevels,
  ...noPath,
  selfPlay: 0,
}

type StoredDefinition = Definition & { images: number }

interface Prepared<M> extends Omit<Run<M>, 'sources'> {
  definition: Definition
  samples: TrainingPlan['samples']
  half: Half | undefined
}

/** The model at the run's beginning, or at its checkpoint, and what it is trained by. */
async function prepareRun<M extends Denoiser | EnergyModel>(
  options: TrainingOptions,
  { checkpoint, ranks }: Opened,
  data: Dataset,
  front: FrontEnd<M>,
  definition: Definition,
  labels: LabelSpec | null,
  images: number,
): Promise<Prepared<M>> {
  const { seed, batchSize } = definition
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
  const { training, held } = definition.holdOut > 0 ? holdOut(data, definition.holdOut, seed) : noneHeldOut(data)
  const teacher = front.teacher
  const model = await front.create(definition, labels)
  try {
    const { network, info } = model
    if (data.latent) info.latent = true
    if (!checkpoint && options.microBatch === undefined)
      definition.microBatch = await fittingBatch(
        network.device(),
        network.workingBytes('train', definition.kind, 1),
        batchSize,
        ranks,
      )
    if (checkpoint) await restore(network, checkpoint)
    else if (definition.init === 'teacher') await copyWeights(teacher!.network, network)

    const range = conditionedRange(info.preconditioning.noise)
    const dims = sizeOf(data.shape)
    const { signal } = options
    const beside = await lossesBeside(definition, {
      ...{ data, labels, teacher, info, range, dims, trained: network, checkpoint, signal },
      create: async () => (await front.create(definition, labels)) as EnergyModel,
    })
    const previewsOf = () => {
      const every = options.previewEvery ?? previewEveryFor(images, data.shape)
      const draw = async () => {
        using model = await averaged(network, () => front.create(definition, labels))
        return await samplesOf(model, { labels, decoder: data.decoder, seed, signal })
      }
      return every > 0 && every <= images ? new Previews(every, draw, signal) : undefined
    }
    const { kind, headScale, energyWeight } = definition
    const settings = onlySettings(definition) as Settings
    const fixed = { ...settings, kind, headScale, energyWeight, ...range, teacher: teacher?.network }
    const loss =
      held.length > 0
        ? new HeldOutLoss({ data, held, labels, teacher, images, settings: definition, range, signal })
        : undefined
    const { references, sharpened } = definition
    const noisy = references > 0 || sharpened > 0 ? new NoisyStates(training, labels, definition, range, nullClass) : undefined // biome-ignore format: one line
    return {
      model,
      definition,
      images,
      samples: { training: training.size, heldOut: held.length },
      half: definition.smallFirst > 0 ? halfOf({ definition, settings, options, training, images }) : undefined,
      step: (common) => network.train({ ...fixed, ...common }),
      drawsSigmas: true,
      ...beside,
      batches: new Batches(training, labels, definition, nullClass, noisy),
      previews: previewsOf(),
      heldOut: loss && { every: Math.ceil(images / MEASUREMENTS), measure: () => loss.measure(model) },
      finish: async (heldOutLoss, averagedAt) => {
        if (beside.levels) info.logNormaliser = beside.levels.normaliser(dims, info.sigmaData)
        info.training = { images, ...recipeOf(definition), heldOut: heldOutLoss, averagedAt }
        await front.finish?.(model, data, { images, seed })
      },
    }
  } catch (error) {
    model.dispose()
    throw error
  }
}

function planOf({ images, definition, samples }: Prepared<unknown>, rate: number | undefined): TrainingPlan {
  const { training, heldOut } = samples
  const epochs = Number((images / training).toPrecision(2))
  const data = `${images} images, ${epochs} times ${training} samples${heldOut > 0 ? ` (${heldOut} held out)` : ''}`
  const recipe = recipeOf(definition)
  return { images, imagesPerSecond: rate ?? null, recipe, samples, text: `${data}: ${describeRecipe(recipe)}` }
}

function noneHeldOut(data: Dataset): Split {
  return { training: data, held: new Int32Array(0) }
}

function define<M extends Denoiser | EnergyModel>(
  options: TrainingOptions,
  front: FrontEnd<M>,
  stored: Definition | undefined,
  found: Found & { images: number },
): Definition {
  const { objective, teacher } = front
  const identity = { objective, data: found.data, teacher: found.teacher }
  const dims = found.labels ? labelDim(found.labels) : 0
  const network = options.network === undefined ? undefined : configure(options.network, found.shape, dims)
  const needsClass = teacher?.info.nullClass === null
  const chosen = network ?? teacher?.info.network ?? networkFor(found.shape, dims)
  const { images, labels, size, latent } = found
  const holdOut = options.holdOut ?? holdOutFor(size)
  const attributes = labels?.attributes.length ?? 0
  const situation = { objective, images, samples: size, latent, attributes, network: chosen }
  const own = needsClass ? 0 : labels && configLabelDropout(chosen)
  const classified = (stored ?? front.given).levelWeight
  const recipe = recipeFor(situation, {
    ...(classified && { references: 0, sharpened: 0 }),
    ...(typeof own === 'number' && { labelDropout: own }),
    ...(front.defaults.kind !== 'denoiser' && { smallFirst: 0 }),
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

function configure(network: Architecture | NetworkConfig, shape: readonly number[], labels: number): NetworkConfig {
  if (network === null || typeof network !== 'object') throw invalid('network', 'an object', network)
  if (!('class' in network)) return networkFor(shape, labels, network)
  return givenNetworkConfig(network)
}

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

/**
 * Size of equal micro-batches whose activations, of `sample` bytes each, stay within 1 GiB, or within half of what is free on a GPU; of
 * several ranks each gets a power of two of them, whose gradients travel as one.
 */
export async function fittingBatch(
  device: string,
  sample: number,
  batchSize: number,
  ranks: Communicator,
): Promise<number> {
  const free = freeMemory(device)
  const bytes = free === undefined ? 2 ** 30 : free / 2
  const own = Math.max(1, Math.floor(bytes / sample))
  if (ranks.size === 1) return Math.ceil(batchSize / Math.ceil(batchSize / own))
  const most = Math.min(...(await ranks.allGather(Float64Array.of(own))))
  let count = ranks.size
  while (Math.ceil(batchSize / count) > most) count *= 2
  return Math.ceil(batchSize / count)
}

async function copyWeights(from: NativeNetwork, to: NativeNetwork): Promise<void> {
  const values = new Float32Array(from.parameterCount())
  await run(() => from.read('params', values))
  await run(() => to.write('params', values))
  await run(() => to.write('ema', values))
}
