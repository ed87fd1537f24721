import { setImmediate as breathe } from 'node:timers/promises'

const SLICE_MS = 0.5
/** Numbers that are gone through between two looks at the clock: below half a millisecond. */
export const NUMBERS = 2 ** 14
/** Items that are sorted or merged between two looks at the clock: below half a millisecond. */
const PIECE = 1024

/**
 * A function to await between pieces of a long computation on this thread: it gives the event loop a turn where half a millisecond has
 * passed since the last, and throws the signal's reason when aborted.
 */
export function turns(signal?: AbortSignal): () => Promise<void> {
  signal?.throwIfAborted()
  let last = performance.now()
  return async () => {
    if (performance.now() - last < SLICE_MS) return
    await breathe()
    signal?.throwIfAborted()
    last = performance.now()
  }
}

let lastTurn = Number.NEGATIVE_INFINITY

/** To await after each of many short pieces of work, whoever does them: the event loop's turn, where half a millisecond has passed since the last. */
export async function turn(): Promise<void> {
  if (performance.now() - lastTurn < SLICE_MS) return
  await breathe()
  lastTurn = performance.now()
}

/** Texts, by their code units, or numbers in ascending order, sorted a piece at a time; `turn`, of `turns`, is awaited between them. */
export async function sortInTurns<T extends string | number>(
  items: readonly T[],
  turn: () => Promise<void>,
): Promise<T[]> {
  const order = typeof items[0] === 'number' ? (a: T, b: T) => Number(a) - Number(b) : undefined
  let runs: T[][] = []
  for (let at = 0; at < items.length; at += PIECE) {
    runs.push(items.slice(at, at + PIECE).sort(order))
    await turn()
  }
  while (runs.length > 1) {
    const merged: T[][] = []
    for (let i = 0; i < runs.length; i += 2) merged.push(await merge(runs[i]!, runs[i + 1] ?? [], turn))
    runs = merged
  }
  return runs[0] ?? []
}

async function merge<T extends string | number>(
  a: readonly T[],
  b: readonly T[],
  turn: () => Promise<void>,
): Promise<T[]> {
  const out: T[] = []
  for (let [i, j] = [0, 0]; i < a.length || j < b.length; ) {
    out.push(j === b.length || (i < a.length && a[i]! <= b[j]!) ? a[i++]! : b[j++]!)
    if (out.length % PIECE === 0) await turn()
  }
  return out
}

/** Work that is new to the process takes many times as long until it is compiled: its first piece is so much smaller, the next twice that. */
const COLD = 16

/** Calls `visit` with ranges first .. end - 1 that make up 0 .. n - 1, in turns. piece: the longest of them. */
export async function inPieces(
  n: number,
  turn: () => Promise<void>,
  visit: (first: number, end: number) => void,
  piece = NUMBERS,
): Promise<void> {
  let size = Math.ceil(piece / COLD)
  for (let first = 0; first < n; ) {
    const end = Math.min(n, first + size)
    visit(first, end)
    if (end < n) await turn()
    first = end
    size = Math.min(piece, 2 * size)
  }
}

/** Calls `visit` with each item, in turns. */
export async function eachInTurns<T>(
  items: Iterable<T>,
  turn: () => Promise<void>,
  visit: (item: T, index: number) => void,
): Promise<void> {
  let index = 0
  for (const item of items) {
    visit(item, index++)
    if (index % PIECE === 0) await turn()
  }
}
