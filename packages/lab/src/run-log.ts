import { join } from 'node:path'
import type { ChainLevel, Level, Step, Stream } from 'feynkac'
import { describeTarget, LevelLog } from 'feynkac/internal'

/** The levels of a run in a folder of its own, for `feynkac watch`. */

/** The folder of a run by what it is of, below that of a demo or an experiment; undefined writes nothing. */
export function runFolder({ runs }: { runs?: string }, ...names: readonly (string | number)[]): string | undefined {
  const name = names.join(' ').toLowerCase().replaceAll('³', '3').replaceAll(/[^a-z0-9]+/g, '-').replaceAll(/^-|-$/g, '') // biome-ignore format: one line
  return runs === undefined ? undefined : join(runs, name)
}

/** What is said of a run. */
interface About {
  name: string
  method: string
  target: { readonly shape: readonly number[] }
  particles: number
  /** Of its last level. */
  lastLevel: number
  options: object
}

export class RunLog {
  /** Milliseconds that writing took, which are not the run's. */
  spent = 0

  readonly #folder: string | undefined

  constructor(folder: string | undefined) {
    this.#folder = folder
  }

  /** What the stream ends with; what it tells on its way is written. */
  async follow<R extends { collapsed?: boolean; note?: string }>(
    stream: Stream<Level | Step | ChainLevel, R>,
    { name, method, target, particles, lastLevel, options }: About,
  ): Promise<R> {
    const folder = this.#folder
    if (folder === undefined) return stream.result
    const log = new LevelLog(folder, { model: name, particles, options })
    try {
      const { shape } = target
      await this.#timed(() => log.begin({ method, target: describeTarget(target), shape, lastLevel }))
      for await (const level of stream) await this.#timed(() => log.level(level))
      const { collapsed, note } = await stream.result
      await log.end({ summary: { collapsed, note } })
      return stream.result
    } catch (error) {
      await log.end({ failed: error instanceof Error ? error.message : String(error) })
      throw error
    }
  }

  async #timed(write: () => Promise<void>): Promise<void> {
    const began = performance.now()
    await write()
    this.spent += performance.now() - began
  }
}
