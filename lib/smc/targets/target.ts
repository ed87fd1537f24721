import { types } from 'node:util'
import { finiteNumber, isList, isShape, knownOptions, numberList } from '../../base/args.js'
import { ArgumentError, describe, digits, invalid, NumericsError } from '../../base/errors.js'
import { native, run } from '../../native/addon.js'
import { type Doubles, type Floats, host, type Space } from '../../native/space.js'
import { isLearnt } from '../default-weights.js'
import { type EnergyFunction, type ResidentEnergy, trust } from '../energy-function.js'
import {
  callback,
  checkedPoints,
  type Evaluation,
  evaluateModels,
  type HostEvaluation,
  residenceOf,
  sizeOf,
} from '../evaluation.js'
import { boxPrecisions, mixedPrecisions, summedPrecisions } from '../precision/composed.js'

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

/** Accepted by every target: overrides Lambda. */
export interface LambdaOption {
  lambda?: number
}

/** An energy function, or ArgumentError. */
export function checkedModel(name: string, value: unknown): EnergyFunction {
  const model = value as EnergyFunction & { residence?: unknown }
  const resident = model?.residence === undefined || typeof model.residence === 'string'
  if (typeof model?.energyGrad !== 'function' || !isShape(model.shape) || !resident)
    throw invalid(name, 'an energy function { shape, energyGrad(x, sigma) }', value)
  return model
}

const MOST_MODELS = 4096

function checkedModels(value: unknown): EnergyFunction[] {
  if (!Array.isArray(value) || value.length === 0 || value.length > MOST_MODELS)
    throw invalid('energies', `an array of 1 to ${MOST_MODELS} energy functions`, value)
  const models = Array.from(value, (model, i) => checkedModel(`energies[${i}]`, model))
  for (const model of models)
    if (String(model.shape) !== String(models[0].shape))
      throw invalid('energies', `energy functions of one shape, [${models[0].shape}]`, model.shape)
  return models
}

const lambdaOf = (model: EnergyFunction): number => finiteNumber('lambda', (model as Target).lambda ?? 1, { above: 0 })

/** The energy function itself as a target: what `smc` makes of a plain one. */
export function asTarget(model: EnergyFunction): Target {
  if (typeof (model as Target | undefined)?.combine === 'function') return checkedTarget(model as Target)
  return linear('energy', [checkedModel('target', model)], [1], {}, lambdaOf(model))
}

/** A target, which may be one of a caller's own making. */
function checkedTarget(target: Target): Target {
  const { models, exponents, shape, residence } = target
  const parts = checkedModels(models)
  if (!isShape(shape) || String(shape) !== String(parts[0].shape)) throw invalid('shape of the target', `[${parts[0].shape}], as its models have`, shape) // biome-ignore format: one line
  if (typeof target.name !== 'string') throw invalid('name of the target', 'a text', target.name)
  lambdaOf(target)
  if (exponents !== undefined) numberList('exponents of the target', exponents, { length: parts.length })
  if (typeof residence !== 'string') throw invalid('residence of the target', 'a text', residence)
  return target
}

type Fields = Omit<Target, 'shape' | 'energyGrad' | 'energyGradIn' | 'residence'>

function makeTarget(fields: Fields, options: LambdaOption, residence = residenceOf(fields.models)): Target {
  const lambda = finiteNumber('lambda', options.lambda ?? fields.lambda, { above: 0 })
  const energyGradIn: Target['energyGradIn'] = async (space, x, sigma, { signal } = {}) =>
    fields.combine(await evaluateModels(fields.models, space, x, sigma, signal), x, sigma, { signal, space })
  return {
    ...fields,
    lambda,
    shape: fields.models[0].shape,
    residence,
    energyGradIn,
    energyGrad: onHost(energyGradIn, fields.models[0].shape),
  }
}

/** energyGrad of what a caller gives, by the same in a space. */
function onHost(within: ResidentEnergy['energyGradIn'], shape: readonly number[]): ResidentEnergy['energyGrad'] {
  return async (x, sigma, given) =>
    (await within(host, await checkedPoints(x, sigma, sizeOf(shape), given), sigma, given)) as HostEvaluation
}

