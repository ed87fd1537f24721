import { knownOptions } from '../args.js'
import { invalid } from '../errors.js'
import { isShape, sizeOf } from '../smc/evaluation.js'
import { type OnnxFeatureOptions, onnxFeatures } from './onnx.js'

/** What metrics see of samples. */
export interface FeatureExtractor {
  readonly name: string
  /** Shape of one sample: [channels, height, width] or [dimensions]. */
  readonly shape: readonly number[]
  /** Number of features of a sample. */
  readonly dim: number
  /** Features [n, dim] of images [n, ...shape] in [-1, 1]. */
  features(images: Float32Array, options?: { signal?: AbortSignal }): Promise<Float32Array>
  /** The predicted class of each attribute, [n, attributes], where the extractor is a classifier. */
  attributes?(images: Float32Array, options?: { signal?: AbortSignal }): Promise<Int32Array>
  /** Frees what the extractor holds beside memory. */
  dispose?(): Promise<void>
}

/** The samples themselves as features: for vectors and tiny images. Throws ArgumentError. */
export function pixelFeatures(shape: readonly number[]): FeatureExtractor {
  if (!isShape(shape)) throw invalid('shape', 'the shape of one sample', shape)
  const dim = sizeOf(shape)
  return { name: 'pixels', shape, dim, features: async (images) => images }
}

/**
 * The extractor that a word stands for: `pixels`, or a file by its ending. shape: of one sample; options: of `onnxFeatures`.
 * Throws ArgumentError, FileError, FormatError.
 */
export async function openFeatures(
  spec: string,
  shape: readonly number[],
  options: Omit<OnnxFeatureOptions, 'shape'> = {},
): Promise<FeatureExtractor> {
  if (typeof spec === 'string' && spec.endsWith('.onnx')) return onnxFeatures(spec, { ...options, shape })
  if (spec !== 'pixels') throw invalid('features', "'pixels' or the name of an .onnx file", spec)
  knownOptions('pixel features', options, [])
  return pixelFeatures(shape)
}
