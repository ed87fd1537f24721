import { integer, isList, knownOptions, plainObject, unchanged } from '../base/args.js'
import { ArgumentError, FormatError, invalid, NumericsError } from '../base/errors.js'
import { sizeOf } from '../base/shape.js'
import { native, run } from '../native/addon.js'
import { type DeviceOptions, deviceOptionNames, warnOfSlowKernels } from '../native/devices.js'
import type { NativeAutoencoder } from '../native/types.js'
import {
  type AutoencoderConfig,
  type AutoencoderKLArgs,
  autoencoderDefaults,
  checkAutoencoder,
  latentNorm,
} from '../networks/autoencoder.js'
import { checkedShape } from '../networks/config.js'
import { checkSource, type SourceModel } from '../weights/source-model.js'
import { batchOf, chunkSize, chunksOf } from './chunks.js'
import { modelJson } from './info.js'
import { networkOfFile } from './load.js'
import { placed, saveModel } from './model-file.js'

/** Everything about an autoencoder but its weights; stored like the ModelInfo of other models. */
export interface AutoencoderInfo {
  kind: 'autoencoder'
  network: AutoencoderConfig
}

/** Options of a call of an autoencoder. */
export interface Call {
  /** Cancels the call within one layer of the network. */
  signal?: AbortSignal
}

/**
 * diffusers' AutoencoderKL for images of a shape [channels, height, width]; the rest as given, or one level of 64 channels as diffusers has
 * it. The block types and `sample_size` follow. Throws ArgumentError for a shape that is none; what else does not fit, where the network is made.
 * @example
 * ```js
 * import { autoencoderKL } from 'feynkac'
 *
 * const network = autoencoderKL([3, 64, 64], { latent_channels: 4 })
 * console.log(network.shape)
 * ```
 */
export function autoencoderKL(shape: readonly number[], args: Partial<AutoencoderKLArgs> = {}): AutoencoderConfig {
  const [channels, height, width] = checkedShape(shape)
  plainObject('args', args)
  const levels = args.block_out_channels ?? autoencoderDefaults.block_out_channels
  if (!isList(levels)) throw invalid('block_out_channels', 'a list of channels', levels)
  return {
    class: 'AutoencoderKL',
    shape: [channels, height, width],
    args: {
      ...autoencoderDefaults,
      sample_size: height === width ? height : [height, width],
      in_channels: channels,
      out_channels: channels,
      down_block_types: levels.map(() => 'DownEncoderBlock2D'),
      up_block_types: levels.map(() => 'UpDecoderBlock2D'),
      ...args,
    },
  }
}

/** Reads the description of an autoencoder out of a file's metadata. Throws FormatError. */
export function parseAutoencoderInfo(metadata: Record<string, string>, path: string): AutoencoderInfo {
  const fail = (what: string): never => {
    throw new FormatError(`${path}: ${what}`, path)
  }
  const json = modelJson(metadata, fail)
  if (json.kind !== 'autoencoder') return fail('it holds no autoencoder')
  const { network } = json as { network?: { shape?: unknown } }
  const config = checkAutoencoder(network, network?.shape, (what) => fail(`network configuration: ${what}`))
  return { kind: 'autoencoder', network: config }
}

/** A caller's own configuration. Throws ArgumentError. */
export function givenAutoencoder(network: unknown): AutoencoderConfig {
  return checkAutoencoder(network, (network as AutoencoderConfig | null | undefined)?.shape, (what) => {
    throw new ArgumentError(`network: ${what}; autoencoderKL makes configurations`)
  })
}

const createNetwork = (network: AutoencoderConfig, options: DeviceOptions): NativeAutoencoder =>
  placed(options, (device, precision) => native.createAutoencoder(network, device, precision))

/**
 * Images to latents and back, by diffusers' AutoencoderKL (Rombach et al. 2022). Models of latents are trained on `latentDataset`, and what
 * they sample is decoded here. Call `dispose()` (or use `using`) to free its memory at once.
 * @example
 * ```js
 * import { Autoencoder } from 'feynkac'
 *
 * const autoencoder = await Autoencoder.load('autoencoder.safetensors')
 * const latents = await autoencoder.encode(new Float32Array(4 * 3 * 64 * 64)) // four images
 * const images = await autoencoder.decode(latents)
 * autoencoder.dispose()
 * ```
 */
