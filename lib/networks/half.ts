import type { NetworkConfig } from './config.js'

/** The network for half the size; undefined where there is none, as a level would not halve evenly. */
export function halfNetwork({ class: name, args, shape }: NetworkConfig): NetworkConfig | undefined {
  if (name !== 'SongUNet' || args.img_resolution % 2 !== 0) return undefined
  const [channels, height, width] = shape
  const unit = 2 ** args.channel_mult.length
  if (height % unit !== 0 || width % unit !== 0 || args.attn_resolutions.some((r) => r % 2 !== 0)) return undefined
  const half = { img_resolution: args.img_resolution / 2, attn_resolutions: args.attn_resolutions.map((r) => r / 2) }
  return { class: name, args: { ...args, ...half }, shape: [channels, height / 2, width / 2] }
}
