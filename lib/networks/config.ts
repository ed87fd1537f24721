import { integer, plainObject } from '../base/args.js'
import { ArgumentError, describe, FormatError, invalid } from '../base/errors.js'
import { isObject } from '../base/json.js'
import { checkArgs, type Fail, type ImageShape, naturalNumber, shapeSizes } from './check.js'
import { checkUNet2DModel, type UNet2DModelArgs, unet2dDefaults, unet2dLabelDim } from './diffusers.js'
import {
  checkDhariwalUNet,
  checkSongUNet,
  type DhariwalUNetArgs,
  dhariwalDefaults,
  type SongUNetArgs,
  songDefaults,
} from './edm.js'

/** Configuration of a network: class and arguments as its own framework names them, so that checkpoints read directly. */

/** Residual MLP for vectors: in -> layers x (h + out(silu(in(silu(h)) + affine(emb)))) -> out. */
export interface ResidualMLPArgs {
  dim: number
  hidden: number
  layers: number
  label_dim: number
  channel_mult_noise: number
}

/** A network of a denoiser or an energy: its class, its arguments, and the shape of one sample. */
export type NetworkConfig =
  | { class: 'SongUNet'; args: SongUNetArgs; shape: ImageShape }
  | { class: 'DhariwalUNet'; args: DhariwalUNetArgs; shape: ImageShape }
  | { class: 'UNet2DModel'; args: UNet2DModelArgs; shape: ImageShape }
  | { class: 'ResidualMLP'; args: ResidualMLPArgs; shape: [dim: number] }

const mlpDefaults: ResidualMLPArgs = { dim: 0, hidden: 128, layers: 3, label_dim: 0, channel_mult_noise: 1 }

/** Arguments of a network, which are checked when one is made of them. */
const plainArgs = <T extends object>(args: T): T => plainObject('args', args) as T

/** A shape [channels, height, width]. Throws ArgumentError. */
export function checkedShape(shape: readonly number[]): ImageShape {
  if (!Array.isArray(shape) || shape.length !== 3) throw invalid('shape', '[channels, height, width]', shape)
  return [0, 1, 2].map((i) => integer(`shape[${i}]`, shape[i], 1)) as ImageShape
}

function edmSizes([channels, height, width]: ImageShape) {
  return { img_resolution: Math.max(height, width), in_channels: channels, out_channels: channels }
}

/**
 * EDM's SongUNet for images of a shape [channels, height, width]; the rest as given or as EDM's defaults, which are those of DDPM++.
 * The height and width must be divisible by 2^(levels - 1); what does not fit is an ArgumentError here, or where the network is made.
 * @example
 * ```js
 * import { Denoiser, songUNet } from 'feynkac'
 *
 * const network = songUNet([3, 32, 32], { model_channels: 64, channel_mult: [1, 2, 2] })
 * const denoiser = await Denoiser.create({ network, sigmaData: 0.5 })
 * denoiser.dispose()
 * ```
 */
export function songUNet(shape: readonly number[], args: Partial<SongUNetArgs> = {}): NetworkConfig {
  const sizes = checkedShape(shape)
  return { class: 'SongUNet', shape: sizes, args: { ...songDefaults, ...edmSizes(sizes), ...plainArgs(args) } }
}

/**
 * EDM's DhariwalUNet (ADM; Dhariwal & Nichol 2021), likewise. Throws ArgumentError.
 * @example
 * ```js
 * import { dhariwalUNet } from 'feynkac'
 *
 * const network = dhariwalUNet([3, 64, 64], { model_channels: 32 })
 * console.log(network.args)
 * ```
 */
export function dhariwalUNet(shape: readonly number[], args: Partial<DhariwalUNetArgs> = {}): NetworkConfig {
  const sizes = checkedShape(shape)
  return { class: 'DhariwalUNet', shape: sizes, args: { ...dhariwalDefaults, ...edmSizes(sizes), ...plainArgs(args) } }
}

/**
 * diffusers' UNet2DModel (that of DDPM, Ho et al. 2020), likewise, with diffusers' defaults. Throws ArgumentError.
 * @example
 * ```js
 * import { unet2d } from 'feynkac'
 *
 * const network = unet2d([3, 32, 32], { block_out_channels: [32, 64] })
 * console.log(network.class)
 * ```
 */
