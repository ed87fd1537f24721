import { ArgumentError, digits, NumericsError } from '../base/errors.js'
import { requireMemory } from '../base/memory.js'
import { purpose } from '../base/random.js'
import { native, run } from '../native/addon.js'
import { clear, combined, drawNormals } from '../native/combine.js'
import { copyOf, host, type Space, toHost, upload } from '../native/space.js'
import type { Doubles, Floats, Values } from '../native/types.js'
import { ControlDrift, type ControlState } from './control-drift.js'
import type { EnergyFunction, Target } from './energy-function.js'
import { Evaluator, type Extra, notANumber, type TargetEvaluation } from './evaluation.js'
import type { Gather, Population, PopulationState } from './feynman-kac.js'
import {
  calibratedKernel,
  type Kernel,
  type Proposal,
  precisionForm,
  type StepKernel,
  stepKernel,
  type WeightScheme,
} from './kernels.js'
import { type MoveOptions, Mover, type MoverState } from './mcmc.js'
import type { Increment, PopulationRows } from './rows.js'

/** What one proposal of native code reports beside the new particles. */
interface Move {
  logForward: Doubles
  logBackward: Doubles
  alignment: Doubles
  gradSquares: Doubles
}

/** One step from s to s', for its weights: dt = s^2 - s'^2, and the proposal's variance where it is one for all coordinates. */
interface Step {
  before: TargetEvaluation
  after: TargetEvaluation
  move: Move
  dt: number
  tau: number
  d: number
  /** Sum of the target's exponents. */
  exponent: number
}

/** How a scheme weights its particles. */
interface WeightRule {
  /** What it needs of every evaluation beside U. */
  extra: Extra
  /** Gradient that drives the proposal: the target's, or the base model's (the first). */
  drift: 'target' | 'base'
  increment(step: Step): Increment
  /** Kernels and proposals it holds for; the first of each is the default. */
  kernels: readonly Kernel[]
  proposals: readonly Proposal[]
}

/** The increment of a step that weighs nothing. */
export const NOTHING: Increment = { terms: [], coefficients: [], constant: 0 }

export const weightRules = {
  /** Exact at any step count: log G = U(x) - U'(x') + log L(x|x') - log M(x'|x). */
  bridge: {
    extra: 'none',
    drift: 'target',
    increment: ({ before, after, move }) => ({
      terms: [before.energy, after.energy, move.logBackward, move.logForward],
      coefficients: [1, -1, 1, -1],
      constant: 0,
    }),
    kernels: ['scaled', 'plain'],
    proposals: ['analytic', 'analytic-diagonal', 'calibrated', 'posterior', 'sde'],
  },
  /** log G = V(x) - V'(x'), V = U - E_base, particles moved by the base model's own reverse kernel. */
  tilt: {
    extra: 'base',
    drift: 'base',
    increment: ({ before, after }) => ({
      terms: [before.energy, before.extra!, after.energy, after.extra!],
      coefficients: [1, -1, -1, 1],
      constant: 0,
    }),
    kernels: ['scaled', 'plain'],
    proposals: ['analytic', 'analytic-diagonal', 'calibrated', 'posterior', 'sde'],
  },
  /**
   * Feynman–Kac correctors (Skreta et al. 2025) in their form for any exponents w_j: along the reverse SDE with the composed score S,
   * d log w = 1/2 (|S|^2 - sum_j w_j |s_j|^2) d(s^2), whatever the noise as long as the drift goes with it. Biased at coarse steps.
   */
  fkc: {
    extra: 'squares',
    drift: 'target',
    increment: ({ before, move, dt }) => ({
      terms: [move.gradSquares, before.extra!],
      coefficients: [dt / 2, -dt / 2],
      constant: 0,
    }),
    kernels: ['plain'],
    proposals: ['sde', 'tempered'],
  },
  /**
   * Density ratios by reverse kernels (He et al. 2025): p_j(x')/p_j(x) is taken for N(x'; x + dt s_j, tau) / L, L = N(x; x', dt), so that
   * G = prod_j [N(x'; x + dt s_j, tau) / L]^w_j L / M; written out in what the proposal returns. With tau = dt it equals fkc.
   */
  rne: {
    extra: 'squares',
    drift: 'target',
    increment: ({ before, move, dt, tau, d, exponent: w }) => ({
      terms: [move.alignment, before.extra!, move.logBackward, move.logForward],
      coefficients: [dt / tau, (-dt * dt) / (2 * tau), (w * dt) / tau + 1 - w, -1],
      constant: ((w * d) / 2) * ((dt / tau) * Math.log(2 * Math.PI * dt) - Math.log(2 * Math.PI * tau)),
    }),
    kernels: ['plain'],
    proposals: ['sde', 'posterior', 'analytic'],
  },
  /** By likelihoods at one level; LikelihoodPopulation has them (likelihood.ts). */
  likelihood: {
    extra: 'none',
    drift: 'target',
    increment: () => NOTHING,
    kernels: ['scaled'],
    proposals: ['analytic', 'calibrated'],
  },
  /** No weights: where the proposals alone lead. */
  none: {
    extra: 'none',
    drift: 'target',
    increment: () => NOTHING,
    kernels: ['scaled', 'plain'],
    proposals: ['analytic', 'analytic-diagonal', 'calibrated', 'posterior', 'sde'],
  },
} as const satisfies Record<WeightScheme, WeightRule>

