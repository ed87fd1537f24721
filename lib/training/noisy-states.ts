import { batchIndices, mirror, permutation } from '../base/order.js'
import { purpose, uniformAt } from '../base/random.js'
import { sizeOf } from '../base/shape.js'
import type { Dataset, LabelSpec } from '../data/dataset.js'
import { type Batch, type Rows, readSamples } from '../data/samples.js'
import { native, run } from '../native/addon.js'
import type { Settings } from './settings.js'

/**
 * Where a denoiser is asked, and what it is told there (docs/smoothed-targets.md). A density p_sigma^gamma lives at states of noise sigma / sqrt(gamma),
 * which noised data never show: so a share of the rows of a batch is sharpened, x = x0 + sigma / sqrt(gamma) n at the noise level sigma, with ln gamma
 * uniform up to that of SHARPEST. There x0 is no draw of the posterior at sigma any more, so targets are means of that posterior by the data
 * (`references`), which are less noisy at all other rows too: stable target fields (Xu et al. 2023, arXiv 2302.00670), here of any states. A teacher
 * knows D at any state, and needs none.
 */

/** Low temperatures that a network is asked for: gamma up to this. */
const SHARPEST = 3
/** Above the numbers of epochs: orders of the references. */
const ORDERS = 2 ** 31

/**
 * A batch whose rows are states at noise levels of their own where `states` is above 0, with the targets of all rows where they are known. augment: what
 * the network is told of how they were turned.
 */
export interface NoisyBatch extends Batch {
  augment?: Float32Array
  states?: Float64Array
  targets?: Float32Array
}

type NoisySettings = Pick<Settings, 'seed' | 'batchSize' | 'flips' | 'pMean' | 'pStd' | 'references' | 'sharpened'>

export class NoisyStates {
  /** All samples, where there are no more than references. */
  #all?: Batch
  readonly #data: Dataset
  readonly #labels: LabelSpec | null
  readonly #settings: NoisySettings
  readonly #range: { sigmaMin: number; sigmaMax: number }
  /** Entry of labels that stands for none. */
  readonly #nullClass?: number | null

  constructor(
    data: Dataset,
    labels: LabelSpec | null,
    settings: NoisySettings,
    range: { sigmaMin: number; sigmaMax: number },
    nullClass?: number | null,
  ) {
    this.#data = data
    this.#labels = labels
    this.#settings = settings
    this.#range = range
    this.#nullClass = nullClass
  }

  /** Makes states of clean samples in place: of the sharpened rows, and of all of them where there are references; of the rows `own` alone. */
  async of(batch: Batch, step: number, own: readonly Rows[]): Promise<NoisyBatch> {
    const { seed, batchSize: rows, pMean, pStd, references, sharpened } = this.#settings
    const { sigmaMin, sigmaMax } = this.#range
    const { x0 } = batch
    const d = sizeOf(this.#data.shape)
    const draw = (row: number, index: number) => uniformAt(seed, purpose.sharpened, step, row, index)
    const z = new Float32Array(rows)
    native.normals(z, rows, seed, purpose.sigma, step)
    const noise = new Float32Array(rows * d)
    for (const { first, last } of own)
      native.normals(noise.subarray(first * d, last * d), last - first, seed, purpose.noise, step, first)
    const targets = references > 0 ? x0.slice() : undefined
    const sigma = z.map((value) => Math.min(Math.max(Math.exp(pMean + pStd * value), sigmaMin), sigmaMax))
    const states = new Float64Array(rows)
    const inner = Float64Array.from(sigma)
    for (let row = 0; row < rows; row++) {
      const sharp = draw(row, 0) < sharpened
      if (sharp) inner[row] = sigma[row]! * SHARPEST ** (-draw(row, 1) / 2)
      if (!sharp && !targets) continue
      states[row] = sigma[row]!
    }
    for (const row of listed(own)) {
      if (states[row] === 0) continue
      for (let p = row * d; p < (row + 1) * d; p++) x0[p] = x0[p]! + inner[row]! * noise[p]!
    }
    if (targets) await this.#average(targets, batch, states, inner, step, own)
    return { ...batch, states, targets }
  }

  async #average(
    targets: Float32Array,
    { x0, labels }: Batch,
    sigma: Float64Array,
    inner: Float64Array,
    step: number,
    rows: readonly Rows[],
  ) {
    const { seed, batchSize, references } = this.#settings
    const count = Math.min(references, this.#data.size)
    const order = count < this.#data.size ? permutation(seed, ORDERS + step, this.#data.size) : (i: number) => i
    const indices = Int32Array.from({ length: count }, (_, i) => order(i))
    const known = await this.#read(indices, step)
    const own = batchIndices(seed, step, batchSize, this.#data.size)
    const matches = new Uint8Array(batchSize * count)
    const dims = labels ? labels.length / batchSize : 0
    for (const row of listed(rows)) {
      const asked: number[] = []
      for (let l = 0; l < dims; l++) if (labels![row * dims + l]! !== 0 && l !== this.#nullClass) asked.push(l)
      for (let i = 0; i < count; i++)
        if (indices[i] !== own[row] && asked.every((l) => known.labels![i * dims + l] !== 0))
          matches[row * count + i] = 1
    }
    const d = sizeOf(this.#data.shape)
    for (const { first, last } of rows) {
      const of = <T extends Float32Array | Float64Array | Uint8Array>(array: T, width: number) =>
        array.subarray(first * width, last * width) as T
      await run(() =>
        native.posteriorMeans({
          targets: of(targets, d),
          states: of(x0, d),
          sigma: of(sigma, 1),
          inner: of(inner, 1),
          references: known.x0,
          matches: of(matches, count),
        }),
      )
    }
  }

  async #read(indices: Int32Array, step: number): Promise<Batch> {
    if (this.#all) return this.#all
    const { seed, flips } = this.#settings
    const width = this.#data.shape.at(-1)!
    const read = await readSamples(this.#data, this.#labels, indices, (row, x0) => {
      if (x0 && flips && uniformAt(seed, purpose.sharpened, step, 2 ** 31 + row, 0) >= 0.5) mirror(x0, width)
    })
    if (!flips && indices.length === this.#data.size) this.#all = read
    return read
  }
}

function* listed(ranges: readonly Rows[]): Generator<number> {
  for (const { first, last } of ranges) for (let row = first; row < last; row++) yield row
}
