import { knownOptions } from '../base/args.js'
import { invalid } from '../base/errors.js'
import { reader } from '../base/option-table.js'
import { type NetworkConfig, residualMLP, songUNet } from '../networks/config.js'
import { type Architecture, type Levels, levelsRows, mlpRows, unetRows } from './network-options.js'

/**
 * Configuration of a network for samples of this shape: a DDPM++ U-Net for [channels, height, width], a residual MLP for
 * [dimensions]. augmentDim: entries by which it is told how images were changed. Throws ArgumentError for values out of range; whether they fit
 * together is checked when it is built.
 */
export function networkFor(
  shape: readonly number[],
  labelDim: number,
  architecture: Architecture = {},
  augmentDim = 0,
): NetworkConfig {
  knownOptions('network', architecture, Object.keys(unetRows))
  if (shape.length === 1) return mlpFor(shape[0]!, labelDim, architecture)
  if (shape.length === 3) return unetFor(shape as [number, number, number], labelDim, architecture, augmentDim)
  throw invalid('shape of the data', '[dimensions] or [channels, height, width]', [...shape])
}

function mlpFor(dim: number, labelDim: number, architecture: Architecture): NetworkConfig {
  const { channelMult, attention, labelMaps } = architecture
  const option = reader(mlpRows, architecture)
  if (channelMult !== undefined) throw invalid('channelMult', 'nothing, as vectors have no levels', channelMult)
  if (attention !== undefined) throw invalid('attention', 'nothing, as vectors have no resolution', attention)
  if (labelMaps !== undefined) throw invalid('labelMaps', 'nothing, as vectors have no places', labelMaps)
  return residualMLP(dim, { hidden: option('width'), layers: option('blocks'), label_dim: labelDim })
}

function unetFor(
  shape: [number, number, number],
  labelDim: number,
  architecture: Architecture,
  augmentDim: number,
): NetworkConfig {
  const [, height, width] = shape
  const multiples = architecture.channelMult ?? defaultLevels(height, width, [1, 2, 2])
  const option = reader(unetRows, { ...architecture, channelMult: multiples })
  const channelMult = [...option('channelMult')]
  if (!channelMult.length) throw invalid('channelMult', 'at least one level', channelMult)
  const resolutions = channelMult.map((_, level) => Math.max(height, width) >> level)
  const usual = resolutions.filter((r) => r <= 16).slice(0, 1)
  const attention = architecture.attention == null ? usual : [...option('attention')]
  for (const resolution of attention)
    if (!resolutions.includes(resolution))
      throw invalid('attention', `resolutions among those of the levels (${resolutions.join(', ')})`, attention)
  return songUNet(shape, {
    label_dim: labelDim,
    augment_dim: augmentDim,
    model_channels: option('width'),
    channel_mult: channelMult,
    num_blocks: option('blocks'),
    attn_resolutions: attention,
    dropout: 0,
    label_maps: labelMapsOf(architecture.labelMaps, labelDim, height * width),
  })
}

/** Larger maps would soon be larger than the network. */
const MOST_MAPPED = 32 * 32

function labelMapsOf(given: boolean | undefined, labelDim: number, pixels: number): boolean {
  if (given !== undefined) unetRows.labelMaps.check('labelMaps', given)
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

/** Channels of each level, and blocks per level; multiples: those of the width by default. Throws ArgumentError. */
export function levelsOf(given: Levels, multiples: readonly number[]): { channels: number[]; blocks: number } {
  const option = reader(levelsRows(multiples.join(',')), { ...given, channelMult: given.channelMult ?? multiples })
  const [width, levels] = [option('width'), option('channelMult')]
  if (!levels.length) throw invalid('channelMult', 'at least one level', levels)
  return { channels: levels.map((mult) => width * mult), blocks: option('blocks') }
}

/** The largest number of groups, of four channels or more as in EDM's networks and at most 32, that divides all levels. */
export function groupsFor(channels: readonly number[]): number {
  for (let groups = Math.min(32, Math.floor(Math.min(...channels) / 4)); groups > 1; groups--)
    if (channels.every((n) => n % groups === 0)) return groups
  return 1
}
