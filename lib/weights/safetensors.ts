import { describe, FileError, formatFailure, invalid } from '../base/errors.js'
import { formatBytes, openFile, readFully, release, writeFileAtomic } from '../base/files.js'
import { duplicateKey, isObject, parseBounded } from '../base/json.js'
import { allocate } from '../base/memory.js'
import { sizeOf } from '../base/shape.js'

/**
 * The safetensors format: 8 bytes little-endian length of the header, a JSON header, raw little-endian data without holes
 * (https://huggingface.co/docs/safetensors).
 */

/** Array types of the numbers, by the format's names of them. */
export const ARRAYS = {
  F64: Float64Array,
  F32: Float32Array,
  F16: Uint16Array, // raw bits, as are the types below without an array type of their own
  BF16: Uint16Array,
  F8_E5M2: Uint8Array,
  F8_E4M3: Uint8Array,
  I64: BigInt64Array,
  U64: BigUint64Array,
  I32: Int32Array,
  U32: Uint32Array,
  I16: Int16Array,
  U16: Uint16Array,
  I8: Int8Array,
  U8: Uint8Array,
  BOOL: Uint8Array,
} as const

/** Element types that a safetensors file may have. */
export type Dtype = keyof typeof ARRAYS
/** Numbers of a tensor, as they are in the file. */
export type TensorData = InstanceType<(typeof ARRAYS)[Dtype]>

/** A tensor of a weights file. */
export interface Tensor {
  dtype: Dtype
  shape: number[]
  /** Row-major; F16, BF16 and F8 as raw bits: `toFloat32` converts. */
  data: TensorData
}

export interface Safetensors {
  metadata: Record<string, string>
  tensors: Map<string, Tensor>
}

/** The format's own limit, which keeps a wrong length from being allocated. */
const MAX_HEADER = 100e6
/** Bytes of neighbouring tensors that are read together. */
const GROUP = 2 ** 22

interface Entry {
  name: string
  dtype: Dtype
  shape: number[]
  begin: number
  end: number
}

/** Reads a file. Throws FileError, or FormatError naming what in the file is wrong; OutOfMemoryError. */
export async function readSafetensors(path: string): Promise<Safetensors> {
  const fail: (what: string) => never = formatFailure(path)
  const { handle, size } = await openFile(path)
  try {
    if (size < 10) fail(`no safetensors file: it has only ${size} bytes`)
    const prefix = new Uint8Array(8)
    await readFully(handle, prefix, 0, path)
    const length = Number(new DataView(prefix.buffer).getBigUint64(0, true))
    if (length > MAX_HEADER)
      fail(`no safetensors file: its header claims ${formatBytes(length)}, more than ${formatBytes(MAX_HEADER)}`)
    if (length > size - 8)
      fail(`the header claims ${length} bytes but the file has ${size}: it is truncated or no safetensors file`)
    const header = new Uint8Array(length)
    await readFully(handle, header, 8, path)
    const { metadata, entries } = parseHeader(header, size - 8 - length, fail)
    const tensors = new Map<string, Tensor>()
    // neighbours share one read and one buffer: a network has hundreds of small tensors
    for (let from = 0; from < entries.length; ) {
      const { name, begin } = entries[from]
      let to = from + 1
      while (to < entries.length && entries[to].end - begin <= GROUP) to++
      const bytes = allocate(entries[to - 1].end - begin, `tensor '${name}' of ${path}`)
      await readFully(handle, bytes, 8 + length + begin, path)
      for (const entry of entries.slice(from, to)) tensors.set(entry.name, view(entry, bytes, entry.begin - begin))
      from = to
    }
    return { metadata, tensors }
  } finally {
    await release(handle)
  }
}

function view({ dtype, shape, begin, end }: Entry, bytes: Uint8Array<ArrayBuffer>, offset: number): Tensor {
  const item = ARRAYS[dtype].BYTES_PER_ELEMENT
  const size = end - begin
  const data =
    offset % item === 0
      ? new ARRAYS[dtype](bytes.buffer, offset, size / item)
      : new ARRAYS[dtype](bytes.slice(offset, offset + size).buffer)
  return { dtype, shape, data }
}

type Fail = (what: string) => never

/** Checks the whole header before anything is allocated by it; entries in the order of their data. dataBytes: what follows in the file. */
function parseHeader(
  bytes: Uint8Array,
  dataBytes: number,
  fail: Fail,
): { metadata: Record<string, string>; entries: Entry[] } {
  let text = ''
  let json: unknown
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes)
    json = parseBounded(text)
  } catch (error) {
    fail(`the header is not JSON (${(error as Error).message}): the file is corrupt or no safetensors file`)
  }
  if (!isObject(json)) return fail('the header is not a JSON object')
  const twice = duplicateKey(text)
  if (twice !== null) fail(`the header has the key ${twice} twice`)
  const metadata: Record<string, string> = Object.create(null)
  const entries: Entry[] = []
  for (const [name, value] of Object.entries(json)) {
    if (name !== '__metadata__') entries.push(parseEntry(name, value, dataBytes, fail))
    else if (!isObject(value)) fail('__metadata__ is not an object of texts')
    else
      for (const [key, entry] of Object.entries(value))
        metadata[key] = typeof entry === 'string' ? entry : fail(`the metadata '${key}' is not a text`)
  }
  // the format wants the data without holes, so that no byte of a file goes unread and none is read twice
  let end = 0
  entries.sort((a, b) => a.begin - b.begin || a.end - b.end)
  for (const entry of entries) {
    if (entry.begin < end) fail(`tensor '${entry.name}' overlaps another`)
    if (entry.begin > end) fail(`${entry.begin - end} bytes before tensor '${entry.name}' belong to no tensor`)
    end = entry.end
  }
  if (end !== dataBytes) fail(`${dataBytes - end} bytes after the last tensor belong to no tensor`)
  return { metadata, entries }
}

