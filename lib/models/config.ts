import { ArgumentError, FormatError, invalid } from '../errors.js'

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
  | { class: 'SongUNet'; args: SongUNetArgs; shape: [channels: number, height: number, width: number] }
  | { class: 'ResidualMLP'; args: ResidualMLPArgs; shape: [dim: number] }

const SONG_DEFAULTS: SongUNetArgs = {
  img_resolution: 0,
  in_channels: 0,
  out_channels: 0,
  label_dim: 0,
  augment_dim: 0,
  model_channels: 128,
  channel_mult: [1, 2, 2, 2],
  channel_mult_emb: 4,
  num_blocks: 4,
  attn_resolutions: [16],
  dropout: 0.1,
  label_dropout: 0,
  embedding_type: 'positional',
  channel_mult_noise: 1,
  encoder_type: 'standard',
  decoder_type: 'standard',
  resample_filter: [1, 1],
}

/**
 * A DDPM++ U-Net for images of a shape [channels, height, width]; the rest as given or as EDM's defaults.
 * The height and width must be divisible by 2^(levels - 1).
 */
export function songUNet(shape: readonly number[], args: Partial<SongUNetArgs> = {}): NetworkConfig {
  if (!Array.isArray(shape) || shape.length !== 3) throw invalid('shape', '[channels, height, width]', shape)
  const [channels, height, width] = shape as [number, number, number]
  return {
    class: 'SongUNet',
    shape: [channels, height, width],
    args: {
      ...SONG_DEFAULTS,
      img_resolution: Math.max(height, width),
      in_channels: channels,
      out_channels: channels,
      ...args,
    },
  }
}

/** A residual MLP for vectors of a dimension. */
export function residualMLP(dim: number, args: Partial<ResidualMLPArgs> = {}): NetworkConfig {
  const defaults: ResidualMLPArgs = { dim, hidden: 128, layers: 3, label_dim: 0, channel_mult_noise: 1 }
  return { class: 'ResidualMLP', shape: [dim], args: { ...defaults, ...args } }
}

const FIXED: Partial<Record<keyof SongUNetArgs, string>> = {
  embedding_type: 'positional',
  encoder_type: 'standard',
  decoder_type: 'standard',
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
    throw new ArgumentError(`network: ${what}; songUNet and residualMLP make configurations`)
  })
}

function checkNetworkConfig(json: unknown, shape: unknown, fail: (what: string) => never): NetworkConfig {
  const isObject = (v: unknown): v is Record<string, unknown> =>
    typeof v === 'object' && v !== null && !Array.isArray(v)
  if (!isObject(json) || !isObject(json.args)) return fail('expected an object with class and args')
  const given = json.args
  const sizes = Array.isArray(shape) ? shape : fail('expected an array for shape')
  if (!sizes.every((n) => Number.isSafeInteger(n) && n > 0)) fail('expected positive integers in shape')
  const check = <T extends object>(defaults: T): T => {
    const args = { ...defaults }
    for (const [key, value] of Object.entries(given)) {
      const known = (defaults as Record<string, unknown>)[key]
      if (known === undefined) fail(`unknown argument '${key}'`)
      const numbers = Array.isArray(known)
      if (numbers ? !Array.isArray(value) || !value.every(Number.isFinite) : typeof value !== typeof known)
        fail(`expected ${numbers ? 'an array of numbers' : `a ${typeof known}`} for '${key}'`)
      if (typeof value === 'number' && !Number.isFinite(value)) fail(`expected a finite number for '${key}'`)
      Object.assign(args, { [key]: value })
    }
    return args
  }
  if (json.class === 'ResidualMLP') {
    const config = residualMLP(sizes[0])
    const args = check(config.args as ResidualMLPArgs)
    if (sizes.length !== 1 || sizes[0] !== args.dim) fail('shape must be [dim]')
    return { class: 'ResidualMLP', shape: [args.dim], args }
  }
  if (json.class !== 'SongUNet')
    return fail(`class ${JSON.stringify(json.class)} is not supported: SongUNet or ResidualMLP`)
  const args = check(SONG_DEFAULTS)
  for (const [key, value] of Object.entries(FIXED))
    if (args[key as keyof SongUNetArgs] !== value)
      fail(`${key} '${args[key as keyof SongUNetArgs]}' is not supported: only DDPM++ (${key} '${value}')`)
  for (const key of ['dropout', 'label_dropout'] as const)
    if (!(args[key] >= 0 && args[key] < 1)) fail(`expected a number in [0, 1) for '${key}'`)
  if (sizes.length !== 3) fail('shape must be [channels, height, width]')
  return { class: 'SongUNet', shape: sizes as [number, number, number], args }
}

/** Length of the label vector that a network takes; 0 = unconditional. */
export function configLabelDim(config: NetworkConfig): number {
  return config.args.label_dim
}
