/**
 * The variances of one move from noise s to s' < s (method.md section 4): backward kernel L(x|x') = N(x; x', v) and proposal
 * M(x'|x) = N(x'; x - v grad U, tau). Each holds one variance for all coordinates, or one per coordinate.
 */
export interface StepKernel {
  v: Float64Array
  tau: Float64Array
}

export type Kernel = 'scaled' | 'plain'

/**
 * sde: tau = v; posterior: tau = v s'^2/s^2; analytic: tau = v max(1 - v m, s'^2/s^2), with one m or one per coordinate. tempered, for fkc:
 * tau = (s^2 - s'^2) / Lambda and drift (s^2 - s'^2 + tau)/2, the tempered noise of Skreta et al. 2025 (1/sqrt(beta), eta = (1 + beta)/2).
 */
export type Proposal = 'analytic' | 'analytic-diagonal' | 'posterior' | 'sde' | 'tempered'

/** Whether a proposal needs the path's precision m, and in what form. */
export function precisionForm(proposal: Proposal): 'none' | 'scalar' | 'diagonal' {
  return proposal === 'analytic' ? 'scalar' : proposal === 'analytic-diagonal' ? 'diagonal' : 'none'
}

/**
 * @param lambda Lambda for the scaled kernel and tempered noise, 1 for the plain one: a mode at noise s has variance s^2 / Lambda
 * @param precision m, the weighted mean of |grad log pi_s|^2 / d (or of each coordinate's square) over the particles
 */
export function stepKernel(
  s: number,
  next: number,
  lambda: number,
  proposal: Proposal,
  precision: Float64Array,
): StepKernel {
  const dt = s * s - next * next
  const v = dt / lambda
  const floor = (next * next) / (s * s)
  if (proposal === 'sde') return { v: Float64Array.of(v), tau: Float64Array.of(v) }
  if (proposal === 'tempered') return { v: Float64Array.of((dt + v) / 2), tau: Float64Array.of(v) }
  if (proposal === 'posterior') return { v: Float64Array.of(v), tau: Float64Array.of(v * floor) }
  // the optimal reverse variance of Analytic-DPM (Bao et al. 2022)
  return { v: Float64Array.of(v), tau: precision.map((m) => v * Math.max(1 - v * m, floor)) }
}
