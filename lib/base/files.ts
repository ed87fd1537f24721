import type { Stats } from 'node:fs'
import { access, constants, type FileHandle, mkdir, open, realpath, rename, rm, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { ArgumentError, FeynkacError, FileError, invalid } from './errors.js'

/** Reading and writing whole files: system errors become FileError, and a write either happens in full or not at all. */

const WINDOW = 1 << 24 // bytes per system call, so that no single read or write holds a pool thread for long

const CAUSES: Record<string, string> = {
  ENOENT: 'there is no such file or folder: check the path',
  ENOTDIR: 'a part of the path is a file, not a folder: check the path',
  EISDIR: 'it is a folder, not a file: give the path of a file',
  EEXIST: 'it exists already: choose another name or remove it',
  EACCES: 'permission denied: change its permissions or choose another place',
  EPERM: 'the operation is not permitted: change its permissions or choose another place',
  EROFS: 'the file system is read-only: choose another place',
  EMFILE: 'too many files are open in this process: close some or raise the limit (ulimit -n)',
  ENFILE: 'too many files are open on this machine: close some',
  ENAMETOOLONG: 'the name is too long: choose a shorter one',
  ELOOP: 'its symbolic links go round in a circle: repair them',
  EFBIG: 'the file would exceed the size that the file system or ulimit -f allows: choose another place',
  EBUSY: 'it is in use by another program: close that and try again',
  ETXTBSY: 'it is in use by another program: close that and try again',
  EIO: 'the device reported an input/output error: check the disk',
  ENOTEMPTY: 'the folder is not empty: choose another name or empty it',
  EXDEV: 'it lies on another file system: choose a place on the same one',
}

/** A number of bytes as people write it. */
export function formatBytes(bytes: number): string {
  const units = ['bytes', 'kB', 'MB', 'GB', 'TB']
  const at = bytes < 1000 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(bytes) / 3))
  return at === 0 ? `${bytes} bytes` : `${(bytes / 1000 ** at).toPrecision(3)} ${units[at]}`
}

/**
 * What to throw for an error met while working on a path: a FileError with the path, the cause and a remedy when `error` comes
 * from the system; anything else unchanged. action: 'read', 'write', ...; bytes: how many a write wanted.
 */
export function fileError(error: unknown, path: string, action: string, bytes?: number): unknown {
  if (error instanceof FeynkacError) return error
  const { code, syscall } = (error ?? {}) as NodeJS.ErrnoException
  const pathArgument = code === 'ERR_INVALID_ARG_VALUE' // a null byte in the name
  if (typeof code !== 'string' || (syscall === undefined && !pathArgument)) return error
  const wanted = bytes === undefined ? '' : ` (${formatBytes(bytes)} wanted)`
  const cause =
    code === 'ENOSPC'
      ? `the disk is full${wanted}: free some space or choose another place`
      : code === 'EDQUOT'
        ? `the disk quota is used up${wanted}: free some space or choose another place`
        : (CAUSES[code] ?? (pathArgument ? 'the path is not valid' : (error as Error).message))
  return new FileError(`cannot ${action} ${JSON.stringify(path)}: ${cause}`, path, { cause: error })
}

function checkPath(path: unknown): void {
  if (typeof path !== 'string' || path === '') throw invalid('path', 'the name of a file', path)
}

/** Opens a regular file for reading; anything else (a folder, a pipe, a device) is refused, as it may never end. */
export async function openFile(path: string): Promise<{ handle: FileHandle; size: number }> {
  checkPath(path)
  try {
    const there = await stat(path)
    if (there.isDirectory()) throw new FileError(`cannot read ${JSON.stringify(path)}: ${CAUSES.EISDIR}`, path)
    if (!there.isFile()) throw new FileError(`cannot read ${JSON.stringify(path)}: it is no regular file`, path)
    const handle = await open(path, 'r')
    return { handle, size: there.size }
  } catch (error) {
    throw fileError(error, path, 'read')
  }
}

/** Closes a file that was read: whatever the system says to that, nothing is lost by it. */
export async function release(handle: FileHandle): Promise<void> {
  await handle.close().catch(() => {})
}

/** The text of a file; null where there is none. Throws FileError. */
export async function textOf(path: string): Promise<string | null> {
  return (await found(path)) === null ? null : Buffer.from(await readFileChecked(path)).toString()
}

/** What a path leads to; null: nothing. Throws FileError where the system does not say. */
export async function found(path: string): Promise<Stats | null> {
  try {
    return await stat(path)
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return null
    throw fileError(error, path, 'read')
  }
}

/** Fills `out` from a position of a file. Throws FileError when the file ends before. */
export async function readFully(handle: FileHandle, out: Uint8Array, position: number, path: string): Promise<void> {
  try {
    for (let done = 0; done < out.length; ) {
      const { bytesRead } = await handle.read(out, done, Math.min(WINDOW, out.length - done), position + done)
      if (bytesRead === 0)
        throw new FileError(`cannot read ${JSON.stringify(path)}: it became shorter while it was read: try again`, path)
      done += bytesRead
    }
  } catch (error) {
    throw fileError(error, path, 'read')
  }
}

/**
 * The content of a file. maxBytes: refuse larger ones (FileError).
 * Throws FileError when the file cannot be read; the signal's reason when aborted before the reading starts.
 */
