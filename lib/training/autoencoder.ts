import { finiteNumber, integer, knownOptions } from '../args.js'
import type { Dataset } from '../data/dataset.js'
import { deviceOptionNames } from '../devices.js'
import { invalid } from '../errors.js'
import { fingerprintData } from '../fingerprint.js'
import { Autoencoder, autoencoderKL, givenAutoencoder, parseAutoencoderInfo } from '../models/autoencoder.js'
import type { AutoencoderConfig } from '../models/networks/autoencoder.js'
import type { NativeAutoencoder, NativeNetwork } from '../native.js'
import { Batches, readSamples } from './batches.js'
import { readCheckpoint, restore } from './checkpoint.js'
import { runWithCheckpoints } from './checkpointed.js'
import { fittingBatch, onlySettings, openData, openRun, type TrainingOptions, type TrainingResult } from './run.js'
import { checkSettings, defaultSettings, type Settings, settle } from './settings.js'

/** What a new autoencoder is chosen by; everything else follows from the data. */
export interface AutoencoderArchitecture {
  /** Channels of the first level (32). */
  width?: number
  /** Channels of each level as multiples of `width` ([1, 2, 2]); every level after the first halves the image. */
  channelMult?: readonly number[]
  /** Residual blocks per level (1). */
  blocks?: number
  /** Channels of the latents (4). */
  latentChannels?: number
  /** Whether the middle attends (true). */
  attention?: boolean
}

export interface AutoencoderOptions
  extends Omit<TrainingOptions, 'network' | 'pMean' | 'pStd' | 'labelDropout' | 'dropout'> {
  /** A new network's shape (default: small), or all of its configuration. */
  network?: AutoencoderArchitecture | AutoencoderConfig
  /** Standard deviation of the noise on the latents (0.1), which keeps images of neighbouring latents alike. */
  noise?: number
}

/** Everything that fixes the final weights. */
interface Definition extends Settings {
  objective: 'autoencoder'
  noise: number
  network: AutoencoderConfig
  /** Fingerprint. */
  data: string
}

const optionNames = [
  ...['data', 'dataOptions', 'images', 'network', 'noise', 'output', 'resume', 'checkpointEvery', 'logEvery'],
  ...['batchSize', 'microBatch', 'lr', 'warmUp', 'emaHalfLife', 'clip', 'beta1', 'beta2', 'eps', 'flips', 'seed'],
  ...['divergence', ...deviceOptionNames, 'signal', 'onProgress'],
]

/** Images that shift and scale of the latents are measured on. */
const MEASURED = 4096

/**
 * Trains an autoencoder by least squares, with noise on the latents; then its shift and scale are set so that the latents of the data have
 * mean 0 and standard deviation 0.5 in every channel. New networks are deterministic (`double_z: false`). Throws ArgumentError for bad
 * options, FileError where the output cannot be written, NumericsError where training diverges, and the signal's reason when aborted.
 */
export async function trainAutoencoder(options: AutoencoderOptions): Promise<TrainingResult<Autoencoder>> {
  knownOptions('trainAutoencoder', options, optionNames)
  checkSettings(options)
  if (options.noise !== undefined) finiteNumber('noise', options.noise, { min: 0 })
  if (options.dataOptions?.autoencoder !== undefined)
    throw invalid('autoencoder', 'nothing, as an autoencoder is trained on images', options.dataOptions.autoencoder)
  for (const name of ['checkpointEvery', 'logEvery'] as const)
    if (options[name] !== undefined) finiteNumber(name, options[name], { min: 1 })
  const opened = await openRun(options, (path) => readCheckpoint(path, parseAutoencoderInfo))
  const { checkpoint } = opened
  const { data, source } = await openData(options, opened)
  if (data.shape.length !== 3 || data.latent) throw invalid('data', 'images', data.name)
  const stored = checkpoint?.definition as (Definition & { images: number }) | undefined
  const images = integer('images', options.images ?? stored?.images, 1)
  const definition = await define(options, stored, data, images)

  const { device, precision, signal } = options
  const model = await Autoencoder.create({ network: definition.network }, { device, precision, seed: definition.seed })
  try {
    const { network } = model
    if (!stored && options.microBatch === undefined)
      definition.microBatch = fittingBatch(network.device(), network.workingBytes('train', 1), definition.batchSize)
    if (checkpoint) await restore(network, checkpoint)
    const measured = Int32Array.from({ length: Math.min(MEASURED, data.size) }, (_, i) => i)
    return await runWithCheckpoints(
      {
        model,
        steps: leastSquares(network, definition.noise),
        definition,
        sources: { data: source, teacher: null },
        images,
        kind: 'denoiser',
        headScale: 1,
        range: null,
        batches: new Batches(data, null, definition),
        finish: async () => model.calibrate((await readSamples(data, null, measured)).x0, { signal }),
      },
      opened,
      options,
    )
  } catch (error) {
    model.dispose()
    throw error
  }
}

