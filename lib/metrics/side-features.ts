import { setImmediate as breathe } from 'node:timers/promises'
import { float32Array } from '../base/args.js'
import { requireMemory } from '../base/memory.js'
import { permutation } from '../base/order.js'
import { sizeOf } from '../base/shape.js'
import type { Dataset } from '../data/dataset.js'
import type { Division } from '../ranks/division.js'
import { resample } from '../smc/resampling.js'
import type { FeatureExtractor } from './extractor.js'
import { normalisedWeights, rowsAt } from './inputs.js'
import { FeatureMoments } from './moments.js'

/** What metrics need of one side of a comparison. */
export interface SideFeatures {
  /** Features of all samples; of weighted ones, resampled. */
  moments: FeatureMoments | null
  /** Features of a random choice of samples, [at most pairs, dim]; of more weighted samples than that, by their weights. */
  rows: Float32Array
  /** Weights of the rows, with sum 1; null where they are equal. */
  weights: Float64Array | null
}

export interface SideOptions {
  /** 0 and 1: the two sides are read in different orders. */
  side: number
  /** Weights of all n samples, with sum 1. */
  weights: Float64Array | null
  moments: boolean
  pairs: number
  batch: number
  seed: number
  /** Who computes the features of which batch. */
  division: Division
  signal?: AbortSignal
  /** Told how many samples have been read. */
  onRead: (done: number) => void
}

/** Reads the first n samples of a data set in random order, batch by batch, and no more of them than are needed. */
export async function sideFeatures(
  extractor: FeatureExtractor,
  data: Dataset,
  n: number,
  { side, weights, moments: wantsMoments, pairs, batch, seed, division, signal, onRead }: SideOptions,
): Promise<SideFeatures> {
  const { dim } = extractor
  const kept = Math.min(n, pairs)
  requireMemory(4 * kept * dim, `features of ${kept} samples`)
  const rows = new Float32Array(kept * dim)
  const moments = wantsMoments ? new FeatureMoments(dim) : null
  const order = permutation(seed, side, n)
  const ordered = weights && Float64Array.from(weights, (_, i) => weights[order(i)])
  const offspring = ordered && wantsMoments ? countAll(resample(ordered, { seed }), n) : null
  // a uniform choice may hold next to nothing of the weight
  const chosen = ordered && kept > 0 && kept < n ? countAll(resample(ordered, { n: kept, seed }), n) : null
  const width = sizeOf(data.shape)
  const wanted = wantsMoments || chosen ? n : kept
  const featuresFrom = async (first: number) => {
    const count = Math.min(batch, wanted - first)
    const images = new Float32Array(count * width)
    for (let i = 0; i < count; i++) data.read(order(first + i), images, i * width)
    const features = await extractor.features(images, { signal })
    return float32Array(`features of ${extractor.name}`, features, count * dim)
  }
  let [first, filled] = [0, 0]
  for await (const features of division.stream(startsOf(wanted, batch), featuresFrom)) {
    const count = features.length / dim
    const taken = chosen
      ? repeat(features, dim, chosen.subarray(first, first + count))
      : features.subarray(0, Math.min(count, kept - filled / dim) * dim)
    rows.set(taken, filled)
    filled += taken.length
    const repeated = offspring ? repeat(features, dim, offspring.subarray(first, first + count)) : features
    if (repeated.length > 0) await moments?.add(repeated, { signal })
    first += count
    onRead(first)
    await breathe()
    signal?.throwIfAborted()
  }
  if (wanted < n) onRead(n)
  // for moments alone no rows are kept
  const keptWeights = ordered && !chosen && kept > 0 ? normalisedWeights('weights', ordered, kept) : null
  return { moments, rows, weights: keptWeights }
}

/** Where batches begin. */
export function startsOf(count: number, batch: number): number[] {
  return Array.from({ length: Math.ceil(count / batch) }, (_, i) => i * batch)
}

function countAll(indices: Int32Array, n: number): Int32Array {
  const counts = new Int32Array(n)
  for (const index of indices) counts[index]++
  return counts
}

/** Every row as often as its count says. */
function repeat(rows: Float32Array, dim: number, counts: Int32Array): Float32Array {
  const indices: number[] = []
  counts.forEach((count, row) => {
    for (let c = 0; c < count; c++) indices.push(row)
  })
  return rowsAt(rows, dim, (i) => indices[i], 0, indices.length)
}
