import { setImmediate as breathe } from 'node:timers/promises'
import { sizeOf } from '../base/shape.js'
import { type Dataset, encodeLabel, type LabelSpec, labelDim } from './dataset.js'

/** A step's clean samples [batch, ...shape] and, where the network is conditional, their label vectors. */
export interface Batch {
  x0: Float32Array
  labels?: Float32Array
}

/** Numbers copied between two turns of the event loop: about a millisecond. */
const PIECE_NUMBERS = 2 ** 18

/** Rows of a batch: first .. last - 1. */
export interface Rows {
  first: number
  last: number
}

/**
 * Reads samples and, with a LabelSpec, their label vectors; lets the event loop run in between. `own`: the rows that are wanted, of which
 * there is more than the label vector, ascending and apart.
 */
export async function readSamples(
  data: Dataset,
  labels: LabelSpec | null,
  indices: Int32Array,
  onRow?: (row: number, x0: Float32Array | undefined, label: Float32Array | undefined) => void,
  into?: Batch,
  own: readonly Rows[] = [{ first: 0, last: indices.length }],
): Promise<Batch> {
  const size = sizeOf(data.shape)
  const dims = labelDim(labels)
  const batch = into ?? {
    x0: new Float32Array(indices.length * size),
    ...(labels && { labels: new Float32Array(indices.length * dims) }),
  }
  let copied = 0
  let part = 0
  for (let row = 0; row < indices.length; row++) {
    const index = indices[row]!
    while (part < own.length && row >= own[part]!.last) part++
    const isOwn = part < own.length && row >= own[part]!.first
    if (isOwn) data.read(index, batch.x0, row * size)
    if (labels) encodeLabel(labels, data.label(index), batch.labels!, row * dims)
    const x0 = isOwn ? batch.x0.subarray(row * size, (row + 1) * size) : undefined
    onRow?.(row, x0, batch.labels?.subarray(row * dims, (row + 1) * dims))
    copied += isOwn ? size : dims
    if (copied < PIECE_NUMBERS) continue
    copied = 0
    await breathe()
  }
  return batch
}
