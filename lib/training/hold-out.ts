import { invalid } from '../base/errors.js'
import { permutation } from '../base/order.js'
import type { Dataset } from '../data/dataset.js'

/** Images that a run is not trained on, so that what it learns can be measured on them. */

/** Not the number of an epoch: the split shares no permutation with the batches. */
const SPLIT = 0xfffffffe

export interface Split {
  training: Dataset
  /** Indices of the others. */
  held: Int32Array
}

/** Holds a share of the samples out, chosen by the seed; 0: none. Throws ArgumentError where nothing would be left to train on. */
export function holdOut(data: Dataset, share: number, seed: number): Split {
  const count = Math.min(data.size, Math.ceil(share * data.size))
  if (count === data.size) throw invalid('holdOut', `a share that leaves some of ${data.size} samples`, share)
  const indices = shuffled(data, seed)
  return { training: subset(data, indices.slice(count).sort()), held: indices.slice(0, count) }
}

/**
 * Parts of a data set that have no sample in common, chosen by the seed. shares: of each part, above 0; they sum to 1. Throws ArgumentError
 * where a part would be empty.
 */
export function splitData(data: Dataset, shares: readonly number[], seed: number): Dataset[] {
  const indices = shuffled(data, seed)
  const upTo = (count: number) => shares.slice(0, count).reduce((sum, share) => sum + share, 0)
  const ends = shares.map((_, i) => Math.round(upTo(i + 1) * data.size))
  return ends.map((end, i) => {
    const part = indices.slice(ends[i - 1] ?? 0, end).sort()
    if (part.length === 0) throw invalid('data', `enough samples for ${shares.length} parts`, data.size)
    return subset(data, part)
  })
}

function shuffled(data: Dataset, seed: number): Int32Array {
  const order = permutation(seed, SPLIT, data.size)
  return Int32Array.from({ length: data.size }, (_, i) => order(i))
}

/** Those of a data set's samples, in this order; they are not of its origin, which is of all. */
function subset(data: Dataset, indices: Int32Array): Dataset {
  return {
    name: data.name,
    size: indices.length,
    shape: data.shape,
    labels: data.labels,
    latent: data.latent,
    decoder: data.decoder,
    read: (index, out, offset) => data.read(indices[index], out, offset),
    label: (index) => data.label(indices[index]),
  }
}
