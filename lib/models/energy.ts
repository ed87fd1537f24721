import { knownOptions } from '../args.js'
import { type DeviceOptions, deviceOptionNames } from '../devices.js'
import { ArgumentError, invalid } from '../errors.js'
import type { NativeNetwork } from '../native.js'
import type { ResidentEnergy } from '../smc/energy-function.js'
import type { Doubles, Floats, Space } from '../smc/space.js'
import { type CallOptions, checkBatch, denoiseIn, evaluateInChunks, sameLevel } from './batches.js'
import { configLabelDim } from './config.js'
import { completeInfo, type NewModel, newNetwork, sampleSize } from './denoiser.js'
import type { Labels } from './labels.js'
import { loadModel } from './load.js'
import { type ModelInfo, saveModel } from './model-file.js'

/**
 * A scalar energy E(x, sigma) = 1/2 ||u||^2 - (sigma_data / sigma) Phi(u), u = c_in x, on a U-Net or MLP trunk (method.md section 1;
 * Thornton et al. 2025). Its gradient is exact, by the network's adjoint pass.
 */
export class EnergyModel implements ResidentEnergy {
  private constructor(
    readonly info: ModelInfo,
    readonly network: NativeNetwork,
  ) {}

  /** Reads a model file. Throws FileError, FormatError; ArgumentError when the file holds a denoiser. */
  static async load(path: string, options: DeviceOptions = {}): Promise<EnergyModel> {
    knownOptions('EnergyModel.load', options, deviceOptionNames)
    const { info, network } = await loadModel(path, options)
    if (info.kind === 'denoiser') {
      network.dispose()
      throw new ArgumentError(`${path} holds a denoiser, not an energy: distil it first, or load it with Denoiser.load`)
    }
    return new EnergyModel(info, network)
  }

  /** A new, randomly initialised energy; the same seed gives the same weights. */
  static async create(
    model: NewModel & { kind: 'dot' | 'l2' | 'norm' },
    options: DeviceOptions & { seed?: number } = {},
  ): Promise<EnergyModel> {
    const info = completeInfo(model, model?.kind)
    if (info.kind === 'denoiser') throw invalid('kind of an energy', "'dot', 'l2' or 'norm'", info.kind)
    return new EnergyModel(info, await newNetwork(info, options))
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
   * E(x, sigma) = -log p_sigma(x) + const(sigma) and grad_x E. x: [B, ...shape] row-major, any B >= 1; sigma: one noise level or one
   * per sample. energy: [B] in float64; grad: like x.
   * Throws ArgumentError on wrong lengths; OutOfMemoryError; the signal's reason when aborted.
   */
  async energyGrad(
    x: Float32Array,
    sigma: number | Float64Array,
    options: CallOptions = {},
  ): Promise<{ energy: Float64Array; grad: Float32Array }> {
    const { batch, sigmas } = checkBatch(x, sigma, sampleSize(this.shape))
    const energy = new Float64Array(batch)
    const grad = new Float32Array(x.length)
    await evaluateInChunks(this.network, this.info, x, sigmas, { energy, grad }, options)
    return { energy, grad }
  }

  /** energyGrad of particles in a space of the model's device. */
  async energyGradIn(
    space: Space,
    x: Floats,
    sigma: number,
    options: CallOptions = {},
  ): Promise<{ energy: Doubles; grad: Floats }> {
    const sigmas = sameLevel(sigma, x, this.info)
    const out = { energy: space.doubles(sigmas.length), grad: space.floats(x.length) }
    await evaluateInChunks(this.network, this.info, x, sigmas, out, options)
    return out
  }

  /** E(x, sigma) alone, without its gradient: half the work. */
  async energy(x: Float32Array, sigma: number | Float64Array, options: CallOptions = {}): Promise<Float64Array> {
    const { batch, sigmas } = checkBatch(x, sigma, sampleSize(this.shape))
    const energy = new Float64Array(batch)
    await evaluateInChunks(this.network, this.info, x, sigmas, { energy }, options)
    return energy
  }

  /** The energy's own denoiser, D = x - sigma^2 grad_x E. */
  async denoise(x: Float32Array, sigma: number | Float64Array, options: CallOptions = {}): Promise<Float32Array> {
    const { sigmas } = checkBatch(x, sigma, sampleSize(this.shape))
    const denoised = new Float32Array(x.length)
    await evaluateInChunks(this.network, this.info, x, sigmas, { denoised }, options)
    return denoised
  }

  /** denoise of particles in a space of the model's device. */
  denoiseIn(space: Space, x: Floats, sigma: number, options?: CallOptions): Promise<Floats> {
    return denoiseIn(this.network, this.info, space, x, sigma, options)
  }

  /** The energy of p(x | labels), with the labels held fixed: what the targets of smc/ are composed of. */
  conditioned(labels?: Labels): ResidentEnergy {
    return {
      shape: this.shape,
      residence: this.residence,
      energyGradIn: (space, x, sigma, options) => this.energyGradIn(space, x, sigma, { ...options, labels }),
      energyGrad: (x, sigma, options) => this.energyGrad(x, sigma, { ...options, labels }),
    }
  }

  /** Writes the model atomically as safetensors. */
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
