import { batchIndices, dropLabels, flipped, mirror } from '../base/order.js'
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
  readonly #settings: Pick<Settings, 'seed' | 'batchSize' | 'flips' | 'labelDropout'>
  /** Entry that is set where a label has been left out; without it, none. */
  readonly #nullClass?: number | null
  /** Makes states of some samples, or of all. */
  readonly #noisy?: NoisyStates

  constructor(
    data: Dataset,
    labels: LabelSpec | null,
    settings: Pick<Settings, 'seed' | 'batchSize' | 'flips' | 'labelDropout'>,
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
    const { seed, batchSize, flips, labelDropout } = this.#settings
    const width = data.shape.at(-1)!
    const indices = batchIndices(seed, step, batchSize, data.size)
    const batch = await readSamples(
      data,
      labels,
      indices,
      (row, x0, label) => {
        if (x0 && flips && flipped(seed, step, row)) mirror(x0, width)
        if (label && labelDropout > 0) dropLabels(label, blocks, labelDropout, seed, step, row)
        if (label && typeof nullClass === 'number' && label.every((v) => v === 0)) label[nullClass] = 1
      },
      this.#buffers[step % 2],
      own,
    )
    this.#buffers[step % 2] = batch
    return this.#noisy ? this.#noisy.of(batch, step, own) : batch
  }
}
