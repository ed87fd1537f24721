import * as types from 'node:util/types'
import { finiteNumber, knownOptions } from '../../base/args.js'
import { ArgumentError, describe, digits, invalid, NumericsError } from '../../base/errors.js'
import { native, run } from '../../native/addon.js'
import type { EnergyFunction, HostEvaluation, Target } from '../energy-function.js'
import { callback } from '../evaluation.js'
import { checkedLength, checkedModel, denoised, HOST, type LambdaOption, lambdaOf, makeTarget } from './target.js'

/** Rewards of denoised images [count, d]: the values, and optionally their gradients with respect to the image [count, d]. */
export type Reward = (
  denoised: Float32Array,
  count: number,
  options: { sigma: number; signal?: AbortSignal },
) => RewardValue | Promise<RewardValue>

/** What a reward gives: the values, or values and their gradients with respect to the images. */
export type RewardValue = ArrayLike<number> | { value: ArrayLike<number>; grad?: Float32Array }

/**
 * pi proportional to p exp(strength r), U_s = E - strength r(D(x, s)). Where the reward has a gradient, proposals follow it through
 * dD/dx taken for c_skip = sigmaData^2 / (sigma^2 + sigmaData^2), its value for Gaussian data: the weights are exact for any proposal.
 * r takes denoised samples [n, ...shape] and gives n numbers, in nats at strength 1, or `{ value, grad }`. Throws ArgumentError; in a run,
 * what the reward throws.
 * @param options.strength a number, or a function of sigma (its last value is the target's)
 * @param options.sigmaData standard deviation of the data, above 0; default 0.5
 * @example
 * ```js
 * import { gaussianMixture, rewardTilt, sigmaGrid, smc } from 'feynkac'
 *
 * const normal = gaussianMixture({ weights: [1], means: [[0, 0]], covariances: [1] })
 * const target = rewardTilt(normal, (x) => x.filter((_, i) => i % 2 === 0), { strength: 1 })
 * const { samples, logZ } = await smc(target, { particles: 256, sigmas: sigmaGrid({ steps: 32, min: 0.01, max: 20 }) })
 * ```
 */
export function rewardTilt(
  energy: EnergyFunction,
  reward: Reward,
  options: { strength: number | ((sigma: number) => number); sigmaData?: number } & LambdaOption,
): Target {
  knownOptions('rewardTilt', options, ['strength', 'sigmaData', 'lambda'])
  const model = checkedModel('energy', energy)
  if (typeof reward !== 'function') throw invalid('reward', 'a function', reward)
  const { strength } = options
  if (typeof strength !== 'function') finiteNumber('strength', strength)
  const variance = finiteNumber('sigmaData', options.sigmaData ?? 0.5, { above: 0 }) ** 2
  return makeTarget(
    {
      name: 'rewardTilt',
      factored: true,
      models: [model],
      lambda: lambdaOf(model),
      calibration: model.calibration,
      async combine(parts, points, sigma, { signal } = {}) {
        const [part, x] = [parts[0] as HostEvaluation, points as Float32Array]
        const count = part.energy.length
        const beta =
          typeof strength === 'function'
            ? finiteNumber('strength(sigma)', await callback('strength', signal, () => strength(sigma)))
            : strength
        const image = await denoised(x, part, sigma, signal)
        const result = await callback('the reward', signal, () => reward(image, count, { sigma, signal }))
        const { value, grad } =
          result !== null && typeof result === 'object' && 'value' in result ? result : { value: result }
        checkedLength('the reward', value, count)
        const nan = Array.prototype.findIndex.call(value, (r) => typeof r !== 'number' || Number.isNaN(r))
        if (nan >= 0)
          throw new NumericsError(`the reward of image ${nan} at sigma = ${digits(sigma)} is ${describe(value[nan])}`)
        const tilted = part.energy.map((e, i) => e - beta * value[i])
        if (grad === undefined) return { energy: tilted, grad: part.grad }
        if (!types.isFloat32Array(grad) || grad.length !== x.length)
          throw new ArgumentError(
            `the reward: expected grad to be a Float32Array of length ${x.length} but received ${describe(grad)}`,
          )
        const out = new Float32Array(x.length)
        const coefficients = Float64Array.of(1, (-beta * variance) / (sigma * sigma + variance))
        await run(
          () => native.combine({ out, terms: [part.grad, new Float32Array(grad)], coefficients, rows: count }),
          signal,
        )
        return { energy: tilted, grad: out }
      },
    },
    options,
    HOST,
  )
}
