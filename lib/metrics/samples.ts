import { join } from 'node:path'
import { FormatError } from '../base/errors.js'
import { found, readFileChecked } from '../base/files.js'
import type { Dataset } from '../data/dataset.js'
import { loadDataset } from '../data/load.js'
import { parseNpyArray } from '../data/npy.js'
import type { LoadDatasetOptions } from '../data/options.js'

/** Samples as `feynkac sample` writes them. */
export interface Samples {
  data: Dataset
  /** One weight per sample, as they stand in the file; null where there are none. */
  weights: Float64Array | null
}

interface SampleLoading
  extends Pick<LoadDatasetOptions, 'resize' | 'channels' | 'icc' | 'background' | 'limit' | 'signal'> {
  /** Their .npy file. */
  weights?: string
}

/**
 * Samples from a folder with samples.npy (and weights.npy, if the method gave weights), or whatever `loadDataset` takes.
 * weights: a .npy file instead of the folder's. limit: how many of the first are taken. Throws FileError, FormatError, ArgumentError.
 */
export async function loadSamples(spec: string, { weights: file, ...options }: SampleLoading = {}): Promise<Samples> {
  const { limit } = options
  const written = await found(join(spec, 'samples.npy'))
  const data = await loadDataset(written ? join(spec, 'samples.npy') : spec, options)
  const beside = join(spec, 'weights.npy')
  const path = file ?? (written && (await found(beside)) ? beside : undefined)
  if (path === undefined) return { data, weights: null }
  const weights = await readWeights(path)
  if (weights.length < data.size || (limit === undefined && weights.length !== data.size))
    throw new FormatError(`${path}: ${weights.length} weights for ${data.size} samples`, path)
  return { data, weights: weights.subarray(0, data.size) }
}

async function readWeights(path: string): Promise<Float64Array> {
  const { shape, data } = parseNpyArray(await readFileChecked(path), path)
  if (shape.length !== 1 || !(data instanceof Float32Array || data instanceof Float64Array))
    throw new FormatError(`${path}: expected weights [n] of float32 or float64 but the shape is [${shape}]`, path)
  return Float64Array.from(data)
}
