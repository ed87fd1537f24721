import { integer, knownOptions } from '../args.js'
import { invalid } from '../errors.js'
import { type NetworkConfig, residualMLP, songUNet } from '../models/config.js'

/** What a new network is chosen by; everything else follows from the data. */
export interface Architecture {
  /** Channels of the first level (images, 32) or of the hidden layers (vectors, 128). */
  width?: number
  /** Images: channels of each level as multiples of `width`; every level after the first halves the image. */
  channelMult?: readonly number[]
  /** Images: residual blocks per level (2). Vectors: residual layers (4). */
  blocks?: number
  /** Images: resolutions of the levels that attend, as `side >> level` of the longer side. */
  attention?: readonly number[]
}

/**
 * Configuration of a network for samples of this shape: a DDPM++ U-Net for [channels, height, width], a residual MLP for
 * [dimensions]. Throws ArgumentError for values out of range; whether they fit together is checked when it is built.
 */
export function networkFor(shape: readonly number[], labelDim: number, architecture: Architecture = {}): NetworkConfig {
  knownOptions('network', architecture, ['width', 'channelMult', 'blocks', 'attention'])
  if (shape.length === 1) return mlpFor(shape[0]!, labelDim, architecture)
  if (shape.length === 3) return unetFor(shape as [number, number, number], labelDim, architecture)
  throw invalid('shape of the data', '[dimensions] or [channels, height, width]', [...shape])
}

function mlpFor(dim: number, labelDim: number, { width, blocks, channelMult, attention }: Architecture): NetworkConfig {
  if (channelMult !== undefined) throw invalid('channelMult', 'nothing, as vectors have no levels', channelMult)
  if (attention !== undefined) throw invalid('attention', 'nothing, as vectors have no resolution', attention)
  return residualMLP(dim, {
    hidden: integer('width', width ?? 128, 4, 65536),
    layers: integer('blocks', blocks ?? 4, 1, 1000),
    label_dim: labelDim,
  })
}

function unetFor(shape: [number, number, number], labelDim: number, architecture: Architecture): NetworkConfig {
  const [, height, width] = shape
  const channelMult = [...(architecture.channelMult ?? defaultLevels(height, width))]
  if (!channelMult.length) throw invalid('channelMult', 'at least one level', channelMult)
  channelMult.forEach((mult, level) => void integer(`channelMult[${level}]`, mult, 1, 64))
  const resolutions = channelMult.map((_, level) => Math.max(height, width) >> level)
  const attention = [...(architecture.attention ?? resolutions.filter((r) => r <= 16).slice(0, 1))]
  for (const resolution of attention)
    if (!resolutions.includes(resolution))
      throw invalid('attention', `resolutions among those of the levels (${resolutions.join(', ')})`, attention)
  return songUNet(shape, {
    label_dim: labelDim,
    model_channels: integer('width', architecture.width ?? 32, 4, 4096),
    channel_mult: channelMult,
    num_blocks: integer('blocks', architecture.blocks ?? 2, 1, 64),
    attn_resolutions: attention,
    dropout: 0,
  })
}

/** 1, 2, 2 as far as the image halves evenly and keeps at least 4 pixels. */
function defaultLevels(height: number, width: number): number[] {
  const levels = [1]
  for (let scale = 2; levels.length < 3 && height % scale === 0 && width % scale === 0; scale *= 2) {
    if (Math.min(height, width) / scale < 4) break
    levels.push(2)
  }
  return levels
}
