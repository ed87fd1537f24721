import * as types from 'node:util/types'
import { finiteNumber, isList, knownOptions } from '../../base/args.js'
import { invalid } from '../../base/errors.js'
import { sizeOf } from '../../base/shape.js'
import { native, run } from '../../native/addon.js'
import { type EnergyFunction, type ResidentEnergy, type Target, trust } from '../energy-function.js'
import { boxPrecisions } from '../precision/composed.js'
import { linear } from './linear.js'
import { boundedBySet, type ContainsOptions } from './set.js'
import { checkedModel, type LambdaOption, onHost } from './target.js'

/** Options of `bounded`. */
export interface BoxOptions extends LambdaOption {
  /** Bounds of every coordinate: one number for all, or one per coordinate; may be infinite. */
  lower: number | ArrayLike<number>
  upper: number | ArrayLike<number>
  /** tau: width of the walls at noise 0; default 0, hard walls. */
  softness?: number
}

/**
 * pi proportional to p restricted to a set. A box: p times the noised soft box h_s = prod [Phi((hi-x)/t) - Phi((lo-x)/t)],
 * t^2 = softness^2 + sigma^2, which has an exact gradient; Lambda counts the box as one more density. Any other set: the indicator of the
 * denoised image x - sigma^2 grad E, its price annealed; proposals do not see it, the weights do. Throws ArgumentError; in a run, what
 * `contains` throws.
 * @param options.lower bounds of the coordinates, or one for all, in the units of x; an infinite one is open
 * @param options.upper likewise
 * @param options.softness standard deviation of the walls' noise, at least 0, in the units of x; default 0
 * @example
 * ```js
 * import { bounded, gaussianMixture, sigmaGrid, smc } from 'feynkac'
 *
 * const normal = gaussianMixture({ weights: [1], means: [[0, 0]], covariances: [1] })
 * const box = bounded(normal, { lower: [0, -Infinity], upper: [1, Infinity] })
 * const disc = bounded(normal, {
 *   contains: (x, count) => Array.from({ length: count }, (_, i) => Math.hypot(...x.subarray(2 * i, 2 * i + 2)) < 1),
 * })
 * const { samples, logZ } = await smc(box, { particles: 256, sigmas: sigmaGrid({ steps: 32, min: 0.01, max: 20 }) })
 * ```
 */
export function bounded(energy: EnergyFunction, options: BoxOptions | ContainsOptions): Target {
  const model = checkedModel('energy', energy)
  if (options !== null && typeof options === 'object' && 'contains' in options) {
    knownOptions('bounded', options, ['contains', 'anneal', 'lambda'])
    return boundedBySet(model, options)
  }
  knownOptions('bounded', options, ['lower', 'upper', 'softness', 'lambda'])
  const box = softBox(model.shape, options)
  return linear('bounded', [model, box], [1, 1], options)
}

/** -log h_s of a box as an energy function. */
function softBox(shape: readonly number[], options: BoxOptions): ResidentEnergy & { name: string } {
  const d = sizeOf(shape)
  const bounds = (name: 'lower' | 'upper'): Float64Array => {
    const value = options[name]
    const list = isList(value) || types.isFloat64Array(value) || types.isFloat32Array(value)
    const all = typeof value === 'number' ? new Array<number>(d).fill(value) : list ? Array.from(value) : []
    if (all.length !== d || !all.every((v) => typeof v === 'number' && !Number.isNaN(v)))
      throw invalid(name, `a number or ${d} numbers`, value)
    return Float64Array.from(all as number[])
  }
  const [lower, upper] = [bounds('lower'), bounds('upper')]
  if (lower.some((l, i) => !(l < upper[i]))) throw invalid('lower', 'bounds below those of upper', options.lower)
  const softness = finiteNumber('softness', options.softness ?? 0, { min: 0 })
  const energyGradIn: ResidentEnergy['energyGradIn'] = async (space, x, sigma, { signal } = {}) => {
    const out = { energy: space.doubles(x.length / d), grad: space.floats(x.length) }
    await run(() => native.softBox({ ...out, x, lower, upper, t: Math.hypot(softness, sigma) }), signal)
    return out
  }
  return trust({
    name: 'the box',
    shape,
    residence: 'any',
    calibration: boxPrecisions(shape, lower, upper, softness),
    energyGradIn,
    energyGrad: onHost(energyGradIn, shape),
  })
}
