import { finiteNumber, float32Array, held, integer, knownOptions, plainObject, renamed } from '../base/args.js'
import { digits, invalid, NumericsError } from '../base/errors.js'
import { requireMemory } from '../base/memory.js'
import { choice, type RowsOf, reader, toggle, whole } from '../base/option-table.js'
import { purpose } from '../base/random.js'
import { sizeOf } from '../base/shape.js'
import { type Stream, streamOf, whilePresent } from '../base/stream.js'
import { native, run } from '../native/addon.js'
import { combined, drawNormals } from '../native/combine.js'
import type { Noise, Rows } from '../native/particle-ops.js'
import { copyOf, fill, host, inSpaceOf, type Space, toHost, toSpace } from '../native/space.js'
import type { Doubles, Floats } from '../native/types.js'
import type { EnergyFunction, Target } from './energy-function.js'
import { callback, Evaluator, hasNaN, nameOf, notANumber, type TargetEvaluation } from './evaluation.js'
import type { ChainLevel } from './events.js'
import { McmcResult, unweighted } from './result.js'
import { OwnRows, type PopulationRows } from './rows.js'
import { checkedSigmas } from './schedule.js'
import { asTarget } from './targets/linear.js'

export const moveKernels = ['mala', 'hmc', 'ula', 'uhmc'] as const
/** Kernels of moves: Langevin and Hamiltonian, with and without the accept step. */
export type MoveKernel = (typeof moveKernels)[number]

/** MCMC moves that leave exp(-U) of one level invariant (ula, uhmc: up to a bias of the step size). */
export interface MoveOptions {
  /** Default 'mala'. ULA and UHMC skip the accept decision. */
  kernel?: MoveKernel
  /** Moves per level; default 1. */
  steps?: number
  /**
   * Step length in units of the level's own length scale, (mean of |grad U|^2 / d)^(-1/2); or a function of sigma that gives it in units of x.
   * Default: 1.2 d^(-1/6) for (M)ALA, 1.2 d^(-1/4) for (U)HMC.
   */
  stepSize?: number | ((sigma: number) => number)
  /** Leapfrog steps of one (U)HMC move; default 3. */
  leapfrog?: number
  /** Adapt the step (diminishing, Robbins–Monro) towards an acceptance of 0.57 for MALA, 0.65 for HMC; default false. */
  tune?: boolean
}

/** Those but the step, once: ranges, defaults and help. */
export const moveRows: RowsOf<MoveOptions, 'kernel' | 'steps' | 'leapfrog' | 'tune'> = {
  kernel: choice('the moves; ula and uhmc skip the accept decision', moveKernels, { flag: false, default: 'mala' }),
  steps: whole('moves per level', { flag: false, default: 1 }),
  leapfrog: whole('leapfrog steps of one move of hmc or uhmc', { flag: false, default: 3 }),
  tune: toggle('adapt the step towards a good acceptance', { flag: false, default: false }),
}

const moveOptions = [...Object.keys(moveRows), 'stepSize']
const mcmcOptions = [
  ...moveOptions,
  'chains',
  'sigmas',
  'initial',
  'seed',
  'batchSize',
  'signal',
  'onProgress',
  'device',
]

/** Particles with U and grad U at one level. */
export interface ChainState extends TargetEvaluation {
  x: Floats
}

export interface MoverState {
  tuned: number
  step: number
  moves: number
  accepted: Float64Array
}

const TARGET_ACCEPTANCE = { mala: 0.57, hmc: 0.65 } as const

/** Makes moves with one set of options; keeps the tuned step and counts its moves, so that no random number is used twice. */
export class Mover {
  readonly kernel: MoveKernel
  readonly steps: number
  readonly leapfrog: number
  /** Factor that tuning has put on the step length. */
  tuned = 1
  /** Step length of the last level, in units of x. */
  step = Number.NaN
  /** Moves accepted per chain, and moves made. */
  readonly accepted: Float64Array
  moves = 0

  constructor(
    readonly options: MoveOptions,
    readonly rows: PopulationRows,
    readonly d: number,
    readonly seed: number,
    readonly signal?: AbortSignal,
    readonly space: Space = host,
  ) {
    knownOptions('moves', options, moveOptions)
    const option = reader(moveRows, options, 'moves.')
    this.kernel = option('kernel')
    this.steps = option('steps')
    this.leapfrog = option('leapfrog')
    if (typeof options.stepSize !== 'function') finiteNumber('moves.stepSize', options.stepSize ?? 1, { above: 0 })
    option('tune')
    this.accepted = new Float64Array(rows.count)
  }

