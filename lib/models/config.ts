/** Configuration of a network: class and arguments as NVlabs/edm names them, so that their checkpoints read directly. */

export interface SongUNetArgs {
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
  dropout: number
  label_dropout: number
  embedding_type: 'positional'
  channel_mult_noise: number
  encoder_type: 'standard'
  decoder_type: 'standard'
  resample_filter: number[]
}

/** Residual MLP for vectors: in -> layers x (h + out(silu(in(silu(h)) + affine(emb)))) -> out. */
export interface ResidualMLPArgs {
  dim: number
  hidden: number
  layers: number
  label_dim: number
  channel_mult_noise: number
}

export type NetworkConfig =
  | { class: 'SongUNet'; args: SongUNetArgs; shape: [number, number, number] }
  | { class: 'ResidualMLP'; args: ResidualMLPArgs; shape: [number] }