/** The composition of several evaluations by native code; the outputs are new. */
async function compose(
  form: 'linear' | 'mixture',
  parts: readonly Evaluation[],
  coefficients: Float64Array,
  { signal, squares, space = host }: CombineOptions,
): Promise<Evaluation> {
  const out = { energy: space.doubles(parts[0].energy.length), grad: space.floats(parts[0].grad.length) }
  const [energies, grads] = [parts.map((p) => p.energy), parts.map((p) => p.grad)]
  await run(() => native.compose({ ...out, form, coefficients, energies, grads, squares }), signal)
  return out
}

function linear(
  name: string,
  models: readonly EnergyFunction[],
  exponents: readonly number[],
  options: LambdaOption,
  lambda = linearLambda(models, exponents),
): Target {
  const coefficients = Float64Array.from(exponents)
  const combine: Target['combine'] = async (parts, _x, _sigma, wanted = {}) =>
    exponents.length === 1 && exponents[0] === 1 && !wanted.squares
      ? parts[0]
      : compose('linear', parts, coefficients, wanted)
  const calibration = summedPrecisions(models, exponents)
  return makeTarget({ name, models, exponents, lambda, calibration, combine }, options)
}

/** The sum of the exponents; with negative ones among them not below 0.75 (measured: 0.75 to 1 beats 0.5). */
function linearLambda(models: readonly EnergyFunction[], exponents: readonly number[]): number {
  const sum = exponents.reduce((total, w, j) => total + w * lambdaOf(models[j]), 0)
  return exponents.some((w) => w < 0) ? Math.max(sum, 0.75) : sum
}

/**
 * pi proportional to p^gamma: gamma > 1 sharpens, gamma < 1 flattens. U = gamma E, Lambda = gamma.
 * @example
 * ```js
 * import { gaussianMixture, lowTemperature, sigmaGrid, smc } from 'feynkac'
 *
 * const normal = gaussianMixture({ weights: [1], means: [[0, 0]], covariances: [1] })
 * const target = lowTemperature(normal, { gamma: 2 }) // N(0, I/2)
 * const { samples, logZ } = await smc(target, { particles: 256, sigmas: sigmaGrid({ steps: 32, min: 0.01, max: 20 }) })
 * ```
 */
export function lowTemperature(energy: EnergyFunction, options: { gamma: number } & LambdaOption): Target {
  knownOptions('lowTemperature', options, ['gamma', 'lambda'])
  const gamma = finiteNumber('gamma', options.gamma, { above: 0 })
  return linear('lowTemperature', [checkedModel('energy', energy)], [gamma], options)
}

/**
 * AND: pi proportional to the product of p_i^w_i, U = sum_i w_i E_i. Weights may be negative. The conditions of one model,
 * p(x | c_1, ..., c_n) where they are independent given x, are product([E(x|c_1), ..., E(x|c_n), E(x)], { weights: [1, ..., 1, -(n - 1)] }).
 * @param options.weights one exponent per energy; default all 1
 * @example
 * ```js
 * import { gaussianMixture, product, sigmaGrid, smc } from 'feynkac'
 *
 * const normal = gaussianMixture({ weights: [1], means: [[0, 0]], covariances: [1] })
 * const other = gaussianMixture({ weights: [1], means: [[1, 0]], covariances: [1] })
 * const target = product([normal, other]) // N((0.5, 0), I/2)
 * const { samples, logZ } = await smc(target, { particles: 256, sigmas: sigmaGrid({ steps: 32, min: 0.01, max: 20 }) })
 * ```
 */
export function product(
  energies: readonly EnergyFunction[],
  options: { weights?: ArrayLike<number> } & LambdaOption = {},
): Target {
  knownOptions('product', options, ['weights', 'lambda'])
  const models = checkedModels(energies)
  return linear(
    'product',
    models,
    numberList('weights', options.weights ?? models.map(() => 1), { length: models.length }),
    options,
  )
}

