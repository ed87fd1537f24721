import { setImmediate as breathe } from 'node:timers/promises'
import * as types from 'node:util/types'
import { ArgumentError, invalid } from './errors.js'

/** Checks of arguments: each returns its value, narrowed, or throws ArgumentError. */

export function finiteNumber(
  name: string,
  value: unknown,
  range: { min?: number; max?: number; above?: number } = {},
): number {
  const { min = -Infinity, max = Infinity, above = -Infinity } = range
  if (typeof value === 'number' && Number.isFinite(value) && value >= min && value <= max && value > above) return value
  const bounds = [
    above > -Infinity ? `above ${above}` : min > -Infinity ? `at least ${min}` : '',
    max < Infinity ? `at most ${max}` : '',
  ].filter(Boolean)
  throw invalid(name, `a finite number${bounds.length ? ` ${bounds.join(' and ')}` : ''}`, value)
}

export function integer(name: string, value: unknown, min: number, max: number = Number.MAX_SAFE_INTEGER): number {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= min && value <= max) return value
  throw invalid(
    name,
    max === Number.MAX_SAFE_INTEGER ? `an integer of at least ${min}` : `an integer from ${min} to ${max}`,
    value,
  )
}

export function oneOf<T extends string>(name: string, value: unknown, choices: readonly T[]): T {
  if (typeof value === 'string' && (choices as readonly string[]).includes(value)) return value as T
  throw invalid(name, `one of ${choices.map((c) => `'${c}'`).join(', ')}`, value)
}

export function float32Array(name: string, value: unknown, length?: number): Float32Array {
  if (types.isFloat32Array(value) && isHonest(value) && (length === undefined || value.length === length)) return value
  throw invalid(name, length === undefined ? 'a Float32Array' : `a Float32Array of length ${length}`, value)
}

export function float64Array(name: string, value: unknown, length?: number): Float64Array {
  if (types.isFloat64Array(value) && isHonest(value) && (length === undefined || value.length === length)) return value
  throw invalid(name, length === undefined ? 'a Float64Array' : `a Float64Array of length ${length}`, value)
}

/** Whether `length` is the array's own and not a property that somebody has put over it. */
function isHonest(array: Float32Array | Float64Array): boolean {
  return !Object.hasOwn(array, 'length') && array.length * array.BYTES_PER_ELEMENT === array.byteLength
}

/** Whether a value is an array without holes, of at most `most` items: one of four thousand millions of holes can be made in no time. */
export function isList(value: unknown, most = 2 ** 21): value is unknown[] {
  if (!Array.isArray(value) || value.length > most) return false
  for (let i = 0; i < value.length; i++) if (!(i in value)) return false
  return true
}

const MOST_DIMENSIONS = 16

/** Whether a value is the shape of one sample: positive whole numbers, of an array that can exist. */
export function isShape(shape: unknown): shape is readonly number[] {
  const whole = (n: unknown): n is number => Number.isSafeInteger(n) && (n as number) > 0
  if (!isList(shape, MOST_DIMENSIONS) || shape.length < 1 || !shape.every(whole)) return false
  return shape.reduce((a, b) => a * b, 1) <= 2 ** 31
}

/** Numbers of an array that may be of any kind, as many as `length` says or 1 to `max`, each in the range: a copy. */
export function numberList(
  name: string,
  value: unknown,
  { length, max = 1 << 24, ...range }: { length?: number; max?: number; min?: number; above?: number } = {},
): number[] {
  const list =
    types.isFloat32Array(value) || types.isFloat64Array(value) || types.isInt32Array(value) || Array.isArray(value)
  const count = list ? (value as ArrayLike<unknown>).length : -1
  if (count < 0 || count > max || (length !== undefined && count !== length))
    throw invalid(
      name,
      length === undefined ? `an array of at most ${max} numbers` : `an array of ${length} numbers`,
      value,
    )
  return Array.from({ length: count }, (_, i) => finiteNumber(`${name}[${i}]`, (value as ArrayLike<unknown>)[i], range))
}

/** Numbers that are copied between two turns of the event loop: below a millisecond, into memory that is new too. */
const PIECE = 2 ** 18

/**
 * A copy of a caller's array. What is resized, transferred or written to while a call runs must harm neither the process nor the answer, so
 * that every call that outlives its start works on its own. Throws ArgumentError where that happens during the copy itself.
 */
export async function held<T extends Float32Array | Float64Array>(
  name: string,
  array: T,
  signal?: AbortSignal,
): Promise<T> {
  const { length } = array
  const copy = (types.isFloat32Array(array) ? new Float32Array(length) : new Float64Array(length)) as T
  for (let at = 0; at < length; at += PIECE) {
    if (at > 0) {
      await breathe()
      signal?.throwIfAborted()
    }
    unchanged(name, array, length)
    copy.set(array.subarray(at, at + PIECE), at)
  }
  return copy
}

/** Throws where an array has not the length that it had when the call began. */
export function unchanged(name: string, array: { length: number }, length: number): void {
  if (array.length !== length)
    throw new ArgumentError(
      `${name} was resized or transferred during the call: it had ${length} numbers, and has ${array.length}`,
    )
}

export function boolean(name: string, value: unknown): boolean {
  if (typeof value === 'boolean') return value
  throw invalid(name, 'true or false', value)
}

export function checkSignal(signal: unknown): asserts signal is AbortSignal | undefined {
  if (signal !== undefined && !(signal instanceof AbortSignal)) throw invalid('signal', 'an AbortSignal', signal)
}

/** An object of options or fields: not an array, nor one of numbers. */
export function plainObject(name: string, value: unknown): Record<string, unknown> {
  if (value === null || typeof value !== 'object' || Array.isArray(value) || ArrayBuffer.isView(value))
    throw invalid(name, 'an object', value)
  return value as Record<string, unknown>
}

/**
 * Rejects unknown option names, so that a misspelt option is never silently ignored; and, as every function takes them alike, a
 * `signal` that is no AbortSignal and an `onProgress` that is no function.
 */
export function knownOptions(where: string, options: unknown, known: readonly string[]): void {
  const given = plainObject(`options of ${where}`, options)
  for (const key of Object.keys(given))
    if (!known.includes(key)) throw invalid(`options of ${where}`, `only ${known.join(', ')}`, key)
  checkSignal(given.signal)
  if (given.onProgress !== undefined && typeof given.onProgress !== 'function')
    throw invalid('onProgress', 'a function', given.onProgress)
}

const warned = new Set<string>()

/**
 * Options with those that were given under a name of before put under the name of now; a warning says so, once. names: before to now. For one
 * version after a name has changed. Throws ArgumentError where both are given.
 */
export function renamed<T>(where: string, options: T, names: Readonly<Record<string, string>>): T {
  if (options === null || typeof options !== 'object') return options
  const given = options as Record<string, unknown>
  const old = Object.keys(names).filter((name) => given[name] !== undefined)
  if (old.length === 0) return options
  const changed = { ...given }
  for (const name of old) {
    const now = names[name]!
    if (given[now] !== undefined) throw invalid(`options of ${where}`, `only one of ${now} and ${name}`, 'both')
    changed[now] = given[name]
    delete changed[name]
    const text = `${where}: the option ${name} is called ${now} now; ${name} goes with the next version`
    if (!warned.has(text)) process.emitWarning(text, 'DeprecationWarning')
    warned.add(text)
  }
  return changed as T
}
