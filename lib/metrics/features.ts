import { isShape } from '../base/args.js'
import { ArgumentError, invalid } from '../base/errors.js'
import { sizeOf } from '../base/shape.js'
import { Classifier } from '../models/classifier.js'
import type { DeviceOptions } from '../native/devices.js'
import type { FeatureExtractor } from './extractor.js'
import { type OnnxFeatureOptions, onnxFeatures } from './onnx.js'

/**
 * The samples themselves as features: for vectors and tiny images. Throws ArgumentError.
 * @example
 * ```js
 * import { pixelFeatures } from 'feynkac'
 *
 * const { dim } = pixelFeatures([3, 8, 8]) // 192
 * ```
 */
export function pixelFeatures(shape: readonly number[]): FeatureExtractor {
  if (!isShape(shape)) throw invalid('shape', 'the shape of one sample', shape)
  const dim = sizeOf(shape)
  return { name: 'pixels', shape, dim, features: async (images) => images }
}

/** What a classifier of feynkac's tells images by. Throws FileError, FormatError. */
export async function classifierFeatures(path: string, device: DeviceOptions = {}): Promise<FeatureExtractor> {
  const classifier = await Classifier.load(path, device)
  return {
    name: path,
    shape: classifier.shape,
    dim: classifier.featureSize,
    labels: classifier.labels,
    features: (images, options) => classifier.features(images, options),
    attributes: async (images, options) => (await classifier.classify(images, options)).classes,
    dispose: async () => classifier.dispose(),
  }
}

/**
 * The extractor that a word stands for: `pixels`, or a file by its ending, of ONNX or of a classifier of feynkac's. shape: of one sample;
 * options: of `onnxFeatures`; device: of a classifier. Throws ArgumentError, FileError, FormatError.
 * @example
 * ```js
 * import { openFeatures } from 'feynkac'
 *
 * const features = await openFeatures('pixels', [1, 16, 16]) // or a classifier's file, or a network's .onnx
 * console.log(features.dim) // 256
 * ```
 */
export async function openFeatures(
  spec: string,
  shape: readonly number[],
  options: Omit<OnnxFeatureOptions, 'shape'> = {},
  device: DeviceOptions = {},
): Promise<FeatureExtractor> {
  if (typeof spec !== 'string') throw invalid('features', "'pixels', or the name of a file", spec)
  if (spec.endsWith('.onnx')) return onnxFeatures(spec, { ...options, shape })
  if (Object.keys(options ?? {}).length > 0)
    throw new ArgumentError(`options of an .onnx network were given for features by ${spec}: leave them out`)
  if (spec.endsWith('.safetensors')) return classifierFeatures(spec, device)
  if (spec !== 'pixels')
    throw invalid('features', "'pixels', or the name of an .onnx file or a classifier's .safetensors", spec)
  return pixelFeatures(shape)
}
