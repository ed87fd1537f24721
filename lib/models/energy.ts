import { integer, knownOptions, oneOf } from '../base/args.js'
import { ArgumentError, invalid } from '../base/errors.js'
import { sizeOf } from '../base/shape.js'
import { type DeviceOptions, deviceOptionNames } from '../native/devices.js'
import { checkSpace, type Space } from '../native/space.js'
import type { Doubles, Floats, NativeNetwork } from '../native/types.js'
import { configLabelDim } from '../networks/config.js'
import { energyKinds, type Head } from '../networks/energy-heads.js'
import type { ResidentEnergy } from '../smc/energy-function.js'
import type { Calibration } from '../smc/precision/calibration.js'
import { type CallOptions, checkBatch, denoiseIn, evaluateInChunks, sameLevel } from './batches.js'
import type { ModelInfo } from './info.js'
import { checkLabels, type Labels } from './labels.js'
import { type LoadedModel, loadModel } from './load.js'
import { logNormaliserAt } from './log-normaliser.js'
import { type ModelCalibrateOptions, measureTables, tableFor } from './measured-tables.js'
import { saveModel } from './model-file.js'
import { completeInfo, type NewModel, newNetwork } from './new-model.js'
import { type ModelTables, readTables, storeTables } from './tables.js'

/** What a joint model gives as the gradient of its energy. */
export type EnergyGradient = 'energy' | 'score'

/** Where an energy is placed, and what it gives as its gradient. */
export interface EnergyLoadOptions extends DeviceOptions {
  /**
   * What `energyGrad` of a joint model gives as the gradient. 'score' (the default): (x - D(x, sigma)) / sigma^2 by the model's denoiser, which
   * costs nothing beside the energy, half of 'energy': the energy's own gradient, by the adjoint pass. Other models know only 'energy'.
   *
   * In smc and mcmc the gradient serves to propose, and the energy to weigh or accept; what corrects a proposal holds for any. The bridge
   * weights, log G = U_s(x) - U_s'(x') + log L(x|x') - log M(x'|x), with M(x'|x) = N(x'; x - v g(x), tau) as it was drawn from, make
   * E[G f(X')] exact for any drift g, as the density that is divided by is the proposal's own; a drift that is not grad U costs effective
   * sample size, and no bias. So do MALA (the ratio has the densities of its two proposals, by the same g) and HMC (a leapfrog step with
   * g in place of grad U is still reversible and keeps volume). ULA, UHMC and weights other than 'bridge' have no such correction: they
   * sample what g says.
   */
  gradient?: EnergyGradient
}

/**
 * A scalar energy E(x, sigma) = 1/2 ||u||^2 - (sigma_data / sigma) Phi(u), u = c_in x, on a U-Net or MLP trunk (docs/concepts/energies.md;
 * Thornton et al. 2025); with the head 'residual' |x - D_h|^2 / (2 sigma^2) (docs/residual.md). Its gradient is exact, by the network's adjoint pass. A joint model is a denoiser besides, on the same trunk.
 * @example
 * ```js
 * import { EnergyModel, sigmaGrid, smc } from 'feynkac'
 *
 * const energy = await EnergyModel.load('energy.safetensors')
 * const x = new Float32Array(energy.shape.reduce((a, b) => a * b)) // one sample
 * const { energy: values, grad } = await energy.energyGrad(x, 0.5)
 * const { samples } = await smc(energy.conditioned({ hair: 3 }), { particles: 16, sigmas: sigmaGrid({ steps: 32 }) })
 * energy.dispose()
 * ```
 */
export class EnergyModel implements ResidentEnergy {
  #tables?: ModelTables

  private constructor(
    /** What is written to its file: kind, network, preconditioning, noise levels, labels, training. */
    readonly info: ModelInfo,
    /** The native network. @internal */
    readonly network: NativeNetwork,
    /** What `energyGrad` gives as the gradient. */
    readonly gradient: EnergyGradient,
  ) {
    if (info.calibration) this.#tables = readTables(info.calibration, info.network.shape, unreadable)
  }

  /** Reads a model file. Throws FileError, FormatError; ArgumentError when the file holds a denoiser. */
  static async load(path: string, options: EnergyLoadOptions = {}): Promise<EnergyModel> {
    knownOptions('EnergyModel.load', options, [...deviceOptionNames, 'gradient'])
    const { gradient, ...rest } = options
    const loaded = await loadModel(path, rest)
    if (loaded.info.kind === 'denoiser') {
      loaded.network.dispose()
      throw new ArgumentError(`${path} holds a denoiser, not an energy: distil it first, or load it with Denoiser.load`)
    }
    return EnergyModel.from(loaded, gradient)
  }

  /** The energy of a file that was loaded. @internal */
  static from({ info, network }: LoadedModel, gradient?: EnergyGradient): EnergyModel {
    try {
      return new EnergyModel(info, network, checkedGradient(info, gradient))
    } catch (error) {
      network.dispose()
      throw error
    }
  }

  /** A new, randomly initialised energy; the same seed gives the same weights. Throws ArgumentError, DeviceError, OutOfMemoryError. */
  static async create(
    model: NewModel & { kind: Head | 'joint' },
    options: EnergyLoadOptions & { seed?: number } = {},
  ): Promise<EnergyModel> {
    knownOptions('create', options, [...deviceOptionNames, 'seed', 'gradient'])
    const info = completeInfo(model, model?.kind)
    if (info.kind === 'denoiser') throw invalid('kind of an energy', energyKinds, info.kind)
    const { gradient, ...rest } = options
    const checked = checkedGradient(info, gradient)
    return new EnergyModel(info, await newNetwork(info, rest), checked)
  }