/** What drives the particles under a scheme: the target, or its first model. */
export const driver = (target: Target, weights: WeightScheme): EnergyFunction & { lambda?: number } =>
  weightRules[weights].drift === 'base' ? target.models[0] : target

export interface AnnealingOptions {
  sigmas: Float64Array
  weights: WeightScheme
  /** Below this noise level nothing is weighed. */
  weighAbove: number
  kernel: Kernel
  proposal: Proposal
  moves?: MoveOptions
  meanPrecisions?: readonly Float64Array[]
  controlDrift: boolean
  seed: number
  batch: number
  signal?: AbortSignal
}

/** Particles of a target on its way down the noise levels (docs/concepts/smc.md). */
export class AnnealedPopulation implements Population {
  readonly levels: number
  samples: Floats
  /** m of every step taken, as used by the analytic proposals; h of the calibrated one. */
  readonly meanPrecisions: Float64Array[] = []
  readonly #rule: WeightRule
  readonly #driver: ReturnType<typeof driver>
  readonly #evaluator: Evaluator
  readonly #mover?: Mover
  readonly #control?: ControlDrift
  /** Shape of a particle where a step's variances are of its cosines. */
  readonly #cosines?: readonly number[]
  #level = 0
  #state!: TargetEvaluation
  #spare: Floats // the other half of a pair of buffers for the particles
  #energy!: Doubles // of all particles

