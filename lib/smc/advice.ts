import type { LevelReport } from './events.js'
import type { Kernel, Proposal, WeightScheme } from './kernels.js'
import type { MoveOptions } from './mcmc.js'

/** What a run is like, for advice that fits it. */
export interface Setting {
  particles: number
  essThreshold: number
  /** Below 1: partial resampling. */
  essAfter: number
  /** Where a level is, for messages. */
  where(level: number): string
  /** Set for targets; a model of one's own has none. */
  weights?: WeightScheme
  /** Whether the target has learnt energies in it. */
  learnt?: boolean
  kernel?: Kernel
  proposal?: Proposal
  moves?: MoveOptions
}

/** Conditional effective sample size, as a share of the particles: below, one step alone ruins the weights. */
const RUINOUS = 0.1
/** And from here on, steps are fine. */
const FAIR = 0.5
/** Share of the particles with surviving roots below which a population is about to collapse. */
const FEW_ROOTS = 0.05
/** Acceptance of moves that are hardly worth their cost. */
const FEW_ACCEPTED = 0.1
/** Steps that make a trend. */
const TREND = 8

/** Watches the levels of one run, and says once for each kind of trouble what it is and what to change. */
export class Advisor {
  readonly #shares: number[] = [] // conditional effective sample sizes of the steps so far
  readonly #said = new Set<string>()
  #worst = RUINOUS // of the steps reported

  constructor(readonly setting: Setting) {}

  look(report: LevelReport): string | undefined {
    const n = this.setting.particles
    if (n === 1) return
    const share = report.conditionalEss / n
    const trend = median(this.#shares.slice(-TREND))
    if (report.level > 0) this.#shares.push(share)
    const usual = median(this.#shares)
    const where = `at ${this.setting.where(report.level)}`
    const of = (count: number) => `${count.toFixed(count < 10 ? 1 : 0)} of ${n}`

    const remedied = this.#said.has('dimension') || this.#said.has('roots') // with what would help here too
    if (report.distinctRoots === 1 && this.#once('collapse'))
      return `one initial particle is the ancestor of all ${where}: what is left is one history${remedied ? '' : `. ${usual < FAIR ? this.#nearer() : this.#fewerResamplings()}`}`
    if (report.level === 0)
      return share < RUINOUS && this.#once('start')
        ? `the start is worth ${of(report.ess)} particles ${where}: N(0, sigma^2 / Lambda) does not cover the target there. Start at a larger noise, or set lambda`
        : undefined
    // halved at least, so that a stretch of bad steps is reported by its edge and its bottom
    if (share < this.#worst && !(trend < FAIR)) {
      this.#worst = share / 2
      return `the step to ${this.setting.where(report.level)} alone leaves a conditional ESS of ${of(report.conditionalEss)}, where ${Number.isNaN(trend) ? 'others may be fine' : `${of(trend * n)} is usual`}: levels are too far apart there. Add levels near it (adaptSigmas, --adapt-levels)`
    }
    if (
      this.#shares.length >= TREND &&
      median(this.#shares.slice(-TREND)) < FAIR &&
      !this.#said.has('collapse') &&
      this.#once('dimension')
    )
      return `the weights decline steadily: the conditional ESS of the last ${TREND} steps is ${of(median(this.#shares.slice(-TREND)) * n)} ${where}, too low for the dimension. ${this.#nearer()}`
    const spoken = this.#said.has('collapse') || this.#said.has('dimension')
    if (report.distinctRoots < FEW_ROOTS * n && usual >= FAIR && !spoken && this.#once('roots'))
      return `only ${report.distinctRoots} of ${n} initial particles have descendants ${where}, although each step is fair (conditional ESS ${of(usual * n)}): many small losses. ${this.#fewerResamplings()}`
    if (report.acceptance < FEW_ACCEPTED && this.#once('moves'))
      return `${(100 * report.acceptance).toFixed(1)} % of the moves are accepted ${where}: their step is too long. Set moves.stepSize lower, or moves.tune`
    return
  }

  #once(kind: string): boolean {
    if (this.#said.has(kind)) return false
    this.#said.add(kind)
    return true
  }

  /** For steps that cost too much: kernels nearer to the target. */
  #nearer(): string {
    const { weights, kernel, proposal, moves, learnt } = this.setting
    if (weights === undefined) return 'Use more particles, or proposals nearer to the model'
    const better = []
    if (learnt) better.push("weights only above some noise (weighAbove, --weigh-above) or none (weights: 'none', --weights none), as a network's energy errs between noise levels, or a model that was trained longer") // biome-ignore format: one line
    if (weights !== 'bridge' || kernel !== 'scaled') better.push("weights: 'bridge' with kernel: 'scaled'")
    if (proposal === 'analytic' || proposal === 'posterior' || proposal === 'sde')
      better.push("proposal: 'calibrated' or 'analytic-diagonal'")
    better.push('more levels (--steps)')
    if (!moves && weights === 'bridge') better.push("moves: { kernel: 'mala' } (--moves mala)")
    better.push('more particles')
    return `In this order: ${better.join('; ')}`
  }

  /** For losses by resampling itself. */
  #fewerResamplings(): string {
    const { essThreshold, essAfter, moves, weights } = this.setting
    const better = ['more particles']
    if (essThreshold > 0.3) better.push('a lower essThreshold (--ess-threshold 0.3)')
    if (essAfter === 1 && essThreshold <= 0.8) better.push('partial resampling (essAfter, --ess-after 0.8)')
    if ((weights === 'bridge' || weights === 'none') && !moves)
      better.push("moves: { kernel: 'mala' } (--moves mala), which move the copies apart")
    return `Use ${better.join(', or ')}`
  }
}

/** NaN of nothing. */
function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN
}
