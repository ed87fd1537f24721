import { formatFailure } from '../base/errors.js'
import { sizeOf } from '../base/shape.js'
import { inPieces, turns } from '../base/turns.js'
import type { DatasetParts } from './dataset.js'

/** NumPy's .npy: magic, version, header length, a Python dict as text, the numbers (numpy.lib.format). */
const MAGIC = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59] // \x93NUMPY

/** NumPy itself refuses headers of more than 10,000 bytes unless it is told to trust the file. */
const MAX_HEADER = 2 ** 16

const ARRAYS = {
  f4: Float32Array,
  f8: Float64Array,
  u1: Uint8Array,
  i1: Int8Array,
  i2: Int16Array,
  u2: Uint16Array,
  i4: Int32Array,
  u4: Uint32Array,
  i8: BigInt64Array,
  u8: BigUint64Array,
} as const

type Numbers = InstanceType<(typeof ARRAYS)[keyof typeof ARRAYS]>

export function looksLikeNpy(bytes: Uint8Array): boolean {
  return MAGIC.every((byte, i) => bytes[i] === byte)
}

/** An array as a file has it. */
export interface NpyArray {
  shape: number[]
  /** NumPy's name of the type. */
  descr: string
  /** Row-major. */
  data: Numbers
}

interface Header {
  shape: number[]
  descr: string
  /** Where the numbers begin, and how many bytes they take. */
  start: number
  size: number
}

