import { isList, knownOptions, oneOf, renamed } from '../base/args.js'
import { ArgumentError, invalid } from '../base/errors.js'
import { checkOptions, reader } from '../base/option-table.js'
import type { Dataset } from '../data/dataset.js'
import { loadDataset } from '../data/load.js'
import { deviceOptionNames } from '../native/devices.js'
import { checkedRanks } from '../ranks/communicator.js'
import { type Division, SharedWork } from '../ranks/division.js'
import { effectiveSampleSize, resample } from '../smc/resampling.js'
import { type AttributeShares, attributeShares } from './attributes.js'
import { type CopiesResult, findCopies } from './copies.js'
import type { FeatureExtractor } from './extractor.js'
import { openFeatures } from './features.js'
import { normalisedWeights, ownWeights, rowsAt } from './inputs.js'
import { type EvaluateOptions, evaluateRows, LEAST, sideRows } from './options.js'
import { type MetricName, type MetricValues, measures, metricNames } from './registry.js'
import { loadSamples } from './samples.js'
import { type SideFeatures, sideFeatures } from './side-features.js'

export type { MetricName, MetricValues } from './registry.js'

/** Most samples of either side, drawn at random: the nearest of all training data is looked for. */
const MOST_COMPARED = 512

/** What `evaluate` measured, and how. */
export interface EvaluationResult {
  /** Numbers of samples and of data. */
  samples: number
  data: number
  weighted: boolean
  features: string
  dim: number
  values: MetricValues
  /** Shares of the samples that show what they were asked to. */
  attributes?: AttributeShares
  /** Where the training data were given. */
  copies?: CopiesResult
  /** What to know of the values. */
  notes: string[]
}

const others = [
  'samples',
  'data',
  'training',
  'dataOptions',
  'features',
  'featureOptions',
  'attributes',
  'metrics',
  'weights',
  'ranks',
  'signal',
  'onProgress',
]

/** Documented in late.ts. */
export async function evaluate(asked: EvaluateOptions): Promise<EvaluationResult> {
  return evaluateBy(asked, new SharedWork(checkedRanks(asked?.ranks)))
}

/** The same, the features' blocks divided. */
export async function evaluateBy(asked: EvaluateOptions, division: Division): Promise<EvaluationResult> {
  const options = renamed('evaluate', asked, { batch: 'batchSize' })
  knownOptions('evaluate', options, [...Object.keys(evaluateRows), ...others, ...deviceOptionNames])
  checkOptions(evaluateRows, options)
  const { signal, limit, features = 'pixels', featureOptions, device, precision } = options
  if (options.metrics !== undefined && !isList(options.metrics))
    throw invalid('metrics', 'a list of names', options.metrics)
  const metrics = [...new Set((options.metrics ?? metricNames).map((name) => oneOf('metrics', name, metricNames)))]
  if (metrics.length === 0) throw invalid('metrics', 'at least one name', metrics)
  const { data: given, training: learnt, dataOptions } = options
  for (const [
    name,
    side,
  ] of Object.entries({ samples: options.samples, data: given, ...(learnt !== undefined && { training: learnt }) })) // biome-ignore format: one line
    if (typeof side !== 'string' && typeof side?.read !== 'function')
      throw invalid(name, 'a path or specification of data, or a Dataset', side)
  if (typeof features !== 'string') {
    if (typeof features?.features !== 'function')
      throw invalid('features', "'pixels', a file or an extractor", features)
    if (featureOptions !== undefined) throw invalid('featureOptions', 'nothing beside an extractor', featureOptions)
  }
  if (dataOptions !== undefined) knownOptions('dataOptions', dataOptions, Object.keys(sideRows))
  const { samples, weights } = await samplesOf(options)
  const data = typeof given === 'string' ? await loadDataset(given, { ...dataOptions, limit, signal }) : given
  const training = typeof learnt === 'string' ? await loadDataset(learnt, { ...dataOptions, signal }) : (learnt ?? null)
  if (training && training.shape.join() !== data.shape.join())
    throw new ArgumentError(`the training data are [${training.shape}] but the data are [${data.shape}]: give resize or channels`) // biome-ignore format: one line
  if (samples.shape.join() !== data.shape.join())
    throw new ArgumentError(
      `the samples are [${samples.shape}] but the data are [${data.shape}]: give resize or channels`,
    )
  const opened =
    typeof features === 'string'
      ? await openFeatures(features, data.shape, featureOptions, { device, precision })
      : null
  const extractor = opened ?? (features as FeatureExtractor)
  try {
    if (extractor.shape.join() !== data.shape.join())
      throw new ArgumentError(`${extractor.name} is for samples of [${extractor.shape}] but these are [${data.shape}]`)
    return await measure(extractor, { samples, weights, data, training }, metrics, options, division)
  } finally {
    await opened?.dispose?.()
  }
}