function parseEntry(name: string, value: unknown, dataBytes: number, fail: Fail): Entry {
  const wrong = (what: string): never => fail(`tensor '${name}': ${what}`)
  if (!isObject(value)) return wrong('its description is not an object')
  const { dtype, shape, data_offsets: offsets } = value
  if (typeof dtype !== 'string' || !Object.hasOwn(ARRAYS, dtype)) return wrong(`unknown dtype ${describe(dtype)}`)
  const natural = (n: unknown) => Number.isSafeInteger(n) && (n as number) >= 0
  if (!Array.isArray(shape) || !shape.every(natural)) return wrong('its shape is not a list of integers from 0')
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(natural))
    return wrong('its data_offsets are not two integers from 0')
  const [begin, end] = offsets as [number, number]
  if (begin > end) wrong(`its data_offsets are reversed: [${begin}, ${end}]`)
  if (end > dataBytes)
    wrong(`its data ends at ${end} but the file has only ${dataBytes} bytes of data: it is truncated`)
  let wanted: number = ARRAYS[dtype as Dtype].BYTES_PER_ELEMENT
  for (const n of shape as number[]) {
    wanted *= n
    if (!Number.isSafeInteger(wanted)) return wrong('its shape is too large')
  }
  if (wanted !== end - begin)
    wrong(`${dtype} of shape [${shape}] needs ${wanted} bytes but its data_offsets hold ${end - begin}`)
  return { name, dtype: dtype as Dtype, shape: shape as number[], begin, end }
}

/** The numbers of a tensor as float32: its own array when it is F32, else a converted copy. Throws ArgumentError for F8. */
export function toFloat32(tensor: Tensor): Float32Array {
  const { dtype, data } = tensor
  if (data instanceof Float32Array) return data
  if (dtype === 'F8_E5M2' || dtype === 'F8_E4M3') throw invalid('tensor', 'a dtype of 16 bits or more', dtype)
  const out = new Float32Array(data.length)
  if (dtype === 'BF16') {
    const bits = new Uint32Array(out.buffer)
    for (let i = 0; i < out.length; i++) bits[i] = (data[i] as number) << 16
  } else if (dtype === 'F16') for (let i = 0; i < out.length; i++) out[i] = halfToNumber(data[i] as number)
  else for (let i = 0; i < out.length; i++) out[i] = Number(data[i])
  return out
}

/** IEEE 754 binary16: 1 sign bit, 5 exponent bits, 10 fraction bits. */
function halfToNumber(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1
  const exponent = (bits >> 10) & 31
  const fraction = bits & 1023
  if (exponent === 0) return sign * fraction * 2 ** -24
  if (exponent === 31) return fraction ? NaN : sign * Infinity
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15)
}

export interface WritableTensor {
  shape: readonly number[]
  data: Float32Array | Float64Array
}

/**
 * Writes a file atomically. The arrays are written from where they lie, without a copy: leave them unchanged until the promise
 * settles. Throws ArgumentError when a shape does not fit its data or a name comes twice; FileError.
 */
export async function writeSafetensors(
  path: string,
  tensors: Iterable<readonly [string, WritableTensor]>,
  metadata: Readonly<Record<string, string>> = {},
  ready?: () => Promise<void>,
): Promise<void> {
  for (const [key, value] of Object.entries(metadata))
    if (typeof value !== 'string') throw invalid(`metadata '${key}'`, 'a text', value)
  const list: [string, WritableTensor][] = []
  const names = new Set(['__metadata__'])
  for (const [name, tensor] of tensors) {
    if (typeof name !== 'string' || names.has(name)) throw invalid('tensors', 'a new name for every tensor', name)
    names.add(name)
    const { shape, data } = tensor
    if (!(data instanceof Float32Array || data instanceof Float64Array))
      throw invalid(`tensor '${name}'`, 'a Float32Array or Float64Array', data)
    if (shape.some((n) => !Number.isSafeInteger(n) || n < 0) || sizeOf(shape) !== data.length)
      throw invalid(`tensor '${name}'`, `a shape of ${data.length} elements`, shape)
    list.push([name, tensor])
  }
  // wide numbers first, so that every tensor is aligned
  list.sort((a, b) => b[1].data.BYTES_PER_ELEMENT - a[1].data.BYTES_PER_ELEMENT)
  // entries, not properties of an object: a name such as __proto__ or 10 must stay what and where it is
  const entries = Object.keys(metadata).length ? [`"__metadata__":${JSON.stringify(metadata)}`] : []
  let total = 0
  for (const [name, { shape, data }] of list) {
    const dtype: Dtype = data instanceof Float32Array ? 'F32' : 'F64'
    const entry = { dtype, shape, data_offsets: [total, total + data.byteLength] }
    entries.push(`${JSON.stringify(name)}:${JSON.stringify(entry)}`)
    total += data.byteLength
  }
  const json = Buffer.from(`{${entries.join()}}`)
  if (json.length > MAX_HEADER)
    throw new FileError(`cannot write ${path}: the names and metadata need more than 100 MB`, path)
  const header = Buffer.alloc(8 + Math.ceil(json.length / 8) * 8, ' ')
  header.writeBigUInt64LE(BigInt(header.length - 8))
  json.copy(header, 8)
  function* chunks() {
    yield header
    for (const [, { data }] of list) yield new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
  }
  await writeFileAtomic(path, chunks(), { bytes: header.length + total, ready })
}
