import type { Space } from '../native/space.js'
import type { Doubles, Floats } from '../native/types.js'

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
  /** Whether it is of one condition, p(x | c); default false. What smc() advises on products tells conditions from their prior by it. */
  readonly conditional?: boolean | undefined
  /** Whether its samples are an autoencoder's latents rather than pictures; default false. */
  readonly latent?: boolean | undefined
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

/** The basis that precisions are kept in: the cosine transform of every channel of an image, or the coordinates themselves. */
export type Basis = 'dct' | 'identity'

/** Mean precisions of a path of densities at every noise level. */
export interface PrecisionTable {
  readonly basis: Basis
  /**
   * h_i(sigma), one for every value of a sample in the basis; with `noise`, what it becomes at that noise with V as it is at sigma:
   * 1 / (V_i(sigma) + noise^2). Of a target with negative exponents it may be 0 or less.
   */
  precisionAt(sigma: number, noise?: number): Float64Array
  /** How well the energy agrees with itself between noise levels, where that was measured. */
  readonly consistency?: Consistency | undefined
}

/** Energies [B] and gradients [B, d] at a batch of points; the arrays belong to whoever asked. */
export interface Evaluation {
  energy: Doubles
  grad: Floats
}

/** The same on the host. */
export interface HostEvaluation {
  energy: Float64Array
  grad: Float32Array
}

/**
 * A path of target densities pi_sigma(x) proportional to exp(-U_sigma(x)), made of the energies of models (docs/concepts/smc.md). A target
 * is an EnergyFunction itself, so targets nest: bounded(product([a, b]), ...).
 */
export interface Target extends ResidentEnergy {
  readonly name: string
  /** Lambda: the sum of the exponents of the normalised densities in pi; a mode of pi at noise sigma has variance sigma^2 / Lambda. */
  readonly lambda: number
  /** Each is evaluated once per particle and level. */
  readonly models: readonly EnergyFunction[]
  /** Where U = sum_j exponents[j] E_j and nothing else: the exponents. */
  readonly exponents?: readonly number[]
  /**
   * Whether U is the energy of models[0] and the price of a set or a reward beside it, which proposals do not see, or not all of: of the
   * weights, 'tilt' has the price alone in them.
   */
  readonly factored?: boolean
  /**
   * U and its gradient from the models' evaluations at the same x. `squares`, to be filled with sum_j exponents[j] |grad E_j|^2, may be
   * given where the target has exponents. May return the arrays of `parts`; new ones are of `space`, the host if none is given.
   */
  combine(parts: readonly Evaluation[], x: Floats, sigma: number, options?: CombineOptions): Promise<Evaluation>
}

/** Where and how a target composes its models. */
export interface CombineOptions {
  signal?: AbortSignal
  squares?: Doubles
  space?: Space
}

/**
 * How well an energy agrees with itself between noise levels. Along the path of its own samples, without weights, the log-weights of the
 * bridge at gamma = 1 would be constant if the energy were right and the kernels exact, so that their variance is what is wrong with the two. By
 * eight levels an octave it is nearly all the energy's; a run of fewer levels has more:
 *
 *   V   variance of the sum of log G over an octave of noise: an energy's errors are alike in neighbouring steps and add up
 *   W   sum of the variances of its steps: all there is of the kernels' errors, which are independent
 *
 * V far above W is an energy that wants training; where V is about W, more levels than eight an octave would help too. A large V condemns the weights; a small one
 * acquits nobody, as an error that is the same for all particles has none.
 */
export interface ConsistencyBand {
  /** Noise levels that it goes between. */
  from: number
  to: number
  /** V, and the same by quartiles, which a few particles cannot spoil. */
  variance: number
  robust: number
  /** W, by quartiles too. */
  steps: number
  /** V by quartiles of all from the largest noise down to `to`: what a run that weighs so far has to bear. */
  above: number
}

/** How far an energy is from consistent across its noise levels, as `calibrate` measures it. */
export interface Consistency {
  /** Along the path of the energy's own samples. */
  bands: ConsistencyBand[]
  /** The same on noised data, whose path is the exact one: what is larger on its own is what the energy errs by where it was never trained. */
  data?: ConsistencyBand[]
  /** Levels to an octave of the run that V and W are of: 8; 2 in files of before that was kept. */
  perOctave: number
  particles: number
}