async function samplesOf({ samples, weights, dataOptions, limit, signal }: EvaluateOptions) {
  const path = typeof weights === 'string' ? weights : undefined
  const given = typeof weights === 'string' ? undefined : ownWeights('weights', weights)
  if (typeof samples === 'string') {
    const loaded = await loadSamples(samples, { ...dataOptions, weights: path, limit, signal })
    return {
      samples: loaded.data,
      weights: given ?? loaded.weights,
    }
  }
  if (path !== undefined) throw new ArgumentError('weights can be a file only where the samples are: give an array')
  return { samples, weights: given ?? null }
}

interface Sides {
  samples: Dataset
  weights: Float64Array | null
  data: Dataset
  training: Dataset | null
}

async function measure(
  extractor: FeatureExtractor,
  { samples, weights, data, training }: Sides,
  metrics: readonly MetricName[],
  options: EvaluateOptions,
  division: Division,
): Promise<EvaluationResult> {
  const { signal, onProgress, limit = Infinity } = options
  const option = reader(evaluateRows, options)
  const seed = option('seed')
  const [n, m] = [Math.min(samples.size, limit), Math.min(data.size, limit)]
  if (Math.min(n, m) < LEAST)
    throw new ArgumentError(`metrics need at least ${LEAST} samples and data but there are ${n} and ${m}`)
  const wantedOnes = measures.filter(({ names }) => names.some((name) => metrics.includes(name)))
  const common = {
    seed,
    batch: option('batchSize'),
    moments: wantedOnes.some(({ moments }) => moments),
    pairs: !training && wantedOnes.every(({ moments }) => moments) ? 0 : option('pairs'),
    division,
    signal,
  }
  const total = n + m
  const progressFrom = (before: number) => (done: number) =>
    onProgress?.({ done: before + done, total, stage: 'features' })
  // weights of all samples, of which only the first are asked for
  const spare = options.limit !== undefined && weights !== null && weights.length > samples.size
  if (weights && weights.length !== samples.size && !spare)
    throw new ArgumentError(`${weights.length} weights were given for ${samples.size} samples`)
  const normalised = weights && normalisedWeights('weights', weights.subarray(0, n), n)
  const { attributes } = options
  const [shares, a, b] = await division.all([
    async () =>
      attributes && attributeShares(extractor, samples, { ...common, attributes, count: n, weights: normalised }),
    () => sideFeatures(extractor, samples, n, { ...common, side: 0, weights: normalised, onRead: progressFrom(0) }),
    () => sideFeatures(extractor, data, m, { ...common, side: 1, weights: null, onRead: progressFrom(n) }),
  ] as const)
  const values: MetricValues = {}
  const notes: string[] = []
  const { dim } = extractor
  const equal = equallyWeighted(a, dim, seed)
  const sides = { samples: a, data: b, equal, dim, seed, signal }
  for (const { names, measure } of wantedOnes) {
    const wanted = names.filter((name) => metrics.includes(name))
    onProgress?.({ done: total, total, stage: wanted.at(-1)! })
    const found = await measure(sides, wanted)
    Object.assign(values, found.values)
    if (found.note) notes.push(found.note)
  }
  if (training) onProgress?.({ done: total, total, stage: 'copies' })
  const some = (rows: Float32Array) => rows.subarray(0, MOST_COMPARED * dim)
  const copies = training
    ? await findCopies({ samples: some(equal), heldOut: some(b.rows), training, extractor, signal })
    : undefined
  const counts = { samples: n, data: m, pairs: [a.rows.length / dim, b.rows.length / dim] as const, dim }
  return {
    ...{ samples: n, data: m, weighted: weights !== null, features: extractor.name, dim, values },
    ...(shares && { attributes: shares }),
    ...(copies && { copies }),
    notes: [...notesOn(metrics, counts, normalised), ...notes],
  }
}

/** The rows drawn by their weights, as many. */
function equallyWeighted({ rows, weights }: SideFeatures, dim: number, seed: number): Float32Array {
  if (!weights) return rows
  const ancestors = resample(weights, { seed })
  return rowsAt(rows, dim, (i) => ancestors[i], 0, weights.length)
}

function notesOn(
  metrics: readonly MetricName[],
  counts: { samples: number; data: number; pairs: readonly [number, number]; dim: number },
  weights: Float64Array | null,
): string[] {
  const { samples, data, pairs } = counts
  const measureOf = (name: MetricName) => measures.find(({ names }) => names.includes(name))!
  const ofPairs = metrics.filter((name) => !measureOf(name).moments).join(', ')
  const notes = [...new Set(metrics.map(measureOf))].flatMap((measure) => measure.notes?.(counts) ?? [])
  if (ofPairs && (pairs[0] < samples || pairs[1] < data))
    notes.push(`${ofPairs}: of ${pairs[0]} samples and ${pairs[1]} data drawn at random`)
  if (weights) {
    const direct = (name: MetricName) => pairs[0] >= samples && measureOf(name).weighted
    const resampled = metrics.filter((name) => !direct(name)).join(', ')
    const ess = effectiveSampleSize(weights.map(Math.log)).toFixed(1)
    notes.push(
      `weights of effective sample size ${ess}${resampled ? `; resampled systematically for ${resampled}` : ''}`,
    )
  }
  return notes
}