  /** What it goes on from at the next level. */
  state(): MoverState {
    return { tuned: this.tuned, step: this.step, moves: this.moves, accepted: this.accepted }
  }

  restore({ tuned, step, moves, accepted }: MoverState): void {
    this.tuned = tuned
    this.step = step
    this.moves = moves
    this.accepted.set(accepted)
  }

  /** All the moves of one level, in place of `state`'s arrays; the mean acceptance, NaN without accept decisions. */
  async run(state: ChainState, sigma: number, evaluator: Evaluator, weights: Doubles): Promise<number> {
    const base = await this.#baseStep(state, sigma, weights)
    let acceptance = 0
    const mark = this.space.mark()
    for (let i = 0; i < this.steps; i++) {
      this.signal?.throwIfAborted()
      this.step = base * this.tuned
      const rate = await this.#move(state, sigma, evaluator)
      acceptance += rate / this.steps
      this.moves++
      this.space.keep(rowsOf(state), mark)
      if (this.options.tune && (this.kernel === 'mala' || this.kernel === 'hmc'))
        this.tuned *= Math.exp((rate - TARGET_ACCEPTANCE[this.kernel]) * 2 * (1 + this.moves) ** -0.6)
    }
    return acceptance
  }

  async #baseStep(state: ChainState, sigma: number, weights: Doubles): Promise<number> {
    const { stepSize } = this.options
    if (typeof stepSize === 'function')
      return finiteNumber('stepSize(sigma)', await callback('stepSize', this.signal, () => stepSize(sigma)), {
        above: 0,
      })
    const langevin = this.kernel === 'mala' || this.kernel === 'ula'
    const relative = stepSize ?? (langevin ? 1.2 * this.d ** (-1 / 6) : 1.2 * this.d ** (-1 / 4))
    const out = new Float64Array(1)
    await this.rows.meanSquares(out, state.grad, weights, this.signal)
    if (Number.isNaN(out[0]))
      throw notANumber(
        `sigma = ${digits(sigma)} before an MCMC move`,
        await this.rows.firstText(await state.suspect?.()),
      )
    return relative * (out[0] > 0 ? Math.min(out[0] ** -0.5, 1e6 * sigma) : sigma)
  }

  async #move(state: ChainState, sigma: number, evaluator: Evaluator): Promise<number> {
    const langevin = this.kernel === 'mala' || this.kernel === 'ula'
    const proposed = langevin
      ? await this.#langevin(state, sigma, evaluator)
      : await this.#hamiltonian(state, sigma, evaluator)
    const { next, logRatio } = proposed
    if (this.kernel === 'ula' || this.kernel === 'uhmc') {
      const all = await this.rows.whole(next.energy)
      if (hasNaN(await toHost(all, this.signal)))
        throw notANumber(`sigma = ${digits(sigma)} in an MCMC move`, await this.rows.firstText(await next.suspect?.()))
      Object.assign(state, next)
      return Number.NaN
    }
    const there = this.space.bytes(this.rows.count)
    const [from, to] = [rowsOf(next), rowsOf(state)]
    const { seed, moves: step } = this
    const { count, first } = this.rows
    const request = { accepted: there, logRatio, from, to, seed, step, first }
    const own = await run(() => native.metropolis(request), this.signal)
    const accepted = await toHost(there, this.signal)
    for (let r = 0; r < count; r++) this.accepted[r] += accepted[r]
    return (await this.rows.sum(own)) / this.rows.total
  }

  /** x' = x - h/2 grad U + sqrt(h) z, h = step^2; the ratio needs both directions' densities (Roberts & Tweedie 1996). */
  async #langevin(state: ChainState, sigma: number, evaluator: Evaluator) {
    const h = this.step ** 2
    const x = await this.#combined([state.x, state.grad], [1, -h / 2], this.#noise(this.step))
    const next: ChainState = { x, ...(await evaluator.evaluate(x, sigma)) }
    const forward = await this.#squares([x, state.x, state.grad], [1, -1, h / 2])
    const backward = await this.#squares([state.x, x, next.grad], [1, -1, h / 2])
    const terms = [state.energy, next.energy, forward, backward]
    return { next, logRatio: await this.#sum(terms, [1, -1, 1 / (2 * h), -1 / (2 * h)]) }
  }

  /** Leapfrog with unit mass from a fresh momentum (Neal 2011). */
  async #hamiltonian(state: ChainState, sigma: number, evaluator: Evaluator) {
    const e = this.step
    let p = this.space.floats(state.x.length)
    await drawNormals(p, this.rows.count, this.#noise(1), this.signal)
    const before = await this.#squares([p], [1])
    let next: ChainState = state
    const mark = this.space.mark()
    for (let l = 0; l < this.leapfrog; l++) {
      p = await this.#combined([p, next.grad], [1, l === 0 ? -e / 2 : -e])
      const x = await this.#combined([next.x, p], [1, e])
      next = { x, ...(await evaluator.evaluate(x, sigma)) }
      // not after the last one, whose suspect may be asked for
      if (l + 1 < this.leapfrog) this.space.keep([p, ...rowsOf(next)], mark)
    }
    p = await this.#combined([p, next.grad], [1, -e / 2])
    const after = await this.#squares([p], [1])
    const terms = [state.energy, next.energy, before, after]
    return { next, logRatio: await this.#sum(terms, [1, -1, 1 / 2, -1 / 2]) }
  }

  #combined(terms: Floats[], coefficients: number[], noise?: Noise): Promise<Floats> {
    return combined({ space: this.space, rows: this.rows.count, signal: this.signal }, terms, coefficients, noise)
  }

  /** N(0, std^2) of this move. */
  #noise(std: number): Noise {
    return { std, seed: this.seed, purpose: purpose.moment, step: this.moves, first: this.rows.first }
  }

  async #sum(terms: Doubles[], coefficients: number[]): Promise<Doubles> {
    const out = this.space.doubles(this.rows.count)
    const request = { out, terms, coefficients: Float64Array.from(coefficients), constant: 0 }
    await run(() => native.sumTerms(request), this.signal)
    return out
  }

  async #squares(terms: Floats[], coefficients: number[]): Promise<Doubles> {
    const out = this.space.doubles(this.rows.count)
    await run(() => native.rowSquares({ out, terms, coefficients: Float64Array.from(coefficients) }), this.signal)
    return out
  }
}

