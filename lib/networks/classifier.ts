import {
  checkArgs,
  configParts,
  type Fail,
  type ImageShape,
  imageShape,
  naturalNumber,
  naturalNumbers,
} from './check.js'

/** A convolutional classifier: levels of residual blocks, the mean over the pixels, a linear layer. */
export interface ClassifierArgs {
  in_channels: number
  /** Channels of each level; every level after the first halves the image. The last are the features. */
  block_out_channels: number[]
  /** Residual blocks per level. */
  layers_per_block: number
  norm_num_groups: number
  /** Number of classes of each attribute. */
  classes: number[]
}

/** Configuration of a classifier of images of a shape. */
export interface ClassifierConfig {
  class: 'ConvClassifier'
  args: ClassifierArgs
  shape: ImageShape
}

const defaults: ClassifierArgs = {
  in_channels: 3,
  block_out_channels: [32, 64],
  layers_per_block: 1,
  norm_num_groups: 8,
  classes: [],
}

const rules = {
  in_channels: naturalNumber,
  block_out_channels: naturalNumbers,
  layers_per_block: naturalNumber,
  norm_num_groups: naturalNumber,
  classes: naturalNumbers,
}

/** A configuration with every argument checked; unknown ones are refused by name. `fail` throws. */
export function checkClassifier(json: unknown, shape: unknown, fail: Fail): ClassifierConfig {
  const { args: given, sizes } = configParts(json, shape, 'ConvClassifier', fail)
  const args = checkArgs(given, defaults, rules, fail)
  return { class: 'ConvClassifier', args, shape: imageShape(sizes, args.in_channels, fail) }
}