export class Autoencoder {
  /** Shape of the latents of one image. */
  readonly latentShape: readonly [channels: number, height: number, width: number]

  #description: AutoencoderInfo

  private constructor(
    description: AutoencoderInfo,
    /** The native network. @internal */
    readonly network: NativeAutoencoder,
  ) {
    this.#description = description
    this.latentShape = network.latentShape()
  }

  /** Reads a model file, or a folder of diffusers: of an AutoencoderKL, or of a pipeline that has one. Throws FileError, FormatError. */
  static async load(path: string, options: DeviceOptions = {}): Promise<Autoencoder> {
    knownOptions('Autoencoder.load', options, deviceOptionNames)
    const { readSource } = await import('../weights/source.js')
    const source = await readSource(path)
    return Autoencoder.from(source.extra.vae === undefined ? source : await readSource(source.extra.vae), options)
  }

  /** The autoencoder of a file that was read. Throws ArgumentError, FormatError. */
  static async from(source: SourceModel, options: DeviceOptions = {}): Promise<Autoencoder> {
    knownOptions('Autoencoder.from', options, deviceOptionNames)
    const { path } = checkSource(source)
    const own = source.format === 'feynkac'
    const { network: config, tensors } = own
      ? { ...parseAutoencoderInfo(source.metadata, path), tensors: source.tensors }
      : (await import('./import.js')).importAutoencoder(source)
    const network = await networkOfFile(path, tensors, options, () => createNetwork(config, options))
    return new Autoencoder({ kind: 'autoencoder', network: config }, network)
  }

  /**
   * A new, randomly initialised autoencoder (`autoencoderKL` makes configurations); the same seed gives the same weights.
   * Throws ArgumentError, DeviceError, OutOfMemoryError.
   */
  static async create(
    model: { network: AutoencoderConfig },
    options: DeviceOptions & { seed?: number } = {},
  ): Promise<Autoencoder> {
    knownOptions('a new autoencoder', model, ['network'])
    knownOptions('create', options, [...deviceOptionNames, 'seed'])
    const seed = integer('seed', options.seed ?? 0, 0)
    const config = givenAutoencoder(model.network)
    const network = createNetwork(config, options)
    await run(() => network.initialise(seed))
    await warnOfSlowKernels(options)
    return new Autoencoder({ kind: 'autoencoder', network: config }, network)
  }

  /** Its configuration, with the shift and scale of its latents. */
  get info(): AutoencoderInfo {
    return this.#description
  }

  /** Shape of one image. */
  get shape(): readonly number[] {
    return this.info.network.shape
  }

  /** The device it is on. */
  get residence(): string {
    return this.network.device()
  }

