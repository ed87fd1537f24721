import { integer, knownOptions, renamed } from '../base/args.js'
import { ArgumentError, invalid } from '../base/errors.js'
import { reader } from '../base/option-table.js'
import { type AdaptSigmasOptions, adaptOptionNames, adaptRows, MOST_STEPS } from './adapt-options.js'
import type { EnergyFunction } from './energy-function.js'
import { sigmaGrid } from './schedule.js'
import { smc } from './smc.js'

/** What `adaptSigmas` returns. */
export interface AdaptedSigmas {
  /** Strictly decreasing, exact at both ends: for `smc`, with the kernels that the pilot run had. */
  sigmas: Float64Array
  /** The path's length as its steps feel it: sum of sqrt(log(N / CESS)). K even steps have log(N / CESS) = (barrier / K)^2 each. */
  barrier: number
  /** Evaluations of a model at a particle, of the pilot runs. */
  evaluations: number
}

/** Least rate: rare particles of large weight in long steps escape pilot runs, so that no step may pass for free. */
const LEAST_RATE = 0.2
/** Pilot runs at most: the second is on the grid that the first gave, and so on, with MARGIN times the steps where those were too few. */
const PILOTS = { steps: 2, conditionalEss: 6 }
const MARGIN = 1.2

/**
 * Noise levels at which every step costs the weights alike. A pilot run (then another, on what came of it) measures each step's conditional effective sample size on a Karras
 * grid. log(N / CESS), about the variance of the step's log-weights, is quadratic in the step's length, so that its square root adds up along
 * the path: the new levels are even in that sum (Zhou, Johansen & Aston 2016; Syed et al. 2024). The grid is then frozen, so the run that
 * uses it is as exact as on any other.
 * Throws what smc throws.
 * @example
 * ```js
 * import { adaptSigmas, gaussianMixture, lowTemperature, smc } from 'feynkac'
 *
 * const normal = gaussianMixture({ weights: [1], means: [[0, 0]], covariances: [1] })
 * const target = lowTemperature(normal, { gamma: 2 })
 * const { sigmas } = await adaptSigmas(target, { steps: 16, min: 0.01, max: 20 })
 * const { logZ } = await smc(target, { particles: 256, sigmas })
 * ```
 */
export async function adaptSigmas(target: EnergyFunction, options: AdaptSigmasOptions): Promise<AdaptedSigmas> {
  const given = renamed('adaptSigmas', options, { batch: 'batchSize' })
  knownOptions('adaptSigmas', given, adaptOptionNames)
  const { steps, conditionalEss, particles: _, pilotSteps, min, max, rho, seed = 0, ...rest } = given
  if (rest.weights === 'none') throw invalid('weights of adaptSigmas', 'a scheme that weighs', rest.weights)
  if ((steps === undefined) === (conditionalEss === undefined))
    throw new ArgumentError('adaptSigmas: give steps or conditionalEss, one of the two')
  const option = reader(adaptRows, { ...given, pilotSteps: pilotSteps ?? steps ?? 64 })
  option(steps === undefined ? 'conditionalEss' : 'steps')
  const particles = option('particles')
  const first = integer('seed', seed, 0)
  let sigmas = sigmaGrid({ steps: option('pilotSteps'), min, max, rho })
  let rates: Rates | undefined
  let evaluations = 0
  for (let pilot = 0; pilot < (steps ? PILOTS.steps : PILOTS.conditionalEss); pilot++) {
    const { diagnostics } = await smc(target, {
      ...rest,
      weights: rest.weights ?? 'bridge',
      sigmas,
      particles,
      seed: first + pilot,
    })
    evaluations += diagnostics.evaluations
    const shares = diagnostics.levels.slice(1).map((l) => l.conditionalEss / particles)
    const measured = ratesOf(sigmas, cautious(shares.map((share) => -Math.log(share))))
    if (pilot > 0 && conditionalEss && Math.min(...shares) >= conditionalEss) break
    rates = rates ? largest(rates, measured) : measured
    const wanted = steps ?? Math.ceil((MARGIN ** pilot * barrierOf(rates)) / Math.sqrt(-Math.log(conditionalEss!)))
    if (wanted > MOST_STEPS)
      throw new ArgumentError(
        `conditionalEss: ${conditionalEss} takes ${wanted} steps on this target; ask for less, or give steps`,
      )
    sigmas = even(rates, wanted)
  }
  return { sigmas, barrier: barrierOf(rates!), evaluations }
}

/** sqrt(log(N / CESS)) per unit of ln sigma, constant between each two levels. */
interface Rates {
  sigmas: Float64Array
  rates: number[]
}

/** No less than the mean of the neighbours, weighted 1 2 1: single steps of few particles are noisy. */
function cautious(costs: readonly number[]): number[] {
  return costs.map((cost, k) => Math.max(cost, ((costs[k - 1] ?? cost) + 2 * cost + (costs[k + 1] ?? cost)) / 4, 0))
}

function ratesOf(sigmas: Float64Array, costs: readonly number[]): Rates {
  return {
    sigmas,
    rates: costs.map((cost, k) => Math.max(LEAST_RATE, Math.sqrt(cost) / Math.log(sigmas[k] / sigmas[k + 1]))),
  }
}

const lengthsOf = ({ sigmas, rates }: Rates) => rates.map((rate, k) => rate * Math.log(sigmas[k] / sigmas[k + 1]))
const barrierOf = (rates: Rates) => lengthsOf(rates).reduce((a, b) => a + b, 0)

/** On the levels of both, the larger rate: long steps cost more than in proportion, and only a run that makes them tells. */
function largest(a: Rates, b: Rates): Rates {
  const sigmas = Float64Array.from(new Set([...a.sigmas, ...b.sigmas]))
    .sort()
    .reverse()
  const at = ({ sigmas: levels, rates }: Rates) => {
    let cell = 0
    return (sigma: number) => {
      while (levels[cell + 1] >= sigma) cell++
      return rates[cell]
    }
  }
  const [ofA, ofB] = [at(a), at(b)]
  return { sigmas, rates: Array.from(sigmas.subarray(0, -1), (sigma) => Math.max(ofA(sigma), ofB(sigma))) }
}

/** The grid of `steps` transitions of equal length. */
function even(rates: Rates, steps: number): Float64Array {
  const [levels, lengths, barrier] = [rates.sigmas, lengthsOf(rates), barrierOf(rates)]
  const sigmas = new Float64Array(steps + 1)
  let [cell, below] = [0, 0]
  for (let k = 0; k <= steps; k++) {
    const at = (k / steps) * barrier
    while (cell < lengths.length - 1 && below + lengths[cell] < at) below += lengths[cell++]
    sigmas[k] = levels[cell] * (levels[cell + 1] / levels[cell]) ** ((at - below) / lengths[cell])
  }
  sigmas[0] = levels[0]
  sigmas[steps] = levels[levels.length - 1]
  return sigmas
}