function rowsOf({ x, energy, grad, extra, modelGrads = [] }: ChainState): Rows[] {
  return [x, energy, grad, ...(extra ? [extra] : []), ...modelGrads]
}

/** Options of `mcmc`. */
export interface McmcOptions extends MoveOptions {
  /** Independent chains, run side by side. */
  chains: number
  /** Noise levels to run at, in order, `steps` moves each: one, or an annealing sequence. */
  sigmas: ArrayLike<number>
  /** Starting points [chains, d]; default draws of N(0, sigma^2 / Lambda) of the first level. */
  initial?: Float32Array
  /** Default 0. */
  seed?: number
  /** Largest number of chains a model on the host gets at once; the results do not depend on it. */
  batchSize?: number
  /** @deprecated `batchSize` */
  batch?: number
  /** Where the chains are, as for `smc`; default where the models are. */
  device?: string
  signal?: AbortSignal
  onProgress?: (progress: { level: number; levels: number; sigma: number; acceptance: number }) => unknown
}

/**
 * Markov chain Monte Carlo on a target: ULA, MALA, HMC or UHMC, with one accept decision per chain.
 * Throws ArgumentError, NumericsError (a starting point without finite energy, NaN); the signal's reason.
 * @example
 * ```js
 * import { gaussianMixture, lowTemperature, mcmc } from 'feynkac'
 *
 * const normal = gaussianMixture({ weights: [1], means: [[0, 0]], covariances: [1] })
 * const target = lowTemperature(normal, { gamma: 2 })
 * const { samples, acceptance } = await mcmc(target, { chains: 64, sigmas: [1, 0.1, 0.01], kernel: 'mala', steps: 10 })
 * ```
 */
export function mcmc(target: EnergyFunction, options: McmcOptions): Promise<McmcResult> {
  return start(target, options)
}

/**
 * The same as a loop over the levels, with the chains after each, as `smc.stream`.
 * @example
 * ```js
 * import { gaussianMixture, mcmc } from 'feynkac'
 *
 * const normal = gaussianMixture({ weights: [1], means: [[0, 0]], covariances: [1] })
 * const run = mcmc.stream(normal, { chains: 64, sigmas: [1, 0.1, 0.01], steps: 5 })
 * for await (const { level, acceptance, energy } of run) console.log(level, acceptance, energy[0])
 * ```
 */
