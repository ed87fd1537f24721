/** Gaussian mixtures whose compositions are mixtures again: exact answers in any dimension. */

/** Components with diagonal covariances. */
export interface DiagonalMixture {
  /** Sum to one. */
  weights: number[]
  means: number[][]
  /** [components][d] */
  covariances: number[][]
}

/** An unnormalised mixture. */
export interface Composition extends DiagonalMixture {
  /** log of the sum of its unnormalised weights; `weights` are normalised. */
  logZ: number
}

function normalised(logWeights: number[], means: number[][], covariances: number[][]): Composition {
  const most = Math.max(...logWeights)
  const logZ = most + Math.log(logWeights.reduce((sum, w) => sum + Math.exp(w - most), 0))
  return { logZ, weights: logWeights.map((w) => Math.exp(w - logZ)), means, covariances }
}

/** p(x) q(x) at noise sigma. */
export function productOf(p: DiagonalMixture, q: DiagonalMixture, sigma: number): Composition {
  const s2 = sigma * sigma
  const [logWeights, means, covariances] = [[] as number[], [] as number[][], [] as number[][]]
  for (const [i, w] of p.weights.entries())
    for (const [j, u] of q.weights.entries()) {
      let logWeight = Math.log(w * u)
      const [mean, variance] = [[] as number[], [] as number[]]
      for (let k = 0; k < p.means[i].length; k++) {
        const [a, b] = [p.covariances[i][k] + s2, q.covariances[j][k] + s2]
        const gap = p.means[i][k] - q.means[j][k]
        logWeight -= 0.5 * ((gap * gap) / (a + b) + Math.log(2 * Math.PI * (a + b)))
        variance.push((a * b) / (a + b))
        mean.push((p.means[i][k] * b + q.means[j][k] * a) / (a + b))
      }
      logWeights.push(logWeight)
      means.push(mean)
      covariances.push(variance)
    }
  return normalised(logWeights, means, covariances)
}

/** w p + (1 - w) q at noise sigma. */
export function mixtureOf(p: DiagonalMixture, q: DiagonalMixture, w: number, sigma: number): Composition {
  const noisy = [...p.covariances, ...q.covariances].map((row) => row.map((v) => v + sigma * sigma))
  const weights = [...p.weights.map((v) => w * v), ...q.weights.map((v) => (1 - w) * v)]
  return normalised(weights.map(Math.log), [...p.means, ...q.means], noisy)
}

/** The marginal of some coordinates. */
export function marginal(m: DiagonalMixture, coordinates: readonly number[]): DiagonalMixture {
  const pick = (row: number[]) => coordinates.map((k) => row[k])
  return { weights: m.weights, means: m.means.map(pick), covariances: m.covariances.map(pick) }
}

/** Variance of every coordinate. */
export function varianceOf(m: DiagonalMixture): number[] {
  return m.means[0].map((_, k) => {
    const mean = m.weights.reduce((sum, w, c) => sum + w * m.means[c][k], 0)
    return m.weights.reduce((sum, w, c) => sum + w * (m.covariances[c][k] + (m.means[c][k] - mean) ** 2), 0)
  })
}

/** Total weight per nearest centre, by the first two coordinates, of weighted samples. */
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

/** Weighted variance of every coordinate. */
export function sampleVariance(samples: Float32Array, weights: ArrayLike<number>): Float64Array {
  const d = samples.length / weights.length
  const [first, second] = [new Float64Array(d), new Float64Array(d)]
  for (let i = 0; i < weights.length; i++)
    for (let k = 0; k < d; k++) {
      const x = samples[i * d + k]
      first[k] += weights[i] * x
      second[k] += weights[i] * x * x
    }
  return second.map((v, k) => v - first[k] ** 2)
}
