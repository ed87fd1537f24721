import { finiteNumber, float32Array, held, integer, isShape, knownOptions } from '../base/args.js'
import { invalid } from '../base/errors.js'
import { purpose } from '../base/random.js'
import { sizeOf } from '../base/shape.js'
import { native, run } from '../native/addon.js'
import { type DenoiserFunction, denoiseOnHost } from '../smc/samplers.js'

/** Whether a denoiser is the gradient of anything. */

export interface ConservativityOptions {
  /** Noisy samples [n, ...shape] at noise sigma. */
  x: Float32Array
  sigma: number
  /** Pairs of directions for each sample; default 4. */
  probes?: number
  /** Default 0. */
  seed?: number
  signal?: AbortSignal
}

/** Length of a difference, in units of sigma and for a direction of unit variance: large enough for float32, small beside the noise. */
const STEP = 0.02

/**
 * Asymmetry of the Jacobian J = dD/dx of a denoiser, ||J - J^T||_F / ||J||_F over the samples: 0 for the gradient of an energy, sqrt(2) for a
 * random matrix. By pairs of random directions v, w, as E (v·Jw - w·Jv)^2 = ||J - J^T||_F^2 and E (v·Jw)^2 = ||J||_F^2 (Hutchinson), with
 * central differences for Jv and Jw. What is above 0 is what a distillation into an energy removes.
 * Throws ArgumentError; what the denoiser throws.
 * @example
 * ```js
 * import { conservativity, Denoiser } from 'feynkac'
 *
 * const denoiser = await Denoiser.load('denoiser.safetensors')
 * const x = new Float32Array(16 * denoiser.shape.reduce((a, b) => a * b)) // noisy samples
 * console.log(await conservativity(denoiser, { x, sigma: 0.5 })) // 0: a gradient
 * ```
 */
export async function conservativity(denoiser: DenoiserFunction, options: ConservativityOptions): Promise<number> {
  knownOptions('conservativity', options, ['x', 'sigma', 'probes', 'seed', 'signal'])
  if (typeof denoiser?.denoise !== 'function' || !isShape(denoiser.shape))
    throw invalid('denoiser', 'a denoiser { shape, denoise(x, sigma) }', denoiser)
  const d = sizeOf(denoiser.shape)
  const { signal } = options
  const given = float32Array('x', options.x)
  if (given.length === 0 || given.length % d !== 0) throw invalid('x', `a Float32Array of whole rows of ${d}`, given)
  const sigma = finiteNumber('sigma', options.sigma, { above: 0 })
  const probes = integer('probes', options.probes ?? 4, 1, 1 << 20)
  const seed = integer('seed', options.seed ?? 0, 0)
  const x = await held('x', given, signal)
  const rows = x.length / d
  const h = STEP * sigma

  const direction = (step: number) => {
    const out = new Float32Array(x.length)
    native.normals(out, rows, seed, purpose.user, step)
    return out
  }
  /** x + h v */
  const moved = async (v: Float32Array, by: number) => {
    const out = new Float32Array(x.length)
    await run(() => native.combine({ out, terms: [x, v], coefficients: Float64Array.of(1, by), rows }), signal)
    return denoiseOnHost(denoiser, out, sigma, { signal })
  }
  const product = async (v: Float32Array) => {
    const [up, down] = [await moved(v, h), await moved(v, -h)]
    return up.map((value, i) => (value - down[i]) / (2 * h))
  }
  let [asymmetry, whole] = [0, 0]
  for (let p = 0; p < probes; p++) {
    const [v, w] = [direction(2 * p), direction(2 * p + 1)]
    const [jv, jw] = [await product(v), await product(w)]
    for (let r = 0; r < rows; r++) {
      let [a, b] = [0, 0]
      for (let k = r * d; k < (r + 1) * d; k++) {
        a += v[k] * jw[k]
        b += w[k] * jv[k]
      }
      asymmetry += (a - b) ** 2
      whole += (a * a + b * b) / 2
    }
  }
  return Math.sqrt(asymmetry / whole)
}
