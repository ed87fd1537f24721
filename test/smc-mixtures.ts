import type { EnergyFunction } from '../lib/smc/energy-function.js'
import { gaussianMixture } from '../lib/smc/mixtures.js'

/** Mixtures with diagonal covariances, whose products are mixtures again: exact answers in any dimension. */
export interface DiagonalMixture {
  weights: number[]
  means: number[][]
  covariances: number[][]
}

export const energyOf = (m: DiagonalMixture): EnergyFunction => gaussianMixture(m)

/** One Gaussian; a number is the variance of every coordinate. */
export const gaussian = (mean: number[], variance: number) =>
  gaussianMixture({ weights: [1], means: [mean], covariances: [variance] })
/** Two mixtures of two Gaussians in the plane that overlap. */
export const two = gaussianMixture({ weights: [1, 2], means: [[-2, 0], [2, 1]], covariances: [0.3, [0.4, 0.2]] }) // biome-ignore format: one line
export const other = gaussianMixture({ weights: [1, 1], means: [[-1, 0], [2, 0]], covariances: [0.5, 0.5] }) // biome-ignore format: one line

/** p(x) q(x) at noise sigma as an unnormalised mixture: its components, with log-weights that sum to log Z. */
export function productOf(p: DiagonalMixture, q: DiagonalMixture, sigma: number) {
  const s2 = sigma * sigma
  const components = p.weights.flatMap((w, i) =>
    q.weights.map((u, j) => {
      let logWeight = Math.log(w * u)
      const [mean, variance] = [[] as number[], [] as number[]]
      for (let k = 0; k < p.means[i].length; k++) {
        const [a, b] = [p.covariances[i][k] + s2, q.covariances[j][k] + s2]
        const gap = p.means[i][k] - q.means[j][k]
        logWeight -= 0.5 * ((gap * gap) / (a + b) + Math.log(2 * Math.PI * (a + b)))
        variance.push((a * b) / (a + b))
        mean.push((p.means[i][k] * b + q.means[j][k] * a) / (a + b))
      }
      return { logWeight, mean, variance }
    }),
  )
  const most = Math.max(...components.map((c) => c.logWeight))
  const logZ = most + Math.log(components.reduce((sum, c) => sum + Math.exp(c.logWeight - most), 0))
  return { logZ, components }
}

/** Total probability per nearest centre (by the first two coordinates) of weighted samples. */
export function modeWeights(
  samples: Float32Array,
  weights: ArrayLike<number>,
  centres: readonly ArrayLike<number>[],
): number[] {
  const d = samples.length / weights.length
  const out = centres.map(() => 0)
  for (let i = 0; i < weights.length; i++) {
    const distances = centres.map((c) => (samples[i * d] - c[0]) ** 2 + (samples[i * d + 1] - c[1]) ** 2)
    out[distances.indexOf(Math.min(...distances))] += weights[i]
  }
  return out
}

export function totalVariation(a: ArrayLike<number>, b: ArrayLike<number>): number {
  return Array.from(a).reduce((sum, v, i) => sum + Math.abs(v - b[i]) / 2, 0)
}

/** Weighted mean [d] and covariance [d][d]. */
export function moments(samples: Float32Array, weights: ArrayLike<number>) {
  const n = weights.length
  const d = samples.length / n
  const mean = new Array<number>(d).fill(0)
  for (let i = 0; i < n; i++) for (let k = 0; k < d; k++) mean[k] += weights[i] * samples[i * d + k]
  const covariance = mean.map(() => new Array<number>(d).fill(0))
  for (let i = 0; i < n; i++)
    for (let k = 0; k < d; k++)
      for (let l = 0; l < d; l++)
        covariance[k][l] += weights[i] * (samples[i * d + k] - mean[k]) * (samples[i * d + l] - mean[l])
  return { mean, covariance }
}

export const equalWeights = (n: number): Float64Array => new Float64Array(n).fill(1 / n)
