import type { PickleHost } from './pickle.js'
import { TorchType } from './pickle-globals.js'
import type { Dtype } from './safetensors.js'
import { type StorageData, TorchStorage } from './torch-tensor.js'

/** The storages that the pickle of a PyTorch file refers to by persistent ids, each kept once. */
export class StorageTable<D extends StorageData> {
  readonly #byKey = new Map<string, { data: D; dtype: Dtype | null; count: number }>()

  /** make: the data of a new storage of `count` numbers, or bytes without a type. */
  readonly #make: (key: string, dtype: Dtype | null, count: number) => D

  constructor(make: (key: string, dtype: Dtype | null, count: number) => D) {
    this.#make = make
  }

  get(key: string): D | undefined {
    return this.#byKey.get(key)?.data
  }

  /**
   * The object of ('storage', type, key, location, count, view?), and of the old ('module', class, file, source), which is the
   * class. Throws what host.fail throws.
   */
  persistent(id: unknown, host: PickleHost): unknown {
    if (!Array.isArray(id)) return host.fail('a persistent id is no tuple')
    const [kind, type, key, , count, view] = id
    if (kind === 'module' && id.length === 4) return type
    if (kind !== 'storage' || !(type instanceof TorchType) || !type.isStorage)
      return host.fail('a persistent id is not that of a storage that is known')
    if (typeof key !== 'string' || !Number.isSafeInteger(count) || count < 0)
      return host.fail('the key or the size of a storage is not valid')
    let entry = this.#byKey.get(key)
    if (!entry) {
      entry = { data: this.#make(key, type.dtype, count), dtype: type.dtype, count }
      this.#byKey.set(key, entry)
    }
    if (entry.dtype !== type.dtype || entry.count !== count) return host.fail(`storage ${key} has two types or sizes`)
    if (view === undefined || view === null) return new TorchStorage(type.dtype, count, entry.data)
    const [, start, size] = Array.isArray(view) ? view : []
    const natural = (n: unknown) => Number.isSafeInteger(n) && (n as number) >= 0
    if (!natural(start) || !natural(size) || start + size > count)
      return host.fail(`a part of storage ${key} goes beyond it`)
    return new TorchStorage(type.dtype, size, entry.data, start)
  }
}
