import {
  checkArgs,
  type Fail,
  flag,
  type ImageShape,
  imageShape,
  naturalNumber,
  naturalNumbers,
  numbers,
  oneOf,
  probability,
} from './check.js'

/** NVlabs/edm's U-Nets, by their classes' own arguments (training/networks.py), so that their checkpoints read directly. */

/** What both have. */
export interface DhariwalUNetArgs {
  /** Names the levels (`img_resolution >> level`); the image itself may be non-square. */
  img_resolution: number
  in_channels: number
  out_channels: number
  /** Length of the label vector (one-hot class, or concatenated one-hot attributes); 0 = unconditional. */
  label_dim: number
  augment_dim: number
  model_channels: number
  channel_mult: number[]
  channel_mult_emb: number
  num_blocks: number
  attn_resolutions: number[]
  /** Rate of dropout in the blocks while the network is trained on data. */
  dropout: number
  label_dropout: number
}

/** Arguments of SongUNet (DDPM++ and NCSN++) as NVlabs/edm names them. */
export interface SongUNetArgs extends DhariwalUNetArgs {
  /** 'fourier' and a noise channel multiplier of 2: NCSN++. */
  embedding_type: 'positional' | 'fourier'
  channel_mult_noise: number
  encoder_type: 'standard' | 'skip' | 'residual'
  decoder_type: 'standard' | 'skip'
  resample_filter: number[]
  /** Not in NVlabs/edm: a learnt image of every label, and one of none, is added to what the first convolution makes. */
  label_maps: boolean
}

const general = {
  img_resolution: 0,
  in_channels: 0,
  out_channels: 0,
  label_dim: 0,
  augment_dim: 0,
  channel_mult_emb: 4,
  dropout: 0.1,
  label_dropout: 0,
}

export const songDefaults: SongUNetArgs = {
  ...general,
  model_channels: 128,
  channel_mult: [1, 2, 2, 2],
  num_blocks: 4,
  attn_resolutions: [16],
  embedding_type: 'positional',
  channel_mult_noise: 1,
  encoder_type: 'standard',
  decoder_type: 'standard',
  resample_filter: [1, 1],
  label_maps: false,
}

export const dhariwalDefaults: DhariwalUNetArgs = {
  ...general,
  model_channels: 192,
  channel_mult: [1, 2, 3, 4],
  num_blocks: 3,
  attn_resolutions: [32, 16, 8],
}

const sharedRules = {
  img_resolution: naturalNumber,
  in_channels: naturalNumber,
  out_channels: naturalNumber,
  label_dim: naturalNumber,
  augment_dim: naturalNumber,
  model_channels: naturalNumber,
  channel_mult: naturalNumbers,
  channel_mult_emb: naturalNumber,
  num_blocks: naturalNumber,
  attn_resolutions: naturalNumbers,
  dropout: probability,
  label_dropout: probability,
}

const songRules = {
  ...sharedRules,
  embedding_type: oneOf('positional', 'fourier'),
  channel_mult_noise: naturalNumber,
  encoder_type: oneOf('standard', 'skip', 'residual'),
  decoder_type: oneOf('standard', 'skip'),
  resample_filter: numbers,
  label_maps: flag,
}

type Checked<T> = { args: T; shape: ImageShape }

export function checkSongUNet(given: Record<string, unknown>, sizes: number[], fail: Fail): Checked<SongUNetArgs> {
  const args = checkArgs(given, songDefaults, songRules, fail)
  return { args, shape: imageShape(sizes, args.in_channels, fail) }
}

export function checkDhariwalUNet(
  given: Record<string, unknown>,
  sizes: number[],
  fail: Fail,
): Checked<DhariwalUNetArgs> {
  const args = checkArgs(given, dhariwalDefaults, sharedRules, fail)
  return { args, shape: imageShape(sizes, args.in_channels, fail) }
}
