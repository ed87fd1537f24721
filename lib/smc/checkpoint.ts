import { rm } from 'node:fs/promises'
import { ArgumentError, formatFailure } from '../base/errors.js'
import { fileError, found, prepareFile } from '../base/files.js'
import { isObject, parseBounded } from '../base/json.js'
import { readSafetensors, writeSafetensors } from '../weights/safetensors.js'
import { decoded, encoded } from './result-json.js'

/**
 * The state of an unfinished run in a file (safetensors), at the end of a level. All random numbers are functions of the seed and the level, and
 * gradients of the particles, so that a run that goes on from it has the bits of one that was never stopped.
 */

export type Arrays = Record<string, Float32Array | Float64Array>

/** What is in the file: arrays, and plain data that may hold typed arrays and any numbers. */
export interface Saved {
  level: number
  arrays: Arrays
  rest: Record<string, unknown>
}

const FORMAT = 'feynkac-smc-3'

export class SmcCheckpoint {
  #savedAt = performance.now()
  #level = -1

  private constructor(
    readonly path: string,
    /** What tells the run: a file that holds another's state is refused. */
    readonly identity: Record<string, unknown>,
    /** Milliseconds between two writes. */
    readonly every: number,
    /** What the file held. */
    readonly saved: Saved | null,
  ) {}

  /** Throws FileError, FormatError; ArgumentError where the file is of another run. */
  static async open(path: string, identity: Record<string, unknown>, every: number): Promise<SmcCheckpoint> {
    const own = JSON.parse(JSON.stringify(encoded(identity))) as Record<string, unknown>
    await prepareFile(path)
    if (!(await found(path))) return new SmcCheckpoint(path, own, every, null)
    const fail: (what: string, cause?: unknown) => never = formatFailure(path)
    const { metadata, tensors } = await readSafetensors(path)
    let json: unknown
    try {
      json = parseBounded(metadata.smc ?? 'null')
    } catch (cause) {
      return fail('the state of the run is not JSON', cause)
    }
    if (isObject(json) && String(json.format).startsWith('feynkac-smc-') && json.format !== FORMAT)
      return fail('a checkpoint of another version of smc: go on with that version, or remove it to begin anew')
    if (!isObject(json) || json.format !== FORMAT || !isObject(json.identity) || !isObject(json.rest))
      return fail('not a checkpoint of smc')
    if (!Number.isSafeInteger(json.level)) return fail('the state of the run has no level')
    const before = json.identity
    const { isDeepStrictEqual } = await import('node:util')
    const other = Object.keys({ ...own, ...before }).filter((key) => !isDeepStrictEqual(own[key], before[key]))
    if (other.length > 0)
      throw new ArgumentError(
        `checkpoint: ${path} is of a run with other ${other.join(', ')}: give another file, or remove it to begin anew`,
      )
    const arrays: Arrays = {}
    for (const [name, { data }] of tensors)
      if (data instanceof Float32Array || data instanceof Float64Array) arrays[name] = data
    return new SmcCheckpoint(path, own, every, {
      level: json.level as number,
      arrays,
      rest: decoded(json.rest) as Record<string, unknown>,
    })
  }

  /** Whether it is time to save again. */
  get due(): boolean {
    return performance.now() - this.#savedAt >= this.every
  }

  async save(saved: Saved): Promise<void> {
    if (saved.level === this.#level) return
    const { level, arrays, rest } = saved
    const json = JSON.stringify({ format: FORMAT, level, identity: this.identity, rest: encoded(rest) })
    const tensors = Object.entries(arrays).map(([name, data]) => [name, { shape: [data.length], data }] as const)
    await writeSafetensors(this.path, tensors, { smc: json })
    this.#savedAt = performance.now()
    this.#level = level
  }

  /** The run has ended. */
  async remove(): Promise<void> {
    try {
      await rm(this.path, { force: true })
    } catch (error) {
      throw fileError(error, this.path, 'remove')
    }
  }
}
