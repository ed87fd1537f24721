import { finiteNumber, isShape, numberList } from '../../base/args.js'
import { ArgumentError, describe, invalid } from '../../base/errors.js'
import { sizeOf } from '../../base/shape.js'
import { native, run } from '../../native/addon.js'
import { host } from '../../native/space.js'
import type {
  CombineOptions,
  EnergyFunction,
  Evaluation,
  HostEvaluation,
  ResidentEnergy,
  Target,
} from '../energy-function.js'
import { checkedPoints, evaluateModels, residenceOf } from '../evaluation.js'

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
  checkTable(name, model.calibration)
  return model
}

function checkTable(name: string, table: EnergyFunction['calibration']): void {
  if (table !== undefined && typeof table?.precisionAt !== 'function')
    throw invalid(`calibration of ${name}`, 'a table of precisions, as calibrate makes it', table)
}

const MOST_MODELS = 4096

export function checkedModels(value: unknown): EnergyFunction[] {
  if (!Array.isArray(value) || value.length === 0 || value.length > MOST_MODELS)
    throw invalid('energies', `an array of 1 to ${MOST_MODELS} energy functions`, value)
  const models = Array.from(value, (model, i) => checkedModel(`energies[${i}]`, model))
  for (const model of models)
    if (String(model.shape) !== String(models[0].shape))
      throw invalid('energies', `energy functions of one shape, [${models[0].shape}]`, model.shape)
  return models
}

export const lambdaOf = (model: EnergyFunction): number =>
  finiteNumber('lambda', (model as Target).lambda ?? 1, { above: 0 })

/** A target, which may be one of a caller's own making. */
export function checkedTarget(target: Target): Target {
  const { models, exponents, shape, residence } = target
  const parts = checkedModels(models)
  if (!isShape(shape) || String(shape) !== String(parts[0].shape)) throw invalid('shape of the target', `[${parts[0].shape}], as its models have`, shape) // biome-ignore format: one line
  if (typeof target.name !== 'string') throw invalid('name of the target', 'a text', target.name)
  lambdaOf(target)
  checkTable('the target', target.calibration)
  if (exponents !== undefined) numberList('exponents of the target', exponents, { length: parts.length })
  if (typeof residence !== 'string') throw invalid('residence of the target', 'a text', residence)
  return target
}

type Fields = Omit<Target, 'shape' | 'energyGrad' | 'energyGradIn' | 'residence'>

export function makeTarget(fields: Fields, options: LambdaOption, residence = residenceOf(fields.models)): Target {
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
export function onHost(within: ResidentEnergy['energyGradIn'], shape: readonly number[]): ResidentEnergy['energyGrad'] {
  return async (x, sigma, given) =>
    (await within(host, await checkedPoints(x, sigma, sizeOf(shape), given), sigma, given)) as HostEvaluation
}

/** The composition of several evaluations by native code; the outputs are new. */
export async function compose(
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

/** The residence of targets that call the user's functions with arrays. */
export const HOST = host.device

/** D = x - sigma^2 grad E */
export async function denoised(
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

export function checkedLength<T>(where: string, value: ArrayLike<T> | undefined, length: number): ArrayLike<T> {
  if (value?.length === length) return value
  throw new ArgumentError(`${where}: expected ${length} values but received ${describe(value)}`)
}
