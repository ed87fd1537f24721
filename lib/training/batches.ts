import { setImmediate as breathe } from 'node:timers/promises'
import { batchIndices, dropLabels, flipped, mirror } from '../base/order.js'
import { type Dataset, encodeLabel, type LabelSpec, labelDim } from '../data/dataset.js'
import type { Settings } from './settings.js'

/** A step's clean samples [batch, ...shape] and, where the network is conditional, their label vectors. */
export interface Batch {
  x0: Float32Array
  labels?: Float32Array
}

/** Numbers copied between two turns of the event loop: about a millisecond. */
const pieceNumbers = 2 ** 18

/** Reads samples and, with a LabelSpec, their label vectors; lets the event loop run in between. */
export async function readSamples(
  data: Dataset,
  labels: LabelSpec | null,
  indices: Int32Array,
  onRow?: (row: number, x0: Float32Array, label: Float32Array | undefined) => void,
  into?: Batch,
): Promise<Batch> {
  const size = data.shape.reduce((product, extent) => product * extent, 1)
  const dims = labelDim(labels)
  const batch = into ?? {
    x0: new Float32Array(indices.length * size),
    ...(labels && { labels: new Float32Array(indices.length * dims) }),
  }
  let copied = 0
  for (let row = 0; row < indices.length; row++) {
    const index = indices[row]!
    data.read(index, batch.x0, row * size)
    if (labels) encodeLabel(labels, data.label(index), batch.labels!, row * dims)
    onRow?.(row, batch.x0.subarray(row * size, (row + 1) * size), batch.labels?.subarray(row * dims, (row + 1) * dims))
    copied += size
    if (copied < pieceNumbers) continue
    copied = 0
    await breathe()
  }
  return batch
}

/** The batches of a run. A batch stays valid while the one after it is prepared: two buffers take turns. */
export class Batches {
  private readonly buffers: (Batch | undefined)[] = [undefined, undefined]
  private readonly blocks: number[]

  constructor(
    private readonly data: Dataset,
    private readonly labels: LabelSpec | null,
    private readonly settings: Pick<Settings, 'seed' | 'batchSize' | 'flips' | 'labelDropout'>,
    /** Entry that is set where a label has been left out; without it, none. */
    private readonly nullClass?: number | null,
  ) {
    this.blocks = labels?.attributes.map(({ size }) => size) ?? []
  }

  /** The samples of a step, a function of the seed and the step alone. */
  async prepare(step: number): Promise<Batch> {
    const { data, labels, blocks, nullClass } = this
    const { seed, batchSize, flips, labelDropout } = this.settings
    const width = data.shape.at(-1)!
    const indices = batchIndices(seed, step, batchSize, data.size)
    const batch = await readSamples(
      data,
      labels,
      indices,
      (row, x0, label) => {
        if (flips && flipped(seed, step, row)) mirror(x0, width)
        if (label && labelDropout > 0) dropLabels(label, blocks, labelDropout, seed, step, row)
        if (label && typeof nullClass === 'number' && label.every((v) => v === 0)) label[nullClass] = 1
      },
      this.buffers[step % 2],
    )
    this.buffers[step % 2] = batch
    return batch
  }
}
