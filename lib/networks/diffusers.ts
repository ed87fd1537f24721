import {
  checkArgs,
  type Fail,
  finite,
  flag,
  type ImageShape,
  imageShape,
  listOf,
  naturalNumber,
  naturalNumbers,
  oneOf,
  orNull,
  probability,
  type Rule,
  sampleSize,
} from './check.js'

/** diffusers' UNet2DModel by its own arguments; a list of those that are kept here. */
export interface UNet2DModelArgs {
  sample_size: number | number[] | null
  in_channels: number
  out_channels: number
  center_input_sample: false
  time_embedding_type: 'positional' | 'fourier' | 'learned'
  time_embedding_dim: number | null
  freq_shift: number
  flip_sin_to_cos: boolean
  down_block_types: ('DownBlock2D' | 'AttnDownBlock2D')[]
  mid_block_type: 'UNetMidBlock2D' | null
  up_block_types: ('UpBlock2D' | 'AttnUpBlock2D')[]
  block_out_channels: number[]
  layers_per_block: number
  mid_block_scale_factor: number
  downsample_padding: number
  downsample_type: 'conv' | 'resnet' | null
  upsample_type: 'conv' | 'resnet' | null
  /** Rate of dropout in the blocks while the network is trained on data. */
  dropout: number
  act_fn: 'silu' | 'swish'
  attention_head_dim: number | null
  norm_num_groups: number
  attn_norm_num_groups: number | null
  norm_eps: number
  resnet_time_scale_shift: 'default' | 'scale_shift'
  add_attention: boolean
  /** null with `num_class_embeds`: a table; 'identity': labels are embeddings; 'timestep': the label is a number. */
  class_embed_type: 'identity' | 'timestep' | null
  num_class_embeds: number | null
  num_train_timesteps: number | null
}

export const unet2dDefaults: UNet2DModelArgs = {
  sample_size: null,
  in_channels: 3,
  out_channels: 3,
  center_input_sample: false,
  time_embedding_type: 'positional',
  time_embedding_dim: null,
  freq_shift: 0,
  flip_sin_to_cos: true,
  down_block_types: ['DownBlock2D', 'AttnDownBlock2D', 'AttnDownBlock2D', 'AttnDownBlock2D'],
  mid_block_type: 'UNetMidBlock2D',
  up_block_types: ['AttnUpBlock2D', 'AttnUpBlock2D', 'AttnUpBlock2D', 'UpBlock2D'],
  block_out_channels: [224, 448, 672, 896],
  layers_per_block: 2,
  mid_block_scale_factor: 1,
  downsample_padding: 1,
  downsample_type: 'conv',
  upsample_type: 'conv',
  dropout: 0,
  act_fn: 'silu',
  attention_head_dim: 8,
  norm_num_groups: 32,
  attn_norm_num_groups: null,
  norm_eps: 1e-5,
  resnet_time_scale_shift: 'default',
  add_attention: true,
  class_embed_type: null,
  num_class_embeds: null,
  num_train_timesteps: null,
}

const rules: Record<keyof UNet2DModelArgs, Rule> = {
  sample_size: sampleSize,
  in_channels: naturalNumber,
  out_channels: naturalNumber,
  center_input_sample: flag,
  time_embedding_type: oneOf('positional', 'fourier', 'learned'),
  time_embedding_dim: orNull(naturalNumber),
  freq_shift: finite,
  flip_sin_to_cos: flag,
  down_block_types: listOf('DownBlock2D', 'AttnDownBlock2D'),
  mid_block_type: oneOf('UNetMidBlock2D', null),
  up_block_types: listOf('UpBlock2D', 'AttnUpBlock2D'),
  block_out_channels: naturalNumbers,
  layers_per_block: naturalNumber,
  mid_block_scale_factor: finite,
  downsample_padding: naturalNumber,
  downsample_type: oneOf('conv', 'resnet', null),
  upsample_type: oneOf('conv', 'resnet', null),
  dropout: probability,
  act_fn: oneOf('silu', 'swish'),
  attention_head_dim: orNull(naturalNumber),
  norm_num_groups: naturalNumber,
  attn_norm_num_groups: orNull(naturalNumber),
  norm_eps: finite,
  resnet_time_scale_shift: oneOf('default', 'scale_shift'),
  add_attention: flag,
  class_embed_type: oneOf('identity', 'timestep', null),
  num_class_embeds: orNull(naturalNumber),
  num_train_timesteps: orNull(naturalNumber),
}

export function checkUNet2DModel(
  given: Record<string, unknown>,
  sizes: number[],
  fail: Fail,
): { args: UNet2DModelArgs; shape: ImageShape } {
  const args = checkArgs(given, unet2dDefaults, rules, fail)
  return { args, shape: imageShape(sizes, args.in_channels, fail) }
}

/** Length of the label vector: one entry for each row of the class table, the embedding itself, or one number. */
export function unet2dLabelDim(args: UNet2DModelArgs): number {
  if (args.class_embed_type === 'identity') return args.time_embedding_dim ?? 4 * args.block_out_channels[0]
  if (args.class_embed_type === 'timestep') return 1
  return args.num_class_embeds ?? 0
}
