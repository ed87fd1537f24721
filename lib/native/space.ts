import { ArgumentError, DeviceError, invalid, OutOfMemoryError } from '../base/errors.js'
import { inPieces, turns } from '../base/turns.js'
import { native, run, translate } from './addon.js'
import { placement } from './devices.js'
import type { Bytes, DeviceArray, Doubles, ElementType, Floats, Ints, NativeSpace, Values } from './types.js'

/** Where the arrays of a run lie. New arrays hold anything. */
export interface Space {
  /** 'cpu' is the host. */
  readonly device: string
  floats(length: number): Floats
  doubles(length: number): Doubles
  ints(length: number): Ints
  bytes(length: number): Bytes
  /** An array of the same type and length. */
  like<T extends Values>(array: T): T
  /** A point in time, for `keep`. */
  mark(): number
  /** Makes the memory of all arrays made since `mark` (default: ever) but the `live` ones free for new ones: call between steps. */
  keep(live: Iterable<Values | undefined>, mark?: number): void
  /** Frees everything. */
  close(): void
}

/** A space that a caller passes on. Throws ArgumentError where it is none. */
export function checkSpace(space: unknown): Space {
  const { floats, doubles } = (space ?? {}) as Partial<Space>
  if (typeof floats === 'function' && typeof doubles === 'function') return space as Space
  throw invalid('space', 'where the arrays of a run lie', space)
}

/** The host without a run: every array is new, and its maker's to keep. */
export const host: Space = {
  device: 'cpu',
  floats: (length) => new Float32Array(length),
  doubles: (length) => new Float64Array(length),
  ints: (length) => new Int32Array(length),
  bytes: (length) => new Uint8Array(length),
  like: <T extends Values>(array: T) => new (array.constructor as new (length: number) => T)(array.length),
  mark: () => 0,
  keep() {},
  close() {},
}

/** A space whose arrays are used again: what `keep` frees is what the next ones of the same type and length are made of. */
abstract class Recycling<A extends Values> implements Space {
  readonly #used = new Map<A, number>() // and when they were made
  readonly #free = new Map<string, A[]>()
  #made = 0

  constructor(readonly device: string) {}

  protected abstract allocate(type: ElementType, length: number): A
  protected abstract typeOf(array: A): ElementType
  protected abstract dispose(array: A): void

  floats = (length: number) => this.#array('float32', length) as unknown as Floats
  doubles = (length: number) => this.#array('float64', length) as unknown as Doubles
  ints = (length: number) => this.#array('int32', length) as unknown as Ints
  bytes = (length: number) => this.#array('uint8', length) as unknown as Bytes
  like = <T extends Values>(array: T) => this.#array(this.typeOf(array as unknown as A), array.length) as unknown as T

  #array(type: ElementType, length: number): A {
    const array = this.#free.get(`${type} ${length}`)?.pop() ?? this.#allocate(type, length)
    this.#used.set(array, this.#made++)
    return array
  }

  #allocate(type: ElementType, length: number): A {
    try {
      return this.allocate(type, length)
    } catch (error) {
      const translated = translate(error)
      if (!(translated instanceof OutOfMemoryError) || this.#free.size === 0) throw translated
      this.#dispose() // what is free has other lengths
      return this.#allocate(type, length)
    }
  }

  mark = () => this.#made

  keep(live: Iterable<Values | undefined>, mark = 0): void {
    const kept = new Set<unknown>(live)
    for (const [array, made] of this.#used) {
      if (made < mark || kept.has(array)) continue
      this.#used.delete(array)
      const key = `${this.typeOf(array)} ${array.length}`
      const list = this.#free.get(key)
      if (list) list.push(array)
      else this.#free.set(key, [array])
    }
  }

  #dispose(): void {
    for (const list of this.#free.values()) for (const array of list) this.dispose(array)
    this.#free.clear()
  }

  close(): void {
    this.keep([])
    this.#dispose()
  }
}

/** Memory of a device, ordered by one stream: an array that is free may be used again while its last reader still runs. */
class DeviceSpace extends Recycling<DeviceArray> {
  constructor(
    device: string,
    readonly space: NativeSpace,
  ) {
    super(device)
  }

  protected allocate = (type: ElementType, length: number) => this.space.allocate(type, length)
  protected typeOf = (array: DeviceArray) => array.type
  protected dispose = (array: DeviceArray) => array.dispose()

