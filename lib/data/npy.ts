import { formatFailure } from '../errors.js'
import { inSlices } from './content.js'
import type { DatasetParts } from './dataset.js'

/** NumPy's .npy: magic, version, header length, a Python dict as text, the numbers (numpy.lib.format). */
const MAGIC = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59] // \x93NUMPY
const ITEM: Record<string, number> = { '<f4': 4, '<f8': 8, '|u1': 1 }

export function looksLikeNpy(bytes: Uint8Array): boolean {
  return MAGIC.every((byte, i) => bytes[i] === byte)
}

/** An array as a file has it. */
interface NpyArray {
  shape: number[]
  /** Row-major. */
  data: Uint8Array | Float32Array | Float64Array
}

/** The array of a .npy file: little-endian float32 or float64, or uint8, of any shape. Throws FormatError. */
export function parseNpyArray(bytes: Uint8Array, path: string): NpyArray {
  const fail: (what: string) => never = formatFailure(path)
  const version = bytes[6]
  const start = version === 1 ? 10 : 12
  if (!looksLikeNpy(bytes) || bytes.length < start) fail('no .npy file, or truncated')
  if (version < 1 || version > 3) fail(`.npy version ${version} is not supported: 1, 2 or 3`)
  const view = new DataView(bytes.buffer, bytes.byteOffset)
  const length = version === 1 ? view.getUint16(8, true) : view.getUint32(8, true)
  if (start + length > bytes.length) fail('the .npy header is truncated')
  const header = Buffer.from(bytes.buffer, bytes.byteOffset + start, length).toString('latin1')
  const field = (name: string, value: string) =>
    new RegExp(`['"]${name}['"]\\s*:\\s*${value}`).exec(header)?.[1] ?? fail(`the .npy header has no valid '${name}'`)
  const descr = field('descr', `['"]([^'"]*)['"]`)
  const item = Object.hasOwn(ITEM, descr) ? ITEM[descr] : fail(`dtype '${descr}' is not supported: <f4, <f8 or |u1`)
  if (field('fortran_order', '(True|False)') === 'True')
    fail('the array is in Fortran order: save numpy.ascontiguousarray of it')
  const shape = field('shape', '\\(([\\d, ]*)\\)')
    .split(',')
    .filter((s) => s.trim())
    .map(Number)
  if (shape.some((n) => !Number.isSafeInteger(n) || n < 1))
    fail(`every dimension must be at least 1 but the shape is [${shape}]`)
  const count = shape.reduce((a, b) => a * b, 1)
  const data = bytes.subarray(start + length)
  if (count * item !== data.length)
    fail(`shape [${shape}] of ${descr} needs ${count * item} bytes but ${data.length} follow: truncated or corrupt`)
  if (item === 1) return { shape, data }
  const { buffer, byteOffset } = data.byteOffset % item === 0 ? data : data.slice()
  return {
    shape,
    data: item === 4 ? new Float32Array(buffer, byteOffset, count) : new Float64Array(buffer, byteOffset, count),
  }
}

/**
 * Vectors [N, d], grey images [N, H, W] or images [N, C, H, W] of float32, float64 (taken as they are) or uint8 (scaled to
 * [-1, 1]). Throws FormatError.
 */
export async function parseNpy(bytes: Uint8Array, path: string, signal?: AbortSignal): Promise<DatasetParts> {
  const fail: (what: string) => never = formatFailure(path)
  const { shape, data } = parseNpyArray(bytes, path)
  if (![2, 3, 4].includes(shape.length)) fail(`expected shape [N, d], [N, H, W] or [N, C, H, W] but it is [${shape}]`)
  if (shape.length === 4 && shape[1] > 4 && shape[3] <= 4)
    fail(`the shape [${shape}] has the channels last: expected [N, C, H, W]`)
  const sample = shape.length === 3 ? [1, shape[1], shape[2]] : shape.slice(1)
  const parts = { name: path, shape: sample, labels: null }
  return data instanceof Uint8Array ? { ...parts, data } : { ...parts, data: await floats(data, fail, signal) }
}

/** As float32, checked to be finite. */
async function floats(numbers: Float32Array | Float64Array, fail: (what: string) => never, signal?: AbortSignal) {
  const out = numbers instanceof Float32Array ? numbers : new Float32Array(numbers.length)
  const convert = (from: number, to: number) => {
    for (let i = from; i < to; i++) {
      out[i] = numbers[i]
      if (!Number.isFinite(out[i])) fail(`number ${i} is ${numbers[i]}: expected finite float32 numbers`)
    }
  }
  await inSlices(numbers.length, 1 << 18, convert, signal)
  return out
}
