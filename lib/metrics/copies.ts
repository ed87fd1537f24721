import type { Dataset } from '../data/dataset.js'
import { readSamples } from '../data/samples.js'
import { type Block, distanceBlocks } from './blocks.js'
import type { FeatureExtractor } from './extractor.js'
import { nearestSquares } from './manifolds.js'

/**
 * Whether samples are copies of what a model was trained on: whether they are nearer to it than samples of the data are that it was not
 * trained on, which a perfect model's would be as near as.
 */
export interface CopiesResult {
  /** Numbers of samples, and of samples held out (or, where none were, of the training set: each is compared with the others). */
  samples: number
  reference: number
  heldOut: boolean
  /** Median distance to the nearest training sample, root mean square over the features. */
  sampleDistance: number
  referenceDistance: number
  /** Shares that are nearer than half of `referenceDistance`. */
  sampleShare: number
  referenceShare: number
  copies: boolean
  /** All that in a sentence. */
  text: string
}

export interface CopiesOptions {
  /** Features [n, dim]. */
  samples: Float32Array
  /** Features of samples of the data that the model was not trained on; null: there are none. */
  heldOut: Float32Array | null
  training: Dataset
  extractor: FeatureExtractor
  signal?: AbortSignal
}

/** So much more of the samples than of the reference must be near for them to be called copies. */
const EXCESS = 0.1
/** Training samples that are read at a time. */
const BATCH = 128

/** heldOut null: training samples are compared with each other, so there should be few of them. Throws the signal's reason when aborted. */
export async function findCopies({
  samples,
  heldOut,
  training,
  extractor,
  signal,
}: CopiesOptions): Promise<CopiesResult> {
  const { dim } = extractor
  const points = heldOut ? joined(samples, heldOut) : samples
  const squares = new Float64Array(points.length / dim).fill(Infinity)
  const all: Float32Array[] = []
  for (let first = 0; first < training.size; first += BATCH) {
    const rows = Int32Array.from({ length: Math.min(BATCH, training.size - first) }, (_, i) => first + i)
    const { x0 } = await readSamples(training, null, rows)
    const features = await extractor.features(x0, { signal })
    if (!heldOut) all.push(features)
    for await (const block of distanceBlocks(points, features, dim, signal)) nearer(squares, block)
  }
  const count = samples.length / dim
  const found = roots(squares.subarray(0, count), dim)
  const reference = roots(heldOut ? squares.subarray(count) : await nearestSquares(joined(...all), dim, 1, signal), dim)
  return judged(found, reference, heldOut !== null)
}

/** squares[i]: the smallest so far, and in this block, of point i. */
function nearer(squares: Float64Array, { first, rows, columns, values }: Block): void {
  for (let i = 0; i < rows; i++)
    for (let j = 0; j < columns; j++) squares[first + i] = Math.min(squares[first + i], values[i * columns + j])
}

function judged(found: Float64Array, reference: Float64Array, heldOut: boolean): CopiesResult {
  const referenceDistance = median(reference)
  const near = (distances: Float64Array) => distances.filter((d) => d < referenceDistance / 2).length / distances.length
  const [sampleShare, referenceShare] = [near(found), near(reference)]
  const deviation = (share: number, n: number) => (share * (1 - share)) / n
  const error = Math.sqrt(deviation(sampleShare, found.length) + deviation(referenceShare, reference.length))
  const copies = sampleShare - referenceShare > Math.max(EXCESS, 2 * error)
  const percent = (share: number) => `${Math.round(100 * share)} %`
  const others = heldOut ? 'pictures held out' : 'training pictures, each compared with the others'
  const text =
    `${percent(sampleShare)} of ${found.length} samples are close to a training picture, ` +
    `and ${percent(referenceShare)} of ${others} (close: nearer than half of the usual distance)`
  return {
    samples: found.length,
    reference: reference.length,
    heldOut,
    sampleDistance: median(found),
    referenceDistance,
    sampleShare,
    referenceShare,
    copies,
    text: `${copies ? 'samples are copies of training pictures' : 'no sign of copies'}: ${text}`,
  }
}

const roots = (squares: Float64Array, dim: number) => squares.map((square) => Math.sqrt(square / dim))

function median(values: Float64Array): number {
  const sorted = values.slice().sort()
  const middle = sorted.length >> 1
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

function joined(...parts: Float32Array[]): Float32Array {
  const whole = new Float32Array(parts.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
}
