import { writeSync } from 'node:fs'
import os from 'node:os'
import * as types from 'node:util/types'
import { ArgumentError, DeviceError, describe, invalid } from '../base/errors.js'
import { native, run } from '../native/addon.js'
import { type Launcher, launcher } from './launcher.js'

/** Arrays that ranks exchange. */
export type Numbers = Float32Array | Float64Array | Int32Array | Uint8Array

/**
 * The processes that work on one job together, its ranks. All of them make the same calls in the same order; the results are in the order of the
 * ranks.
 */
export interface Communicator {
  readonly rank: number
  readonly size: number
  /** Among the ranks of this machine. */
  readonly localRank: number
  readonly localSize: number
  readonly host: string
  /** The MPI library; null where there is one process. */
  readonly library: string | null
  /** Waits until all ranks have come here. */
  barrier(): Promise<void>
  /**
   * The values of all ranks, one after the other. counts: how many each of them has (as many as this one). into: an array of that length for the
   * result, another one than `own`; a new one of many values takes as long as the exchange.
   */
  allGather<T extends Numbers>(own: T, counts?: readonly number[], into?: T): Promise<T>
  /** Sends each rank its `counts` of the values, which lie one after the other, and returns those from every rank, `outCounts` of them. */
  allToAll<T extends Numbers>(values: T, counts: readonly number[], outCounts: readonly number[]): Promise<T>
  /** Whether any rank says so. */
  any(own: boolean): Promise<boolean>
  /** All ranks agree that the job is at its end, whatever the exit status: the last call of each. Without it, an exit status other than 0 ends all. */
  end(): void
}

/** One process. */
export class Alone implements Communicator {
  readonly rank = 0
  readonly size = 1
  readonly localRank = 0
  readonly localSize = 1
  readonly host = os.hostname()
  readonly library: string | null = null

  async barrier(): Promise<void> {}
  async allGather<T extends Numbers>(own: T, counts?: readonly number[], into?: T): Promise<T> {
    const { length } = checkNumbers('own', own)
    const out = result(own, checkCounts(this, 'counts', counts ?? [length], length), into)
    out.set(own)
    return out
  }
  async allToAll<T extends Numbers>(values: T, counts: readonly number[], outCounts: readonly number[]): Promise<T> {
    const { length } = checkNumbers('values', values)
    checkCounts(this, 'counts', counts, length)
    checkCounts(this, 'outCounts', outCounts, length)
    return values.slice() as T
  }
  async any(own: boolean): Promise<boolean> {
    return own
  }
  end(): void {}
}

class Ranks implements Communicator {
  readonly host = os.hostname()
  #ended = false

  constructor(
    readonly rank: number,
    readonly size: number,
    readonly localRank: number,
    readonly localSize: number,
    readonly library: string,
  ) {}

  barrier(): Promise<void> {
    return run(() => native.ranks.barrier())
  }

  async allGather<T extends Numbers>(own: T, counts?: readonly number[], into?: T): Promise<T> {
    checkNumbers('own', own)
    const all = counts ?? new Array<number>(this.size).fill(own.length)
    const out = result(own, checkCounts(this, 'counts', all), into)
    if (all[this.rank] !== own.length) throw invalid('counts', `${own.length} for rank ${this.rank}`, all)
    await run(() => native.ranks.allGather(own, out, bytes(own, all)))
    return out
  }

  async allToAll<T extends Numbers>(values: T, counts: readonly number[], outCounts: readonly number[]): Promise<T> {
    checkCounts(this, 'counts', counts, checkNumbers('values', values).length)
    const out = like(values, checkCounts(this, 'outCounts', outCounts))
    await run(() => native.ranks.allToAll(values, bytes(values, counts), out, bytes(out, outCounts)))
    return out
  }

  async any(own: boolean): Promise<boolean> {
    return (await this.allGather(Uint8Array.of(Number(own)))).some(Boolean)
  }

  end(): void {
    this.leave(0)
  }

