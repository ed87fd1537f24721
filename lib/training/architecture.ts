import { boolean, integer, isList, knownOptions } from '../base/args.js'
import { invalid } from '../base/errors.js'
import { type NetworkConfig, residualMLP, songUNet } from '../networks/config.js'

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
  /**
   * Labelled images: a learnt image of every label is added to what the first convolution makes, so that labels can say where things are
   * (docs/recipe.md). Default: for up to 32 x 32 pixels.
   */
  labelMaps?: boolean
}

/**
 * Configuration of a network for samples of this shape: a DDPM++ U-Net for [channels, height, width], a residual MLP for
 * [dimensions]. Throws ArgumentError for values out of range; whether they fit together is checked when it is built.
 */
export function networkFor(shape: readonly number[], labelDim: number, architecture: Architecture = {}): NetworkConfig {
  knownOptions('network', architecture, ['width', 'channelMult', 'blocks', 'attention', 'labelMaps'])
  if (shape.length === 1) return mlpFor(shape[0]!, labelDim, architecture)
  if (shape.length === 3) return unetFor(shape as [number, number, number], labelDim, architecture)
  throw invalid('shape of the data', '[dimensions] or [channels, height, width]', [...shape])
}

function listOf(name: string, value: readonly number[]): number[] {
  if (!isList(value, 64)) throw invalid(name, 'a list of whole numbers', value)
  return [...value] as number[]
}

function mlpFor(
  dim: number,
  labelDim: number,
  { width, blocks, channelMult, attention, labelMaps }: Architecture,
): NetworkConfig {
  if (channelMult !== undefined) throw invalid('channelMult', 'nothing, as vectors have no levels', channelMult)
  if (attention !== undefined) throw invalid('attention', 'nothing, as vectors have no resolution', attention)
  if (labelMaps !== undefined) throw invalid('labelMaps', 'nothing, as vectors have no places', labelMaps)
  return residualMLP(dim, {
    hidden: integer('width', width ?? 128, 4, 65536),
    layers: integer('blocks', blocks ?? 4, 1, 1000),
    label_dim: labelDim,
  })
}

function unetFor(shape: [number, number, number], labelDim: number, architecture: Architecture): NetworkConfig {
  const [, height, width] = shape
  const channelMult = listOf('channelMult', architecture.channelMult ?? defaultLevels(height, width, [1, 2, 2]))
  if (!channelMult.length) throw invalid('channelMult', 'at least one level', channelMult)
  channelMult.forEach((mult, level) => void integer(`channelMult[${level}]`, mult, 1, 64))
  const resolutions = channelMult.map((_, level) => Math.max(height, width) >> level)
  const attention = listOf('attention', architecture.attention ?? resolutions.filter((r) => r <= 16).slice(0, 1))
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
    label_maps: labelMapsOf(architecture.labelMaps, labelDim, height * width),
  })
}

/** Larger maps would soon be larger than the network. */
const MOST_MAPPED = 32 * 32

function labelMapsOf(given: boolean | undefined, labelDim: number, pixels: number): boolean {
  if (given !== undefined) boolean('labelMaps', given)
  if (given && labelDim === 0) throw invalid('labelMaps', 'nothing, as the network is given no labels', given)
  return given ?? (labelDim > 0 && pixels <= MOST_MAPPED)
}

/** The multiples as far as the image halves evenly and keeps at least 4 pixels. */
export function defaultLevels(height: number, width: number, multiples: readonly number[]): number[] {
  let levels = 1
  for (let scale = 2; levels < multiples.length && height % scale === 0 && width % scale === 0; scale *= 2) {
    if (Math.min(height, width) / scale < 4) break
    levels++
  }
  return multiples.slice(0, levels)
}

/** What networks of images that know no noise levels are chosen by. */
export interface Levels {
  /** Channels of the first level (32). */
  width?: number
  /** Channels of each level as multiples of `width`; every level after the first halves the image. */
  channelMult?: readonly number[]
  /** Residual blocks per level (1). */
  blocks?: number
}

/** Channels of each level, and blocks per level; multiples: those of the width by default. Throws ArgumentError. */
export function levelsOf(
  { width = 32, channelMult, blocks = 1 }: Levels,
  multiples: readonly number[],
): { channels: number[]; blocks: number } {
  integer('width', width, 4, 4096)
  const levels = listOf('channelMult', channelMult ?? multiples)
  if (!levels.length) throw invalid('channelMult', 'at least one level', levels)
  return {
    channels: levels.map((mult, level) => width * integer(`channelMult[${level}]`, mult, 1, 64)),
    blocks: integer('blocks', blocks, 1, 64),
  }
}

/** The largest number of groups, of four channels or more as in EDM's networks and at most 32, that divides all levels. */
export function groupsFor(channels: readonly number[]): number {
  for (let groups = Math.min(32, Math.floor(Math.min(...channels) / 4)); groups > 1; groups--)
    if (channels.every((n) => n % groups === 0)) return groups
  return 1
}
