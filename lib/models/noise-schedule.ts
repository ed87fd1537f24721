import type { Preconditioning } from '../networks/preconditioning.js'

/** The noise levels of variance-preserving schedules, and what is read of a checkpoint's own configuration. */

/** What a checkpoint's configuration says of the noise it was trained with. */
export interface NoiseSchedule {
  preconditioning: Preconditioning
  /** Range of the noise levels that the network has seen. */
  sigmaMin: number
  sigmaMax: number
  /** The network may have twice the channels, the second half a learned variance: only the first half is its prediction. */
  learnedVariance: boolean
}

/** `count` evenly spaced numbers from `start` to `end`. */
function spaced(start: number, end: number, count: number): number[] {
  return Array.from({ length: count }, (_, i) => (count === 1 ? start : start + (i / (count - 1)) * (end - start)))
}

/** Variances of a variance-preserving chain's steps, by the names that diffusers has for them. */
export const betaSchedules = {
  /** Ho et al. 2020. */
  linear: spaced,
  /** Linear in the square root: latent diffusion (Rombach et al. 2022). */
  scaled_linear: (start: number, end: number, count: number) =>
    spaced(Math.sqrt(start), Math.sqrt(end), count).map((root) => root * root),
  /** alpha-bar = cos^2, cut at 0.999 (Nichol and Dhariwal 2021); needs no start and end. */
  squaredcos_cap_v2: (_start: number, _end: number, count: number) => cosineBetas(count),
  /** Xu et al. 2022 (GeoDiff). */
  sigmoid: (start: number, end: number, count: number) =>
    spaced(-6, 6, count).map((x) => start + (end - start) / (1 + Math.exp(-x))),
} as const

/** 1 - cos^2 b / cos^2 a = sin(b - a) sin(b + a) / cos^2 a, which keeps its digits in the first steps. */
function cosineBetas(count: number): number[] {
  const angle = (i: number) => (((i / count + 0.008) / 1.008) * Math.PI) / 2
  return Array.from({ length: count }, (_, i) => {
    const [a, b] = [angle(i), angle(i + 1)]
    return Math.min((Math.sin(b - a) * Math.sin(b + a)) / Math.cos(a) ** 2, 0.999)
  })
}

/**
 * sigma_t = sqrt((1 - abar_t) / abar_t), abar_t = prod_{s <= t} (1 - beta_s): increasing, Infinity where abar is 0. As
 * sigma^2 = exp(-ln abar) - 1, no digits are lost at the first levels.
 */
export function sigmasOfBetas(betas: readonly number[]): number[] {
  let log = 0
  return betas.map((beta) => {
    log -= Math.log1p(-beta)
    return Math.sqrt(Math.expm1(log))
  })
}

/**
 * The levels after the shift of sqrt(abar) that makes the last one pure noise, and keeps the first (Lin et al. 2024, algorithm 1): the last
 * is Infinity.
 */
export function zeroTerminalSnr(sigmas: readonly number[]): number[] {
  const roots = sigmas.map((sigma) => 1 / Math.hypot(1, sigma))
  const [first, last] = [roots[0], roots[roots.length - 1]]
  return roots.map((root, t) => {
    if (t === 0) return sigmas[0]
    const shifted = (root - last) * (first / (first - last))
    return Math.sqrt((1 - shifted) * (1 + shifted)) / shifted
  })
}

/**
 * The preconditioning's noise of a discrete schedule: the time of level t is t. Levels of infinite sigma are left out: they show no image,
 * so that nothing can be denoised there.
 */
export function levelTable(
  sigmas: readonly number[],
  rounding: 'linear' | 'nearest' = 'linear',
): Extract<Preconditioning['noise'], { kind: 'table' }> {
  const finite = sigmas.filter(Number.isFinite)
  return { kind: 'table', sigmas: finite, times: finite.map((_, t) => t), rounding }
}
