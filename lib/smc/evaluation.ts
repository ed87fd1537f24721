import * as types from 'node:util/types'
import { checkSignal, finiteNumber, float32Array, float64Array, held, knownOptions } from '../base/args.js'
import { ArgumentError, describe, digits, FeynkacError, invalid, NumericsError } from '../base/errors.js'
import { sizeOf } from '../base/shape.js'
import { host, type Space, toHost, upload } from '../native/space.js'
import type { Doubles, Floats } from '../native/types.js'
import type { Target } from './energy-function.js'
import {
  type EnergyFunction,
  type Evaluation,
  type HostEvaluation,
  isTrusted,
  type ResidentEnergy,
} from './energy-function.js'

/** What a sampling rule needs of a target beside U and its gradient. */
export type Extra = 'none' | 'squares' | 'base'

/** U and grad U of a target, and what `Extra` asked for. */
export interface TargetEvaluation extends Evaluation {
  /** squares: sum_j exponent_j |grad E_j|^2; base: the energy of the first model */
  extra?: Doubles
  /** base: the gradient of the first model */
  baseGrad?: Floats
  /** Where an evaluator keeps them: the gradient of every model of the target. */
  modelGrads?: readonly Floats[]
  /** Finds the first model that gave NaN, to be named if it comes to matter: until the next evaluation. */
  suspect?: Suspect
}
export type Suspect = () => Promise<string | undefined>

/** What the `energyGrad` of an energy function of d numbers is given: throws ArgumentError, or returns a copy of x (args.ts). */
export async function checkedPoints(
  x: unknown,
  sigma: unknown,
  d: number,
  options: { signal?: AbortSignal } = {},
): Promise<Float32Array> {
  knownOptions('energyGrad', options, ['signal'])
  const points = float32Array('x', x)
  if (points.length === 0 || points.length % d !== 0) throw invalid('x', `a Float32Array of whole rows of ${d}`, x)
  finiteNumber('sigma', sigma, { min: 0 })
  return held('x', points, options.signal)
}

/** What to call a model in a message: its own `name`, or its class. */
export function nameOf(model: object, otherwise = 'the energy function'): string {
  const { name } = model as { name?: unknown }
  if (typeof name === 'string' && name !== '') return name
  const className = model.constructor?.name
  return className && className !== 'Object' ? className : otherwise
}

/** Runs a user's callback: what it throws becomes a FeynkacError that says where, unless it is one already or the run was aborted. */
export async function callback<T>(
  where: string,
  signal: AbortSignal | undefined,
  call: () => T | Promise<T>,
): Promise<T> {
  checkSignal(signal)
  signal?.throwIfAborted()
  try {
    return await orAborted(call(), signal)
  } catch (cause) {
    if (cause instanceof FeynkacError || signal?.aborted) throw cause
    throw new FeynkacError(`${where} failed: ${cause instanceof Error ? cause.message : describe(cause)}`, { cause })
  }
}

/** What a user's promise gives, which may never settle, or the signal's reason once it is aborted. */
async function orAborted<T>(given: T | Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return given
  let leave = () => {}
  const aborted = new Promise<never>((_, reject) => {
    leave = () => reject(signal.reason)
  })
  signal.addEventListener('abort', leave)
  if (signal.aborted) leave() // by the function itself
  try {
    return await Promise.race([given, aborted])
  } finally {
    signal.removeEventListener('abort', leave)
  }
}

/** One energyGrad call, with its answer checked. What the function gets and gives are copies: it may keep them, and give them away. */
export async function energyGrad(
  model: EnergyFunction,
  x: Float32Array,
  sigma: number,
  signal?: AbortSignal,
): Promise<HostEvaluation> {
  const where = `energyGrad of ${nameOf(model)} at sigma = ${digits(sigma)}`
  const result = await callback(where, signal, () => model.energyGrad(x.slice(), sigma, { signal }))
  const n = x.length / sizeOf(model.shape)
  if (!types.isFloat64Array(result?.energy) || result.energy.length !== n)
    throw new ArgumentError(
      `${where}: expected energy to be a Float64Array of length ${n} but received ${describe(result?.energy)}`,
    )
  if (!types.isFloat32Array(result.grad) || result.grad.length !== x.length)
    throw new ArgumentError(
      `${where}: expected grad to be a Float32Array of length ${x.length} but received ${describe(result.grad)}`,
    )
  return { energy: new Float64Array(result.energy), grad: new Float32Array(result.grad) }
}

/** Evaluates a target at any number of particles: in batches, each model once per particle. */
export class Evaluator {
  /** Evaluations of one model at one particle so far. */
  count = 0
  readonly d: number

  constructor(
    readonly target: Target,
    /** Largest number of particles that a model gets at once. */
    readonly batch: number,
    readonly extra: Extra,
    readonly signal?: AbortSignal,
    /** Where the particles are. */
    readonly space: Space = host,
    /** Whether evaluations have the gradient of every model. */
    readonly keepsModels = false,
  ) {
    this.d = sizeOf(target.shape)
  }

