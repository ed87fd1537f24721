import { createHash } from 'node:crypto'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { deserialize, serialize } from 'node:v8'
import { ArgumentError } from '../base/errors.js'
import { fileError, found, prepareFolder, readFileChecked, textOf, writeFileAtomic } from '../base/files.js'
import type { Division, Results } from './division.js'
import { type Part, PartDone } from './part.js'

/**
 * One of several processes that need not run at the same time, such as the tasks of an array of jobs: they meet in a folder. Each leaves the
 * results of its items there, and whichever finds all of them goes on with the whole. Started again it does what is missing.
 */
export class JobPart implements Division {
  readonly writes = true
  #lists = 0
  #items = 0
  readonly #folder: string
  readonly #part: Part

  private constructor(folder: string, part: Part) {
    this.#folder = folder
    this.#part = part
  }

  /** `work`: all that the results depend on. Throws ArgumentError where the folder has results of another one, FileError. */
  static async open(folder: string, part: Part, work: unknown): Promise<JobPart> {
    const digest = createHash('sha256').update(JSON.stringify(work)).digest('hex')
    await prepareFolder(folder)
    const path = join(folder, 'work.txt')
    const before = await textOf(path)
    if (before !== null && before !== digest)
      throw new ArgumentError(`${folder} has parts of another run: give another --output, or remove it`)
    if (before === null) await writeFileAtomic(path, digest)
    return new JobPart(folder, part)
  }

  async share<T, R>(items: readonly T[], work: (item: T, index: number) => R | Promise<R>): Promise<R[]> {
    const all: R[] = []
    for await (const result of this.stream(items, work)) all.push(result)
    return all
  }

  async *stream<T, R>(items: readonly T[], work: (item: T, index: number) => R | Promise<R>): AsyncGenerator<R> {
    const list = this.#lists++
    const path = (i: number) => join(this.#folder, `${list}-${i}.bin`)
    const { index, count } = this.#part
    for (const [i, item] of items.entries())
      if (this.#items++ % count === index && !(await found(path(i)))) await writeFileAtomic(path(i), serialize(await work(item, i))) // biome-ignore format: one line
    let missing = 0
    for (const i of items.keys()) if (!(await found(path(i)))) missing++
    if (missing > 0) throw new PartDone(index + 1, count, missing, this.#folder)
    for (const i of items.keys()) yield deserialize(await readFileChecked(path(i))) as R
  }

  /** Lists of which something is missing do not keep those after them from being worked on. */
  async all<W extends readonly (() => Promise<unknown>)[]>(works: W): Promise<Results<W>> {
    const results: unknown[] = []
    let missing = 0
    for (const work of works)
      try {
        results.push(await work())
      } catch (error) {
        if (!(error instanceof PartDone)) throw error
        missing += error.missing
      }
    if (missing > 0) throw new PartDone(this.#part.index + 1, this.#part.count, missing, this.#folder)
    return results as Results<W>
  }

  /** What the parts have left is no longer needed. Throws FileError. */
  async close(): Promise<void> {
    await rm(this.#folder, { recursive: true, force: true }).catch((error: unknown) => {
      throw fileError(error, this.#folder, 'remove')
    })
  }
}
