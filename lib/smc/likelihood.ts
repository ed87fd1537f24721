import { ArgumentError, digits } from '../base/errors.js'
import { purpose } from '../base/random.js'
import { native, run } from '../native/addon.js'
import { combined } from '../native/combine.js'
import { fill, type Space, toHost } from '../native/space.js'
import type { Doubles, Floats, Values } from '../native/types.js'
import { AnnealedPopulation, type AnnealingOptions, NOTHING } from './annealing.js'
import type { EnergyFunction, Target } from './energy-function.js'
import { Evaluator, hasNaN, notANumber } from './evaluation.js'
import type { Gather, Population, PopulationState } from './feynman-kac.js'
import { seedAfter } from './random.js'
import { effectiveSampleSize } from './resampling.js'
import { type Increment, OwnRows } from './rows.js'
import { asTarget, linear, lowTemperature } from './targets/linear.js'

/**
 * weights: 'likelihood'. For a target prod_j p_j^w_j the particles are plain ones of one of its models, the base b, down to a noise level, where
 * each is weighed by prod_j p_j^(w_j - [j = b]) of its denoised state x0 at a noise s, gets that noise again, and from there on they follow the
 * target's gradients, unweighted. Uneven weights are resampled there, whatever their effective sample size, since copies part again by the noise (essThreshold 0:
 * they are left uneven). The likelihoods are those that the models' denoisers D_j(x, s) = x - s^2 grad E_j give (Kong, Brekelmans & Ver Steeg 2023, arXiv 2302.03792,
 * pointwise I-MMSE, written for s),
 *
 *   -E_n log p_s(x0 + s n) = (d/2) log(2 pi e s^2) + integral from ln s to infinity of E_n |x0 - D(x0 + t n, t)|^2 / t^2 d ln t
 *
 * an average of squares at states that look like those that denoisers and distilled energies are trained at. No energy is ever compared
 * with itself at another noise level, which is what bridge weights of networks fail by, and no state is one of p^gamma above that level. What a
 * denoiser errs by adds its squared error to all of the integrals: only what differs between pictures counts.
 *
 * A power of one model above 2 is weighed in stages of at most one more: p, p^2, p^3, each at the level after the one before, from whose weights the
 * particles have parted again by then. The same draws, shared by the stages, are then less noise, and weights reach further down: of a log-weight of
 * variance V (gamma - 1)^2 each of n stages has V (gamma - 1)^2 / n^2.
 *
 * Cost: `draws` evaluations of every model for each particle, in all. A draw's noise leaves the weights exact on average of their logarithm alone:
 * log-weights have a variance of their own that falls as 1 / draws.
 */

/** Noise at which what a picture shows is settled, of samples from -1 to 1: above it the particles are plain ones. */
const SETTLED = 0.3
/** The share of the particles, by effective sample size, that weights leave at least where it is not said how far they are to go. */
const BEARABLE = 1 / 2

export interface LikelihoodOptions extends AnnealingOptions {
  particles: number
  /** Noise levels to average the likelihoods over, one draw at each. */
  draws: number
  /** Stop above weighAbove where the weights would leave less than half of the particles. */
  bearable: boolean
}

/** The models that an energy is linear in, with their exponents. Throws ArgumentError where it is not. */
export function factorsOf(energy: EnergyFunction, exponent = 1): Map<EnergyFunction, number> {
  const { models, exponents, name } = energy as Partial<Target>
  if (!models) return new Map([[energy, exponent]])
  if (!exponents)
    throw new ArgumentError(`weights: 'likelihood' needs a target that is linear in the energies, not '${name}'`)
  const all = new Map<EnergyFunction, number>()
  for (const [j, model] of models.entries())
    for (const [factor, w] of factorsOf(model, exponent * exponents[j])) all.set(factor, (all.get(factor) ?? 0) + w)
  return all
}

export class LikelihoodPopulation implements Population {
  readonly levels: number
  /** w_j - [j = b], where it is not 0, of a stage. */
  readonly #exponents: number[]
  /** The levels at which particles are weighed first and last, one for each stage. */
  readonly #first: number
  readonly #weighed: number
  /** What the particles follow before the first stage and after each. */
  readonly #targets: Target[]
  readonly #evaluator: Evaluator
  #now: AnnealedPopulation
  /** The level that it began at. */
  #begun = 0
  /** The noise that the likelihoods of each stage so far are of. */
  #reaches: number[] = []
  #before = 0 // evaluations of the populations before it

