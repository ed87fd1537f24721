import { native, run } from '../native/addon.js'
import { combined } from '../native/combine.js'
import { type Space, toHost } from '../native/space.js'
import type { Doubles, Floats } from '../native/types.js'
import { weightedMean } from './diagnostics.js'
import { DriftFit, type DriftFitState, type DriftSample } from './drift-fit.js'
import type { TargetEvaluation } from './evaluation.js'
import type { Increment, PopulationRows } from './rows.js'

/** What a step did: the particles and their evaluations before and after, v of its kernel, and the weights before. */
export interface DriftedStep {
  from: Floats
  to: Floats
  before: TargetEvaluation
  after: TargetEvaluation
  v: Float64Array
  weights: Doubles
}

export interface ControlState {
  theta: Float64Array
  thetas: Float64Array[]
  fit: DriftFitState
}

/**
 * A control drift in the manner of DriftLite (Ren et al. 2026) for bridge weights. b = sum_j theta_j grad E_j, of the target's models, joins the
 * drifts of both kernels of a step (kernels.ts) from s to s'; a prime marks what is evaluated at s' and x':
 *
 *   M(x'|x) = N(x'; x - v (grad U - b), tau),   L(x|x') = N(x; x' - v b', v).
 *
 * The weights stay exact at any step count for every theta that the past alone decides, so theta is fitted after each step for the next. In the
 * limit of short steps this is the paper's controlled reverse SDE, whose weights hold the divergence of b; here x' stands in for it. With
 * the step's noise held fixed,
 *
 *   D_j = d log G / d theta_j = <x' - x - v b', grad E'_j> - <x' - x + v (grad U' - b'), grad E_j>
 *
 * (at theta = 0; else up to a term with the Hessian of b', of higher order in v), so log G and its slopes are known without another
 * evaluation of a model. theta is to take from log G what the state x decides (drift-fit.ts): E[D_j | x] is near -<v grad U, grad E_j>, which is
 * the instrument of the fit.
 */
export class ControlDrift {
  /** theta of every step taken. */
  readonly thetas: Float64Array[] = []
  /** Coefficients of the next step. */
  theta: Float64Array
  readonly #fit: DriftFit

  constructor(
    models: number,
    readonly rows: PopulationRows,
    readonly space: Space,
    /** Shape of a particle where v is one variance for each of its cosines. */
    readonly cosines?: readonly number[],
    readonly signal?: AbortSignal,
  ) {
    this.theta = new Float64Array(models)
    this.#fit = new DriftFit(models)
  }