  /** The same model, network and memory with another gradient. Throws ArgumentError where the model has no such one. */
  withGradient(gradient: EnergyGradient): EnergyModel {
    return new EnergyModel(this.info, this.network, checkedGradient(this.info, gradient))
  }

  /** Shape of one sample. */
  get shape(): readonly number[] {
    return this.info.network.shape
  }

  /** That it is fitted, not exact: what `smc` chooses its default weights by. */
  readonly learnt = true

  /** Whether its samples are an autoencoder's latents. */
  get latent(): boolean {
    return this.info.latent === true
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
   * E(x, sigma) = -log p_sigma(x) + const(sigma) and grad_x E, or of a joint model what `gradient` says. x: [B, ...shape] row-major, any B >= 1; sigma: one noise level or one
   * per sample. energy: [B] in float64; grad: like x.
   * Throws ArgumentError on wrong lengths; OutOfMemoryError; the signal's reason when aborted.
   */
  async energyGrad(
    x: Float32Array,
    sigma: number | Float64Array,
    options: CallOptions = {},
  ): Promise<{ energy: Float64Array; grad: Float32Array }> {
    const { batch, sigmas } = checkBatch(x, sigma, sizeOf(this.shape))
    const energy = new Float64Array(batch)
    const grad = new Float32Array(x.length)
    await evaluateInChunks(this.network, this.info, x, sigmas, { energy, ...this.#wanted(grad) }, options)
    return { energy, grad }
  }

  /** `energyGrad` of particles [n, ...shape] in a space of the model's device; in the same space. Errors as `energyGrad`. */
  async energyGradIn(
    space: Space,
    x: Floats,
    sigma: number,
    options: CallOptions = {},
  ): Promise<{ energy: Doubles; grad: Floats }> {
    const sigmas = sameLevel(sigma, x, this.info)
    const out = { energy: checkSpace(space).doubles(sigmas.length), grad: space.floats(x.length) }
    const wanted = { energy: out.energy, ...this.#wanted(out.grad) }
    await evaluateInChunks(this.network, this.info, x, sigmas, wanted, options)
    return out
  }

  /** Mean precisions of p(x), for the proposal 'calibrated' of smc; of p(x | labels) where the labels are held fixed. */
  get calibration(): Calibration | undefined {
    return this.#tables?.unconditional
  }

  /**
   * Measures the tables of mean precisions that the proposal 'calibrated' of smc needs, on noised data, and keeps them: `save` writes them
   * along. A conditional model gets two: without labels, and under the labels that the data have, for any labels.
   * Throws ArgumentError; NumericsError where the gradient is not finite; the signal's reason.
   */
  async calibrate(options: ModelCalibrateOptions): Promise<void> {
    knownOptions('calibrate', options, ['data', 'sigmas', 'levels', 'count', 'seed', 'ranks', 'signal', 'onProgress'])
    if (options.levels !== undefined) integer('levels', options.levels, 2)
    const tables = storeTables(await measureTables(this, options))
    this.info.calibration = tables
    this.#tables = readTables(tables, this.shape, unreadable)
  }

  #wanted(grad: Floats): { grad: Floats } | { scoreGrad: Floats } {
    return this.gradient === 'score' ? { scoreGrad: grad } : { grad }
  }

  /** E(x, sigma) [B] alone, without its gradient: half the work of the exact one. Errors as `energyGrad`. */
  async energy(x: Float32Array, sigma: number | Float64Array, options: CallOptions = {}): Promise<Float64Array> {
    const { batch, sigmas } = checkBatch(x, sigma, sizeOf(this.shape))
    const energy = new Float64Array(batch)
    await evaluateInChunks(this.network, this.info, x, sigmas, { energy }, options)
    return energy
  }

  /**
   * log Z(sigma) of an energy trained with `levelWeight` (docs/levelled.md): -E(x, sigma) - log Z(sigma) is log p_sigma(x), up to one constant
   * for all noise levels. Throws ArgumentError for other energies, and for noise levels beyond those that were classified.
   */
  logNormaliser(sigma: number): number {
    const { logNormaliser } = this.info
    if (!logNormaliser) throw new ArgumentError('the energy has no log-normaliser: it was trained without levelWeight')
    return logNormaliserAt(logNormaliser, sigma)
  }

  /** The energy's own denoiser, D = x - sigma^2 grad_x E, like x; of a joint model that of its denoiser. Errors as `energyGrad`. */
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

  /** The energy of p(x | labels), with the labels held fixed (ArgumentError where the model has no such ones): what the targets of smc/ are composed of. */
  conditioned(labels?: Labels): ResidentEnergy {
    checkLabels(labels, this.info)
    return {
      shape: this.shape,
      residence: this.residence,
      learnt: true,
      conditional: labels !== undefined,
      latent: this.latent,
      calibration: tableFor(this.#tables, labels),
      energyGradIn: (space, x, sigma, options) => this.energyGradIn(space, x, sigma, { ...options, labels }),
      energyGrad: (x, sigma, options) => this.energyGrad(x, sigma, { ...options, labels }),
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

function unreadable(what: string): never {
  throw new ArgumentError(what)
}

function checkedGradient({ kind }: ModelInfo, gradient?: EnergyGradient): EnergyGradient {
  if (gradient !== undefined) oneOf('gradient', gradient, ['energy', 'score'])
  if (gradient === 'score' && kind !== 'joint')
    throw invalid(`gradient of an energy of kind '${kind}'`, "'energy'", gradient)
  return gradient ?? (kind === 'joint' ? 'score' : 'energy')
}
