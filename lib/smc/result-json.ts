import { knownOptions, oneOf } from '../base/args.js'
import { invalid } from '../base/errors.js'
import { isObject } from '../base/json.js'

/** Typed arrays and numbers that are not finite, in JSON. */

const arrayForms = ['base64', 'plain'] as const
export type ArrayForm = (typeof arrayForms)[number]

/** Numbers that JSON has none for. */
const NAMES = ['NaN', 'Infinity', '-Infinity']

const types = { Float32Array, Float64Array, Int32Array }
type TypeName = keyof typeof types

/** A value with all its typed arrays and its numbers in a form that JSON has. */
export function encoded(value: unknown, options: { arrays?: ArrayForm } = {}): unknown {
  knownOptions('toJSON', options, ['arrays'])
  return encode(value, oneOf('arrays', options.arrays ?? 'base64', arrayForms))
}

function encode(value: unknown, form: ArrayForm): unknown {
  if (typeof value === 'number') return Number.isFinite(value) ? value : String(value)
  if (ArrayBuffer.isView(value)) {
    const array = value as Float64Array
    if (form === 'plain') return Array.from(array, (number) => encode(number, form))
    const bytes = Buffer.from(array.buffer, array.byteOffset, array.byteLength)
    return { type: array.constructor.name, base64: bytes.toString('base64') }
  }
  if (Array.isArray(value)) return value.map((item) => encode(item, form))
  if (isObject(value)) return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, encode(item, form)]))
  return value
}

/** What `encoded` has made of a value with arrays as texts; texts that are no arrays' stay, but for the names of numbers that are not finite. */
export function decoded(value: unknown): unknown {
  if (typeof value === 'string') return NAMES.includes(value) ? Number(value) : value
  if (Array.isArray(value)) return value.map(decoded)
  if (!isObject(value)) return value
  const { type, base64 } = value
  if (typeof base64 === 'string' && Object.hasOwn(types, type as string)) return decodedArray('the array', value, type as TypeName) // biome-ignore format: one line
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, decoded(item)]))
}

/** What `encoded` has made of an array, in either form, or the array itself. Throws ArgumentError. */
export function decodedArray<T extends TypeName>(
  name: string,
  value: unknown,
  type: T,
): InstanceType<(typeof types)[T]> {
  const Type = types[type] as unknown as new (source: ArrayBuffer | number[]) => InstanceType<(typeof types)[T]>
  if (ArrayBuffer.isView(value) && value instanceof types[type]) return value as InstanceType<(typeof types)[T]>
  if (Array.isArray(value)) return new Type(Array.from(value, (item, i) => decodedNumber(`${name}[${i}]`, item)))
  const { type: found, base64 } = (isObject(value) ? value : {}) as { type?: unknown; base64?: unknown }
  if (found !== type || typeof base64 !== 'string') throw invalid(name, `an array, or { type: '${type}', base64 }`, value) // biome-ignore format: one line
  const bytes = Buffer.from(base64, 'base64')
  if (bytes.length % types[type].BYTES_PER_ELEMENT !== 0) throw invalid(name, `whole numbers of ${type}`, value)
  return new Type(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length) as ArrayBuffer)
}

/** What `encoded` has made of a number. Throws ArgumentError. */
export function decodedNumber(name: string, value: unknown): number {
  if (typeof value === 'number') return value
  if (typeof value === 'string' && NAMES.includes(value)) return Number(value)
  throw invalid(name, 'a number', value)
}
