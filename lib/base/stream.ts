import { checkSignal } from './args.js'
import { ArgumentError, FeynkacError } from './errors.js'

/** Loops over runs that tell what they do: `for await (const level of smc.stream(...))`. */

/**
 * A run as a loop over what it tells. It goes no further than the loop: it waits while the loop's body works, and stops where the loop is
 * left (break, return, throw). It starts with the loop, or when `result` is first asked for.
 */
export interface Stream<E, R> extends AsyncIterable<E> {
  /** What the run ends with, also without a loop. Rejects with what it failed by; with FeynkacError where the loop was left before the end. */
  readonly result: Promise<R>
}

/**
 * A stream of what `run` tells by `emit`, which it awaits. `run` is to end soon after its signal aborts, which it does when the loop is left
 * or `signal` aborts. Throws ArgumentError where `signal` is none.
 */
export function streamOf<E, R>(
  run: (emit: (event: E) => Promise<void>, signal: AbortSignal) => Promise<R>,
  signal?: AbortSignal,
): Stream<E, R> {
  checkSignal(signal)
  const left = new FeynkacError('the loop was left before the run had ended: there is no result')
  const stop = new AbortController()
  const whole = signal ? AbortSignal.any([signal, stop.signal]) : stop.signal
  let running: Promise<R> | undefined
  let events: AsyncGenerator<E, void, void> | undefined

  async function* loop(): AsyncGenerator<E, void, void> {
    let ended = false
    let arrived: (event: { event: E; goOn: () => void } | null) => void = () => {}
    const next = () => new Promise<{ event: E; goOn: () => void } | null>((resolve) => (arrived = resolve)) // biome-ignore format: one line
    let coming = next()
    running = run((event) => new Promise((goOn) => arrived({ event, goOn })), whole)
    const over = () => arrived(null)
    running.then(over, over)
    let waiting: (() => void) | undefined
    try {
      for (;;) {
        const told = await coming
        if (!told) break
        coming = next()
        waiting = told.goOn
        yield told.event
        waiting = undefined
        told.goOn()
      }
      ended = true
      await running
    } finally {
      if (!ended) {
        stop.abort(left)
        waiting?.()
        await running.catch((error) => {
          if (error !== left) throw error
        })
      }
    }
  }

  async function drained(): Promise<R> {
    if (!running) for await (const _ of begun());
    if (!running) throw left // closed before it began
    return running
  }

  const begun = () => {
    events ??= loop()
    return events
  }
  return { [Symbol.asyncIterator]: begun, get result() { return drained() } } // biome-ignore format: one line
}

/** Has an event heard that reads what is there until then: `present` refuses to afterwards. what: the event, for messages. */
export async function whilePresent(
  what: string,
  hear: (present: <T>(read: () => Promise<T>) => Promise<T>) => Promise<void>,
): Promise<void> {
  let passed = false
  const present = async <T>(read: () => Promise<T>): Promise<T> => {
    if (passed) throw new ArgumentError(`${what} has passed: ask for its samples before the loop goes on`)
    return read()
  }
  try {
    await hear(present)
  } finally {
    passed = true
  }
}
