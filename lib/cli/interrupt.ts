import { constants } from 'node:os'

type Stop = 'SIGINT' | 'SIGTERM'

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
 * Runs work with an AbortSignal that the first SIGINT or SIGTERM aborts; the second ends the process at once, as without
 * a handler. What was written before is never harmed by that: files are replaced atomically.
 */
export async function interruptible<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController()
  const stop = (signal: Stop) => {
    if (controller.signal.aborted) process.exit(128 + constants.signals[signal])
    process.stderr.write(`\n${signal}: stopping after this step (again to stop at once)\n`)
    controller.abort(new Interrupted(signal))
  }
  process.on('SIGINT', stop).on('SIGTERM', stop)
  try {
    return await work(controller.signal)
  } finally {
    process.off('SIGINT', stop).off('SIGTERM', stop)
  }
}