/**
 * OR: pi = sum_i w_i p_i, U = -log sum_i w_i exp(-E_i - logZ_i).
 * @param options.weights at least 0; default 1/n each
 * @param options.logZ the log-normalisers of exp(-E_i), which decide the branches' relative mass; default 0 (normalised energies)
 * @example
 * ```js
 * import { gaussianMixture, mixture, sigmaGrid, smc } from 'feynkac'
 *
 * const normal = gaussianMixture({ weights: [1], means: [[0, 0]], covariances: [1] })
 * const other = gaussianMixture({ weights: [1], means: [[1, 0]], covariances: [1] })
 * const target = mixture([normal, other], { weights: [0.25, 0.75] })
 * const { samples, logZ } = await smc(target, { particles: 256, sigmas: sigmaGrid({ steps: 32, min: 0.01, max: 20 }) })
 * ```
 */
export function mixture(
  energies: readonly EnergyFunction[],
  options: { weights?: ArrayLike<number>; logZ?: ArrayLike<number> } & LambdaOption = {},
): Target {
  knownOptions('mixture', options, ['weights', 'logZ', 'lambda'])
  const models = checkedModels(energies)
  const { length } = models
  const weights = numberList('weights', options.weights ?? models.map(() => 1 / length), { length, min: 0 })
  if (!weights.some((w) => w > 0)) throw invalid('weights', 'at least one positive number', weights)
  const logZ = numberList('logZ', options.logZ ?? models.map(() => 0), { length })
  const coefficients = Float64Array.from(weights, (w, i) => Math.log(w) - logZ[i])
  const lambda = Math.max(...models.map(lambdaOf))
  return makeTarget(
    {
      name: 'mixture',
      models,
      lambda,
      calibration: mixedPrecisions(models, weights, lambda),
      combine: (parts, _x, _sigma, wanted = {}) => compose('mixture', parts, coefficients, wanted),
    },
    options,
  )
}

/**
 * NOT: pi proportional to p / q^strength, U = E - strength F. Normalisable for strength below 1, or on a bounded domain.
 * @param options.floor the negated density's noise level is not taken below this (default 0): q at small noise is sharp, and far from its
 * own samples, where NOT sends the particles, a learnt energy is not to be trusted
 * @example
 * ```js
 * import { gaussianMixture, negation, sigmaGrid, smc } from 'feynkac'
 *
 * const normal = gaussianMixture({ weights: [1], means: [[0, 0]], covariances: [1] })
 * const other = gaussianMixture({ weights: [1], means: [[1, 0]], covariances: [1] })
 * const target = negation(normal, other, { strength: 0.5 })
 * const { samples, logZ } = await smc(target, { particles: 256, sigmas: sigmaGrid({ steps: 32, min: 0.01, max: 20 }) })
 * ```
 */
export function negation(
  energy: EnergyFunction,
  negated: EnergyFunction,
  options: { strength: number; floor?: number } & LambdaOption,
): Target {
  knownOptions('negation', options, ['strength', 'floor', 'lambda'])
  const strength = finiteNumber('strength', options.strength, { above: 0 })
  const floor = finiteNumber('floor', options.floor ?? 0, { min: 0 })
  const [model, other] = checkedModels([energy, negated])
  const { calibration } = other
  const smooth: ResidentEnergy = {
    shape: other.shape,
    calibration: calibration && {
      basis: calibration.basis,
      precisionAt: (sigma, noise = sigma) => calibration.precisionAt(Math.max(sigma, floor), Math.max(noise, floor)),
      consistency: calibration.consistency,
    },
    residence: residenceOf([other]),
    learnt: isLearnt(other),
    energyGrad: (x, sigma, given) => other.energyGrad(x, Math.max(sigma, floor), given),
    energyGradIn: (space, x, sigma, given) =>
      (other as ResidentEnergy).energyGradIn(space, x, Math.max(sigma, floor), given),
  }
  return linear(
    'negation',
    [model, floor > 0 ? smooth : other],
    [1, -strength],
    options,
    linearLambda([model, other], [1, -strength]),
  )
}

