import type { EnergyFunction } from '../lib/smc/energy-function.js'
import { gaussianMixture } from '../lib/smc/mixtures.js'
import type { DiagonalMixture } from '../packages/lab/src/experiments/mixtures.js'

export const energyOf = (m: DiagonalMixture): EnergyFunction => gaussianMixture(m)

/** One Gaussian; a number is the variance of every coordinate. */
export const gaussian = (mean: number[], variance: number) =>
  gaussianMixture({ weights: [1], means: [mean], covariances: [variance] })
/** Two mixtures of two Gaussians in the plane that overlap. */
export const two = gaussianMixture({ weights: [1, 2], means: [[-2, 0], [2, 1]], covariances: [0.3, [0.4, 0.2]] }) // biome-ignore format: one line
export const other = gaussianMixture({ weights: [1, 1], means: [[-1, 0], [2, 0]], covariances: [0.5, 0.5] }) // biome-ignore format: one line

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
