import * as types from 'node:util/types'
import { isShape, unchanged } from '../base/args.js'
import { invalid } from '../base/errors.js'
import { writeFileAtomic } from '../base/files.js'
import { sizeOf } from '../base/shape.js'

/** Arrays for NumPy. */

function header(data: Float32Array | Float64Array, shape: readonly number[]): Buffer {
  if (!types.isFloat32Array(data) && !types.isFloat64Array(data))
    throw invalid('data', 'a Float32Array or Float64Array', data)
  if (!isShape(shape) || sizeOf(shape) !== data.length) throw invalid('shape', `a shape of ${data.length} numbers`, shape) // biome-ignore format: one line
  const dtype = data instanceof Float32Array ? '<f4' : '<f8'
  const text = `{'descr': '${dtype}', 'fortran_order': False, 'shape': (${shape.map((n) => `${n},`).join(' ')}), }`
  const length = Math.ceil((10 + text.length + 1) / 64) * 64 - 10
  const bytes = Buffer.alloc(10 + length, ' ')
  bytes.write('\x93NUMPY\x01\x00', 0, 'latin1')
  bytes.writeUInt16LE(length, 8)
  bytes.write(text, 10, 'latin1')
  bytes[bytes.length - 1] = 0x0a
  return bytes
}

const bytesOf = (data: Float32Array | Float64Array) => new Uint8Array(data.buffer, data.byteOffset, data.byteLength)

/**
 * An array as the bytes of a .npy file (version 1.0, little-endian, row-major), for numpy.load. Throws ArgumentError.
 * @example
 * ```js
 * import { npyBytes } from 'feynkac'
 *
 * const bytes = npyBytes(Float32Array.of(1, 2, 3, 4), [2, 2])
 * ```
 */
export function npyBytes(data: Float32Array | Float64Array, shape: readonly number[]): Uint8Array {
  return Buffer.concat([header(data, shape), bytesOf(data)])
}

/** The same as a file. Documented in late.ts. */
export async function writeNpy(
  path: string,
  data: Float32Array | Float64Array,
  shape: readonly number[],
): Promise<void> {
  const head = header(data, shape)
  await writeFileAtomic(path, pieces(head, data), { bytes: head.length + data.byteLength })
}

/** Numbers that are copied at a time: the system writes from our memory, as the caller's may go meanwhile. */
const PIECE = 2 ** 18

function* pieces(head: Uint8Array, data: Float32Array | Float64Array): Generator<Uint8Array> {
  const { length } = data
  yield head
  for (let at = 0; at < length; at += PIECE) {
    unchanged('data', data, length)
    yield bytesOf(data.slice(at, at + PIECE))
  }
}
