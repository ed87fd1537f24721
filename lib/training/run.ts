import { integer } from '../base/args.js'
import { invalid } from '../base/errors.js'
import { checkOptions } from '../base/option-table.js'
import { sizeOf } from '../base/shape.js'
import type { Dataset, LabelSpec } from '../data/dataset.js'
import { fingerprintFor, fingerprintNetwork } from '../data/fingerprint.js'
import type { Denoiser } from '../models/denoiser.js'
import type { EnergyModel } from '../models/energy.js'
import { run } from '../native/addon.js'
import { freeMemory } from '../native/devices.js'
import type { NativeNetwork } from '../native/types.js'
import { type NoiseConditioning, vpSigma } from '../networks/noise-conditioning.js'
import type { Communicator } from '../ranks/communicator.js'
import { fromFirst } from '../ranks/share.js'
import { Batches } from './batches.js'
import { averaged, lossesBeside } from './beside.js'
import { type DataSource, restore } from './checkpoint.js'
import { type Opened, type Run, runWithCheckpoints } from './checkpointed.js'
import {
  type Definition,
  define,
  type Found,
  type FrontEnd,
  onlySettings,
  type StoredDefinition,
  unknownBefore,
} from './definition.js'
import { removeCheckpoints } from './folder.js'
import { HeldOutLoss, MEASUREMENTS } from './held-out-loss.js'
import { holdOut, type Split } from './hold-out.js'
import { NoisyStates } from './noisy-states.js'
import { inRun, openRun } from './opening.js'
import { holdOutRows, lengthRows, previewRows, recordRows } from './options.js'
import { Previews, previewEveryFor, samplesOf } from './previews.js'
import { describeRecipe, mostImages, recipeOf } from './recipe.js'
import { checkSettings, type Settings } from './settings.js'
import { beginFromHalf, type Half, halfOf } from './small-first.js'
import { imagesOf, imagesPerSecond } from './speed.js'
import type { TrainingOptions, TrainingPlan, TrainingResult } from './types.js'

/** What dsm.ts and distill.ts share: from a definition to a trained model, from the beginning or a checkpoint. */

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
  if (options.onPlan !== undefined && typeof options.onPlan !== 'function')
    throw invalid('onPlan', 'a function', options.onPlan)
  if (minutes !== undefined && options.images !== undefined) throw invalid('minutes', 'nothing beside images', minutes)
  const began = performance.now()
  const runs = await runsOf(options, opened, data, front)
  let [images, rate] = [options.images ?? runs.stored?.images, undefined as number | undefined]
  let bounded = false
  if (images === undefined && minutes !== undefined) {
    const left = () => fromFirst(opened.ranks, minutes - (performance.now() - began) / 60_000)
    const batchOf = (count: number) => runs.defined(count).batchSize
    const speed = (count: number) => speedOf(runs, count, minutes, opened, signal)
    const pictures = data.size - Math.ceil(runs.defined(1).holdOut * data.size)
    const bound = (count: number) => Math.min(count, mostImages(pictures, runs.defined(count).augment > 0))
    const few = front.objective === 'dsm' && data.shape.length === 3 && { bound }
    ;({ images, rate, bounded } = await imagesOf(left, batchOf, speed, { ...few, ...front.within }))
  }
  const run = await runs.prepare(integer('images', images, 1))
  const { half } = run
  try {
    const plan = planOf(run, rate, bounded)
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
    const { augment: _, ...told } = settings // a step's is what its rows are told
    const fixed = { ...told, kind, headScale, energyWeight, ...range, teacher: teacher?.network }
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

function planOf(
  { images, definition, samples }: Prepared<unknown>,
  rate: number | undefined,
  bounded: boolean,
): TrainingPlan {
  const { training, heldOut } = samples
  const epochs = Number((images / training).toPrecision(2))
  const data = `${images} images, ${epochs} times ${training} samples${heldOut > 0 ? ` (${heldOut} held out)` : ''}${bounded ? ', as more would make copies of so few' : ''}`
  const recipe = recipeOf(definition)
  return { images, imagesPerSecond: rate ?? null, recipe, samples, text: `${data}: ${describeRecipe(recipe)}` }
}

function noneHeldOut(data: Dataset): Split {
  return { training: data, held: new Int32Array(0) }
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
