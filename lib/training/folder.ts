import { appendFile, type FileHandle, open, readdir, readFile, rm } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { FileError, FormatError } from '../base/errors.js'
import {
  fileError,
  found,
  prepareFolder,
  release,
  removeFiles,
  removeTrees,
  textOf,
  writeFileAtomic,
} from '../base/files.js'
import { native } from '../native/addon.js'
import type { LogLine } from './events.js'

/** A run's directory: numbered checkpoints of which the last two are kept, log.jsonl, previews, and at the end model.safetensors. */

/** A line of log.jsonl, of whatever kind. */
interface LoggedLine extends Pick<LogLine, 'step'> {
  time?: string
  options?: object
  sources?: object
  diverged?: string
}

/** The folder of previews' pictures. */
export const PREVIEWS = 'previews'
/** The folder of the part at half the size. */
export const HALF = 'half-size'

const LOCK = '.lock'

/**
 * Holds a directory for this process until the function that is given is called, and removes what a run that was killed was writing there.
 * Throws FileError where another run holds it.
 */
export async function holdFolder(path: string): Promise<() => Promise<void>> {
  const lock = await lockFolder(path)
  const free = async () => {
    // a lock file that is left behind locks nothing
    await rm(join(path, LOCK), { force: true }).catch(() => {})
    await release(lock)
  }
  try {
    const unfinished = (await namesIn(path)).filter((name) => temporary.test(name))
    await removeFiles(unfinished.map((name) => join(path, name)))
    return free
  } catch (error) {
    await free()
    throw error
  }
}

async function namesIn(path: string): Promise<string[]> {
  try {
    return await readdir(path)
  } catch (error) {
    throw fileError(error, path, 'read the directory')
  }
}

/** Holds a directory until the handle is closed or the process has ended, however it ends. Throws FileError where another run holds it. */
async function lockFolder(path: string): Promise<FileHandle> {
  const file = join(path, LOCK)
  let handle: FileHandle | undefined
  try {
    for (;;) {
      handle = await open(file, 'a+')
      const state = native.lockFile(handle!.fd)
      if (state === 'busy') {
        const holder = await readFile(file, 'utf8').catch(() => '')
        throw new FileError(
          `${path} is in use by another run${holder && ` (${holder.trim()})`}: wait for it, or choose another directory`,
          path,
        )
      }
      if (state === 'unsupported') {
        const what = `the file system of ${path} has no locks: see to it yourself that no other run writes there`
        process.emitWarning(what, 'FeynkacWarning')
        return handle
      }
      // whoever held it before may have removed the file in the meantime: the lock is that of a file which nobody else will find
      if ((await found(file))?.ino === (await handle.stat()).ino) {
        await handle.truncate()
        await handle.write(`process ${process.pid} on ${hostname()}\n`)
        return handle
      }
      await release(handle)
    }
  } catch (error) {
    if (handle) await release(handle)
    throw fileError(error, file, 'lock')
  }
}

const KEPT = 2
/** As writeFileAtomic names what it has not yet finished. */
const temporary = /^\..*\.[0-9a-f]+\.tmp$/
const checkpointName = /^checkpoint-(\d{9})\.safetensors$/

export class RunFolder {
  #last: string | null = null

  /** Releases the folder; only the rank that writes has it. */
  readonly #free: (() => Promise<void>) | null

  private constructor(
    readonly path: string,
    free: (() => Promise<void>) | null,
  ) {
    this.#free = free
  }

  /** The directory that another rank has opened: all that would write does nothing. */
  static read(path: string): RunFolder {
    return new RunFolder(path, null)
  }

  get writes(): boolean {
    return this.#free !== null
  }

  /** Opens or makes the directory, for this run alone: close it. Throws FileError where it cannot be written, or another run has it. */
  static async open(path: string): Promise<RunFolder> {
    // an unwritable directory must stop a run before its first step
    await prepareFolder(path)
    const folder = new RunFolder(path, await holdFolder(path))
    try {
      // what a killed run had not yet removed
      await removeFiles((await folder.checkpoints()).slice(KEPT))
    } catch (error) {
      await folder.close()
      throw error
    }
    return folder
  }

  /** Lets other runs have the directory. */
  async close(): Promise<void> {
    await this.#free?.()
  }

  get model(): string {
    return join(this.path, 'model.safetensors')
  }

  get logFile(): string {
    return join(this.path, 'log.jsonl')
  }

  /** The last checkpoint that was written or read whole in this process. */
  get lastCheckpoint(): string | null {
    return this.#last
  }

  async #names(): Promise<string[]> {
    try {
      return await readdir(this.path)
    } catch (error) {
      throw fileError(error, this.path, 'read the directory')
    }
  }

  /** Paths of the checkpoints, newest first. */
  async checkpoints(): Promise<string[]> {
    const names = (await this.#names()).filter((name) => checkpointName.test(name)).sort()
    return names.reverse().map((name) => join(this.path, name))
  }

  /** The newest checkpoint that `read` accepts; one with corrupt content is passed over for the one before. */
  async newest<T>(read: (path: string) => Promise<T>): Promise<T | null> {
    const paths = await this.checkpoints()
    let failure: unknown
    for (const path of paths)
      try {
        const content = await read(path)
        this.#last = path
        return content
      } catch (error) {
        if (!(error instanceof FormatError)) throw error
        failure ??= error
      }
    if (failure) throw failure
    return null
  }

  /** Has `write` save the checkpoint of a step, then removes all but the last two. */
  async checkpoint(step: number, write: (path: string) => Promise<void>): Promise<void> {
    const path = join(this.path, `checkpoint-${String(step).padStart(9, '0')}.safetensors`)
    if (this.writes) await this.#explained(() => write(path))
    this.#last = path
    if (this.writes) await removeFiles((await this.checkpoints()).slice(KEPT))
  }

  /** Appends one line to log.jsonl. */
  async log(line: LoggedLine): Promise<void> {
    if (!this.writes) return
    await this.#explained(async () => {
      try {
        await appendFile(this.logFile, `${JSON.stringify(line)}\n`)
      } catch (error) {
        throw fileError(error, this.logFile, 'write')
      }
    })
  }

  /** Drops the log's lines after a step, which a killed run wrote beyond its last checkpoint; of a run that begins (-1) all. */
  async rewindLog(step: number): Promise<void> {
    if (!this.writes) return
    if (step < 0) await removeTrees([PREVIEWS, HALF].map((name) => join(this.path, name)))
    const text = (await textOf(this.logFile)) ?? ''
    const kept = text.split('\n').filter((line) => {
      try {
        return (JSON.parse(line) as LogLine).step <= step
      } catch {
        return false
      }
    })
    if (text) await writeFileAtomic(this.logFile, kept.map((line) => `${line}\n`).join(''))
  }

  async #explained(write: () => Promise<void>): Promise<void> {
    try {
      await write()
    } catch (error) {
      if (!(error instanceof FileError)) throw error
      const rest = this.#last ? `The last good checkpoint is ${this.#last}` : 'There is no checkpoint yet'
      throw new FileError(`training stopped: ${error.message}. ${rest}`, error.path, { cause: error })
    }
  }
}

/** Removes the checkpoints of a run that nobody will go on with; its log and its model stay. Throws FileError. */
export async function removeCheckpoints(path: string): Promise<void> {
  const folder = await RunFolder.open(path)
  try {
    for (const file of await folder.checkpoints()) await rm(file, { force: true })
  } finally {
    await folder.close()
  }
}
