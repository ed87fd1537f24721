import { batchIndices, dropLabels, flipped, mirror, turnAt, turnImage, turnsOf } from '../base/order.js'
import { sizeOf } from '../base/shape.js'
import type { Dataset, LabelSpec } from '../data/dataset.js'
import { type Batch, type Rows, readSamples } from '../data/samples.js'
import type { NoisyBatch, NoisyStates } from './noisy-states.js'
import type { Settings } from './settings.js'

/** The batches of a run. A batch stays valid while the one after it is prepared: two buffers take turns. */
export class Batches {
  readonly #buffers: (Batch | undefined)[] = [undefined, undefined]
  readonly #blocks: number[]
  readonly #data: Dataset
  readonly #labels: LabelSpec | null
  readonly #settings: Pick<Settings, 'seed' | 'batchSize' | 'flips' | 'labelDropout'> &
    Partial<Pick<Settings, 'augment'>>
  /** Entry that is set where a label has been left out; without it, none. */
  readonly #nullClass?: number | null
  /** Makes states of some samples, or of all. */
  readonly #noisy?: NoisyStates

  constructor(
    data: Dataset,
    labels: LabelSpec | null,
    settings: Pick<Settings, 'seed' | 'batchSize' | 'flips' | 'labelDropout'> & Partial<Pick<Settings, 'augment'>>,
    nullClass?: number | null,
    noisy?: NoisyStates,
  ) {
    this.#data = data
    this.#labels = labels
    this.#settings = settings
    this.#nullClass = nullClass
    this.#noisy = noisy
    this.#blocks = labels?.attributes.map(({ size }) => size) ?? []
  }

  /**
   * The samples of a step, a function of the seed and the step alone. `own`: rows outside of these are another rank's, and have labels and noise
   * levels alone: their x0 is what it was.
   */
  async prepare(
    step: number,
    own: readonly Rows[] = [{ first: 0, last: this.#settings.batchSize }],
  ): Promise<NoisyBatch> {
    const [data, labels, blocks, nullClass] = [this.#data, this.#labels, this.#blocks, this.#nullClass]
    const { seed, batchSize, flips, labelDropout, augment = 0 } = this.#settings
    const turns = augment > 0 ? turnsOf(data.shape) : 0
    const turnOf = (row: number) => (turns > 0 ? turnAt(turns, augment, seed, step, row) : 0)
    const width = data.shape.at(-1)!
    const indices = batchIndices(seed, step, batchSize, data.size)
    const batch = await readSamples(
      data,
      labels,
      indices,
      (row, x0, label) => {
        if (x0 && flips && flipped(seed, step, row)) mirror(x0, width)
        if (label && labelDropout > 0) dropLabels(label, blocks, labelDropout, seed, step, row)
        if (label && turnOf(row) > 0) label.fill(0) // they may say where things are
        if (label && typeof nullClass === 'number' && label.every((v) => v === 0)) label[nullClass] = 1
      },
      this.#buffers[step % 2],
      own,
    )
    this.#buffers[step % 2] = batch
    const found = this.#noisy ? await this.#noisy.of(batch, step, own) : batch
    return turns > 0 ? { ...found, augment: this.#turned(found, turns, turnOf, own) } : found
  }

  /** Turns states and targets, as noise has no direction; gives what the network is told, one entry for each turn. */
  #turned({ x0, targets }: NoisyBatch, turns: number, turnOf: (row: number) => number, own: readonly Rows[]) {
    const { shape } = this.#data
    const size = sizeOf(shape)
    const augment = new Float32Array(this.#settings.batchSize * turns)
    for (let row = 0; row < this.#settings.batchSize; row++) {
      const turn = turnOf(row)
      if (turn === 0) continue
      augment[row * turns + turn - 1] = 1
      if (!own.some(({ first, last }) => row >= first && row < last)) continue
      for (const images of targets ? [x0, targets] : [x0])
        turnImage(images.subarray(row * size, (row + 1) * size), shape, turn)
    }
    return augment
  }
}
