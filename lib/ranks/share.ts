import type { Communicator } from './communicator.js'

/** Where every rank's share of n things begins, and the end: shares differ by one at most. */
export function sharesOf(n: number, size: number): number[] {
  return Array.from({ length: size + 1 }, (_, r) => Math.floor((r * n) / size))
}

/** Texts of all ranks, of any lengths. */
export async function gatherTexts(ranks: Communicator, text: string): Promise<string[]> {
  const own = new TextEncoder().encode(text)
  const lengths = await ranks.allGather(Int32Array.of(own.length))
  const all = await ranks.allGather(own, Array.from(lengths))
  let at = 0
  return Array.from(lengths, (length) => {
    at += length
    return new TextDecoder().decode(all.subarray(at - length, at))
  })
}

/** The first rank's number, on all. */
export async function fromFirst(ranks: Communicator, value: number): Promise<number> {
  return (await ranks.allGather(Float64Array.of(value)))[0]!
}
