import { integer, knownOptions } from '../../base/args.js'
import { invalid } from '../../base/errors.js'
import { checkOptions } from '../../base/option-table.js'
import type { Dataset } from '../../data/dataset.js'
import { fingerprintFor } from '../../data/fingerprint.js'
import type { DeviceOptions } from '../../native/devices.js'
import type { ImageTrainRequest, NativeNetwork, NetworkWeights } from '../../native/types.js'
import { type CheckpointState, readCheckpoint, restore } from '../checkpoint.js'
import { type Opened, type Run, runWithCheckpoints } from '../checkpointed.js'
import { onlySettings, runOptionNames, settingNames } from '../definition.js'
import type { CommonStep } from '../loop.js'
import { inRun, openData, openRun } from '../opening.js'
import { imageNoiseRows, recordRows } from '../options.js'
import { generalSettings, type Recipe } from '../recipe.js'
import { fittingBatch } from '../run.js'
import { checkSettings, type Settings, settle } from '../settings.js'
import type { TrainingOptions, TrainingResult } from '../types.js'

/** What the training of networks of images that know no noise levels shares: of autoencoders and classifiers. */

export interface ImageTrainingOptions<Network>
  extends Omit<
    TrainingOptions,
    'network' | 'minutes' | 'holdOut' | 'previewEvery' | 'onPlan' | (typeof ofNoiseLevels)[number]
  > {
  /** A new network's shape (default: small). */
  network?: Network
  /** Standard deviation of the noise in training. */
  noise?: number
}

/** What only networks that know noise levels have. */
const ofNoiseLevels = [
  'pMean',
  'pStd',
  'labelDropout',
  'dropout',
  'references',
  'sharpened',
  'smallFirst',
  'augment',
] as const
const optionNames = [...runOptionNames, ...settingNames.filter((name) => !isOfNoiseLevels(name)), 'noise']

function isOfNoiseLevels(name: string): boolean {
  return (ofNoiseLevels as readonly string[]).includes(name)
}

/** Everything that fixes the final weights. */
export interface ImageDefinition extends Settings {
  objective: string
  noise: number
  network: { shape: readonly number[] }
  /** Fingerprint. */
  data: string
}

interface ImageModel {
  info: CheckpointState['info']
  network: NetworkWeights & Pick<NativeNetwork, 'device'> & { workingBytes(job: 'train', batch: number): number }
  save(path: string): Promise<void>
  dispose(): void
}

/** What the objectives differ in. */
export interface ImageObjective<M extends ImageModel, D extends ImageDefinition> {
  /** The public function, for messages. */
  where: string
  name: D['objective']
  optionNames?: readonly string[]
  /** Reads the model's description in a checkpoint. */
  parse(metadata: Record<string, string>, path: string): CheckpointState['info']
  /** Beside the general options: those that were given, and what holds otherwise. */
  given: Partial<D>
  defaults: Omit<D, keyof Settings | 'objective' | 'network' | 'data'>
  /** What else holds otherwise, by rule. */
  recipe(images: number, network: D['network']): Recipe
  /** The network of the options, or a small one; throws ArgumentError where there can be none for the data. */
  configure(network: object, data: Dataset): D['network']
  create(definition: D, data: Dataset, options: DeviceOptions & { seed: number }): Promise<M>
  run(
    model: M,
    definition: D,
    data: Dataset,
    about: { images: number; create(): Promise<M> },
  ): Pick<Run<M>, 'step' | 'batches' | 'finish' | 'smallestLoss' | 'previews'>
}

/**
 * Trains a network of images. Throws ArgumentError for bad options, FileError where the output cannot be written, NumericsError where
 * training diverges, and the signal's reason when aborted.
 */
export async function trainOnImages<M extends ImageModel, D extends ImageDefinition>(
  options: ImageTrainingOptions<object>,
  objective: ImageObjective<M, D>,
): Promise<TrainingResult<M>> {
  knownOptions(objective.where, options, [...optionNames, ...(objective.optionNames ?? [])])
  checkSettings(options)
  checkOptions(imageNoiseRows, { noise: options.noise })
  if (options.dataOptions?.autoencoder !== undefined)
    throw invalid('autoencoder', 'nothing, as the network is trained on images', options.dataOptions.autoencoder)
  checkOptions(recordRows, options)
  const opening = openRun(options, (path) => readCheckpoint(path, objective.parse))
  return inRun(opening, (opened) => trainImagesIn(opened, options, objective))
}

async function trainImagesIn<M extends ImageModel, D extends ImageDefinition>(
  opened: Opened,
  options: ImageTrainingOptions<object>,
  objective: ImageObjective<M, D>,
): Promise<TrainingResult<M>> {
  const { checkpoint } = opened
  const { data, source } = await openData(options, opened)
  if (data.shape.length !== 3 || data.latent) throw invalid('data', 'images', data.name)
  // checkpoints of before there was a decay of the rate, or Muon, had none
  const stored = checkpoint ? ({ decay: 0, muon: 0, ...checkpoint.definition } as D & { images: number }) : undefined
  const images = integer('images', options.images ?? stored?.images, 1)
  const definition = await define(options, objective, stored, data, images)

  const { device, precision } = options
  const create = () => objective.create(definition, data, { device, precision, seed: definition.seed })
  const model = await create()
  try {
    const { network } = model
    if (!stored && options.microBatch === undefined)
      definition.microBatch = await fittingBatch(
        network.device(),
        network.workingBytes('train', 1),
        definition.batchSize,
        opened.ranks,
      )
    if (checkpoint) await restore(network, checkpoint)
    return await runWithCheckpoints(
      {
        model,
        definition,
        sources: { data: source, teacher: null },
        images,
        drawsSigmas: false,
        ...objective.run(model, definition, data, { images, create }),
      },
      opened,
      options,
    )
  } catch (error) {
    model.dispose()
    throw error
  }
}

async function define<M extends ImageModel, D extends ImageDefinition>(
  options: ImageTrainingOptions<object>,
  { name, given, defaults, recipe, configure }: ImageObjective<M, D>,
  stored: D | undefined,
  data: Dataset,
  images: number,
): Promise<D> {
  const network = options.network === undefined ? undefined : configure(checkObject(options.network), data)
  const otherwise = network ?? stored?.network ?? configure({}, data)
  const general = { ...generalSettings, ...recipe(images, otherwise) }
  const identity = { objective: name, data: await fingerprintFor(data, stored) }
  const { noise } = options
  const settled = settle<ImageDefinition>(
    { ...onlySettings(options), ...given, ...identity, network, ...(noise !== undefined && { noise }) },
    stored,
    {
      ...general,
      microBatch: general.batchSize,
      ...(defaults as Pick<ImageDefinition, 'noise'>),
      ...identity,
      network: otherwise,
    },
  ) as D
  const { shape } = settled.network
  if (shape.join() !== data.shape.join()) throw invalid('network', `one for images of [${data.shape}]`, [...shape])
  settled.microBatch = Math.min(settled.microBatch, settled.batchSize)
  return settled
}

function checkObject(network: unknown): object {
  if (network === null || typeof network !== 'object') throw invalid('network', 'an object', network)
  return network
}

/** What a native training step takes, of what the loop gives it. */
export function imageStep({ x0, labels: _, ...common }: CommonStep, noise: number): ImageTrainRequest {
  return { x: x0, noise, ...common }
}
