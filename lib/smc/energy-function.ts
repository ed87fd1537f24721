import type { Doubles, Floats, Space } from '../native/space.js'
import type { PrecisionTable } from './precision/calibration.js'

/**
 * What smc/ and mcmc() need of an energy, and nothing more. An analytic mixture, a distilled network and a user's own
 * function are the same to them.
 */
export interface EnergyFunction {
  /** Shape of one sample, for example [3, 32, 32] or [2]. */
  readonly shape: readonly number[]
  /**
   * E(x, sigma) = -log p_sigma(x) + const(sigma) and its gradient with respect to x.
   * x: [B, ...shape] row-major; energy: [B]; grad: like x. The returned arrays belong to the caller.
   */
  energyGrad(
    x: Float32Array,
    sigma: number,
    options?: { signal?: AbortSignal },
  ): Promise<{ energy: Float64Array; grad: Float32Array }>
  /**
   * Mean precisions of its density at every noise level, as `calibrate` measures them: what the proposal 'calibrated' of smc needs of every
   * model of a target. Targets take theirs when they are made.
   */
  readonly calibration?: PrecisionTable | undefined
  /**
   * Whether it was learnt, so that its differences between noise levels hold a network's error; default false, a closed form. smc takes its
   * weights by it where it is told none (default-weights.ts), and words its advice.
   */
  readonly learnt?: boolean | undefined
}

/** An energy function that can also work in a device's memory, where smc/ and mcmc() then keep the particles. */
export interface ResidentEnergy extends EnergyFunction {
  /** The one device whose memory it works in ('cpu': the host's alone), or 'any'. */
  readonly residence: string
  /** energyGrad of particles in a space of that device; the results are new arrays of the space. */
  energyGradIn(
    space: Space,
    x: Floats,
    sigma: number,
    options?: { signal?: AbortSignal },
  ): Promise<{ energy: Doubles; grad: Floats }>
}

const trusted = new WeakMap<ResidentEnergy, unknown>()

/** Marks an energy function of the package that leaves x as it is and keeps nothing: a run gives it its own arrays, on the host too. */
export function trust<T extends ResidentEnergy>(model: T): T {
  trusted.set(model, model.energyGrad)
  return model
}

/** Whether it is such a one, and nobody has put another energyGrad into it. */
export function isTrusted(model: EnergyFunction): model is ResidentEnergy {
  return trusted.has(model as ResidentEnergy) && trusted.get(model as ResidentEnergy) === model.energyGrad
}
