import { describe } from '../base/errors.js'
import { type NoiseConditioning, vpSigma } from '../networks/noise-conditioning.js'
import { edmPreconditioning } from '../networks/preconditioning.js'
import type { NoiseSchedule } from './noise-schedule.js'

/** The preconditioners of NVlabs/edm (Karras et al. 2022, table 1), by class name and constructor arguments. */

type Fail = (what: string) => never
type Numbers<Name extends string> = (name: Name, byDefault: number, right?: (v: number) => boolean) => number

const precondClasses: Record<string, (number: Numbers<string>) => NoiseSchedule> = {
  EDMPrecond: (number) => ({
    preconditioning: edmPreconditioning(number('sigma_data', 0.5)),
    // unless the checkpoint limits them, the range that EDM samples
    sigmaMin: number('sigma_min', 0, (v) => v >= 0) || 0.002,
    sigmaMax: finiteOr(number('sigma_max', Infinity), 80),
    learnedVariance: false,
  }),

  VPPrecond(number) {
    const noise: NoiseConditioning = {
      kind: 'vp',
      betaD: number('beta_d', 19.9),
      betaMin: number('beta_min', 0.1, (v) => v >= 0),
      epsilonT: number('epsilon_t', 1e-5, (v) => v > 0 && v < 1),
      M: number('M', 1000, isCount),
    }
    return {
      preconditioning: { form: 'epsilon', sigmaData: 1, noise },
      sigmaMin: vpSigma(noise, noise.epsilonT),
      sigmaMax: vpSigma(noise, 1),
      learnedVariance: false,
    }
  },

  VEPrecond: (number) => ({
    preconditioning: { form: 've', sigmaData: 1, noise: { kind: 'log', scale: 1, offset: Math.log(0.5) } },
    sigmaMin: number('sigma_min', 0.02),
    sigmaMax: number('sigma_max', 100),
    learnedVariance: false,
  }),

  iDDPMPrecond(number) {
    const M = number('M', 1000, isCount)
    const u = iddpmLevels(
      number('C_1', 0.001, (v) => v > 0 && v <= 1),
      number('C_2', 0.008),
      M,
    )
    // u_0, ..., u_(M-1) decrease; c_noise = M - 1 - j
    const sigmas = u.slice(0, M).reverse()
    return {
      preconditioning: {
        form: 'epsilon',
        sigmaData: 1,
        noise: { kind: 'table', sigmas, times: sigmas.map((_, t) => t), rounding: 'nearest' },
      },
      sigmaMin: sigmas[0],
      sigmaMax: sigmas[M - 1],
      learnedVariance: true,
    }
  },
}

const isCount = (v: number) => Number.isSafeInteger(v) && v > 1 && v <= 1e6
const finiteOr = (value: number, other: number) => (Number.isFinite(value) ? value : other)

/**
 * The noise of an EDM checkpoint: its preconditioner's class, such as 'VPPrecond', and the arguments it was made with; those that say
 * nothing of the noise are ignored, missing ones have the class's defaults. `fail` throws with what was wrong.
 */
export function edmSchedule(className: string, args: Readonly<Record<string, unknown>>, fail: Fail): NoiseSchedule {
  if (!Object.hasOwn(precondClasses, className))
    return fail(
      `the preconditioner ${describe(className)} is not supported: one of ${Object.keys(precondClasses).join(', ')}`,
    )
  const schedule = precondClasses[className]((name, byDefault, right = (v) => v > 0) => {
    const value = args[name] ?? byDefault
    return typeof value === 'number' && right(value)
      ? value
      : fail(`${className} cannot have ${describe(value)} for ${name}`)
  })
  const { sigmaMin, sigmaMax } = schedule
  if (!Number.isFinite(sigmaMax) || !(sigmaMin < sigmaMax))
    fail(`${className} has noise levels from ${sigmaMin} to ${sigmaMax}`)
  return schedule
}

/**
 * u_0 > u_1 > ... > u_M = 0 of iDDPM (Karras et al. 2022, table 1): u_(j-1)^2 = (u_j^2 + 1) / max(abar_(j-1) / abar_j, C_1) - 1 with
 * abar_j = sin^2(pi j / (2 M (C_2 + 1))).
 */
export function iddpmLevels(C1: number, C2: number, M: number): number[] {
  const angle = Math.PI / (2 * M * (C2 + 1))
  let squared = 0
  const u = [0]
  for (let j = M; j > 0; j--) {
    const [a, b] = [(j - 1) * angle, j * angle]
    // (u^2 + 1) / r - 1 = (u^2 + (1 - r)) / r, and 1 - r = sin(b - a) sin(b + a) / sin^2 b: no cancellation at the small levels
    const lost = Math.min((Math.sin(b - a) * Math.sin(b + a)) / Math.sin(b) ** 2, 1 - C1)
    squared = (squared + lost) / (1 - lost)
    u.push(Math.sqrt(squared))
  }
  return u.reverse()
}
