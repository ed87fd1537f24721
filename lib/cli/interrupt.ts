import { constants } from 'node:os'
import { isTogether, speaks } from './ranks.js'

type Stop = 'SIGINT' | 'SIGTERM' | 'SIGUSR2'

/** Milliseconds in which a step ends, unless it waits for a rank that is gone. */
const LONGEST_STEP = 20_000

/** The reason of the abort signal when the user or the system stopped the command. */
export class Interrupted extends Error {
  readonly exitCode: number
  constructor(
    readonly signal: Stop,
    message = '',
  ) {
    super(message)
    this.name = 'Interrupted'
    this.exitCode = 128 + constants.signals[signal]
  }
}

/**
 * Runs work with an AbortSignal that the first SIGINT, SIGTERM or SIGUSR2 (which mpirun passes on without ending the job) aborts; the second ends the process at
 * once, as without a handler. What was written before is never harmed by that: files are replaced atomically.
 */
export async function interruptible<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController()
  const stop = (signal: Stop) => {
    if (controller.signal.aborted) process.exit(128 + constants.signals[signal])
    if (speaks) process.stderr.write(`\n${signal}: stopping after this step (again to stop at once)\n`)
    controller.abort(new Interrupted(signal))
    if (isTogether) setTimeout(() => process.exit(128 + constants.signals[signal]), LONGEST_STEP).unref()
  }
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGUSR2'] as const) process.on(signal, stop)
  try {
    return await work(controller.signal)
  } finally {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGUSR2'] as const) process.off(signal, stop)
  }
}
