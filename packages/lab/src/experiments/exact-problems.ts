import {
  type EnergyFunction,
  type GaussianMixture,
  gaussianMixture,
  lowTemperature,
  mixture,
  product,
  type Target,
} from 'feynkac'
import {
  type Composition,
  type DiagonalMixture,
  marginal,
  mixtureOf,
  modeWeights,
  productOf,
  sampleVariance,
  totalVariation,
  varianceOf,
} from './mixtures.js'

/**
 * Compositions of two mixtures in d dimensions with answers in closed form. Both have modes of unequal weight, told apart by the first two
 * coordinates, and a spectrum: coordinate k has a variance between 0.02 and 0.5, so that no single step size suits all.
 */

export interface ExactProblem {
  name: string
  d: number
  target: Target
  /** The target at the last noise level. */
  answer: Composition
  /** Centres to count samples by, and the share of the answer that belongs to each. */
  centres: number[][]
  shares: number[]
}

/** A power law in k, from 0.5 to 0.02, as the spectra of pictures fall; `tilt` makes two mixtures differ. */
function spectrum(d: number, tilt: number): number[] {
  return Array.from({ length: d }, (_, k) => 0.5 * (0.02 / 0.5) ** ((d > 1 ? k / (d - 1) : 0) ** tilt))
}

function bimodal(d: number, weight: number, mode: [number, number], tilt: number): DiagonalMixture {
  const at = (sign: number) => Array.from({ length: d }, (_, k) => (k < 2 ? sign * mode[k] : 0))
  const variances = spectrum(d, tilt).map((v, k) => (k < 2 ? 0.15 : v))
  return { weights: [weight, 1 - weight], means: [at(1), at(-1)], covariances: [variances, variances] }
}

export function pair(d: number): { p: DiagonalMixture; q: DiagonalMixture } {
  return { p: bimodal(d, 0.7, [1.2, 0.4], 0.7), q: bimodal(d, 0.4, [1, -0.3], 1.3) }
}

/** What the answers are measured from: enough that the sampling error is below that of the runs. */
const DRAWS = 200_000

function problem(name: string, d: number, target: Target, answer: Composition): ExactProblem {
  const plane = marginal(answer, [0, 1])
  // components that share a mode are counted together
  const centres = plane.means.filter((c, i) =>
    plane.means.slice(0, i).every((e) => Math.hypot(c[0] - e[0], c[1] - e[1]) > 0.5),
  )
  const draws = gaussianMixture(plane).sample(DRAWS, { seed: 1 })
  const shares = modeWeights(draws, new Float64Array(DRAWS).fill(1 / DRAWS), centres)
  return { name, d, target, answer, centres, shares }
}

export interface Energies {
  p: EnergyFunction
  q: EnergyFunction
}

/** Exact energies of the pair. */
export function energiesOf({ p, q }: ReturnType<typeof pair>): { p: GaussianMixture; q: GaussianMixture } {
  return { p: gaussianMixture(p), q: gaussianMixture(q) }
}

/** Low temperature, AND and OR of the pair in d dimensions, down to noise sigma. */
export function exactProblems(d: number, sigma: number, energies: Energies = energiesOf(pair(d))): ExactProblem[] {
  const { p, q } = pair(d)
  return [
    problem('low temperature', d, lowTemperature(energies.p, { gamma: 2 }), productOf(p, p, sigma)),
    problem('AND', d, product([energies.p, energies.q]), productOf(p, q, sigma)),
    problem('OR', d, mixture([energies.p, energies.q], { weights: [0.3, 0.7] }), mixtureOf(p, q, 0.3, sigma)),
  ]
}

export interface Errors {
  /** Total variation between the shares of the modes. */
  modes: number
  /** Mean over the coordinates without modes of variance / exact variance; NaN in the plane. */
  variance: number
  /** log Z-hat - log Z; NaN without weights. */
  logZ: number
}

export function errorsOf(
  { centres, shares, answer, d }: ExactProblem,
  samples: Float32Array,
  weights: ArrayLike<number>,
  logZ: number,
): Errors {
  const [found, exact] = [sampleVariance(samples, weights), varianceOf(answer)]
  const ratios = exact.map((v, k) => found[k] / v).slice(2)
  return {
    modes: totalVariation(modeWeights(samples, weights, centres), shares),
    variance: d > 2 ? ratios.reduce((sum, r) => sum + r, 0) / ratios.length : Number.NaN,
    logZ: logZ - answer.logZ,
  }
}