  constructor(
    readonly target: Target,
    readonly options: LikelihoodOptions,
    readonly space: Space,
  ) {
    const { sigmas, weighAbove, batch, signal } = options
    const factors = factorsOf(target)
    const [base, most] = [...factors].reduce((a, b) => (b[1] > a[1] ? b : a))
    factors.set(base, most - 1)
    const asked = factors.size === 1 ? Math.ceil(most - 1) : 1
    for (const [model, exponent] of factors) if (exponent === 0) factors.delete(model)
    this.levels = sigmas.length
    this.#weighed = Math.max(1, sigmas.filter((s) => s >= Math.min(SETTLED, weighAbove)).length - 1)
    this.#first = Math.max(1, this.#weighed + 1 - Math.max(1, asked))
    const stages = this.#weighed + 1 - this.#first
    this.#exponents = [...factors.values()].map((exponent) => exponent / stages)
    const plain = asTarget(base)
    const between = Array.from({ length: stages - 1 }, (_, i) => lowTemperature(base, { gamma: 1 + ((i + 1) * (most - 1)) / stages })) // biome-ignore format: one line
    this.#targets = [plain, ...between, target]
    const others = factors.size > 0 ? linear('likelihood', [...factors.keys()], this.#exponents, {}, 1) : plain
    this.#evaluator = new Evaluator(others, batch, 'none', signal, space, true)
    this.#now = new AnnealedPopulation(plain, this.#unweighted(0, 0), space, new OwnRows(options.particles))
  }

  /** The noise that all likelihoods are of; larger than was asked for where the weights could not bear it. */
  get reach(): number {
    return this.#reaches.length > 0 ? Math.max(...this.#reaches) : this.options.sigmas[0]
  }

  get samples(): Floats {
    return this.#now.samples
  }

  get energy(): Doubles {
    return this.#now.energy
  }

  get evaluations(): number {
    return this.#before + this.#now.evaluations + this.#evaluator.count
  }

  where(k: number): string {
    return `level ${k} of ${this.levels - 1} (sigma = ${digits(this.options.sigmas[k])}) of target '${this.target.name}'`
  }

  start(): Promise<Increment> {
    return this.#now.start()
  }

  async advance(k: number, weights: Doubles): Promise<Increment> {
    if (k > this.#first && k <= this.#weighed + 1) await this.#descend(k - 1, weights)
    const nothing = await this.#now.advance(k - this.#begun, weights)
    if (k < this.#first || k > this.#weighed) return nothing
    const increment = await this.#weigh(k - this.#first)
    if (k === this.levels - 1) await this.#descend(k, weights)
    return increment
  }

  /** From the noise of the likelihoods down to level k again, by the next target. Copies get noise of their own. */
  async #descend(k: number, weights: Doubles): Promise<void> {
    const from = this.#resumed(k)
    const again = from < k ? await this.#noised(from) : this.#now.samples
    this.#goOn(k + 1 - this.#first, from)
    await this.#now.begin(again)
    const mark = this.space.mark()
    for (let level = 1; level <= k - from; level++) {
      await this.#now.advance(level, weights)
      this.space.keep(this.#now.live(), mark)
    }
  }

  parts(k: number): boolean {
    return k >= this.#first && k <= this.#weighed && k < this.levels - 1 && this.#resumed(k) < k
  }

  /** The level of the noise that the last likelihoods are of, from which particles go on; where nothing was weighed, k, which they are at. */
  #resumed(k: number): number {
    const { sigmas } = this.options
    const reach = this.#reaches.at(-1) ?? 0
    if (reach === 0 || reach >= sigmas[0]) return k
    return Math.min(k, sigmas.filter((s) => s >= reach).length - 1)
  }

  /** Clean samples with the noise of the target's modes at a level. */
  async #noised(level: number): Promise<Floats> {
    const { sigmas, signal, particles: rows } = this.options
    const std = sigmas[level] / Math.sqrt(this.target.lambda)
    const noise = { std, seed: this.#seed(this.#reaches.length), purpose: purpose.start, step: 0 }
    return combined({ space: this.space, rows, signal }, [await this.#now.denoisedHere()], [1], noise)
  }

  /** By the kernels of the target after so many stages, from a level on. */
  #goOn(stage: number, from: number): void {
    this.#before += this.#now.evaluations
    this.#begun = from
    const { rows } = this.#now
    this.#now = new AnnealedPopulation(this.#targets[stage], this.#unweighted(stage, from), this.space, rows)
  }

  /** Every stage has random numbers of its own. */
  #seed(stage: number): number {
    let { seed } = this.options
    for (let i = 0; i < stage; i++) seed = seedAfter(seed)
    return seed
  }

  resample(gather: Gather): Promise<void> {
    return this.#now.resample(gather)
  }

  async move(): Promise<number> {
    return Number.NaN
  }

  suspect(): Promise<string | undefined> {
    return this.#now.suspect()
  }

  live(): (Values | undefined)[] {
    return this.#now.live()
  }

  denoised(): Promise<Float32Array> {
    return this.#now.denoised()
  }

  async state(): Promise<PopulationState> {
    const { arrays, rest } = await this.#now.state()
    const own = { reaches: [...this.#reaches], begun: this.#begun, before: this.#before, drawn: this.#evaluator.count }
    return { arrays, rest: { ...rest, ...own } }
  }

  async restore(state: PopulationState, k: number): Promise<void> {
    const { reaches, begun, before, drawn } = state.rest
    this.#reaches = [...(reaches as number[])]
    const stages = this.#targets.length - 1
    const stage = k === this.levels - 1 ? stages : Math.min(Math.max(0, k - this.#first), stages)
    if (stage > 0) this.#goOn(stage, begun as number)
    await this.#now.restore(state, k - this.#begun)
    this.#before = before as number
    this.#evaluator.count = drawn as number
  }

  /** How the particles go after so many stages, from a level on: a mode of each target is as wide as one of the last at its noise. */
  #unweighted(stage: number, from: number): AnnealingOptions {
    const target = this.#targets[stage]
    const last = stage === this.#targets.length - 1
    const scale = last ? 1 : Math.sqrt(target.lambda / this.target.lambda)
    const proposal = this.options.proposal === 'calibrated' && target.calibration ? 'calibrated' : 'analytic'
    return {
      ...this.options,
      sigmas: this.options.sigmas.slice(from, last ? undefined : this.#first + stage + 1).map((s) => scale * s),
      seed: this.#seed(stage),
      weights: 'none',
      weighAbove: 0,
      proposal,
      meanPrecisions: undefined,
      moves: undefined,
    }
  }

  /** From the largest noise down, as far as the weights bear it. */
  async #weigh(stage: number): Promise<Increment> {
    const { bearable, weighAbove, particles: n, sigmas, seed, signal } = this.options
    const { space } = this
    if (this.#exponents.length === 0) {
      this.#reaches.push(0) // nothing is left to weigh at any noise
      return NOTHING
    }
    const draws = Math.ceil(this.options.draws / (this.#targets.length - 1))
    let reach = sigmas[0]
    const x0 = await this.#now.denoisedHere()
    const mark = space.mark()
    let best = space.doubles(n)
    await fill(best, 0, signal)
    const high = sigmas[0]
    const width = Math.log(high / weighAbove) / draws
    for (let draw = 0; draw < draws; draw++) {
      const sigma = high * Math.exp(-(draw + 0.5) * width)
      // above the largest noise, where D is the mean, the integrand falls as 1 / t^2
      const weight = draw === 0 ? width + 0.5 : width
      const noise = { std: sigma, seed, purpose: purpose.moment, step: stage * draws + draw } // moves, which draw moments, do not go with it
      const x = await combined({ space, rows: n, signal }, [x0], [1], noise)
      const { modelGrads, suspect } = await this.#evaluator.evaluate(x, sigma)
      const squares: Doubles[] = []
      for (const grad of modelGrads!) {
        const out = space.doubles(n)
        const coefficients = Float64Array.of(1 / sigma, -1 / sigma, sigma)
        await run(() => native.rowSquares({ out, terms: [x0, x, grad], coefficients }), signal)
        squares.push(out)
      }
      const logs = space.doubles(n)
      const coefficients = Float64Array.from([1, ...this.#exponents.map((exponent) => -exponent * weight)])
      await run(() => native.sumTerms({ out: logs, terms: [best, ...squares], coefficients, constant: 0 }), signal)
      const there = await toHost(logs, signal)
      if (hasNaN(there))
        throw notANumber(`a noise of ${digits(sigma)} on ${this.where(this.#first + stage)}`, await suspect?.())
      const stops = bearable && effectiveSampleSize(there) < BEARABLE * n
      if (!stops) best = logs
      space.keep([best], mark)
      if (stops) break
      reach = high * Math.exp(-(draw + 1) * width)
    }
    this.#reaches.push(reach)
    const d = x0.length / n
    const total = this.#exponents.reduce((a, b) => a + b, 0)
    const constant = -total * (d / 2) * Math.log(2 * Math.PI * Math.E * reach ** 2)
    return { terms: [best], coefficients: [1], constant }
  }
}
