import { deserialize, serialize } from 'node:v8'
import { Alone, type Communicator } from './communicator.js'
import { gatherBytes } from './share.js'

/**
 * Lists of work whose items need no others, and who does which of them: this process alone, the ranks of a job, or a part of an array of jobs
 * (job-part.ts). What comes of the items is what one process gets, to the bit: what `v8.serialize` keeps.
 */
export interface Division {
  /** Whether this process writes what comes of it all. */
  readonly writes: boolean
  /** The results of all items in their order; `work` is done for those that fall to this process. */
  share<T, R>(items: readonly T[], work: (item: T, index: number) => R | Promise<R>): Promise<R[]>
  /** The same one after the other, where all together are too large. */
  stream<T, R>(items: readonly T[], work: (item: T, index: number) => R | Promise<R>): AsyncIterable<R>
  /** What comes of several lists, none of which needs another's results. */
  all<W extends readonly (() => Promise<unknown>)[]>(works: W): Promise<Results<W>>
  /** All is written: what was kept on the way is not needed any more. */
  close(): Promise<void>
}

export type Results<W extends readonly (() => Promise<unknown>)[]> = { -readonly [K in keyof W]: Awaited<ReturnType<W[K]>> } // biome-ignore format: one line

/** Item i is rank i mod size's. */
export class SharedWork implements Division {
  readonly #ranks: Communicator

  constructor(ranks: Communicator) {
    this.#ranks = ranks
  }

  get writes(): boolean {
    return this.#ranks.rank === 0
  }

  async share<T, R>(items: readonly T[], work: (item: T, index: number) => R | Promise<R>): Promise<R[]> {
    const { rank, size } = this.#ranks
    const own: R[] = []
    for (let i = rank; i < items.length; i += size) own.push(await work(items[i]!, i))
    if (size === 1) return own
    const all = (await gatherBytes(this.#ranks, serialize(own))).map((bytes) => deserialize(bytes) as R[])
    return items.map((_, i) => all[i % size]![Math.floor(i / size)]!)
  }

  async *stream<T, R>(items: readonly T[], work: (item: T, index: number) => R | Promise<R>): AsyncGenerator<R> {
    const { rank, size } = this.#ranks
    for (let first = 0; first < items.length; first += size) {
      const i = first + rank
      const own = i < items.length ? await work(items[i]!, i) : undefined
      if (size === 1) yield own as R
      else
        for (const bytes of (await gatherBytes(this.#ranks, serialize(own))).slice(0, items.length - first))
          yield deserialize(bytes) as R
    }
  }

  async all<W extends readonly (() => Promise<unknown>)[]>(works: W): Promise<Results<W>> {
    const results: unknown[] = []
    for (const work of works) results.push(await work())
    return results as Results<W>
  }

  async close(): Promise<void> {}
}

/** This process does it all. */
export const alone: Division = new SharedWork(new Alone())
