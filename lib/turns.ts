import { setImmediate as breathe } from 'node:timers/promises'

const SLICE_MS = 2

/**
 * A function to await between pieces of a long computation on this thread: it gives the event loop a turn where 2 ms have
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
