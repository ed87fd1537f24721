import { ArgumentError } from '../base/errors.js'
import { sizeOf } from '../base/shape.js'
import type { Denoiser } from '../models/denoiser.js'
import { EnergyModel } from '../models/energy.js'
import { type Labels, labelSpecOf, resolveLabels } from '../models/labels.js'
import type { EnergyFunction } from '../smc/energy-function.js'
import type { DenoiserFunction } from '../smc/samplers.js'

/**
 * One model for many runs at once. Calls that come while the model works wait, and go together as one batch when it is free, whatever their noise
 * levels and labels, which it takes one for each sample. Answers do not depend on batches, so that they have the same bits as alone.
 */

/** What a run that is alone waits for others, as a share of the last batch's time, and at most: runs that go in step meet again. */
const [SHARE, LONGEST_MS] = [0.25, 20]

export interface MergeOptions {
  /** Samples of one batch, at most, unless one call alone has more. */
  rows: number
  /** Told of each batch. */
  onBatch?: (batch: { calls: number; rows: number; ms: number }) => void
}

type Job = 'energyGrad' | 'denoise'

interface Answer {
  energy?: Float64Array
  out: Float32Array
}

interface Call {
  job: Job
  x: Float32Array
  sigma: number
  labels: Float32Array | undefined
  signal?: AbortSignal
  resolve(answer: Answer): void
  reject(reason: unknown): void
}

export class MergedModel {
  #waiting: Call[] = []
  #working = false
  #timer: NodeJS.Timeout | undefined
  #lastMs = 0
  /** Runs that have the model now: batches wait a little for all of them. */
  users = 0

  constructor(
    readonly model: EnergyModel | Denoiser,
    readonly options: MergeOptions,
  ) {}

  /** The energy of p(x | labels). Throws ArgumentError for a denoiser, and for labels that the model does not have. */
  conditioned(labels?: Labels): EnergyFunction {
    const { model } = this
    if (!(model instanceof EnergyModel))
      throw new ArgumentError('a denoiser has no energy to compose and weigh: distil it first (feynkac distill)')
    const { calibration, shape, latent } = model.conditioned(labels)
    return {
      shape,
      calibration,
      learnt: true,
      latent,
      energyGrad: async (x, sigma, { signal } = {}) => {
        const { energy, out } = await this.#call('energyGrad', x, sigma, labels, signal)
        return { energy: energy!, grad: out }
      },
    }
  }

  /** The denoiser, with labels at each call. */
  denoiser(): DenoiserFunction & { labelDim: number } {
    const { shape, labelDim } = this.model
    return {
      shape,
      labelDim,
      denoise: async (x, sigma, options = {}) => {
        const { signal, labels } = options as { signal?: AbortSignal; labels?: Labels }
        return (await this.#call('denoise', x, sigma, labels, signal)).out
      },
    }
  }

  #call(job: Job, x: Float32Array, sigma: number, given?: Labels, signal?: AbortSignal): Promise<Answer> {
    const { info, labelDim } = this.model
    const labels = resolveLabels(given, labelSpecOf(info), labelDim, x.length / sizeOf(this.model.shape))
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted()
      const call: Call = { job, x, sigma, labels, signal, resolve, reject }
      // those who wait leave the queue at once; of a batch that runs, the answer is thrown away
      const abort = () => {
        this.#waiting = this.#waiting.filter((other) => other !== call)
        reject(signal!.reason)
      }
      signal?.addEventListener('abort', abort, { once: true })
      const done = () => signal?.removeEventListener('abort', abort)
      call.resolve = (answer) => {
        done()
        resolve(answer)
      }
      call.reject = (reason) => {
        done()
        reject(reason)
      }
      this.#waiting.push(call)
      this.#plan()
    })
  }

  /** Starts a batch, or waits for the other users. */
  #plan(): void {
    if (this.#working || this.#waiting.length === 0) return
    if (this.#waiting.length >= this.users) this.#start()
    else this.#timer ??= setTimeout(() => this.#start(), Math.min(LONGEST_MS, SHARE * this.#lastMs))
  }

  #start(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    if (this.#working || this.#waiting.length === 0) return
    this.#working = true
    void this.#work()
  }

  async #work(): Promise<void> {
    const batch = this.#take()
    const began = performance.now()
    try {
      const answers = await this.#evaluate(batch)
      for (const [i, call] of batch.entries()) call.resolve(answers[i]!)
    } catch (error) {
      for (const call of batch) call.reject(error)
    } finally {
      this.#lastMs = performance.now() - began
      const rows = batch.reduce((sum, { x }) => sum + x.length, 0) / sizeOf(this.model.shape)
      this.options.onBatch?.({ calls: batch.length, rows, ms: this.#lastMs })
      this.#working = false
      this.#plan()
    }
  }

  /** The first call that waits, and others of its job in their order, as many as a batch holds. */
  #take(): Call[] {
    const one = sizeOf(this.model.shape)
    const { job } = this.#waiting[0]!
    const batch: Call[] = []
    let rows = 0
    this.#waiting = this.#waiting.filter((call) => {
      const more = call.x.length / one
      if (call.job !== job || (batch.length > 0 && rows + more > this.options.rows)) return true
      batch.push(call)
      rows += more
      return false
    })
    return batch
  }

  async #evaluate(batch: readonly Call[]): Promise<Answer[]> {
    const { model } = this
    const one = sizeOf(model.shape)
    const numbers = batch.reduce((sum, { x }) => sum + x.length, 0)
    const x = new Float32Array(numbers)
    const sigmas = new Float64Array(numbers / one)
    const labels = batch.some((call) => call.labels) ? new Float32Array(sigmas.length * model.labelDim) : undefined
    let at = 0
    for (const call of batch) {
      x.set(call.x, at)
      sigmas.fill(call.sigma, at / one, (at + call.x.length) / one)
      if (call.labels) labels!.set(call.labels, (at / one) * model.labelDim)
      at += call.x.length
    }
    // the batch ends with the last who wants it
    const stop = new AbortController()
    const wanted = () => {
      if (batch.every(({ signal }) => signal?.aborted)) stop.abort(new Error('nobody wants the batch any more'))
    }
    for (const { signal } of batch) signal?.addEventListener('abort', wanted)
    try {
      const given = { ...(labels && { labels }), signal: stop.signal }
      const whole: Answer =
        batch[0]!.job === 'denoise'
          ? { out: await model.denoise(x, sigmas, given) }
          : await (model as EnergyModel)
              .energyGrad(x, sigmas, given)
              .then(({ energy, grad }) => ({ energy, out: grad }))
      let first = 0
      return batch.map((call) => {
        const last = first + call.x.length
        const answer: Answer = { out: whole.out.slice(first, last) }
        if (whole.energy) answer.energy = whole.energy.slice(first / one, last / one)
        first = last
        return answer
      })
    } finally {
      for (const { signal } of batch) signal?.removeEventListener('abort', wanted)
    }
  }
}