  /** In a device's memory the models themselves cut batches, as large ones as fit. */
  async evaluate(x: Floats, sigma: number): Promise<TargetEvaluation> {
    return x instanceof Float32Array && x.length > this.batch * this.d ? this.#batches(x, sigma) : this.#batch(x, sigma)
  }

  async #batches(x: Float32Array, sigma: number): Promise<TargetEvaluation> {
    const n = x.length / this.d
    const whole = {
      energy: this.space.doubles(n) as Float64Array,
      grad: this.space.floats(x.length) as Float32Array,
      extra: this.extra === 'none' ? undefined : (this.space.doubles(n) as Float64Array),
      baseGrad: this.extra === 'base' ? (this.space.floats(x.length) as Float32Array) : undefined,
      modelGrads: this.keepsModels
        ? this.target.models.map(() => this.space.floats(x.length) as Float32Array)
        : undefined,
    }
    const suspects: (Suspect | undefined)[] = []
    for (let first = 0; first < n; first += this.batch) {
      const part = await this.#batch(x.subarray(first * this.d, Math.min(n, first + this.batch) * this.d), sigma)
      const { d, signal } = this
      await upload(whole.energy.subarray(first), part.energy as Float64Array, signal)
      await upload(whole.grad.subarray(first * d), part.grad as Float32Array, signal)
      if (whole.extra) await upload(whole.extra.subarray(first), part.extra as Float64Array, signal)
      if (whole.baseGrad) await upload(whole.baseGrad.subarray(first * d), part.baseGrad as Float32Array, signal)
      for (const [j, grad] of whole.modelGrads?.entries() ?? [])
        await upload(grad.subarray(first * d), part.modelGrads![j] as Float32Array, signal)
      suspects.push(part.suspect)
    }
    const suspect = async () => {
      for (const find of suspects) {
        const name = await find?.()
        if (name !== undefined) return name
      }
    }
    return { ...whole, suspect }
  }

  async #batch(x: Floats, sigma: number): Promise<TargetEvaluation> {
    const { target, signal, space } = this
    const parts = await evaluateModels(target.models, space, x, sigma, signal)
    const energies = parts.map(({ energy }) => energy)
    for (const energy of energies) this.count += energy.length
    const suspect = async () => {
      for (const [j, energy] of energies.entries())
        if (hasNaN(await toHost(energy, signal))) return nameOf(target.models[j])
    }
    const squares = this.extra === 'squares' ? space.doubles(x.length / this.d) : undefined
    const where = `combine of ${nameOf(target, 'the target')}`
    const whole = await callback(where, signal, () => target.combine(parts, x, sigma, { signal, squares, space }))
    if (x instanceof Float32Array) {
      float64Array(`energy of ${where}`, whole?.energy, x.length / this.d)
      float32Array(`grad of ${where}`, whole.grad, x.length)
    }
    const modelGrads = this.keepsModels ? parts.map(({ grad }) => grad) : undefined
    if (this.extra === 'base') return { ...whole, extra: parts[0].energy, baseGrad: parts[0].grad, modelGrads, suspect }
    return { ...whole, extra: squares, modelGrads, suspect }
  }
}

/** Every model at the same points. */
export async function evaluateModels(
  models: readonly EnergyFunction[],
  space: Space,
  x: Floats,
  sigma: number,
  signal?: AbortSignal,
): Promise<Evaluation[]> {
  const parts: Evaluation[] = []
  for (const model of models)
    parts.push(
      x instanceof Float32Array && !isTrusted(model)
        ? await energyGrad(model, x, sigma, signal)
        : await (model as ResidentEnergy).energyGradIn(space, x, sigma, { signal }),
    )
  return parts
}

/** The device whose memory all of the models can work in: 'any', or 'cpu' where they differ. */
export function residenceOf(models: readonly object[]): string {
  const places = new Set<string>()
  for (const model of models) {
    const { residence = 'cpu' } = model as Partial<ResidentEnergy>
    if (typeof residence !== 'string') throw invalid(`residence of ${nameOf(model)}`, 'the name of a device', residence)
    places.add(residence)
  }
  if (places.size > 1) places.delete('any')
  return places.size === 1 ? [...places][0] : 'cpu'
}

export function hasNaN(values: Float64Array): boolean {
  for (let i = 0; i < values.length; i++) if (Number.isNaN(values[i])) return true
  return false
}

/** The error for a NaN, or an infinite `value`, among weights or energies. */
export function notANumber(where: string, suspect: string | undefined, value = Number.NaN): NumericsError {
  return new NumericsError(
    `${suspect ?? 'a log-weight or a gradient'} is ${value} at ${where}; check that the model is finite at this noise level`,
  )
}
