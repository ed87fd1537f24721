import { purpose } from '../base/random.js'
import type { Dataset, LabelSpec } from '../data/dataset.js'
import { readSamples } from '../data/samples.js'
import type { Denoiser } from '../models/denoiser.js'
import type { EnergyModel } from '../models/energy.js'
import { native, run } from '../native/addon.js'
import type { ParameterSlot } from '../native/types.js'
import { preconditioningAt } from '../networks/preconditioning.js'
import type { Settings } from './settings.js'

/** The loss on samples that a run is not trained on. */

/** A step that no training run reaches: noise of the measurement is shared with none. */
const STEP = 0xffffffff
/** How often a run is measured: cheap enough, and often enough to see it turn. */
export const MEASUREMENTS = 10
/** Share of the run's images that one measurement evaluates, so that all ten cost some three in a hundred of the training. */
const SHARE = 0.01
const [FEWEST, MOST] = [16, 512]
/** Samples that are noised and denoised at a time. */
const BATCH = 64

type Model = Denoiser | EnergyModel

export interface HeldOutOptions {
  data: Dataset
  /** Indices of the samples held out; not empty. */
  held: Int32Array
  /** What the network is given of them. */
  labels: LabelSpec | null
  /** Its answer is the target, not the clean sample. */
  teacher?: Denoiser
  /** Images of the run. */
  images: number
  settings: Pick<Settings, 'seed' | 'pMean' | 'pStd'>
  /** Noise levels that the network can be told. */
  range: { sigmaMin: number; sigmaMax: number }
  signal?: AbortSignal
}

/**
 * Mean of lambda(sigma) ||D(x) - target||^2 / d over held-out samples by the averaged weights, with all their labels: what training
 * minimises, at noise and noise levels that are the same in every measurement, so that what changes is the model.
 */
export class HeldOutLoss {
  /** Noised samples; a sample may be among them several times. */
  readonly count: number

  readonly #options: HeldOutOptions

  constructor(options: HeldOutOptions) {
    this.#options = options
    this.count = Math.min(MOST, Math.max(FEWEST, Math.ceil(SHARE * options.images)))
  }

  async measure(model: Model): Promise<number> {
    return withAverage(model, async () => {
      let sum = 0
      for (let first = 0; first < this.count; first += BATCH) sum += await this.#part(model, first)
      return sum / this.count
    })
  }

  /** Sum over the noised samples from `first` on. */
  async #part(model: Model, first: number): Promise<number> {
    const { data, held, labels: spec, teacher, settings, range, signal } = this.#options
    const n = Math.min(BATCH, this.count - first)
    const indices = Int32Array.from({ length: n }, (_, i) => held[(first + i) % held.length]!)
    const { x0, labels } = await readSamples(data, spec, indices)
    const size = x0.length / n
    const normals = new Float32Array(n * (size + 1))
    native.normals(normals, n, settings.seed, purpose.noise, STEP - first)
    const sigmas = Float64Array.from({ length: n }, (_, i) => {
      const sigma = Math.exp(settings.pMean + settings.pStd * normals[i * (size + 1)]!)
      return Math.min(range.sigmaMax, Math.max(range.sigmaMin, sigma))
    })
    const x = x0.map((v, k) => v + sigmas[Math.floor(k / size)]! * normals[k + Math.floor(k / size) + 1]!)
    const found = await model.denoise(x, sigmas, { labels, signal })
    const known = teacher && teacher.labelDim > 0 ? labels : undefined
    const target = teacher ? await teacher.denoise(x, sigmas, { labels: known, signal }) : x0
    let sum = 0
    for (let i = 0; i < n; i++) {
      const { cOut } = preconditioningAt(model.info.preconditioning, sigmas[i]!)
      let square = 0
      for (let k = i * size; k < (i + 1) * size; k++) square += (found[k]! - target[k]!) ** 2
      sum += square / (cOut * cOut * size)
    }
    return sum
  }
}

/** Runs `use` while the model's weights are the averaged ones. */
async function withAverage<T>({ network }: Model, use: () => Promise<T>): Promise<T> {
  const [own, average] = [0, 0].map(() => new Float32Array(network.parameterCount()))
  const read = (slot: ParameterSlot, values: Float32Array) => run(() => network.read(slot, values))
  await read('params', own!)
  await read('ema', average!)
  await run(() => network.write('params', average!))
  try {
    return await use()
  } finally {
    await run(() => network.write('params', own!))
  }
}