/** The header of a .npy file; Python 2 writes its numbers as 12L. Throws FormatError. */
function npyHeader(bytes: Uint8Array, path: string): Header {
  const fail: (what: string) => never = formatFailure(path)
  const version = bytes[6]
  const begin = version === 1 ? 10 : 12
  if (!looksLikeNpy(bytes) || bytes.length < begin) fail('no .npy file, or truncated')
  if (version < 1 || version > 3) fail(`.npy version ${version} is not supported: 1, 2 or 3`)
  const view = new DataView(bytes.buffer, bytes.byteOffset)
  const length = version === 1 ? view.getUint16(8, true) : view.getUint32(8, true)
  if (begin + length > bytes.length) fail('the .npy header is truncated')
  if (length > MAX_HEADER)
    fail(`the .npy header has ${length} bytes, more than the ${MAX_HEADER} that any has: corrupt`)
  const header = Buffer.from(bytes.buffer, bytes.byteOffset + begin, length).toString('latin1')
  const field = (name: string, value: string) =>
    new RegExp(`['"]${name}['"]\\s*:\\s*${value}`).exec(header)?.[1] ?? fail(`the .npy header has no valid '${name}'`)
  if (/['"]descr['"]\s*:\s*\[/.test(header)) fail('an array of records: save the fields that are meant, one by one')
  const descr = field('descr', `['"]([^'"]*)['"]`)
  const type = /^[<|=]([fiu]\d)$/.exec(descr)?.[1] ?? ''
  if (!Object.hasOwn(ARRAYS, type)) fail(`dtype '${descr}' is not supported: ${remedy(descr)}`)
  if (field('fortran_order', '(True|False)') === 'True')
    fail('the array is in Fortran order: save numpy.ascontiguousarray of it')
  const shape = field('shape', '\\(([\\dL, ]*)\\)')
    .split(',')
    .filter((s) => s.trim())
    .map((s) => Number(s.trim().replace(/L$/, '')))
  if (shape.some((n) => !Number.isSafeInteger(n) || n < 1))
    fail(`every dimension must be at least 1 but the shape is [${shape}]`)
  const item = ARRAYS[type as keyof typeof ARRAYS].BYTES_PER_ELEMENT
  return { shape, descr, start: begin + length, size: item * sizeOf(shape) }
}

/** What a type is in words, and how its array is saved so that it can be read. */
function remedy(descr: string): string {
  if (descr.startsWith('>')) return "it is big-endian: save a.astype(a.dtype.newbyteorder('<'))"
  if (descr.includes('O')) return 'it is of Python objects, which a pickle holds: save an array of numbers'
  if (/[US]/.test(descr)) return 'it is of texts: save indices'
  if (descr.endsWith('f2')) return "it is of half precision: save a.astype('float32')"
  if (descr.endsWith('b1')) return "it is of true and false: save a.astype('uint8') * 255 for pictures"
  return 'little-endian float32, float64 or integers are'
}

/** The length of a whole .npy file, by its first bytes; undefined where they are not those of one. */
export function npyLength(head: Uint8Array, path: string): number | undefined {
  if (!looksLikeNpy(head)) return undefined
  const { start, size } = npyHeader(head, path)
  return start + size
}

/** The array of a .npy file, of any shape. Throws FormatError. */
export function parseNpyArray(bytes: Uint8Array, path: string): NpyArray {
  const { shape, descr, start, size } = npyHeader(bytes, path)
  const data = bytes.subarray(start)
  if (size !== data.length)
    formatFailure(path)(
      `shape [${shape}] of ${descr} needs ${size} bytes but ${data.length} follow: truncated or corrupt`,
    )
  const type = ARRAYS[descr.slice(1) as keyof typeof ARRAYS]
  const item = type.BYTES_PER_ELEMENT
  const aligned = data.byteOffset % item === 0 ? data : data.slice()
  return { shape, descr, data: new type(aligned.buffer as ArrayBuffer, aligned.byteOffset, size / item) }
}

/** The same where only floats or bytes will do. Throws FormatError. */
export function floatsOrBytes({ descr, data }: NpyArray, path: string): Float32Array | Float64Array | Uint8Array {
  if (data instanceof Float32Array || data instanceof Float64Array || data instanceof Uint8Array) return data
  return formatFailure(path)(`dtype '${descr}' is not supported for samples: save uint8, float32 or float64`)
}

/** Vectors [N, d], grey images [N, H, W] or images [N, C, H, W]: those of a .npy file. Throws FormatError. */
export function parseNpy(bytes: Uint8Array, path: string, signal?: AbortSignal): Promise<DatasetParts> {
  return arrayParts(parseNpyArray(bytes, path), path, signal)
}

/**
 * Vectors [N, d], grey images [N, H, W] or images [N, C, H, W] of float32, float64 (taken as they are) or uint8 (scaled to [-1, 1]); of bytes
 * also [N, H, W, C], as pictures are saved. Throws FormatError.
 */
export async function arrayParts(array: NpyArray, path: string, signal?: AbortSignal): Promise<DatasetParts> {
  const fail: (what: string) => never = formatFailure(path)
  const { shape } = array
  const data = floatsOrBytes(array, path)
  if (![2, 3, 4].includes(shape.length)) fail(`expected shape [N, d], [N, H, W] or [N, C, H, W] but it is [${shape}]`)
  const sample = shape.length === 3 ? [1, shape[1], shape[2]] : shape.slice(1)
  const parts = { name: path, labels: null }
  if (data instanceof Uint8Array) {
    if (isPicture(shape))
      fail(`the shape [${shape}] is that of one picture: expected several, [N, H, W, C] or [N, C, H, W]`)
    if (withAlpha(sample))
      fail(
        `the shape [${shape}] has transparency as its last channel: leave that out, and save [N, H, W, 3] or [N, H, W]`,
      )
    const [height, width, channels] = sample
    if (!areLast(sample) && !areTiles(sample)) return { ...parts, shape: sample, data }
    return {
      ...parts,
      shape: [channels, height, width],
      data: await channelsFirst(data, channels, height * width, signal),
    }
  }
  // samples that a model has drawn may have any shape; but square pictures of floats are saved either way
  if (areLast(sample) && sample[0] === sample[1])
    fail(`the shape [${shape}] has the channels last: expected [N, C, H, W]`)
  const { out, least, most } = await floats(data, fail, signal)
  if (arePictures(sample) && least >= 0 && most > least) noteOfScale(path, most)
  return { ...parts, shape: sample, data: out }
}

/** Floats are taken as they are; but those of pictures that somebody has left in other units would be learnt wrong without a word. */
function noteOfScale(path: string, most: number): void {
  const [upper, remedy] = most <= 1 ? [1, '2 x - 1'] : [255, 'x / 127.5 - 1']
  if (most > 255) return
  process.emitWarning(
    `${path}: its numbers lie from 0 to ${upper} and are taken as they are, but pictures lie from -1 to 1: save ${remedy}, or bytes`,
    'FeynkacWarning',
  )
}

/** Whether floats of this shape are likely to be pictures: grey or colour, of more than a few pixels. */
const arePictures = ([channels, ...sides]: readonly number[]): boolean =>
  sides.length === 2 && (channels === 1 || channels === 3) && sides.every((side) => side >= 8)

/** Whether the last of three extents are grey or colour with transparency. */
function withAlpha(sample: readonly number[]): boolean {
  const [first, second, last] = sample
  return sample.length === 3 && (last === 2 || last === 4) && first > 4 && second > 4
}

/** Whether bytes are one picture in colour, rather than grey ones that are three or four pixels wide. */
function isPicture(shape: readonly number[]): boolean {
  const [height, width, last] = shape
  return shape.length === 3 && (last === 3 || last === 4) && height > 4 && width > 4
}

/** Whether pictures of bytes are squares too small to be told from channels by their sides alone: [2, 2, 3], [4, 4, 1]. */
function areTiles(sample: readonly number[]): boolean {
  const [first, second, last] = sample
  return sample.length === 3 && (last === 1 || last === 3) && first > 1 && first === second && second !== last
}

/** Whether the last of three extents are channels: grey or colour, after sides that are no number of channels. */
function areLast(sample: readonly number[]): boolean {
  const [first, second, last] = sample
  return sample.length === 3 && (last === 1 || last === 3) && first > 4 && second !== last
}

async function channelsFirst(data: Uint8Array, channels: number, area: number, signal?: AbortSignal) {
  const out = new Uint8Array(data.length)
  const size = channels * area
  const move = (from: number, to: number) => {
    for (let at = from * size; at < to * size; at += size)
      for (let c = 0; c < channels; c++)
        for (let i = 0; i < area; i++) out[at + c * area + i] = data[at + i * channels + c]
  }
  await inPieces(data.length / size, turns(signal), move, Math.max(1, Math.floor(2 ** 18 / size)))
  return out
}

/** As float32, checked to be finite; and the smallest and largest. */
async function floats(numbers: Float32Array | Float64Array, fail: (what: string) => never, signal?: AbortSignal) {
  const out = numbers instanceof Float32Array ? numbers : new Float32Array(numbers.length)
  let [least, most] = [Infinity, -Infinity]
  const convert = (from: number, to: number) => {
    for (let i = from; i < to; i++) {
      const value = numbers[i]
      out[i] = value
      if (value < least) least = value
      if (value > most) most = value
      if (!Number.isFinite(out[i])) fail(`number ${i} is ${numbers[i]}: expected finite float32 numbers`)
    }
  }
  await inPieces(numbers.length, turns(signal), convert, 1 << 18)
  return { out, least, most }
}
