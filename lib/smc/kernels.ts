import type { PrecisionTable } from './energy-function.js'

/**
 * The variances of one move from noise s to s' < s (docs/concepts/kernels.md): backward kernel L(x|x') = N(x; x', v) and proposal
 * M(x'|x) = N(x'; x - v grad U, tau). Each holds one variance for all coordinates, or one per coordinate.
 */
export interface StepKernel {
  v: Float64Array
  tau: Float64Array
}

/** How particles are weighed: the rules are in annealing.ts. */
export const weightSchemes = ['bridge', 'tilt', 'fkc', 'rne', 'likelihood', 'none'] as const
export type WeightScheme = (typeof weightSchemes)[number]

export const kernels = ['scaled', 'plain'] as const
/** What moves the particles from a noise level to the next. */
export type Kernel = (typeof kernels)[number]

/**
 * sde: tau = v; posterior: tau = v s'^2/s^2; analytic: tau = v max(1 - v m, s'^2/s^2), with one m or one per coordinate; calibrated: v and
 * tau from the models' tables of mean precisions. tempered, for fkc: tau = (s^2 - s'^2) / Lambda and drift (s^2 - s'^2 + tau)/2, the tempered
 * noise of Skreta et al. 2025 (1/sqrt(beta), eta = (1 + beta)/2).
 */
export const proposals = ['analytic', 'analytic-diagonal', 'calibrated', 'posterior', 'sde', 'tempered'] as const
/** Where the steps of a kernel take the spread of the particles from. */
export type Proposal = (typeof proposals)[number]

/** Whether a proposal needs the path's precision m of the particles, and in what form. */
export function precisionForm(proposal: Proposal): 'none' | 'scalar' | 'diagonal' {
  return proposal === 'analytic' ? 'scalar' : proposal === 'analytic-diagonal' ? 'diagonal' : 'none'
}

/**
 * @param lambda Lambda for the scaled kernel and tempered noise, 1 for the plain one: a mode at noise s has variance s^2 / Lambda
 * @param precision m, the weighted mean of |grad log pi_s|^2 / d (or of each coordinate's square) over the particles
 * @param curvature h of a control drift in both kernels (control-drift.ts): the backward kernel then has the mean a x', and the best reverse
 * variance, v (1 - v m) without, becomes v (1 - v m) / a^2 with 1/a = 1 + v h / (1 - v m)
 */
export function stepKernel(
  s: number,
  next: number,
  lambda: number,
  proposal: Exclude<Proposal, 'calibrated'>,
  precision: Float64Array,
  curvature = 0,
): StepKernel {
  const dt = s * s - next * next
  const v = dt / lambda
  const floor = (next * next) / (s * s)
  if (proposal === 'sde') return { v: Float64Array.of(v), tau: Float64Array.of(v) }
  if (proposal === 'tempered') return { v: Float64Array.of((dt + v) / 2), tau: Float64Array.of(v) }
  if (proposal === 'posterior') return { v: Float64Array.of(v), tau: Float64Array.of(v * floor) }
  // the optimal reverse variance of Analytic-DPM (Bao et al. 2022)
  const share = (left: number) => (left > 0 ? left * Math.max(0, 1 + (v * curvature) / left) ** 2 : 0)
  return { v: Float64Array.of(v), tau: precision.map((m) => v * Math.min(1, Math.max(share(1 - v * m), floor))) }
}

/**
 * The kernel of calibrated tables, per coordinate of their basis: with h_i the path's precision at s, and h'_i what becomes of it at noise
 * s' while the models' own variances stay,
 *
 *   v_i = 1/h_i - 1/h'_i,   tau_i = v_i (1 - v_i h_i).
 *
 * For one normalised density v = s^2 - s'^2, the noising kernel itself, and tau is the best variance of its reverse; for Gaussian factors it
 * is the backward kernel that takes N(0, 1/h') to N(0, 1/h), and its exact reverse, so that all weights are the same. v is held within
 * a factor 4 of the scaled kernel's, and tau between a quarter of v s'^2/s^2 and v: negative exponents can leave an h that is no precision.
 */
export function calibratedKernel(s: number, next: number, lambda: number, table: PrecisionTable): StepKernel {
  const scaled = (s * s - next * next) / lambda
  const floor = (next * next) / (s * s) / 4
  const [h, hNext] = [table.precisionAt(s), table.precisionAt(s, next)]
  const v = h.map((precision, i) => {
    const wanted = variance(precision) - variance(hNext[i])
    return Number.isNaN(wanted) ? scaled : Math.min(Math.max(wanted, scaled / 4), scaled * 4)
  })
  return { v, tau: v.map((step, i) => step * Math.min(Math.max(1 - step * h[i], floor), 1)) }
}

const variance = (precision: number) => (precision > 0 ? 1 / precision : Number.POSITIVE_INFINITY)