/**
 * Guidance: pi proportional to p(x)^(1 - scale) p(x|c)^scale. U = (1 - scale) E_uncond + scale E_cond, Lambda = 1.
 * @example
 * ```js
 * import { EnergyModel, guided, sigmaGrid, smc } from 'feynkac'
 *
 * const energy = await EnergyModel.load('energy.safetensors')
 * const target = guided(energy.conditioned(), energy.conditioned({ hair: 3 }), { scale: 2 })
 * const { samples, logZ } = await smc(target, { particles: 32, sigmas: sigmaGrid({ steps: 32, min: 0.01, max: 20 }) })
 * ```
 */
export function guided(
  unconditional: EnergyFunction,
  conditional: EnergyFunction,
  options: { scale: number } & LambdaOption,
): Target {
  knownOptions('guided', options, ['scale', 'lambda'])
  const scale = finiteNumber('scale', options.scale)
  return linear('guided', checkedModels([unconditional, conditional]), [1 - scale, scale], { lambda: 1, ...options })
}

/** What a set's membership test gets: denoised images [count, d], row-major. One answer per image. */
export type Contains = (
  denoised: Float32Array,
  count: number,
  options: { signal?: AbortSignal },
) => ArrayLike<boolean | number> | Promise<ArrayLike<boolean | number>>

export interface BoxOptions extends LambdaOption {
  /** Bounds of every coordinate: one number for all, or one per coordinate; may be infinite. */
  lower: number | ArrayLike<number>
  upper: number | ArrayLike<number>
  /** tau: width of the walls at noise 0; default 0, hard walls. */
  softness?: number
}

export interface ContainsOptions extends LambdaOption {
  contains: Contains
  /** Noise level at which leaving the set costs one nat; it costs (anneal / sigma)^2. Default 0.1: a tenth of the data's scale or less. */
  anneal?: number
}

/**
 * pi proportional to p restricted to a set. A box: p times the noised soft box h_s = prod [Phi((hi-x)/t) - Phi((lo-x)/t)],
 * t^2 = softness^2 + sigma^2, which has an exact gradient; Lambda counts the box as one more density. Any other set: the indicator of the
 * denoised image x - sigma^2 grad E, its price annealed; proposals do not see it, the weights do.
 * @example
 * ```js
 * import { bounded, gaussianMixture, sigmaGrid, smc } from 'feynkac'
 *
 * const normal = gaussianMixture({ weights: [1], means: [[0, 0]], covariances: [1] })
 * const box = bounded(normal, { lower: [0, -Infinity], upper: [1, Infinity] })
 * const disc = bounded(normal, {
 *   contains: (x, count) => Array.from({ length: count }, (_, i) => Math.hypot(x[2 * i], x[2 * i + 1]) < 1),
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

/** The residence of targets that call the user's functions with arrays. */
const HOST = host.device

/** D = x - sigma^2 grad E */
async function denoised(
  x: Float32Array,
  part: HostEvaluation,
  sigma: number,
  signal?: AbortSignal,
): Promise<Float32Array> {
  const out = new Float32Array(x.length)
  const coefficients = Float64Array.of(1, -sigma * sigma)
  await run(() => native.combine({ out, terms: [x, part.grad], coefficients, rows: part.energy.length }), signal)
  return out
}

function checkedLength<T>(where: string, value: ArrayLike<T> | undefined, length: number): ArrayLike<T> {
  if (value?.length === length) return value
  throw new ArgumentError(`${where}: expected ${length} values but received ${describe(value)}`)
}

function boundedBySet(model: EnergyFunction, options: ContainsOptions): Target {
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
 * @param options.strength a number, or a function of sigma (its last value is the target's)
 * @param options.sigmaData standard deviation of the data; default 0.5
 * @example
 * ```js
 * import { gaussianMixture, rewardTilt, sigmaGrid, smc } from 'feynkac'
 *
 * const normal = gaussianMixture({ weights: [1], means: [[0, 0]], covariances: [1] })
 * const target = rewardTilt(normal, (x, count) => Array.from({ length: count }, (_, i) => x[2 * i]), { strength: 1 })
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