  constructor(
    readonly target: Target,
    readonly options: AnnealingOptions,
    readonly space: Space,
    readonly rows: PopulationRows,
  ) {
    this.levels = options.sigmas.length
    this.#rule = weightRules[options.weights]
    this.#driver = driver(target, options.weights)
    const { moves, seed, signal, batch, controlDrift } = options
    const { count: particles } = rows
    this.#evaluator = new Evaluator(target, batch, this.#rule.extra, signal, space, controlDrift)
    if (options.proposal === 'calibrated' && this.#driver.calibration!.basis === 'dct') this.#cosines = target.shape
    const models = target.models.length
    // particles before and after a step, the gradients of both, and a step in cosines; a device says itself when its memory runs out
    const arrays = (this.#cosines ? 5 : 4) + (controlDrift ? ControlDrift.arrays(models, !!this.#cosines) : 0)
    if (space.device === host.device)
      requireMemory(4 * arrays * particles * this.#evaluator.d, `${particles} particles of [${target.shape}]`)
    this.samples = space.floats(particles * this.#evaluator.d)
    this.#spare = space.floats(this.samples.length)
    if (controlDrift) this.#control = new ControlDrift(models, rows, space, this.#cosines, signal)
    if (moves !== undefined) this.#mover = new Mover(moves, rows, this.#evaluator.d, seed, signal, space)
  }

  get evaluations(): number {
    return (this.#evaluator.count / this.rows.count) * this.rows.total
  }

  /** theta of every step taken; none without a control drift. */
  get drift(): Float64Array[] {
    return this.#control?.thetas ?? []
  }

  get energy(): Doubles {
    return this.#energy
  }

  where(k: number): string {
    return `level ${k} of ${this.levels - 1} (sigma = ${digits(this.options.sigmas[k])}) of target '${this.target.name}'`
  }

  /** x ~ N(0, s^2 / Lambda), weighted by pi / start. */
  async start(): Promise<Increment> {
    const { sigmas, seed, signal, weights } = this.options
    const { count: rows, first } = this.rows
    const variance = sigmas[0] ** 2 / this.target.lambda
    const noise = { std: Math.sqrt(variance), seed, purpose: purpose.start, step: 0, first }
    const x = this.samples
    await drawNormals(x, rows, noise, signal)
    await this.#evaluate(0)
    if (weights === 'none') return this.#whole(NOTHING)
    const squares = this.space.doubles(rows)
    await run(() => native.rowSquares({ out: squares, terms: [x], coefficients: Float64Array.of(1) }), signal)
    return this.#whole({
      terms: [this.#state.energy, squares],
      coefficients: [-1, 1 / (2 * variance)],
      constant: (this.#evaluator.d / 2) * Math.log(2 * Math.PI * variance),
    })
  }

  /** In place of start: goes on from particles at the first level. */
  async begin(x: Floats): Promise<void> {
    this.samples = x
    await this.#evaluate(0)
    await this.#whole(NOTHING)
  }

  async advance(k: number, weights: Doubles): Promise<Increment> {
    const { sigmas, weighAbove } = this.options
    const { count: n } = this.rows
    const [s, next] = [sigmas[k - 1], sigmas[k]]
    const before = this.#state
    const grad = this.#rule.drift === 'base' ? before.baseGrad! : before.grad
    const kernel = await this.#kernel(k, grad, weights)
    const move: Move = {
      logForward: this.space.doubles(n),
      logBackward: this.space.doubles(n),
      alignment: this.space.doubles(n),
      gradSquares: this.space.doubles(n),
    }
    const [x, out] = [this.samples, this.#spare]
    const weighs = next >= weighAbove
    const drive = this.#control && weighs ? await this.#control.drive(before) : grad
    await this.#propose(move, out, x, drive, kernel, k)
    this.samples = out
    this.#spare = x
    await this.#evaluate(k)
    if (!weighs) return this.#whole(NOTHING)
    const exponent = this.target.exponents?.reduce((a, b) => a + b, 0) ?? 1
    const step = {
      before,
      after: this.#state,
      move,
      dt: s * s - next * next,
      tau: kernel.tau[0],
      d: this.#evaluator.d,
      exponent,
    }
    const increment = this.#rule.increment(step)
    const { v } = kernel
    const change = { from: x, to: out, before, after: this.#state, v, weights }
    return this.#whole((await this.#control?.weigh(increment, change)) ?? increment)
  }

  /** What concerns all particles: the increment, and their energies. */
  async #whole(own: Increment): Promise<Increment> {
    const increment = await this.rows.increment(own)
    this.#energy = await this.rows.whole(this.#state.energy, this.#energy)
    return increment
  }

  async resample(gather: Gather): Promise<void> {
    const { energy, grad, extra, baseGrad, modelGrads } = this.#state
    // the base's gradient alone drives tilted particles, the target's all others
    const drift = baseGrad ?? grad
    const models: Record<string, Floats> = Object.fromEntries((modelGrads ?? []).entries())
    const rows = { x: this.samples, u: energy, g: drift, ...(extra && { e: extra }), ...models }
    const { x, u, g, e, ...grads } = await gather(rows)
    this.samples = x
    this.#state = {
      energy: u,
      grad: g,
      extra: e,
      baseGrad: baseGrad && g,
      modelGrads: modelGrads && Object.values(grads),
    }
  }

  async move(k: number, weights: Doubles): Promise<number> {
    if (!this.#mover) return Number.NaN
    const state = { x: this.samples, ...this.#state }
    const acceptance = await this.#mover.run(state, this.options.sigmas[k], this.#evaluator, weights)
    this.samples = state.x
    this.#state = state
    return acceptance
  }

  async suspect(): Promise<string | undefined> {
    return this.#state.suspect?.()
  }

  live(): (Values | undefined)[] {
    const { energy, grad, extra, baseGrad, modelGrads = [] } = this.#state
    return [this.samples, this.#spare, energy, this.#energy, grad, extra, baseGrad, ...modelGrads]
  }

  /** x - sigma^2 / Lambda grad U; under 'tilt' the base model's own. */
  async denoised(): Promise<Float32Array> {
    return copyOf(await this.denoisedHere(), this.options.signal)
  }

  /** The same in the population's space. */
  async denoisedHere(): Promise<Floats> {
    const { sigmas, signal } = this.options
    const { count: rows } = this.rows
    const { baseGrad, grad } = this.#state
    const coefficients = [1, -(sigmas[this.#level] ** 2) / (this.#driver.lambda ?? 1)]
    return combined({ space: this.space, rows, signal }, [this.samples, baseGrad ?? grad], coefficients)
  }

  async state(): Promise<PopulationState> {
    const arrays = { samples: await toHost(this.samples), energy: await toHost(this.#state.energy) }
    const [mover, control] = [this.#mover?.state(), this.#control?.state()]
    const rest = { evaluations: this.evaluations, meanPrecisions: this.meanPrecisions }
    return { arrays, rest: { ...rest, ...(mover && { mover }), ...(control && { control }) } }
  }

  /** The gradients are computed again; the energies tell whether it is the same target. */
  async restore({ arrays: { samples, energy }, rest }: PopulationState, k: number): Promise<void> {
    const { signal } = this.options
    const { count: particles } = this.rows
    if (!(samples instanceof Float32Array) || samples.length !== this.samples.length || energy?.length !== particles)
      throw new ArgumentError(`checkpoint: it has no samples of ${particles} particles of [${this.target.shape}]`)
    await upload(this.samples, samples, signal)
    await this.#evaluate(k)
    const now = await toHost(this.#state.energy, signal)
    if (now.some((u, i) => !Object.is(u, energy[i])))
      throw new ArgumentError(
        'checkpoint: the energies of its particles are others now: it is of another target, or its models have changed. Give another file, or remove it to begin anew',
      )
    this.#evaluator.count = rest.evaluations as number
    this.meanPrecisions.push(...(rest.meanPrecisions as Float64Array[]))
    this.#mover?.restore(rest.mover as MoverState)
    this.#control?.restore(rest.control as ControlState)
  }

  async #evaluate(k: number): Promise<void> {
    this.#level = k
    this.#state = await this.#evaluator.evaluate(this.samples, this.options.sigmas[k])
  }

  async #kernel(k: number, grad: Floats, weights: Doubles): Promise<StepKernel> {
    const { sigmas, kernel, proposal, weighAbove } = this.options
    const { lambda = 1 } = this.#driver
    const [s, next] = [sigmas[k - 1], sigmas[k]]
    if (proposal === 'calibrated') {
      const table = this.#driver.calibration!
      this.meanPrecisions.push(table.precisionAt(s))
      return calibratedKernel(s, next, lambda, table)
    }
    const precision = await this.#precision(k, grad, weights)
    const scaled = kernel === 'scaled' || proposal === 'tempered'
    const needed = precisionForm(proposal) !== 'none'
    const curvature = needed && next >= weighAbove ? await this.#control?.curvature(this.#state, weights) : 0
    return stepKernel(s, next, scaled ? lambda : 1, proposal, precision, curvature)
  }

  /**
   * out = x - v drive + sqrt(tau) z, v and tau being of the cosines where the tables are: then the step alone is made there, from 0, and
   * transformed back, as the densities depend on nothing else.
   */
  async #propose(move: Move, out: Floats, x: Floats, drive: Floats, { v, tau }: StepKernel, k: number): Promise<void> {
    const { seed, signal } = this.options
    const { count: rows, first } = this.rows
    const given = { ...move, v, tau, seed, step: k, first }
    const shape = this.#cosines
    if (!shape) return run(() => native.propose({ ...given, out, x, grad: drive }), signal)
    const step = this.space.floats(x.length)
    await clear(step, rows, signal)
    await run(() => native.dct({ out, x: drive, shape }), signal)
    await run(() => native.propose({ ...given, out: step, x: step, grad: out }), signal)
    await run(() => native.dct({ out, x: step, shape, inverse: true }), signal)
    await run(() => native.combine({ out, terms: [x, out], coefficients: Float64Array.of(1, 1), rows }), signal)
  }

  /** m at level k - 1, from the weighted particles there: frozen, measured, or not needed. */
  async #precision(k: number, grad: Floats, weights: Doubles): Promise<Float64Array> {
    const form = precisionForm(this.options.proposal)
    const out =
      this.options.meanPrecisions?.[k - 1]?.slice() ?? new Float64Array(form === 'diagonal' ? this.#evaluator.d : 1)
    if (form !== 'none' && !this.options.meanPrecisions) {
      await this.rows.meanSquares(out, grad, weights, this.options.signal)
      if (out.some(Number.isNaN)) throw notANumber(this.where(k - 1), await this.rows.firstText(await this.suspect()))
      if (out.some((m) => m === Number.POSITIVE_INFINITY))
        throw new NumericsError(`the gradient is infinite at ${this.where(k - 1)}`)
    }
    this.meanPrecisions.push(out)
    return out
  }
}