  override close(): void {
    super.close()
    this.space.dispose()
  }
}

const hostArrays = { float32: Float32Array, float64: Float64Array, int32: Int32Array, uint8: Uint8Array }
type HostArray = InstanceType<(typeof hostArrays)[ElementType]>

/** The host's memory during a run: arrays of a million particles are not made and collected at every level. */
class HostSpace extends Recycling<HostArray> {
  constructor() {
    super(host.device)
  }

  protected allocate = (type: ElementType, length: number): HostArray => new hostArrays[type](length)
  protected typeOf = (array: HostArray): ElementType =>
    array instanceof Float32Array
      ? 'float32'
      : array instanceof Float64Array
        ? 'float64'
        : array instanceof Int32Array
          ? 'int32'
          : 'uint8'
  protected dispose = () => {}
}

/** A space of its own, on a device or on the host. Close it. Throws DeviceError. */
export async function openSpace(device: string, signal?: AbortSignal): Promise<Space> {
  if (device === host.device) return new HostSpace()
  const index = /^cuda:(\d{1,3})$/.exec(device)?.[1]
  if (index === undefined) throw new DeviceError(`there is no device '${device}': use 'auto', 'cpu' or 'cuda:0'`)
  return new DeviceSpace(device, await run(() => native.openSpace(Number(index)), signal))
}

type HostOf<T> = T extends DeviceArray ? never : T

/** The array on the host: itself, or a copy. Take a copy of what is to outlive the space's next `keep`. */
export async function toHost<T extends Values>(array: T, signal?: AbortSignal): Promise<HostOf<T>> {
  if (ArrayBuffer.isView(array)) return array as HostOf<T>
  const there = array as DeviceArray
  const out = new hostArrays[there.type](there.length)
  await run(() => there.download(out), signal)
  return out as HostOf<T>
}

/** A copy on the host that outlives the space. */
export async function copyOf<T extends Values>(array: T, signal?: AbortSignal): Promise<HostOf<T>> {
  const there = await toHost(array, signal)
  if (!ArrayBuffer.isView(array)) return there
  const out = new (array.constructor as new (length: number) => T)(array.length) as HostOf<T>
  await upload(out as Values, there as HostArray, signal)
  return out
}

/** A copy of a host's array in a space; the array itself where that is the host. */
export async function toSpace(space: Space, values: Float32Array, signal?: AbortSignal): Promise<Floats> {
  if (space.device === host.device) return values
  const out = space.floats(values.length)
  await upload(out, values, signal)
  return out
}

/** Copies a host's values into an array of the same type and length. */
export async function upload<T extends Values>(array: T, values: HostOf<T>, signal?: AbortSignal): Promise<void> {
  if (!ArrayBuffer.isView(array)) {
    await run(() => (array as DeviceArray).upload(values), signal)
    return
  }
  const from = values as HostArray
  await inPieces(from.length, turns(signal), (first, end) => array.set(from.subarray(first, end), first))
}

/** Sets all values. */
export async function fill(array: Doubles, value: number, signal?: AbortSignal): Promise<void> {
  if (ArrayBuffer.isView(array)) {
    await inPieces(array.length, turns(signal), (first, end) => array.fill(value, first, end))
    return
  }
  const request = { out: array, terms: [], coefficients: new Float64Array(0), constant: value }
  await run(() => native.sumTerms(request), signal)
}

/**
 * Runs `work` with the space for models: of `device`, by default of the device that their residence names, else the host's; closes it at
 * the end. Throws ArgumentError where the models cannot work on the device.
 */
export async function inSpaceOf<T>(
  residence: string,
  device: string | undefined,
  signal: AbortSignal | undefined,
  work: (space: Space) => Promise<T>,
): Promise<T> {
  const wanted = device === undefined || device === 'auto' ? residence : placement({ device }).device
  if (wanted !== 'cpu' && wanted !== residence && residence !== 'any')
    throw new ArgumentError(
      `device: '${device}' needs a target whose models are all there and that calls no function of yours; this one's particles are on '${residence}'`,
    )
  const space = await openSpace(wanted === 'any' ? 'cpu' : wanted, signal)
  try {
    return await work(space)
  } finally {
    space.close()
  }
}
