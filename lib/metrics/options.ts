import { list, type RowsOf, rowsOf, text, whole } from '../base/option-table.js'
import type { Dataset } from '../data/dataset.js'
import { type LoadDatasetOptions, readingRows } from '../data/options.js'
import type { Precision } from '../native/devices.js'
import type { Communicator } from '../ranks/communicator.js'
import type { Asked } from './attributes.js'
import type { FeatureExtractor } from './extractor.js'
import type { OnnxFeatureOptions } from './onnx.js'
import type { MetricName } from './registry.js'

/** What an evaluation can be asked for. */

/** As many as coverage takes with its fifth nearest neighbours. */
export const LEAST = 6

/** What `evaluate` compares, and by what. */
export interface EvaluateOptions {
  /** What `feynkac sample` wrote (its folder or samples.npy), any data of `loadDataset`, or a Dataset. */
  samples: string | Dataset
  /** What the samples are compared with. */
  data: string | Dataset
  /** What the model was trained on, where `data` were held out: are the samples nearer to it, as copies are? */
  training?: string | Dataset
  /** How to load `data` and `training`, and `samples` where they are named too. */
  dataOptions?: Pick<LoadDatasetOptions, 'resize' | 'channels' | 'icc' | 'background'>
  /** `pixels` (default), an .onnx file, a classifier's .safetensors, or an extractor. */
  features?: string | FeatureExtractor
  /** What `onnxFeatures` takes, for an .onnx file. */
  featureOptions?: Omit<OnnxFeatureOptions, 'shape'>
  /** What the samples were asked to show, for features by a classifier: the shares that do are reported. */
  attributes?: Asked['attributes']
  /** Where a classifier runs, and by what products. */
  device?: string
  precision?: Precision
  /** Default all. */
  metrics?: readonly MetricName[]
  /** Only the first samples of either side, at most this number. */
  limit?: number
  /** Weights of the samples, or their .npy file; default weights.npy in `samples`, where that is a folder. */
  weights?: string | Float64Array
  /** Most samples of either side, drawn at random, for the metrics of pairs (all but frechet); default 5000. */
  pairs?: number
  /** Samples whose features are computed at once; default 64. */
  batchSize?: number
  /** @deprecated `batchSize` */
  batch?: number
  /** Seed of all random numbers; default 0. */
  seed?: number
  /** What `communicator()` gives: the processes that share the work on features, to the bit of one process. Default: this process alone. */
  ranks?: Communicator
  signal?: AbortSignal
  onProgress?: (progress: EvaluationProgress) => void
}

/** Where an evaluation is. */
export interface EvaluationProgress {
  /** Samples of both sides whose features are there. */
  done: number
  total: number
  stage: 'features' | MetricName | 'copies'
}

/** The options, once: ranges, defaults, flags and help. */
export const evaluateRows: RowsOf<EvaluateOptions, 'limit' | 'pairs' | 'batchSize' | 'seed'> = {
  limit: whole('only the first samples of either side, at most this number'),
  pairs: whole('most samples of either side for metrics of pairs, drawn at random', { min: LEAST, default: 5000 }),
  batchSize: whole('samples whose features are computed at once', { flag: 'batch', default: 64 }),
  seed: whole('of all random numbers', { min: 0, flag: false, default: 0 }),
}

/** How both sides are read: `dataOptions`. */
export const sideRows = rowsOf(readingRows, 'resize', 'channels', 'icc', 'background')

/** What an .onnx network takes: `featureOptions`. */
export const featureRows = {
  size: whole('of an .onnx network: side of the images that it takes (its own)', {
    max: 4096,
    value: 'side',
    flag: 'feature-size',
  }),
  range: list('of an .onnx network: its black and white (0,1)', { value: 'lo,hi', flag: 'feature-range' }),
  mean: list('of an .onnx network: subtracted from the channels (0)', { value: 'list', flag: 'feature-mean' }),
  std: list('of an .onnx network: divides the channels (1)', { value: 'list', flag: 'feature-std' }),
  output: text('of an .onnx network: the output that has the features (the first)', 'a name', {
    value: 'name',
    flag: 'feature-output',
  }),
}
