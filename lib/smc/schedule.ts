import { knownOptions, numberList } from '../base/args.js'
import { invalid } from '../base/errors.js'
import { positive, type Rows, reader, whole } from '../base/option-table.js'

/** Options of `sigmaGrid`. */
export interface SigmaGridOptions {
  /** Transitions K; the grid has K + 1 levels. */
  steps: number
  /** Smallest and largest noise level; default 0.002 and 80 (EDM). */
  min?: number
  max?: number
  /** Spacing; 7 puts most levels at small noise, 1 is even. */
  rho?: number
}

/** The options, once: ranges, defaults and help; where they are flags, the defaults are the model's. */
export const sigmaGridRows: Rows<SigmaGridOptions> = {
  steps: whole('transitions: the grid has one level more', { max: 1_000_000, flag: false }),
  min: positive('smallest noise level', { flag: false, default: 0.002 }),
  max: positive('largest noise level', { flag: false, default: 80 }),
  rho: positive('spacing of the noise levels', { default: 7 }),
}

/**
 * Karras noise levels from `max` down to `min` (Karras et al. 2022, equation 5), exact at both ends: steps + 1 standard deviations of noise, in the
 * units of the data. Throws ArgumentError unless 0 < min < max.
 * @example
 * ```js
 * import { sigmaGrid } from 'feynkac'
 *
 * const sigmas = sigmaGrid({ steps: 4, min: 0.01, max: 10 }) // five levels, from 10 to 0.01
 * ```
 */
export function sigmaGrid(options: SigmaGridOptions): Float64Array {
  knownOptions('sigmaGrid', options, Object.keys(sigmaGridRows))
  const option = reader(sigmaGridRows, options)
  const [steps, max, min, rho] = [option('steps'), option('max'), option('min'), option('rho')]
  if (min >= max) throw invalid('min', `a number below max = ${max}`, min)
  const [from, to] = [max ** (1 / rho), min ** (1 / rho)]
  const grid = Float64Array.from({ length: steps + 1 }, (_, k) => (from + (k / steps) * (to - from)) ** rho)
  grid[0] = max
  grid[steps] = min
  return grid
}

const MOST = 1_000_001

/** Noise levels of the caller's own: strictly decreasing and positive, except that the last may be 0 where `zero` allows it. */
export function checkedSigmas(value: unknown, least: number, zero = false): Float64Array {
  const expected = `at least ${least} strictly decreasing ${zero ? 'noise levels, positive but for a last 0' : 'positive noise levels'}`
  const sigmas = Float64Array.from(numberList('sigmas', value, { max: MOST }))
  const right = sigmas.every((s, k) => {
    const last = k === sigmas.length - 1
    return Number.isFinite(s) && (s > 0 || (zero && last && k > 0 && s === 0)) && (k === 0 || s < sigmas[k - 1])
  })
  if (!right || sigmas.length < least) throw invalid('sigmas', expected, Array.from(sigmas))
  return sigmas
}

/** `levels` noise levels from `max` down to `min` in equal ratios. */
export function evenLevels(min: number, max: number, levels: number): Float64Array {
  const ratio = (min / max) ** (1 / (levels - 1))
  return Float64Array.from({ length: levels }, (_, k) => (k === levels - 1 ? min : max * ratio ** k))
}
