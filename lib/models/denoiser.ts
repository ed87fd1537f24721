import { knownOptions } from '../base/args.js'
import { ArgumentError, invalid } from '../base/errors.js'
import { sizeOf } from '../base/shape.js'
import type { DeviceOptions } from '../native/devices.js'
import type { Space } from '../native/space.js'
import type { Floats, NativeNetwork } from '../native/types.js'
import { configLabelDim } from '../networks/config.js'
import type { ResidentDenoiser } from '../smc/samplers.js'
import { type CallOptions, checkBatch, denoiseIn, evaluateInChunks } from './batches.js'
import type { ModelInfo } from './info.js'
import { checkLabels, type Labels } from './labels.js'
import { type LoadedModel, type LoadOptions, loadModel, loadOptionNames } from './load.js'
import { saveModel } from './model-file.js'
import { completeInfo, type NewModel, newNetwork } from './new-model.js'

/**
 * A denoiser D(x, sigma) = E[x0 | x] with EDM preconditioning (Karras et al. 2022), on a device.
 * Call `dispose()` (or use `using`) to free its memory at once.
 * @example
 * ```js
 * import { Denoiser, sample, sigmaGrid } from 'feynkac'
 *
 * const denoiser = await Denoiser.load('denoiser.safetensors')
 * const { samples } = await sample(denoiser, { particles: 16, sigmas: [...sigmaGrid({ steps: 32 }), 0] })
 * denoiser.dispose()
 * ```
 */
export class Denoiser {
  private constructor(
    /** What is written to its file: kind, network, preconditioning, noise levels, labels, training. */
    readonly info: ModelInfo,
    /** The native network. @internal */
    readonly network: NativeNetwork,
  ) {}

  /**
   * Reads a model: a file of feynkac's own, a pickled network of NVlabs/edm, a folder of diffusers, or a state dict (safetensors or
   * torch.save) with `config`. Told apart by content; no code of a file is run. Throws FileError, FormatError; ArgumentError when the
   * file holds an energy.
   */
  static async load(path: string, options: LoadOptions = {}): Promise<Denoiser> {
    knownOptions('Denoiser.load', options, loadOptionNames)
    const loaded = await loadModel(path, options)
    const { info, network } = loaded
    if (info.kind !== 'denoiser') {
      network.dispose()
      const also = info.kind === 'joint' ? ', whose denoise is that of its denoiser' : ''
      throw new ArgumentError(`${path} holds an energy (head '${info.kind}'): load it with EnergyModel.load${also}`)
    }
    return Denoiser.from(loaded)
  }

  /** The denoiser of a file that was loaded. @internal */
  static from({ info, network }: LoadedModel): Denoiser {
    return new Denoiser(info, network)
  }

  /** A new, randomly initialised denoiser; the same seed gives the same weights. Throws ArgumentError, DeviceError, OutOfMemoryError. */
  static async create(model: NewModel, options: DeviceOptions & { seed?: number } = {}): Promise<Denoiser> {
    const info = completeInfo(model, 'denoiser')
    if (info.kind !== 'denoiser') throw invalid('kind of a denoiser', "'denoiser'", info.kind)
    return new Denoiser(info, await newNetwork(info, options))
  }

  /** Shape of one sample. */
  get shape(): readonly number[] {
    return this.info.network.shape
  }

  /** The device it is on. */
  get residence(): string {
    return this.network.device()
  }

  /** Length of the label vector; 0 = unconditional. */
  get labelDim(): number {
    return configLabelDim(this.info.network)
  }

  /**
   * D(x, sigma). x: [B, ...shape] row-major, any B >= 1; sigma: one noise level or one per sample. Returns an array like x.
   * Throws ArgumentError on wrong lengths; OutOfMemoryError; the signal's reason when aborted.
   */
  async denoise(x: Float32Array, sigma: number | Float64Array, options: CallOptions = {}): Promise<Float32Array> {
    const { sigmas } = checkBatch(x, sigma, sizeOf(this.shape))
    const denoised = new Float32Array(x.length)
    await evaluateInChunks(this.network, this.info, x, sigmas, { denoised }, options)
    return denoised
  }

  /** `denoise` of particles [n, ...shape] in a space of the model's device; in the same space. Errors as `denoise`. */
  denoiseIn(space: Space, x: Floats, sigma: number, options?: CallOptions): Promise<Floats> {
    return denoiseIn(this.network, this.info, space, x, sigma, options)
  }

  /** The denoiser of p(x | labels), with the labels held fixed (ArgumentError where the model has no such ones), for `sample`; guidedDenoiser guides it. */
  conditioned(labels?: Labels): ResidentDenoiser {
    checkLabels(labels, this.info)
    return {
      shape: this.shape,
      residence: this.residence,
      denoise: (x, sigma, options) => this.denoise(x, sigma, { ...options, labels }),
      denoiseIn: (space, x, sigma, options) => this.denoiseIn(space, x, sigma, { ...options, labels }),
    }
  }

  /** Writes the model atomically as safetensors. Throws FileError. */
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
}
