import { ArgumentError, BusyError, DeadlineError } from '../base/errors.js'
import { formatBytes } from '../base/files.js'

/** Who runs when: a limited number at once, within a limit of memory, clients in turn. */

export interface QueueLimits {
  maxConcurrent: number
  maxQueued: number
  /** Bytes. */
  memoryLimit: number
}

export interface Ticket {
  /** Whose it is: clients take turns. */
  client: string
  /** Bytes that it takes while it runs. */
  memory: number
  /** Milliseconds from now by which it must have ended. */
  deadline?: number
  signal?: AbortSignal
}

interface Waiting {
  memory: number
  begin(): void
}

export class FairQueue {
  /** In the order in which clients have their turns. */
  readonly #clients = new Map<string, Waiting[]>()
  #closing = false
  #idle: (() => void)[] = []
  queued = 0
  running = 0
  /** Bytes of those that run. */
  memory = 0

  constructor(readonly limits: QueueLimits) {}

  /**
   * Runs `work` when it is its turn. Its signal aborts with the ticket's, and with DeadlineError when the time is over, also while it waits.
   * Rejects at once: with BusyError where the queue is full or closing, with ArgumentError where it could never fit.
   */
  async run<T>({ client, memory, deadline, signal }: Ticket, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    signal?.throwIfAborted()
    const { maxQueued, memoryLimit } = this.limits
    if (this.#closing) throw new BusyError('the engine is closing: it takes no more requests')
    if (memory > memoryLimit)
      throw new ArgumentError(`the request needs ${formatBytes(memory)}, more than the limit of ${formatBytes(memoryLimit)}: ask for fewer particles`) // biome-ignore format: one line
    const waits = this.queued > 0 || !this.#fits(memory)
    if (waits && this.queued >= maxQueued) throw new BusyError(`${this.queued} requests wait already: try again later`)
    const stop = new AbortController()
    const late = () => stop.abort(new DeadlineError(`the request was not done within ${deadline} ms`))
    const timer = deadline === undefined ? undefined : setTimeout(late, deadline)
    const whole = signal ? AbortSignal.any([signal, stop.signal]) : stop.signal
    try {
      await this.#turn(client, memory, whole)
      try {
        whole.throwIfAborted()
        return await work(whole)
      } finally {
        this.running--
        this.memory -= memory
        this.#next()
      }
    } finally {
      clearTimeout(timer)
    }
  }

  /** Takes no more; resolves when all that was taken has ended. */
  async close(): Promise<void> {
    this.#closing = true
    if (this.queued + this.running > 0) await new Promise<void>((resolve) => this.#idle.push(resolve))
  }

  #turn(client: string, memory: number, signal: AbortSignal): Promise<void> {
    if (this.queued === 0 && this.#fits(memory)) {
      this.#enter(memory)
      return Promise.resolve()
    }
    return new Promise((resolve, reject) => {
      const line = this.#clients.get(client) ?? []
      this.#clients.set(client, line)
      const leave = () => {
        this.queued--
        line.splice(line.indexOf(waiting), 1)
        if (line.length === 0 && this.#clients.get(client) === line) this.#clients.delete(client)
      }
      const abort = () => {
        leave()
        reject(signal.reason)
        this.#next()
      }
      const waiting: Waiting = {
        memory,
        begin: () => {
          signal.removeEventListener('abort', abort)
          leave()
          this.#enter(memory)
          // the client goes to the end
          if (line.length > 0) {
            this.#clients.delete(client)
            this.#clients.set(client, line)
          }
          resolve()
        },
      }
      line.push(waiting)
      this.queued++
      signal.addEventListener('abort', abort, { once: true })
    })
  }

  #enter(memory: number): void {
    this.running++
    this.memory += memory
  }

  #fits(memory: number): boolean {
    return this.running < this.limits.maxConcurrent && this.memory + memory <= this.limits.memoryLimit
  }

  /** Begins the next clients' first, as many as there is room for. */
  #next(): void {
    if (this.queued + this.running === 0) for (const idle of this.#idle.splice(0)) idle()
    for (;;) {
      const first = this.#clients.values().next().value?.[0]
      if (!first || !this.#fits(first.memory)) return
      first.begin()
    }
  }
}
