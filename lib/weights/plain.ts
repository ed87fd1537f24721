import { Opaque, PickleGlobal } from './pickle.js'
import { TorchTensor } from './torch-tensor.js'

/**
 * Values of a pickle as plain data: dicts become objects without a prototype, tuples and sets lists, numpy's scalars numbers.
 * What has no such form (tensors, modules, bytes) becomes its kind in angle brackets.
 */

const MAX_DEPTH = 32
/** Values of one conversion: a pickle may hold one object in many places. */
const MAX_VALUES = 1e5

export function plain(value: unknown, fail: (what: string) => never): unknown {
  let left = MAX_VALUES
  const convert = (value: unknown, depth: number): unknown => {
    if (--left < 0) fail(`the arguments of a network are more than ${MAX_VALUES} values`)
    if (depth > MAX_DEPTH) fail(`the arguments of a network are nested more than ${MAX_DEPTH} deep`)
    if (value === null || typeof value !== 'object') return value
    if (Array.isArray(value)) return value.map((item) => convert(item, depth + 1))
    if (value instanceof Set) return [...value].map((item) => convert(item, depth + 1))
    if (value instanceof Map) {
      const object: Record<string, unknown> = Object.create(null)
      for (const [key, item] of value) if (isKey(key)) object[String(key)] = convert(item, depth + 1)
      return object
    }
    if (value instanceof TorchTensor) return '<tensor>'
    if (value instanceof Uint8Array) return '<bytes>'
    if (value instanceof PickleGlobal) return `<${value.name}>`
    if (value instanceof Opaque) return numpyScalar(value) ?? `<${value.type}>`
    return '<object>'
  }
  return convert(value, 0)
}

const isKey = (key: unknown): key is string | number => typeof key === 'string' || typeof key === 'number'

/** The number in a scalar of numpy, as `np.sqrt(0.5)` gives one; undefined for anything else. */
function numpyScalar({ type, args }: Opaque): number | boolean | undefined {
  const [dtype, bytes] = args
  if (!/^numpy\._?core\.multiarray\.scalar$/.test(type) || !(dtype instanceof Opaque)) return undefined
  if (!(bytes instanceof Uint8Array)) return undefined
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const little = !(Array.isArray(dtype.state) && dtype.state[1] === '>')
  const code = dtype.args[0]
  if (bytes.length === 8 && code === 'f8') return view.getFloat64(0, little)
  if (bytes.length === 4 && code === 'f4') return view.getFloat32(0, little)
  if (bytes.length === 8 && code === 'i8') return Number(view.getBigInt64(0, little))
  if (bytes.length === 4 && code === 'i4') return view.getInt32(0, little)
  if (bytes.length === 1 && code === 'b1') return bytes[0] !== 0
  return undefined
}
