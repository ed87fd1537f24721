import { type PickleHost, unpickle } from './pickle.js'
import { findGlobal } from './pickle-globals.js'
import { ARRAYS, type Dtype } from './safetensors.js'
import { StorageTable } from './torch-storage.js'
import { type StorageData, swapBytes } from './torch-tensor.js'

/**
 * PyTorch's files before version 1.6 (torch.save with _use_new_zipfile_serialization=False), which also stand for the storages in
 * plain pickles: five pickles (a magic number, a version, facts of the machine, the object, the keys of the storages), then of
 * each storage the count of its numbers (int64) and the numbers.
 */

/** What the first pickle of such a file holds. */
export const MAGIC = 0x1950a86a20f9469cfc6cn
const VERSION = 1001
/** Files within files: one level is what a plain pickle of tensors has. */
const MAX_DEPTH = 4

/** A storage in a file that is in memory. Its bytes are moved to where they are aligned, over the count before them. */
class MemoryData implements StorageData {
  #place: { begin: number; end: number } | undefined
  #bytes: Uint8Array<ArrayBuffer> | undefined
  readonly #file: Uint8Array<ArrayBuffer>
  readonly #bigEndian: () => boolean
  readonly #fail: (what: string) => never

  constructor(
    readonly name: string,
    file: Uint8Array<ArrayBuffer>,
    readonly size: number,
    readonly count: number,
    bigEndian: () => boolean,
    fail: (what: string) => never,
  ) {
    this.#file = file
    this.#bigEndian = bigEndian
    this.#fail = fail
  }

  /** Takes the storage at a place of the file; where it ends. */
  locate(at: number): number {
    if (this.#place) this.#fail(`storage ${this.name} comes twice`)
    const { count, size } = this
    const file = this.#file
    if (at + 8 > file.length) this.#fail(`it is truncated before storage ${this.name}`)
    const stated = new DataView(file.buffer, file.byteOffset + at, 8).getBigInt64(0, !this.#bigEndian())
    if (stated !== BigInt(count))
      this.#fail(`storage ${this.name} has ${stated} numbers where its tensors need ${count}`)
    const end = at + 8 + count * size
    if (end > file.length)
      this.#fail(
        `storage ${this.name} needs ${count * size} bytes but ${file.length - at - 8} are left: it is truncated`,
      )
    this.#place = { begin: at + 8, end }
    return end
  }

  async load(): Promise<Uint8Array<ArrayBuffer>> {
    if (this.#bytes) return this.#bytes
    const { begin, end } = this.#place ?? this.#fail(`the numbers of storage ${this.name} are missing`)
    const { size } = this
    const file = this.#file
    const shift = (file.byteOffset + begin) % 8
    if (shift > 0) file.copyWithin(begin - shift, begin, end)
    this.#bytes = file.subarray(begin - shift, end - shift)
    if (this.#bigEndian()) swapBytes(this.#bytes, size)
    return this.#bytes
  }
}

/**
 * The object of a file in memory. The bytes are the tensors' afterwards: they are changed (moved to be aligned) when tensors are
 * loaded. Throws what host.fail throws.
 */
export function readTorchLegacy(bytes: Uint8Array<ArrayBuffer>, outer: PickleHost): unknown {
  let bigEndian = false
  const make = (key: string, dtype: Dtype | null, count: number) => {
    const size = dtype === null ? 1 : ARRAYS[dtype].BYTES_PER_ELEMENT
    if (count * size > bytes.length)
      outer.fail(
        `storage ${key} needs ${count * size} bytes but the file has ${bytes.length}: it is truncated or corrupt`,
      )
    return new MemoryData(key, bytes, size, count, () => bigEndian, outer.fail)
  }
  const storages = new StorageTable(make)
  const host: PickleHost = { ...outer, find: findGlobal, persistent: (id) => storages.persistent(id, host) }
  const plain: PickleHost = { ...outer, persistent: undefined, nested: undefined }
  let at = 0
  const next = (by: PickleHost): unknown => {
    const { value, end } = unpickle(bytes, at, by)
    at = end
    return value
  }
  if (next(plain) !== MAGIC) outer.fail('it does not begin as a file of PyTorch')
  const version = next(plain)
  if (version !== VERSION) outer.fail(`its version is not ${VERSION}`)
  const system = next(plain)
  bigEndian = system instanceof Map && system.get('little_endian') === false
  const value = next(host)
  const keys = next(plain)
  if (!Array.isArray(keys)) return outer.fail('the keys of its storages are no list')
  for (const key of keys) {
    const data = typeof key === 'string' ? storages.get(key) : undefined
    if (!data) return outer.fail('the keys of its storages name one that its object does not have')
    at = data.locate(at)
  }
  return value
}

/** What torch.storage._load_from_bytes means: a file within the file, each read once. Zip archives are not expected there. */
export function nestedStream(outer: PickleHost, depth = 1): (bytes: Uint8Array) => unknown {
  const known = new Map<Uint8Array, unknown>()
  return (bytes) => {
    if (known.has(bytes)) return known.get(bytes)
    if (depth >= MAX_DEPTH) outer.fail(`it holds files within files, ${depth} deep: refused`)
    const host: PickleHost = { ...outer, persistent: undefined }
    host.nested = nestedStream(host, depth + 1)
    const value = readTorchLegacy(bytes as Uint8Array<ArrayBuffer>, host)
    known.set(bytes, value)
    return value
  }
}
