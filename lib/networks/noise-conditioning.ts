import { isList } from '../base/args.js'

/** How a network is told the noise level: its number c_noise as a function of sigma. Plain data, kept as JSON with a model. */
export type NoiseConditioning =
  /** c_noise = scale ln(sigma) + offset. */
  | { kind: 'log'; scale: number; offset: number }
  /**
   * The times of a discrete schedule's levels, sigmas increasing, constant beyond its ends. Between levels: 'linear' in ln(sigma), or the
   * time of the 'nearest' sigma.
   */
  | { kind: 'table'; sigmas: number[]; times: number[]; rounding: 'linear' | 'nearest' }
  /**
   * c_noise = (M - 1) t of the continuous variance-preserving SDE, sigma(t)^2 = exp(betaD t^2 / 2 + betaMin t) - 1 for t from epsilonT to 1
   * (Song et al. 2021; Karras et al. 2022, table 1).
   */
  | { kind: 'vp'; betaD: number; betaMin: number; epsilonT: number; M: number }

type Table = Extract<NoiseConditioning, { kind: 'table' }>
type ContinuousVp = Extract<NoiseConditioning, { kind: 'vp' }>

/** c_noise at a noise level sigma > 0. */
export function noiseInput(noise: NoiseConditioning, sigma: number): number {
  if (noise.kind === 'log') return noise.scale * Math.log(sigma) + noise.offset
  return noise.kind === 'vp' ? (noise.M - 1) * vpTime(noise, sigma) : tableTime(noise, sigma)
}

/** The noise level at which a network is told c_noise: the inverse of noiseInput, at a table's times for its levels. */
export function noiseLevel(noise: NoiseConditioning, cNoise: number): number {
  if (noise.kind === 'log') return Math.exp((cNoise - noise.offset) / noise.scale)
  return noise.kind === 'vp' ? vpSigma(noise, cNoise / (noise.M - 1)) : tableSigma(noise, cNoise)
}

/** sigma(t) of the continuous variance-preserving SDE. */
export function vpSigma({ betaD, betaMin }: Pick<ContinuousVp, 'betaD' | 'betaMin'>, t: number): number {
  return Math.sqrt(Math.expm1((betaD / 2) * t * t + betaMin * t))
}

/** The root of betaD t^2 / 2 + betaMin t = ln(1 + sigma^2), free of cancellation. */
function vpTime({ betaD, betaMin }: ContinuousVp, sigma: number): number {
  const log = Math.log1p(sigma * sigma)
  return (2 * log) / (Math.sqrt(betaMin * betaMin + 2 * betaD * log) + betaMin)
}

function tableTime({ sigmas, times, rounding }: Table, sigma: number): number {
  const above = firstAtLeast(sigmas, sigma)
  if (above === 0) return times[0]
  if (above === sigmas.length) return times[above - 1]
  const [lower, upper] = [sigmas[above - 1], sigmas[above]]
  if (rounding === 'nearest') return sigma - lower < upper - sigma ? times[above - 1] : times[above]
  const share = Math.log(sigma / lower) / Math.log(upper / lower)
  return times[above - 1] + share * (times[above] - times[above - 1])
}

function tableSigma({ sigmas, times, rounding }: Table, time: number): number {
  const sign = times.length > 1 && times[1] < times[0] ? -1 : 1
  const signed = times.map((t) => sign * t)
  const above = firstAtLeast(signed, sign * time)
  if (above === 0) return sigmas[0]
  if (above === times.length) return sigmas[above - 1]
  const share = (time - times[above - 1]) / (times[above] - times[above - 1])
  if (rounding === 'nearest') return sigmas[share < 0.5 ? above - 1 : above]
  return Math.exp(Math.log(sigmas[above - 1]) + share * Math.log(sigmas[above] / sigmas[above - 1]))
}

/** The first index of increasing values whose value is at least `value`; their number if there is none. */
function firstAtLeast(values: readonly number[], value: number): number {
  let [low, high] = [0, values.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if (values[middle] < value) low = middle + 1
    else high = middle
  }
  return low
}

/** Checks a noise conditioning out of JSON; `fail` throws with what was wrong. */
export function checkedNoise(json: unknown, fail: (what: string) => never): NoiseConditioning {
  if (typeof json !== 'object' || json === null) return fail('expected an object for noise of the preconditioning')
  const given = json as Record<string, unknown>
  const number = (name: string, right: (v: number) => boolean, expected: string): number => {
    const value = given[name]
    return typeof value === 'number' && Number.isFinite(value) && right(value)
      ? value
      : fail(`expected ${expected} for ${name} of the preconditioning's noise`)
  }
  const only = (...names: string[]) => {
    const unknown = Object.keys(given).find((name) => name !== 'kind' && !names.includes(name))
    if (unknown !== undefined) fail(`unknown field '${unknown}' of the preconditioning's noise`)
  }
  if (given.kind === 'log') {
    only('scale', 'offset')
    return {
      kind: 'log',
      scale: number('scale', (v) => v !== 0, 'a number other than 0'),
      offset: number('offset', () => true, 'a number'),
    }
  }
  if (given.kind === 'vp') {
    only('betaD', 'betaMin', 'epsilonT', 'M')
    return {
      kind: 'vp',
      betaD: number('betaD', (v) => v > 0, 'a positive number'),
      betaMin: number('betaMin', (v) => v >= 0, 'a number of at least 0'),
      epsilonT: number('epsilonT', (v) => v > 0 && v < 1, 'a number between 0 and 1'),
      M: number('M', (v) => Number.isSafeInteger(v) && v > 1, 'an integer above 1'),
    }
  }
  if (given.kind !== 'table') return fail("the preconditioning's noise must be of kind 'log', 'table' or 'vp'")
  only('sigmas', 'times', 'rounding')
  const { rounding } = given
  if (rounding !== 'linear' && rounding !== 'nearest')
    return fail("rounding of the preconditioning's noise must be 'linear' or 'nearest'")
  return checkedTable(given.sigmas, given.times, rounding, fail)
}

function checkedTable(
  sigmas: unknown,
  times: unknown,
  rounding: Table['rounding'],
  fail: (what: string) => never,
): Table {
  const finite = (v: unknown): v is number[] => isList(v) && v.length > 0 && v.every(Number.isFinite)
  if (!finite(sigmas) || !sigmas.every((s, i) => s > (i === 0 ? 0 : sigmas[i - 1])))
    return fail("sigmas of the preconditioning's noise must be positive and strictly increasing")
  if (!finite(times) || times.length !== sigmas.length)
    return fail(`expected ${sigmas.length} numbers for times of the preconditioning's noise`)
  const sign = Math.sign(times[times.length - 1] - times[0])
  if (!times.every((t, i) => i === 0 || sign * (t - times[i - 1]) > 0))
    return fail("times of the preconditioning's noise must be strictly increasing or decreasing")
  return { kind: 'table', sigmas: [...sigmas], times: [...times], rounding }
}
