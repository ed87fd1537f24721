import type { LabelSpec } from '../data/dataset.js'

/** What metrics see of samples. */
export interface FeatureExtractor {
  readonly name: string
  /** Shape of one sample: [channels, height, width] or [dimensions]. */
  readonly shape: readonly number[]
  /** Number of features of a sample. */
  readonly dim: number
  /** Features [n, dim] of images [n, ...shape] in [-1, 1]. */
  features(images: Float32Array, options?: { signal?: AbortSignal }): Promise<Float32Array>
  /** The attributes that a classifier tells. */
  readonly labels?: LabelSpec
  /** A classifier's prediction of each attribute, [n, attributes]. */
  attributes?(images: Float32Array, options?: { signal?: AbortSignal }): Promise<Int32Array>
  /** Frees what the extractor holds beside memory. */
  dispose?(): Promise<void>
}
