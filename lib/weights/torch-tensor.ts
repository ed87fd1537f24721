import { setImmediate as breathe } from 'node:timers/promises'
import { formatFailure } from '../base/errors.js'
import { formatBytes } from '../base/files.js'
import { allocate } from '../base/memory.js'
import { sizeOf } from '../base/shape.js'
import type { PickleHost } from './pickle.js'
import { ARRAYS, type Dtype, type Tensor, type TensorData } from './safetensors.js'

/** The bytes that tensors of a PyTorch file share. */
export interface StorageData {
  /** Its name in the file, for messages. */
  name: string
  /** The bytes, read once, little-endian, aligned to 8. Throws FormatError, FileError, OutOfMemoryError. */
  load(): Promise<Uint8Array<ArrayBuffer>>
}

/** Numbers of one type in shared bytes; without a type they are bytes, and each tensor says how it reads them. */
export class TorchStorage {
  constructor(
    readonly dtype: Dtype | null,
    /** Numbers, or bytes. */
    readonly count: number,
    readonly data: StorageData,
    /** The place of the first in the data: old files have storages that are parts of others. */
    readonly start = 0,
  ) {}
}

/** A tensor as a pickle describes it: which numbers of a storage, not yet read. */
export class TorchTensor {
  constructor(
    readonly dtype: Dtype,
    readonly shape: number[],
    readonly strides: number[],
    /** Place of the first number in the storage's data, in numbers. */
    readonly offset: number,
    readonly data: StorageData,
  ) {}

  get count(): number {
    return sizeOf(this.shape)
  }
}

const MAX_DIMENSIONS = 64
/** Numbers copied between two turns of the event loop. */
const SLICE = 2 ** 22

/** A tensor over a storage, checked to lie inside of it. offset and strides in numbers. Throws what host.fail throws. */
export function rebuildTensor(
  storage: unknown,
  offset: unknown,
  shape: unknown,
  strides: unknown,
  host: PickleHost,
  dtype?: Dtype,
): TorchTensor {
  if (!(storage instanceof TorchStorage)) return host.fail('a tensor has no storage')
  const type = dtype ?? storage.dtype
  if (type === null) return host.fail('a tensor has no type')
  const natural = (n: unknown): n is number => Number.isSafeInteger(n) && (n as number) >= 0
  if (!Array.isArray(shape) || !Array.isArray(strides) || !shape.every(natural) || !strides.every(natural))
    return host.fail('the shape or the strides of a tensor are not integers from 0')
  if (shape.length !== strides.length) return host.fail('a tensor has more or fewer strides than dimensions')
  if (shape.length > MAX_DIMENSIONS) return host.fail(`a tensor has ${shape.length} dimensions`)
  if (!natural(offset)) return host.fail('the offset of a tensor is no integer from 0')
  let count = 1
  let last = offset
  for (const [i, n] of shape.entries()) {
    count *= n
    last += (n - 1) * strides[i]
  }
  if (!Number.isSafeInteger(count * 8)) return host.fail(`the shape [${shape}] of a tensor is too large`)
  const size = ARRAYS[type].BYTES_PER_ELEMENT
  const held = storage.dtype === null ? Math.floor(storage.count / size) : storage.count
  if (storage.dtype !== null && ARRAYS[storage.dtype].BYTES_PER_ELEMENT !== size)
    return host.fail(`a tensor reads a storage of ${storage.dtype} as ${type}`)
  if (count > 0 && last >= held)
    return host.fail(
      `a tensor of shape [${shape}], strides [${strides}] and offset ${offset} goes beyond its storage of ${held} numbers`,
    )
  return new TorchTensor(type, [...shape], [...strides], storage.start + offset, storage.data)
}

/**
 * The numbers of tensors, in their order: views of the storages where they lie row by row, else copies. fileBytes: size of the
 * file, which bounds the copies (views that repeat numbers could ask for any memory).
 * Throws FormatError, FileError, OutOfMemoryError; the signal's reason.
 */
export async function loadTensors(
  tensors: ReadonlyMap<string, TorchTensor>,
  path: string,
  fileBytes: number,
  signal?: AbortSignal,
): Promise<Map<string, Tensor>> {
  const loaded = new Map<string, Tensor>()
  const limit = 4 * fileBytes + 2 ** 26
  let copied = 0
  let since = 0
  for (const [name, tensor] of tensors) {
    signal?.throwIfAborted()
    const { dtype, shape, offset, count } = tensor
    const size = ARRAYS[dtype].BYTES_PER_ELEMENT
    const bytes = count === 0 ? new Uint8Array(0) : await tensor.data.load()
    if (isContiguous(tensor)) {
      const data =
        count === 0 ? new ARRAYS[dtype](0) : new ARRAYS[dtype](bytes.buffer, bytes.byteOffset + offset * size, count)
      loaded.set(name, { dtype, shape, data })
      continue
    }
    copied += count * size
    if (copied > limit)
      formatFailure(path)(
        `tensor '${name}' of shape [${shape}] repeats numbers of a small storage: more than ${formatBytes(limit)} would come of this file`,
      )
    loaded.set(name, { dtype, shape, data: await gather(tensor, bytes, `tensor '${name}' of ${path}`, signal) })
    since += count
    if (since > SLICE) {
      since = 0
      await breathe()
    }
  }
  return loaded
}

/** Whether the numbers lie one after the other, the last dimension fastest. */
function isContiguous({ shape, strides, count }: TorchTensor): boolean {
  if (count === 0) return true
  let expected = 1
  for (let i = shape.length - 1; i >= 0; i--) {
    if (shape[i] === 1) continue
    if (strides[i] !== expected) return false
    expected *= shape[i]
  }
  return true
}

/** Integers of the width of a number, so that copying leaves every bit as it is. */
const BITS = { 1: Uint8Array, 2: Uint16Array, 4: Uint32Array, 8: BigUint64Array } as const

/** The numbers in row-major order. */
async function gather(
  { dtype, shape, strides, offset, count }: TorchTensor,
  bytes: Uint8Array<ArrayBuffer>,
  what: string,
  signal?: AbortSignal,
): Promise<TensorData> {
  const size = ARRAYS[dtype].BYTES_PER_ELEMENT as 1 | 2 | 4 | 8
  const out = allocate(count * size, what)
  const to = new BITS[size](out.buffer)
  const from = new BITS[size](bytes.buffer, bytes.byteOffset, Math.floor(bytes.length / size))
  const index = new Array(shape.length).fill(0)
  const inner = shape.length - 1
  const [length, step] = [shape[inner], strides[inner]]
  let place = offset
  for (let at = 0; at < count; ) {
    for (let i = 0; i < length; i++) to[at + i] = from[place + i * step]
    const before = at
    at += length
    if (Math.floor(at / SLICE) > Math.floor(before / SLICE)) {
      await breathe()
      signal?.throwIfAborted()
    }
    for (let d = inner - 1; d >= 0; d--) {
      place += strides[d]
      if (++index[d] < shape[d]) break
      place -= strides[d] * shape[d]
      index[d] = 0
    }
  }
  return new ARRAYS[dtype](out.buffer)
}

/** Turns the bytes of numbers of a given width around, in place: big-endian files. */
export function swapBytes(bytes: Uint8Array, size: number): void {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (size === 2) buffer.swap16()
  else if (size === 4) buffer.swap32()
  else if (size === 8) buffer.swap64()
}