  /**
   * The normalised latents of images [B, ...shape], [B, ...latentShape]: (mean - shift) scale, where shift and scale are those of the
   * configuration. Throws ArgumentError on wrong lengths; OutOfMemoryError; the signal's reason when aborted.
   */
  async encode(x: Float32Array, options: Call = {}): Promise<Float32Array> {
    const latents = await this.#inChunks('encode', x, options, (rows, mean, signal) =>
      run(() => this.network.encode({ x: rows, mean }), signal),
    )
    const { shift, scale } = latentNorm(this.info.network)
    return this.#affine(latents, (c) => [scale[c]!, -shift[c]! * scale[c]!])
  }

  /**
   * The latents' mean as the network gives it, not normalised, and the logarithm of their variance in [-30, 20] (null where the autoencoder
   * is deterministic): [n, ...latentShape]. Errors as `encode`.
   */
  async moments(
    x: Float32Array,
    options: Call = {},
  ): Promise<{ mean: Float32Array; logVariance: Float32Array | null }> {
    const batch = batchOf('x', x, sizeOf(this.shape))
    const logVariance = this.info.network.args.double_z ? new Float32Array(batch * sizeOf(this.latentShape)) : null
    let done = 0
    const mean = await this.#inChunks('encode', x, options, (rows, out, signal) => {
      const part = logVariance?.subarray(done, done + out.length)
      done += out.length
      return run(() => this.network.encode({ x: rows, mean: out, ...(part && { logVariance: part }) }), signal)
    })
    return { mean, logVariance }
  }

  /** The images [n, ...shape] of normalised latents [n, ...latentShape]. Errors as `encode`. */
  async decode(latents: Float32Array, options: Call = {}): Promise<Float32Array> {
    batchOf('latents', latents, sizeOf(this.latentShape))
    const { shift, scale } = latentNorm(this.info.network)
    const z = this.#affine(latents.slice(), (c) => [1 / scale[c]!, shift[c]!])
    return this.#inChunks('decode', z, options, (rows, x, signal) =>
      run(() => this.network.decode({ latents: rows, x }), signal),
    )
  }

  /**
   * Sets shift and scale so that the latents of these images have mean 0 and standard deviation 0.5 in every channel. Throws ArgumentError,
   * NumericsError where the latents are not finite, the signal's reason when aborted.
   */
  async calibrate(x: Float32Array, options: Call = {}): Promise<void> {
    const { mean: latents } = await this.moments(x, options)
    const [channels, height, width] = this.latentShape
    const area = height * width
    const sums = Array.from({ length: channels }, () => ({ n: 0, mean: 0, squares: 0 }))
    for (let at = 0, c = 0; at < latents.length; at += area, c = (c + 1) % channels) {
      const sum = sums[c]!
      for (let i = at; i < at + area; i++) {
        const apart = latents[i]! - sum.mean
        sum.mean += apart / ++sum.n
        sum.squares += apart * (latents[i]! - sum.mean)
      }
    }
    const deviations = sums.map(({ n, squares }) => Math.sqrt(squares / n))
    if (!deviations.every(Number.isFinite)) throw new NumericsError('the latents of these images are not finite')
    const { network } = this.#description
    const args = {
      ...network.args,
      scaling_factor: 0.5,
      shift_factor: null,
      latents_mean: sums.map(({ mean }) => mean),
      latents_std: deviations.map((deviation) => deviation || 1), // a channel that is always the same stays so
    }
    this.#description = { kind: 'autoencoder', network: { ...network, args } }
  }

  /** Writes the autoencoder atomically as safetensors. Throws FileError. */
  async save(path: string): Promise<void> {
    await saveModel(path, this.info, this.network)
  }

  /** Frees the network's memory; later calls throw. */
  dispose(): void {
    this.network.dispose()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }

  /** In place: y = a y + b, with a and b of the channel. */
  #affine(values: Float32Array, of: (channel: number) => [number, number]): Float32Array {
    const [channels, height, width] = this.latentShape
    const area = height * width
    for (let at = 0, c = 0; at < values.length; at += area, c = (c + 1) % channels) {
      const [a, b] = of(c)
      for (let i = at; i < at + area; i++) values[i] = a * values[i]! + b
    }
    return values
  }

  /** Runs a job over a batch, as many samples at a time as the working memory allows. */
  async #inChunks(
    job: 'encode' | 'decode',
    values: Float32Array,
    options: Call,
    work: (rows: Float32Array, out: Float32Array, signal?: AbortSignal) => Promise<void>,
  ): Promise<Float32Array> {
    knownOptions('the call', options, ['signal'])
    const [from, to] = job === 'encode' ? [this.shape, this.latentShape] : [this.latentShape, this.shape]
    const [width, outWidth] = [sizeOf(from), sizeOf(to)]
    const batch = batchOf(job === 'encode' ? 'x' : 'latents', values, width)
    const out = new Float32Array(batch * outWidth)
    const chunk = chunkSize(this.network, job, () => this.network.workingBytes(job, 1))
    for (const [first, last] of chunksOf(batch, chunk)) {
      unchanged(job === 'encode' ? 'x' : 'latents', values, batch * width)
      const rows = values.slice(first * width, last * width) // the caller's array may go in the meantime
      await work(rows, out.subarray(first * outWidth, last * outWidth), options.signal)
    }
    return out
  }
}