/** The training steps of an autoencoder, as the loop asks for them. */
function leastSquares(network: NativeAutoencoder, noise: number): Pick<NativeNetwork, 'train'> {
  return {
    train: ({ x0, microBatch, seed, step, lr, beta1, beta2, eps, clip, emaDecay, losses }) =>
      network.train({ x: x0, noise, microBatch, seed, step, lr, beta1, beta2, eps, clip, emaDecay, losses }),
  }
}

async function define(
  options: AutoencoderOptions,
  stored: Definition | undefined,
  data: Dataset,
  images: number,
): Promise<Definition> {
  const network = options.network === undefined ? undefined : configure(options.network, data.shape)
  const general = defaultSettings(images, false)
  const identity = { objective: 'autoencoder' as const, data: await fingerprintData(data) }
  const defaults: Definition = {
    ...general,
    microBatch: general.batchSize,
    noise: 0.1,
    ...identity,
    network: network ?? stored?.network ?? configure({}, data.shape),
  }
  const { noise } = options
  const given = { ...onlySettings(options), ...identity, network, ...(noise !== undefined && { noise }) }
  const settled = settle<Definition>(given, stored, defaults)
  const { shape } = settled.network
  if (shape.join() !== data.shape.join())
    throw invalid('network', `an autoencoder for images of [${data.shape}]`, [...shape])
  settled.microBatch = Math.min(settled.microBatch, settled.batchSize)
  return settled
}

function configure(network: AutoencoderArchitecture | AutoencoderConfig, shape: readonly number[]): AutoencoderConfig {
  if (network === null || typeof network !== 'object') throw invalid('network', 'an object', network)
  return 'class' in network ? givenAutoencoder(network) : autoencoderFor(shape, network)
}

/** A deterministic autoencoder for images of a shape. Throws ArgumentError. */
export function autoencoderFor(
  shape: readonly number[],
  architecture: AutoencoderArchitecture = {},
): AutoencoderConfig {
  knownOptions('network', architecture, ['width', 'channelMult', 'blocks', 'latentChannels', 'attention'])
  const { attention = true } = architecture
  if (typeof attention !== 'boolean') throw invalid('attention', 'true or false', attention)
  const width = integer('width', architecture.width ?? 32, 4, 4096)
  const channelMult = [...(architecture.channelMult ?? [1, 2, 2])]
  if (!channelMult.length) throw invalid('channelMult', 'at least one level', channelMult)
  const channels = channelMult.map((mult, level) => width * integer(`channelMult[${level}]`, mult, 1, 64))
  return givenAutoencoder(
    autoencoderKL(shape, {
      block_out_channels: channels,
      layers_per_block: integer('blocks', architecture.blocks ?? 1, 1, 64),
      latent_channels: integer('latentChannels', architecture.latentChannels ?? 4, 1, 4096),
      norm_num_groups: groupsFor(channels),
      mid_block_add_attention: attention,
      scaling_factor: 0.5,
      double_z: false,
    }),
  )
}

/** The largest number of groups, of four channels or more as in EDM's networks and at most 32, that divides all levels. */
function groupsFor(channels: readonly number[]): number {
  for (let groups = Math.min(32, Math.floor(Math.min(...channels) / 4)); groups > 1; groups--)
    if (channels.every((n) => n % groups === 0)) return groups
  return 1
}
