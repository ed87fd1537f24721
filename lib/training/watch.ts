/** What is watched while training: the running median of the loss, divergence, and the loss per noise level. */

const WINDOW_STEPS = 101
const FEWEST_MEANS = 3
const RECENT_STEPS = 5
const FEWEST_SAMPLES = 64

/**
 * Running median of the loss over the last 101 steps. With small batches one step's loss is mostly noise, so what is
 * compared with the median, and enters it, is the mean over the last 64 samples or more. An energy may be wrong by hundreds of times its
 * median at a single sample, and well a step later: most of the last five steps must be so bad, or one beyond all measure. Losses near 0 may grow many times
 * over without harm: the loss of a network that is always 0 is about 1.
 */
export class LossWatch {
  readonly #averaged: number

  /** losses, means: as `state()` of an earlier run gave them. smallest: a median below it counts as it. */
  readonly #limit: number
  readonly #losses: number[]
  readonly #means: number[]
  readonly #smallest: number

  constructor(batchSize: number, limit: number, losses: number[] = [], means: number[] = [], smallest = 1e-3) {
    this.#limit = limit
    this.#losses = losses
    this.#means = means
    this.#smallest = smallest
    this.#averaged = Math.ceil(FEWEST_SAMPLES / batchSize)
  }

  /** Takes one step's loss in; true: losses are above `limit` times the running median, or it is not finite. */
  diverged(loss: number): boolean {
    if (!Number.isFinite(loss)) return true
    this.#losses.push(loss)
    if (this.#losses.length > Math.max(this.#averaged, RECENT_STEPS)) this.#losses.shift()
    if (this.#losses.length < this.#averaged) return false
    const mean = this.#losses.slice(-this.#averaged).reduce((sum, value) => sum + value, 0) / this.#averaged
    const bad = this.#limit * Math.max(this.#smallest, this.median())
    const steps = this.#losses.slice(-RECENT_STEPS).filter((value) => value > bad).length
    const lasting = steps > RECENT_STEPS / 2 || loss > this.#limit ** 2 * bad
    const above = this.#means.length >= FEWEST_MEANS && mean > bad && lasting
    this.#means.push(mean)
    if (this.#means.length > WINDOW_STEPS) this.#means.shift()
    return above
  }

  /** The running median: of the losses so far where there are fewer than one mean needs; NaN before the first step. */
  median(): number {
    const sorted = [...(this.#means.length ? this.#means : this.#losses)].sort((a, b) => a - b)
    const middle = sorted.length >> 1
    return sorted.length % 2 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
  }

  state(): { losses: number[]; means: number[] } {
    return { losses: [...this.#losses], means: [...this.#means] }
  }
}

const BINS = 10

/** The edges between the bins. */
const edge = (i: number, { pMean, pStd }: { pMean: number; pStd: number }) => Math.exp(pMean + (i - BINS / 2) * (pStd / 2)).toPrecision(3) // biome-ignore format: one line

/** Names of the bins, lowest noise first. */
export const binNames = (noise: { pMean: number; pStd: number }): string[] =>
  Array.from({ length: BINS }, (_, i) => `${i} sigma ${i === 0 ? `below ${edge(1, noise)}` : i === BINS - 1 ? `above ${edge(i, noise)}` : `${edge(i, noise)} to ${edge(i + 1, noise)}`}`) // biome-ignore format: one line

/** Mean loss in ten equal bins of ln sigma over pMean +- 2.5 pStd; the outer two are open. */
export class SigmaBins {
  readonly #sums = new Float64Array(BINS)
  readonly #counts = new Float64Array(BINS)

  constructor(
    readonly pMean: number,
    readonly pStd: number,
  ) {}

  #bin(sigma: number): number {
    const at = Math.floor((Math.log(sigma) - this.pMean) / (this.pStd / 2)) + BINS / 2
    return Math.min(BINS - 1, Math.max(0, Number.isNaN(at) ? 0 : at))
  }

  add(losses: Float64Array, sigmas: Float64Array): void {
    for (let i = 0; i < losses.length; i++) {
      const at = this.#bin(sigmas[i]!)
      this.#sums[at]! += losses[i]!
      this.#counts[at]! += 1
    }
  }

  /** The bin that holds sigma, in words. */
  describe(sigma: number): string {
    const at = this.#bin(sigma)
    if (at === 0) return `sigma below ${edge(1, this)}`
    if (at === BINS - 1) return `sigma above ${edge(BINS - 1, this)}`
    return `sigma from ${edge(at, this)} to ${edge(at + 1, this)}`
  }

  /** Mean loss per bin since the last call, lowest noise first; null where a bin was empty. */
  take(): (number | null)[] {
    const means = Array.from(this.#sums, (sum, i) => (this.#counts[i] ? sum / this.#counts[i]! : null))
    this.#sums.fill(0)
    this.#counts.fill(0)
    return means
  }
}
