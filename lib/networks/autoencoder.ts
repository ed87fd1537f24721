import {
  checkArgs,
  configParts,
  type Fail,
  finite,
  flag,
  type ImageShape,
  imageShape,
  listOf,
  naturalNumber,
  naturalNumbers,
  numbers,
  oneOf,
  orNull,
  type Rule,
  sampleSize,
} from './check.js'

/** diffusers' AutoencoderKL by its own arguments, and `double_z`, which is always true there. */
export interface AutoencoderKLArgs {
  in_channels: number
  out_channels: number
  down_block_types: 'DownEncoderBlock2D'[]
  up_block_types: 'UpDecoderBlock2D'[]
  block_out_channels: number[]
  layers_per_block: number
  act_fn: 'silu' | 'swish'
  latent_channels: number
  norm_num_groups: number
  sample_size: number | number[] | null
  /** Normalised latents are (z - latents_mean) scaling_factor / latents_std, or (z - shift_factor) scaling_factor. */
  scaling_factor: number
  shift_factor: number | null
  latents_mean: number[] | null
  latents_std: number[] | null
  /** For float16, which there is none of here. */
  force_upcast: boolean
  use_quant_conv: boolean
  use_post_quant_conv: boolean
  mid_block_add_attention: boolean
  /** The encoder gives the logarithm of the latents' variance beside their mean; false: it is deterministic. */
  double_z: boolean
}

/** Configuration of an autoencoder for images of a shape. */
export interface AutoencoderConfig {
  class: 'AutoencoderKL'
  args: AutoencoderKLArgs
  shape: ImageShape
}

export const autoencoderDefaults: AutoencoderKLArgs = {
  in_channels: 3,
  out_channels: 3,
  down_block_types: ['DownEncoderBlock2D'],
  up_block_types: ['UpDecoderBlock2D'],
  block_out_channels: [64],
  layers_per_block: 1,
  act_fn: 'silu',
  latent_channels: 4,
  norm_num_groups: 32,
  sample_size: 32,
  scaling_factor: 0.18215,
  shift_factor: null,
  latents_mean: null,
  latents_std: null,
  force_upcast: true,
  use_quant_conv: true,
  use_post_quant_conv: true,
  mid_block_add_attention: true,
  double_z: true,
}

const positive: Rule = { is: (v) => Number.isFinite(v) && (v as number) > 0, expected: 'a number above 0' }
const positives: Rule = {
  is: (v) => numbers.is(v) && (v as number[]).every((n) => n > 0),
  expected: 'an array of numbers above 0',
}

const rules: Record<keyof AutoencoderKLArgs, Rule> = {
  in_channels: naturalNumber,
  out_channels: naturalNumber,
  down_block_types: listOf('DownEncoderBlock2D'),
  up_block_types: listOf('UpDecoderBlock2D'),
  block_out_channels: naturalNumbers,
  layers_per_block: naturalNumber,
  act_fn: oneOf('silu', 'swish'),
  latent_channels: naturalNumber,
  norm_num_groups: naturalNumber,
  sample_size: sampleSize,
  scaling_factor: positive,
  shift_factor: orNull(finite),
  latents_mean: orNull(numbers),
  latents_std: orNull(positives),
  force_upcast: flag,
  use_quant_conv: flag,
  use_post_quant_conv: flag,
  mid_block_add_attention: flag,
  double_z: flag,
}

/**
 * diffusers' AutoencoderKL for images of a shape [channels, height, width], with every argument checked; unknown ones are refused by name.
 * `fail` throws.
 */
export function checkAutoencoder(json: unknown, shape: unknown, fail: Fail): AutoencoderConfig {
  const { args: given, sizes } = configParts(json, shape, 'AutoencoderKL', fail)
  const args = checkArgs(given, autoencoderDefaults, rules, fail)
  const levels = args.block_out_channels.length
  if (args.out_channels !== args.in_channels) fail('out_channels must be in_channels')
  if (args.down_block_types.length !== levels || args.up_block_types.length !== levels)
    fail('down_block_types and up_block_types must have as many entries as block_out_channels')
  for (const name of ['latents_mean', 'latents_std'] as const)
    if (args[name] !== null && args[name].length !== args.latent_channels)
      fail(`${name} must have as many entries as there are latent_channels (${args.latent_channels})`)
  return { class: 'AutoencoderKL', args, shape: imageShape(sizes, args.in_channels, fail) }
}

/** Shape of the latents: the sides are halved between levels. */
export function latentShape({ args, shape: [, height, width] }: AutoencoderConfig): ImageShape {
  const scale = 2 ** (args.block_out_channels.length - 1)
  return [args.latent_channels, height / scale, width / scale]
}

/** Normalised latents are (z - shift) scale, one number of each per channel. */
export function latentNorm({ args }: AutoencoderConfig): { shift: number[]; scale: number[] } {
  const each = (value: (channel: number) => number) => Array.from({ length: args.latent_channels }, (_, c) => value(c))
  return {
    shift: each((c) => args.latents_mean?.[c] ?? args.shift_factor ?? 0),
    scale: each((c) => args.scaling_factor / (args.latents_std?.[c] ?? 1)),
  }
}
