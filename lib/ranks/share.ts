import { isList } from '../base/args.js'
import { describe, FeynkacError, invalid } from '../base/errors.js'
import { type Communicator, checkedRanks } from './communicator.js'

/** Where every rank's share of n things begins, and the end: shares differ by one at most. */
export function sharesOf(n: number, size: number): number[] {
  return Array.from({ length: size + 1 }, (_, r) => Math.floor((r * n) / size))
}

/** Bytes of all ranks, of any lengths. */
export async function gatherBytes(ranks: Communicator, own: Uint8Array): Promise<Uint8Array[]> {
  const lengths = await ranks.allGather(Float64Array.of(own.length))
  const all = await ranks.allGather(new Uint8Array(own), Array.from(lengths))
  let at = 0
  return Array.from(lengths, (length) => {
    at += length
    return all.subarray(at - length, at)
  })
}

/** Texts of all ranks, of any lengths. */
export async function gatherTexts(ranks: Communicator, text: string): Promise<string[]> {
  return (await gatherBytes(ranks, new TextEncoder().encode(text))).map((bytes) => new TextDecoder().decode(bytes))
}

/** The first rank's number, on all. */
export async function fromFirst(ranks: Communicator, value: number): Promise<number> {
  return (await ranks.allGather(Float64Array.of(value)))[0]!
}

/** lib/late.ts has the documentation. */
export async function share<T, R>(
  ranks: Communicator,
  items: readonly T[],
  work: (item: T, index: number) => R | Promise<R>,
): Promise<R[]> {
  const { rank, size } = checkedRanks(ranks ?? null)
  if (!isList(items)) throw invalid('items', 'an array without holes', items)
  if (typeof work !== 'function') throw invalid('work', 'a function', work)
  const own: string[] = []
  for (let i = rank; i < items.length; i += size) own.push(await resultOf(i, () => work(items[i]!, i)))
  const all = (await gatherTexts(ranks, `[${own}]`)).map((text) => JSON.parse(text) as R[])
  return items.map((_, i) => all[i % size]![Math.floor(i / size)]!)
}

async function resultOf(i: number, work: () => unknown): Promise<string> {
  try {
    return JSON.stringify(await work()) ?? 'null'
  } catch (cause) {
    if (cause instanceof FeynkacError) throw cause
    throw new FeynkacError(`the work on item ${i} failed: ${cause instanceof Error ? cause.message : describe(cause)}`, { cause }) // biome-ignore format: one line
  }
}
