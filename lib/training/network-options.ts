import { type OptionRow, type Rows, type RowsOf, toggle, whole, wholes } from '../base/option-table.js'

/** What new networks are chosen by, once: ranges, defaults, flags and help. Whether the choices fit together is for architecture.ts to check. */

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

/** Those of networks of images. */
export const unetRows: Rows<Architecture> = {
  width: whole('network: channels of the first level', { min: 4, max: 4096, value: 'channels', default: 32 }),
  channelMult: wholes('network: multiples of the width per level, such as 1,2,2', { max: 64 }),
  blocks: whole('network: residual blocks per level', { max: 64, default: 2 }),
  attention: wholes('network: resolutions that attend, such as 16,8, or none'),
  labelMaps: toggle('network: labels also as learnt images (up to 32x32 pixels)', {
    no: 'network: labels as a vector alone, as in NVlabs/edm',
  }),
}

/** Those of networks of vectors. */
export const mlpRows: RowsOf<Architecture, 'width' | 'blocks'> = {
  width: whole('network: width of the hidden layers', { min: 4, max: 65536, value: 'channels', default: 128 }),
  blocks: whole('network: residual layers', { max: 1000, default: 4 }),
}

/** An option whose range and default the data choose. */
const either = (images: OptionRow<number>, vectors: OptionRow<number>): OptionRow<number> => ({
  ...images,
  range: vectors.range,
  help: `${images.help} (${images.default}; vectors ${vectors.default})`,
  default: undefined,
})

/** The same as flags, where it is not known yet what the data are. */
export const architectureRows: Rows<Architecture> = {
  ...unetRows,
  width: either(unetRows.width, mlpRows.width),
  blocks: either(unetRows.blocks, mlpRows.blocks),
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

/** Those options; multiples: those of the width by default. */
export const levelsRows = (multiples: string): Rows<Levels> => ({
  width: unetRows.width,
  channelMult: { ...unetRows.channelMult, help: `network: multiples of the width per level (${multiples})` },
  blocks: { ...unetRows.blocks, default: 1 },
})

/** What a new autoencoder is chosen by; everything else follows from the data. Channels by default: 32 times [1, 2, 2]. */
export interface AutoencoderArchitecture extends Levels {
  /** Channels of the latents (4). */
  latentChannels?: number
  /** Whether the middle attends (true). */
  attention?: boolean
}

export const autoencoderRows: Rows<AutoencoderArchitecture> = {
  ...levelsRows('1,2,2'),
  latentChannels: whole('network: channels of the latents', { max: 4096, default: 4 }),
  attention: toggle('network: attention in the middle', {
    flag: 'mid-attention',
    no: 'network: no attention in the middle',
    default: true,
  }),
}

/**
 * What a new classifier is chosen by; everything else follows from the data. Channels by default: 32 times [1, 2, 4, 8], or as many levels
 * as the image halves evenly for with at least 4 pixels left.
 */
export type ClassifierArchitecture = Levels

export const classifierNetworkRows = levelsRows('1,2,4,8')
