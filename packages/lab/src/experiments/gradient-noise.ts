import type { Denoiser, EnergyModel } from 'feynkac'
import { native, purpose, run } from 'feynkac/internal'
import type { HeldOut } from './held-out.js'

/** How noisy the parameters' gradient of one batch is, at the same weights, for the two targets of an energy. */

export interface GradientNoise {
  /** Trace of the gradient's covariance over batches / squared length of its mean, both unbiased. */
  relative: number
  /** Trace of the covariance. */
  variance: number
  /** Squared length of the mean. */
  signal: number
}

const BATCH = 32

/** target: clean samples (denoising score matching), or what a teacher makes of the noisy ones (distillation). */
export async function gradientNoise(
  model: EnergyModel,
  data: HeldOut,
  target: Denoiser | 'clean',
  { batches, seed, signal }: { batches: number; seed: number; signal?: AbortSignal },
): Promise<GradientNoise> {
  const { network, info } = model
  const size = data.clean.length / data.count
  const width = data.labels.length / data.count
  const gradient = new Float32Array(network.parameterCount())
  const sum = new Float64Array(gradient.length)
  let squares = 0
  for (let b = 0; b < batches; b++) {
    const [clean, labels] = [new Float32Array(BATCH * size), new Float32Array(BATCH * width)]
    const picks = new Float64Array(BATCH)
    native.uniforms(picks, BATCH, seed, purpose.user, 2 * b)
    picks.forEach((u, i) => {
      const at = Math.floor(u * data.count)
      clean.set(data.clean.subarray(at * size, (at + 1) * size), i * size)
      labels.set(data.labels.subarray(at * width, (at + 1) * width), i * width)
    })
    // ln sigma ~ N(-1.2, 1.2^2), as in training
    const normals = new Float32Array(BATCH * (size + 1))
    native.normals(normals, BATCH, seed, purpose.user, 2 * b + 1)
    const sigma = Float64Array.from({ length: BATCH }, (_, i) => Math.exp(-1.2 + 1.2 * normals[i * (size + 1)]))
    const x = clean.map((v, k) => v + sigma[Math.floor(k / size)] * normals[k + Math.floor(k / size) + 1])
    const wanted = target === 'clean' ? clean : await target.denoise(x, sigma, { labels })
    const { kind, headScale } = info
    await run(() => network.gradient({ kind, headScale, x, sigma, labels, target: wanted }), signal)
    await run(() => network.read('grad', gradient))
    for (let k = 0; k < gradient.length; k++) {
      sum[k] += gradient[k]
      squares += gradient[k] ** 2
    }
  }
  // sum over batches of |g - mean|^2 = sum |g|^2 - n |mean|^2
  const meanSquare = sum.reduce((total, v) => total + (v / batches) ** 2, 0)
  const variance = (squares - batches * meanSquare) / (batches - 1)
  const length = meanSquare - variance / batches
  return { variance, signal: length, relative: variance / Math.max(length, Number.MIN_VALUE) }
}