  /** What it goes on from at the next step. */
  state(): ControlState {
    return { theta: this.theta, thetas: this.thetas, fit: this.#fit.state() }
  }

  restore({ theta, thetas, fit }: ControlState): void {
    this.theta = theta
    this.thetas.push(...thetas)
    this.#fit.restore(fit)
  }

  /** Arrays like the particles that a step needs beside those without a drift. */
  static arrays(models: number, cosines: boolean): number {
    return 2 * models + 4 + (cosines ? 2 * models + 3 : 0)
  }

  /**
   * h, the mean curvature of b over the weighted particles [N], per coordinate: the trace of its Jacobian is <grad U, b> on average under
   * exp(-U), by parts.
   */
  async curvature({ grad, modelGrads }: TargetEvaluation, weights: Doubles): Promise<number> {
    if (this.theta.every((t) => t === 0)) return 0
    const drift = await this.#combined(modelGrads!, this.theta)
    const products = await this.#onHost(this.#products(drift, drift, Float64Array.of(0), grad))
    const mean = await weightedMean(products, await toHost(weights, this.signal), this.signal)
    const h = mean / (grad.length / this.rows.count)
    return Number.isFinite(h) ? h : 0
  }

  /** grad U - b, which the step that comes next takes in place of grad U. */
  drive({ grad, modelGrads }: TargetEvaluation): Promise<Floats> {
    this.thetas.push(this.theta)
    return this.#combined([grad, ...modelGrads!], [1, ...this.theta.map((t) => -t)])
  }

  /** The step's increment with log L of the drifted kernel in place of log N(x; x', v); fits theta of the next step. */
  async weigh(increment: Increment, step: DriftedStep): Promise<Increment> {
    const measured = await this.measure(increment, step)
    this.theta = await this.#fit.update(this.theta, measured.sample, this.signal)
    return measured.increment
  }

  /** That increment, and what it says of theta. */
  async measure(
    { terms: plain, coefficients: signs, constant }: Increment,
    { from, to, before, after, v, weights }: DriftedStep,
  ): Promise<{ increment: Increment; sample: DriftSample }> {
    const step = await this.#inBasis(await this.#combined([to, from], [1, -1]))
    const [grad, ...models] = await this.#allInBasis([before.grad, ...before.modelGrads!])
    const [gradAfter, ...modelsAfter] = await this.#allInBasis([after.grad, ...after.modelGrads!])
    const drift = await this.#combined(modelsAfter, this.theta)
    const rest = await this.#combined([gradAfter, drift], [1, -1])
    // log N(x; x' - v b', v) - log N(x; x', v) = <x' - x - v b'/2, b'>
    const kernel = await this.#products(step, drift, scaled(v, -0.5), drift)
    const increment = { terms: [...plain, kernel], coefficients: [...signs, 1], constant }
    const logG = this.space.doubles(this.rows.count)
    const sum = { ...increment, out: logG, coefficients: Float64Array.from(increment.coefficients) }
    await run(() => native.sumTerms(sum), this.signal)
    const slopes: Float64Array[] = []
    const instruments: Float64Array[] = []
    const even = v.reduce((a, b) => a + b, 0) / v.length
    for (const [j, model] of models.entries()) {
      const there = await this.#onHost(this.#products(step, drift, scaled(v, -1), modelsAfter[j]))
      const here = await this.#onHost(this.#products(step, rest, v, model))
      slopes.push(await this.#difference(there, here))
      // v grad / even = grad + (v/even - 1) grad: the instruments' scale does not matter
      const relative = v.map((value) => value / even - 1)
      instruments.push(await this.#onHost(this.#products(grad, grad, relative, model)))
    }
    const sample = {
      weights: await toHost(weights, this.signal),
      logG: await this.#onHost(Promise.resolve(logG)),
      slopes,
      instruments,
    }
    return { increment, sample }
  }

  #combined(terms: readonly Floats[], coefficients: Iterable<number>): Promise<Floats> {
    return combined({ space: this.space, rows: this.rows.count, signal: this.signal }, terms, coefficients)
  }

  /** <a + v b, c> of every particle */
  async #products(a: Floats, b: Floats, v: Float64Array, c: Floats): Promise<Doubles> {
    const out = this.space.doubles(this.rows.count)
    await run(() => native.rowProducts({ out, a, b, v, c }), this.signal)
    return out
  }

  async #difference(a: Float64Array, b: Float64Array): Promise<Float64Array> {
    const request = { out: a, terms: [a, b], coefficients: Float64Array.of(1, -1), constant: 0 }
    await run(() => native.sumTerms(request), this.signal)
    return a
  }

  /** The numbers of all particles, of all ranks. */
  async #onHost(array: Promise<Doubles>): Promise<Float64Array> {
    return toHost(await this.rows.whole(await array), this.signal)
  }

  async #inBasis(x: Floats): Promise<Floats> {
    const { cosines: shape } = this
    if (!shape) return x
    const out = this.space.floats(x.length)
    await run(() => native.dct({ out, x, shape }), this.signal)
    return out
  }

  async #allInBasis(list: readonly Floats[]): Promise<Floats[]> {
    const out: Floats[] = []
    for (const x of list) out.push(await this.#inBasis(x))
    return out
  }
}

const scaled = (values: Float64Array, by: number) => values.map((value) => by * value)
