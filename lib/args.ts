import { invalid } from './errors.js'

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
  if (value instanceof Float32Array && (length === undefined || value.length === length)) return value
  throw invalid(name, length === undefined ? 'a Float32Array' : `a Float32Array of length ${length}`, value)
}

export function float64Array(name: string, value: unknown, length?: number): Float64Array {
  if (value instanceof Float64Array && (length === undefined || value.length === length)) return value
  throw invalid(name, length === undefined ? 'a Float64Array' : `a Float64Array of length ${length}`, value)
}

export function boolean(name: string, value: unknown): boolean {
  if (typeof value === 'boolean') return value
  throw invalid(name, 'true or false', value)
}

/**
 * Rejects unknown option names, so that a misspelt option is never silently ignored; and, as every function takes them alike, a
 * `signal` that is no AbortSignal and an `onProgress` that is no function.
 */
export function knownOptions(where: string, options: object, known: readonly string[]): void {
  if (options === null || typeof options !== 'object' || Array.isArray(options) || ArrayBuffer.isView(options))
    throw invalid(`options of ${where}`, 'an object', options)
  for (const key of Object.keys(options))
    if (!known.includes(key)) throw invalid(`options of ${where}`, `only ${known.join(', ')}`, key)
  const { signal, onProgress } = options as { signal?: unknown; onProgress?: unknown }
  if (signal !== undefined && !(signal instanceof AbortSignal)) throw invalid('signal', 'an AbortSignal', signal)
  if (onProgress !== undefined && typeof onProgress !== 'function')
    throw invalid('onProgress', 'a function', onProgress)
}
