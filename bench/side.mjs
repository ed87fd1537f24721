// One side of a job, in its own process: lines of JSON there and back (worker.mjs).
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'

const LEAST_SECONDS = 0.02 // of one run: shorter work is repeated within it
const PAUSE = 30 // ms after each run, in which the threads that it used go to sleep

export class Side {
  #child
  #answers
  #calls = 1
  /** The numbers of threads that it has been timed with. */
  warm = new Set()

  /** @param env besides this process's */
  constructor(command, args, env = {}) {
    this.#child = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'], env: { ...process.env, ...env } })
    this.#child.stdin.on('error', () => {}) // it has died: the next answer says so
    this.failed = new Promise((_, reject) => this.#child.on('error', reject))
    this.failed.catch(() => {})
    this.#answers = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]()
  }

  async #ask(line) {
    if (line) this.#child.stdin.write(`${JSON.stringify(line)}\n`)
    else this.#child.stdin.end()
    const { value, done } = await Promise.race([this.#answers.next(), this.failed])
    if (done) throw new Error(`${this.#child.spawnargs.join(' ')} ended before its answer`)
    return JSON.parse(value)
  }

  /** Makes the job ready and runs it once: { version, outputs } and what the side has to add. */
  async prepare(job, threads) {
    return await this.#ask({ ...job, threads })
  }

  /** Seconds of one run. */
  async time(threads) {
    const { seconds } = await this.#ask({ threads, calls: this.#calls })
    this.warm.add(threads)
    await sleep(PAUSE)
    const each = seconds / this.#calls
    if (this.#calls === 1) this.#calls = Math.max(1, Math.ceil(LEAST_SECONDS / each))
    return each
  }

  /** Ends it: { bytes, cpu } of the whole. */
  async end() {
    return await this.#ask(null)
  }
}
