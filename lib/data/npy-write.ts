import { writeFileAtomic } from '../base/files.js'

/** Arrays for NumPy. */

/** NumPy's .npy format, version 1.0 (little-endian, row-major). */
export async function writeNpy(
  path: string,
  data: Float32Array | Float64Array,
  shape: readonly number[],
): Promise<void> {
  const dtype = data instanceof Float32Array ? '<f4' : '<f8'
  const text = `{'descr': '${dtype}', 'fortran_order': False, 'shape': (${shape.map((n) => `${n},`).join(' ')}), }`
  const length = Math.ceil((10 + text.length + 1) / 64) * 64 - 10
  const header = Buffer.alloc(10 + length, ' ')
  header.write('\x93NUMPY\x01\x00', 0, 'latin1')
  header.writeUInt16LE(length, 8)
  header.write(text, 10, 'latin1')
  header[header.length - 1] = 0x0a
  await writeFileAtomic(path, [header, new Uint8Array(data.buffer, data.byteOffset, data.byteLength)])
}
