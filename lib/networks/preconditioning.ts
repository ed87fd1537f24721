import { finiteNumber } from '../base/args.js'
import { ArgumentError } from '../base/errors.js'
import { checkedNoise, type NoiseConditioning, noiseInput } from './noise-conditioning.js'

/**
 * What stands between a network h and a denoiser: D(x, sigma) = c_skip x + c_out h(c_in x, c_noise), x = x0 + sigma n (Karras et al. 2022,
 * table 1). Variance-preserving models are the same thing after x_vp = alpha x, alpha = 1/sqrt(1 + sigma^2).
 */

/** What the network's output means. All but 'edm' and 've' take x_vp and predict the noise, v = alpha n - alpha sigma x0, or x0. */
export type PreconditioningForm = 'edm' | 'epsilon' | 'v' | 'sample' | 've'

/** Plain data: it is kept as JSON with a model. */
export interface Preconditioning {
  form: PreconditioningForm
  /** Standard deviation of the data in the factors of 'edm'; 1 in the other forms, which have none. */
  sigmaData: number
  noise: NoiseConditioning
}

/** The factors at one noise level. */
export interface PreconditioningFactors {
  cSkip: number
  cOut: number
  cIn: number
  cNoise: number
}

/** c_skip, c_out and c_in, in the forms that keep their digits at small sigma. */
const factors: Record<PreconditioningForm, (sigma: number, sigmaData: number) => [number, number, number]> = {
  edm: (s, sd) => [(sd * sd) / (s * s + sd * sd), (s * sd) / Math.hypot(s, sd), 1 / Math.hypot(s, sd)],
  epsilon: (s) => [1, -s, 1 / Math.hypot(1, s)],
  v: (s) => [1 / (1 + s * s), -s / Math.hypot(1, s), 1 / Math.hypot(1, s)],
  sample: (s) => [0, 1, 1 / Math.hypot(1, s)],
  ve: (s) => [1, s, 1],
}

export const preconditioningForms = Object.keys(factors) as PreconditioningForm[]

/**
 * The factors at a noise level sigma > 0, in float64. Throws ArgumentError.
 * @example
 * ```js
 * import { Denoiser, preconditioningAt } from 'feynkac'
 *
 * const { info } = await Denoiser.load('denoiser.safetensors')
 * const { cSkip, cOut, cIn, cNoise } = preconditioningAt(info.preconditioning, 0.5)
 * ```
 */
export function preconditioningAt(preconditioning: Preconditioning, sigma: number): PreconditioningFactors {
  const { form, sigmaData, noise } = parsePreconditioning(preconditioning, (what) => {
    throw new ArgumentError(`preconditioning: ${what}`)
  })
  finiteNumber('sigma', sigma, { above: 0 })
  const [cSkip, cOut, cIn] = factors[form](sigma, sigmaData)
  return { cSkip, cOut, cIn, cNoise: noiseInput(noise, sigma) }
}

/** Karras et al.'s own: c_noise = ln(sigma) / 4. */
export function edmPreconditioning(sigmaData = 0.5): Preconditioning {
  return { form: 'edm', sigmaData, noise: { kind: 'log', scale: 0.25, offset: 0 } }
}

/** Checks a preconditioning out of JSON; `fail` throws with what was wrong. The result shares nothing with the JSON. */
export function parsePreconditioning(json: unknown, fail: (what: string) => never): Preconditioning {
  if (typeof json !== 'object' || json === null || Array.isArray(json))
    return fail('expected an object for the preconditioning')
  const { form, sigmaData, noise, ...rest } = json as Record<string, unknown>
  const [unknown] = Object.keys(rest)
  if (unknown !== undefined) fail(`unknown field '${unknown}' of the preconditioning`)
  if (!(preconditioningForms as unknown[]).includes(form))
    return fail(`the preconditioning's form must be one of ${preconditioningForms.join(', ')}`)
  const value = sigmaData ?? (form === 'edm' ? undefined : 1)
  if (typeof value !== 'number' || !Number.isFinite(value) || !(value > 0))
    return fail("expected a positive number for sigmaData of the form 'edm'")
  if (form !== 'edm' && value !== 1) return fail(`sigmaData is 1 in the form '${form}'`)
  return { form: form as PreconditioningForm, sigmaData: value, noise: checkedNoise(noise, fail) }
}