  /** Ends this rank: quietly where all end well, else all of them. */
  leave(code: number): void {
    if (this.#ended) return
    this.#ended = true
    const failure = code === 0 ? native.ranks.leave(patience()) : `it exits with ${code}`
    if (!failure) return
    writeSync(2, `feynkac [rank ${this.rank} ${this.host}]: ${failure}: all ranks are ended\n`)
    native.ranks.abort(code || Number(process.exitCode) || 1)
  }
}

function checkNumbers<T extends Numbers>(name: string, values: T): T {
  if ([types.isFloat32Array, types.isFloat64Array, types.isInt32Array, types.isUint8Array].some((is) => is(values)))
    return values
  throw invalid(name, 'a Float32Array, Float64Array, Int32Array or Uint8Array', values)
}

/** One for each rank, `total` in all where that is known; returns it. */
function checkCounts({ size }: Communicator, name: string, counts: readonly number[], total?: number): number {
  if (!Array.isArray(counts) || counts.length !== size || !counts.every((n) => Number.isSafeInteger(n) && n >= 0))
    throw invalid(name, `an array of ${size} counts, one for each rank`, counts)
  const sum = counts.reduce((a, b) => a + b, 0)
  if (total !== undefined && sum !== total) throw invalid(name, `counts of ${total} values in all`, counts)
  return sum
}

function result<T extends Numbers>(own: T, length: number, into?: T): T {
  if (into === undefined) return like(own, length)
  if (into?.constructor === own.constructor && into.length === length && into.buffer !== own.buffer) return into
  throw invalid('into', `another ${own.constructor.name} of ${length} values`, into)
}

const bytes = (array: Numbers, counts: readonly number[]) => counts.map((n) => n * array.BYTES_PER_ELEMENT)
const like = <T extends Numbers>(array: T, length: number) => new (array.constructor as new (n: number) => T)(length)

/** Seconds that a rank which has ended waits for the others. */
function patience(): number {
  const given = process.env.FEYNKAC_PATIENCE
  return given !== undefined && Number(given) >= 0 ? Number(given) : 30
}

let opened: Promise<Communicator> | undefined

/** lib/late.ts has the documentation. */
export function communicator(): Promise<Communicator> {
  const by = launcher()
  opened ??= by && by.size > 1 ? open(by) : Promise.resolve(new Alone())
  return opened
}

async function open({ name, size, libraries }: Launcher): Promise<Communicator> {
  const { isMainThread } = await import('node:worker_threads')
  if (!isMainThread) throw new ArgumentError('only the main thread can have ranks, not a worker')
  const checks = process.env.FEYNKAC_CHECK_RANKS === '1'
  // UCX, below either MPI, would patch brk and mmap while Node's threads call them: about one start in twenty crashed
  process.env.UCX_MEM_EVENTS ??= 'no'
  const place = await run(() => native.ranks.open(libraries, checks)).catch((error: Error) => {
    const what = `${name} started ${size} processes, but MPI does not: ${error.message}`
    throw new DeviceError(`${what}. FEYNKAC_MPI is the path of another library`, { cause: error })
  })
  const library = `${place.version} (${place.interface} interface), ${place.library}`
  const ranks = new Ranks(place.rank, place.size, place.localRank, place.localSize, library)
  process.on('exit', (code) => ranks.leave(code))
  // Node tells of an uncaught error only after 'exit', when this process no longer runs
  process.on('uncaughtExceptionMonitor', (error) => {
    const text = error instanceof Error ? error.stack : describe(error)
    writeSync(2, `feynkac [rank ${place.rank} ${ranks.host}]: ${text}\n`)
  })
  if (place.size !== size)
    throw new DeviceError(
      `${name} started ${size} processes, but ${library} sees ${place.size}: it is another launcher's. FEYNKAC_MPI is the path of the right one`,
    )
  return ranks
}

/** Checks the option `ranks`; without it this process is alone. */
export function checkedRanks(ranks: unknown): Communicator {
  if (ranks === undefined) return new Alone()
  if (ranks instanceof Alone || ranks instanceof Ranks) return ranks
  throw invalid('ranks', 'what communicator() gives', ranks)
}