export function unet2d(shape: readonly number[], args: Partial<UNet2DModelArgs> = {}): NetworkConfig {
  const sizes = checkedShape(shape)
  const [channels, height, width] = sizes
  const own = {
    sample_size: height === width ? height : [height, width],
    in_channels: channels,
    out_channels: channels,
  }
  return { class: 'UNet2DModel', shape: sizes, args: { ...unet2dDefaults, ...own, ...plainArgs(args) } }
}

/**
 * A residual MLP for vectors of a dimension, 1 or more; `hidden` and `layers` are its width and its residual layers. Throws ArgumentError.
 * @example
 * ```js
 * import { residualMLP } from 'feynkac'
 *
 * const network = residualMLP(2, { hidden: 64 })
 * console.log(network.shape) // [2]
 * ```
 */
export function residualMLP(dim: number, args: Partial<ResidualMLPArgs> = {}): NetworkConfig {
  integer('dim', dim, 1)
  return { class: 'ResidualMLP', shape: [dim], args: { ...mlpDefaults, dim, ...plainArgs(args) } }
}

/** Reads a configuration out of a file's metadata. Throws FormatError naming what is missing or not supported. */
export function parseNetworkConfig(json: unknown, shape: unknown, path: string): NetworkConfig {
  return checkNetworkConfig(json, shape, (what) => {
    throw new FormatError(`${path}: network configuration: ${what}`, path)
  })
}

/** A caller's own configuration. Throws ArgumentError. */
export function givenNetworkConfig(network: unknown): NetworkConfig {
  return checkNetworkConfig(network, (network as NetworkConfig | null | undefined)?.shape, (what) => {
    throw new ArgumentError(`network: ${what}; songUNet, dhariwalUNet, unet2d and residualMLP make configurations`)
  })
}

/** Class and arguments (`json`) for samples of a shape, with every field checked; `fail` throws. */
export function checkNetworkConfig(json: unknown, shape: unknown, fail: Fail): NetworkConfig {
  if (!isObject(json) || !isObject(json.args)) return fail('expected an object with class and args')
  const sizes = shapeSizes(shape, fail)
  switch (json.class) {
    case 'SongUNet':
      return { class: 'SongUNet', ...checkSongUNet(json.args, sizes, fail) }
    case 'DhariwalUNet':
      return { class: 'DhariwalUNet', ...checkDhariwalUNet(json.args, sizes, fail) }
    case 'UNet2DModel':
      return { class: 'UNet2DModel', ...checkUNet2DModel(json.args, sizes, fail) }
    case 'ResidualMLP':
      return { class: 'ResidualMLP', ...checkResidualMLP(json.args, sizes, fail) }
    default:
      return fail(`class ${describe(json.class)} is not supported: SongUNet, DhariwalUNet, UNet2DModel or ResidualMLP`)
  }
}

function checkResidualMLP(given: Record<string, unknown>, sizes: number[], fail: Fail) {
  const rules = {
    dim: naturalNumber,
    hidden: naturalNumber,
    layers: naturalNumber,
    label_dim: naturalNumber,
    channel_mult_noise: naturalNumber,
  }
  const args = checkArgs(given, { ...mlpDefaults, dim: sizes[0] }, rules, fail)
  if (sizes.length !== 1 || sizes[0] !== args.dim) fail('shape must be [dim]')
  return { args, shape: [args.dim] as [number] }
}

/** Length of the label vector that a network takes; 0 = unconditional. */
export function configLabelDim(config: NetworkConfig): number {
  return config.class === 'UNet2DModel' ? unet2dLabelDim(config.args) : config.args.label_dim
}

/** Whether a network of diffusers has an embedding for each class, one of which every sample must have. */
export function hasClassTable(config: NetworkConfig): boolean {
  return (
    config.class === 'UNet2DModel' && config.args.class_embed_type === null && config.args.num_class_embeds !== null
  )
}

/** Length of the augmentation labels that a network takes; 0 = none. */
export function configAugmentDim(config: NetworkConfig): number {
  return config.class === 'SongUNet' || config.class === 'DhariwalUNet' ? config.args.augment_dim : 0
}

/** The network's own rate of dropout, for training it on data. */
export function configDropout(config: NetworkConfig): number {
  return config.class === 'ResidualMLP' ? 0 : config.args.dropout
}

/** The network's own rate of leaving out labels, if it says one. */
export function configLabelDropout(config: NetworkConfig): number | undefined {
  const own = config.class === 'SongUNet' || config.class === 'DhariwalUNet' ? config.args.label_dropout : 0
  return own > 0 ? own : undefined
}