export async function readFileChecked(
  path: string,
  options: { maxBytes?: number; signal?: AbortSignal } = {},
): Promise<Uint8Array<ArrayBuffer>> {
  options.signal?.throwIfAborted()
  const { handle, size } = await openFile(path)
  try {
    const limit = options.maxBytes ?? 2 ** 32
    if (size > limit)
      throw new FileError(
        `cannot read ${JSON.stringify(path)}: it has ${formatBytes(size)}, more than the limit of ${formatBytes(limit)}`,
        path,
      )
    const bytes = new Uint8Array(size)
    await readFully(handle, bytes, 0, path)
    return bytes
  } finally {
    await release(handle)
  }
}

/**
 * Writes a file as a whole: to a temporary name in the same folder, flushed to the disk, then renamed over `path`. On any
 * failure (also one thrown by the iterable) the temporary is removed and an old file stays as it was.
 * bytes: the total, when known, for the message of a full disk. ready: called when all is on the disk, before the file takes its name: what belongs
 * to it is changed there, so that a process which ends at any time leaves none beside those of another. Throws FileError.
 */
export async function writeFileAtomic(
  path: string,
  content: string | Uint8Array | Iterable<Uint8Array>,
  options: { bytes?: number; ready?: () => Promise<void> } = {},
): Promise<void> {
  const chunks =
    typeof content === 'string' ? [Buffer.from(content)] : content instanceof Uint8Array ? [content] : content
  let written = 0
  checkPath(path)
  try {
    const { target, mode } = await destination(path)
    const temporary = join(dirname(target), `.${basename(target).slice(0, 60)}.${crypto.randomUUID().slice(24)}.tmp`)
    const handle = await open(temporary, 'wx', mode)
    try {
      try {
        for (const chunk of chunks) {
          const end = written + chunk.length
          for (let at = 0; at < chunk.length; ) {
            const length = Math.min(WINDOW, chunk.length - at)
            at += (await handle.write(chunk, at, length, null)).bytesWritten
          }
          written = end
        }
        await handle.sync()
      } finally {
        await handle.close()
      }
      await options.ready?.()
      await rename(temporary, target)
    } catch (error) {
      await rm(temporary, { force: true }).catch(() => {})
      throw error
    }
    await syncFolder(dirname(target))
  } catch (error) {
    const wanted = options.bytes ?? (Array.isArray(chunks) ? chunks.reduce((n, c) => n + c.length, 0) : written)
    throw fileError(error, path, 'write', wanted)
  }
}

/** Where a path leads through symbolic links, and the permissions that a new file there gets. */
async function destination(path: string): Promise<{ target: string; mode: number }> {
  try {
    const target = await realpath(path)
    const there = await stat(target)
    if (there.isDirectory()) throw new FileError(`cannot write ${JSON.stringify(path)}: ${CAUSES.EISDIR}`, path)
    // a rename would replace a device or pipe by a file
    if (!there.isFile()) throw new FileError(`cannot write ${JSON.stringify(path)}: it is no regular file`, path)
    return { target, mode: there.mode & 0o777 }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    return { target: path, mode: 0o666 }
  }
}

/** Makes a rename durable. Systems that cannot flush a folder (Windows, some network file systems) do without. */
async function syncFolder(path: string): Promise<void> {
  try {
    const handle = await open(path, 'r')
    try {
      await handle.sync()
    } finally {
      await handle.close()
    }
  } catch (error) {
    if (!['EINVAL', 'EPERM', 'EACCES', 'EISDIR', 'ENOTSUP'].includes((error as NodeJS.ErrnoException).code ?? ''))
      throw error
  }
}

/** As mkdir's `recursive`, which never returns where a file system says that a new folder's parent is missing (/proc). */
export async function makeFolder(path: string): Promise<void> {
  try {
    await mkdir(path)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'EEXIST') return
    if (code !== 'ENOENT' || dirname(path) === path) throw error
    await makeFolder(dirname(path))
    await mkdir(path)
  }
}

/**
 * Makes the folder of an output where there is none, and asks whether files can be written there: before the work, so that the work is not
 * lost. Throws FileError.
 */
export async function prepareFolder(path: string): Promise<void> {
  checkPath(path)
  try {
    await makeFolder(path)
    if (!(await stat(path)).isDirectory())
      throw new FileError(
        `cannot write to ${JSON.stringify(path)}: it is a file, not a folder: choose another name`,
        path,
      )
    await access(path, constants.W_OK | constants.X_OK)
  } catch (error) {
    throw fileError(error, path, 'write to the directory')
  }
}

/** The same for one file: what is there must be a file, and its folder one that can be written to. Throws FileError. */
export async function prepareFile(path: string): Promise<void> {
  checkPath(path)
  try {
    await destination(path)
    await access(dirname(path), constants.W_OK)
  } catch (error) {
    throw fileError(error, path, 'write')
  }
}

/** Removes files, those that are there. Throws FileError. */
export async function removeFiles(paths: readonly string[], recursive = false): Promise<void> {
  for (const path of paths)
    try {
      await rm(path, { force: true, recursive })
    } catch (error) {
      throw fileError(error, path, 'remove')
    }
}

/** The same for folders with what is in them. */
export const removeTrees = (paths: readonly string[]) => removeFiles(paths, true)

/** Throws where some of the files of an output are there already, unless they may be replaced. */
export async function refuseOverwriting(paths: readonly string[], overwrite: boolean): Promise<void> {
  if (overwrite) return
  const there: string[] = []
  for (const path of paths) if (await found(path)) there.push(path)
  if (there.length > 0)
    throw new ArgumentError(`${there.join(', ')} would be overwritten: give another output, or --overwrite`)
}
