import { finiteNumber } from '../../base/args.js'
import { invalid } from '../../base/errors.js'
import type { EnergyFunction, HostEvaluation, Target } from '../energy-function.js'
import { callback } from '../evaluation.js'
import { checkedLength, denoised, HOST, type LambdaOption, lambdaOf, makeTarget } from './target.js'

/** What a set's membership test gets: denoised images [count, d], row-major. One answer per image. */
export type Contains = (
  denoised: Float32Array,
  count: number,
  options: { signal?: AbortSignal },
) => ArrayLike<boolean | number> | Promise<ArrayLike<boolean | number>>

/** Options of a set that a function tells. */
export interface ContainsOptions extends LambdaOption {
  contains: Contains
  /** Noise level at which leaving the set costs one nat; it costs (anneal / sigma)^2. Default 0.1: a tenth of the data's scale or less. */
  anneal?: number
}

export function boundedBySet(model: EnergyFunction, options: ContainsOptions): Target {
  const { contains } = options
  if (typeof contains !== 'function') throw invalid('contains', 'a function', contains)
  const anneal = finiteNumber('anneal', options.anneal ?? 0.1, { above: 0 })
  return makeTarget(
    {
      name: 'bounded',
      factored: true,
      models: [model],
      lambda: lambdaOf(model),
      calibration: model.calibration,
      async combine(parts, points, sigma, { signal } = {}) {
        const [part, x] = [parts[0] as HostEvaluation, points as Float32Array]
        const count = part.energy.length
        const image = await denoised(x, part, sigma, signal)
        const inside = await callback('contains of bounded', signal, () => contains(image, count, { signal }))
        checkedLength('contains of bounded', inside, count)
        const price = (anneal / sigma) ** 2
        return { energy: part.energy.map((e, i) => (inside[i] ? e : e + price)), grad: part.grad }
      },
    },
    options,
    HOST,
  )
}