mcmc.stream = (target: EnergyFunction, options: McmcOptions): Stream<ChainLevel, McmcResult> => {
  const { signal, onProgress } = plainObject('options of mcmc.stream', options) as unknown as McmcOptions
  if (onProgress !== undefined)
    throw invalid('onProgress of mcmc.stream', 'nothing, as the loop has the levels', onProgress)
  return streamOf((emit, whole) => start(target, { ...options, signal: whole }, emit), signal)
}

type OnLevel = (level: ChainLevel) => Promise<void>

async function start(target: EnergyFunction, options: McmcOptions, onLevel?: OnLevel): Promise<McmcResult> {
  const given = renamed('mcmc', options, { batch: 'batchSize' })
  knownOptions('mcmc', given, mcmcOptions)
  const t = asTarget(target)
  return inSpaceOf(t.residence, given.device, given.signal, (space) => runChains(t, given, space, onLevel))
}

async function runChains(t: Target, options: McmcOptions, space: Space, onLevel?: OnLevel): Promise<McmcResult> {
  const {
    chains: count,
    sigmas: levels,
    initial,
    seed: s,
    batchSize: most,
    batch: _before,
    signal,
    onProgress,
    device: _,
    ...moves
  } = options
  const chains = integer('chains', count, 1, 0x7fffffff)
  const sigmas = checkedSigmas(levels, 1)
  const seed = integer('seed', s ?? 0, 0)
  const evaluator = new Evaluator(t, integer('batchSize', most ?? defaultBatch(t.shape), 1), 'none', signal, space)
  const { d } = evaluator
  if (space.device === host.device) requireMemory(chains * (16 * d + 64), `${chains} chains of [${t.shape}]`)
  const mover = new Mover(moves, new OwnRows(chains), d, seed, signal, space)
  const adjusted = mover.kernel === 'mala' || mover.kernel === 'hmc'
  let x: Floats
  if (initial === undefined) {
    x = space.floats(chains * d)
    const noise = { std: sigmas[0] / Math.sqrt(t.lambda), seed, purpose: purpose.start, step: 0 }
    await drawNormals(x, chains, noise, signal)
  } else {
    x = await toSpace(space, await held('initial', float32Array('initial', initial, chains * d), signal), signal)
  }
  const weights = space.doubles(chains)
  await fill(weights, 1 / chains, signal)
  const acceptance = new Float64Array(sigmas.length)
  const stepSizes = new Float64Array(sigmas.length)
  let energy: Float64Array = new Float64Array(chains)
  for (const [level, sigma] of sigmas.entries()) {
    signal?.throwIfAborted()
    const state: ChainState = { x, ...(await evaluator.evaluate(x, sigma)) }
    energy = await toHost(state.energy, signal)
    const bad = energy.findIndex((u) => !Number.isFinite(u))
    if (bad >= 0) {
      const suspect = (await state.suspect?.()) ?? nameOf(t)
      throw new NumericsError(
        `the energy of chain ${bad} is ${energy[bad]} at sigma = ${digits(sigma)} (${suspect}): start where it is finite`,
      )
    }
    acceptance[level] = await mover.run(state, sigma, evaluator, weights)
    stepSizes[level] = mover.step
    x = state.x
    energy = await toHost(state.energy, signal)
    space.keep([x, weights, state.energy])
    await onProgress?.({ level, levels: sigmas.length, sigma, acceptance: acceptance[level] })
    if (!onLevel) continue
    const here = x
    const at = { level, lastLevel: sigmas.length - 1, sigma, acceptance: acceptance[level], stepSize: stepSizes[level] }
    await whilePresent(`level ${level}`, (present) =>
      onLevel({ ...at, energy: energy.slice(), samples: () => present(() => copyOf(here, signal)) }),
    )
  }
  return new McmcResult({
    ...unweighted(await toHost(x, signal), t.shape),
    energy,
    acceptance,
    chainAcceptance: mover.accepted.map((a) => (adjusted ? a / mover.moves : Number.NaN)),
    stepSizes,
    evaluations: evaluator.count,
  })
}

/** Particles of one batch: about four megabytes of float32. */
export function defaultBatch(shape: readonly number[]): number {
  return Math.max(1, Math.floor(2 ** 20 / sizeOf(shape)))
}
