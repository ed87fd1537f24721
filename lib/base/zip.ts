import { setImmediate as breathe } from 'node:timers/promises'
import { promisify } from 'node:util'
import { crc32, inflateRaw as inflateRawCallback } from 'node:zlib'
import type { Entry, ZipFile } from 'yauzl'
import { FeynkacError, formatFailure } from './errors.js'
import { fileError, formatBytes, openFile, readFully, release } from './files.js'
import { allocate } from './memory.js'
import { eachInTurns, sortInTurns, turns } from './turns.js'

/** Reading the files of a zip archive from where they lie: nothing is unpacked to the disk. */

const inflateRaw = promisify(inflateRawCallback)
const STORED = 0
const DEFLATED = 8
/** Bytes between two turns of the event loop while a checksum is computed. */
const SLICE = 1 << 24

export interface ZipContent {
  /** Sizes in bytes, unpacked, of the files by their names; '/' between folders, no absolute names and no '..'. */
  sizes: ReadonlyMap<string, number>
  /** What a file takes in the archive. */
  packedSize(name: string): number
  /**
   * The bytes of a file that the archive holds, checked against the size and the checksum that it states.
   * Throws FormatError, also for more than maxBytes; FileError; OutOfMemoryError.
   */
  read(name: string, maxBytes: number): Promise<Uint8Array<ArrayBuffer>>
}

/** Whether bytes begin as a zip archive does, also an empty one. */
export function looksLikeZip(bytes: Uint8Array): boolean {
  return bytes[0] === 0x50 && bytes[1] === 0x4b && (bytes[2] === 3 || bytes[2] === 5)
}

/**
 * Opens an archive, hands its content to `use` and closes it. maxFiles: refuse archives that list more.
 * Throws FileError, FormatError; the signal's reason.
 */
export async function withZip<T>(
  path: string,
  use: (zip: ZipContent) => Promise<T>,
  { signal, maxFiles = Infinity }: { signal?: AbortSignal; maxFiles?: number } = {},
): Promise<T> {
  const { handle, size } = await openFile(path)
  const corrupt = (error: unknown): never => {
    signal?.throwIfAborted()
    const known = fileError(error, path, 'read')
    if (known instanceof FeynkacError) throw known
    // yauzl reports what is wrong with an archive as plain errors
    const { message } = error as Error
    return formatFailure(path)(`not a zip archive that can be read: ${message}`, error)
  }
  try {
    const { openDirectory } = await import('./zip-directory.js') // yauzl, which most programs do not need
    const zip = await openDirectory(handle, size).catch(corrupt)
    if (zip.entryCount > maxFiles) formatFailure(path)(`it lists ${zip.entryCount} files, more than ${maxFiles}`)
    const entries = await listFiles(zip, path, signal).catch(corrupt)
    const turn = turns(signal)
    const ends = await regionEnds(entries.values(), size, turn)
    const sizes = new Map<string, number>()
    await eachInTurns(entries, turn, ([name, entry]) => void sizes.set(name, entry.uncompressedSize))
    const packedSize = (name: string) => entries.get(name)!.compressedSize
    const read = async (name: string, maxBytes: number): Promise<Uint8Array<ArrayBuffer>> => {
      signal?.throwIfAborted()
      const entry = entries.get(name)!
      const fail = (what: string, cause?: unknown): never => formatFailure(path)(`${name.slice(-200)}: ${what}`, cause)
      const { compressedSize, uncompressedSize, compressionMethod } = entry
      if (entry.encrypted) fail('it is encrypted')
      if (compressionMethod !== STORED && compressionMethod !== DEFLATED)
        fail(`compression method ${compressionMethod} is not supported: stored or deflated`)
      // what does not compress grows a little
      const most = Math.max(uncompressedSize, Math.floor(0.999 * compressedSize) - 1024)
      if (most > maxBytes) fail(`it has ${formatBytes(most)}, more than the limit of ${formatBytes(maxBytes)}`)
      // yauzl has checked that the data lie inside the file
      const { fileDataStart } = await zip
        .readLocalFileHeaderPromise(entry as unknown as Entry, { minimal: true })
        .catch(corrupt)
      if (fileDataStart + compressedSize > ends.get(entry.relativeOffsetOfLocalHeader)!)
        fail('it overlaps another file of the archive')
      const packed = allocate(compressedSize, `${path}: ${name}`)
      await readFully(handle, packed, fileDataStart, path)
      const bytes =
        compressionMethod === STORED
          ? packed
          : await inflateRaw(packed, { maxOutputLength: Math.max(1, uncompressedSize) }).catch((cause) =>
              fail('its compressed data are corrupt, or more than the archive states', cause),
            )
      if (bytes.length !== uncompressedSize || (await checksum(bytes, signal)) !== entry.crc32)
        fail('its size or checksum is not what the archive states: the archive is corrupt')
      return bytes as Uint8Array<ArrayBuffer>
    }
    return await use({ sizes, packedSize, read })
  } finally {
    await release(handle)
  }
}

/** Where the bytes that may belong to a file end: at the next file. By the position of its header. */
async function regionEnds(
  entries: Iterable<Listed>,
  size: number,
  turn: () => Promise<void>,
): Promise<Map<number, number>> {
  const positions: number[] = []
  await eachInTurns(entries, turn, (entry) => void positions.push(entry.relativeOffsetOfLocalHeader))
  const starts = await sortInTurns(positions, turn)
  const ends = new Map<number, number>()
  // of files that share a header the first counts, whose region is empty
  await eachInTurns(starts, turn, (start, i) => void (ends.has(start) || ends.set(start, starts[i + 1] ?? size)))
  return ends
}

async function checksum(bytes: Uint8Array, signal?: AbortSignal): Promise<number> {
  let sum = 0
  for (let at = 0; at < bytes.length; at += SLICE) {
    if (at > 0) await breathe()
    signal?.throwIfAborted()
    sum = crc32(bytes.subarray(at, at + SLICE), sum)
  }
  return sum
}

/** What is kept of an archive's entry: yauzl's own take ten times the memory, and there may be a million. */
type Listed = Pick<Entry, 'compressedSize' | 'uncompressedSize' | 'compressionMethod' | 'crc32'> & {
  relativeOffsetOfLocalHeader: number
  encrypted: boolean
}

async function listFiles(zip: ZipFile, path: string, signal?: AbortSignal): Promise<Map<string, Listed>> {
  const entries = new Map<string, Listed>()
  for await (const entry of zip.eachEntry()) {
    signal?.throwIfAborted()
    const { fileName } = entry
    if (fileName.endsWith('/')) continue
    if (entries.has(fileName)) formatFailure(path)(`it holds '${fileName}' twice`)
    const { compressedSize, uncompressedSize, compressionMethod, crc32, relativeOffsetOfLocalHeader } = entry
    const listed = { compressedSize, uncompressedSize, compressionMethod, crc32, relativeOffsetOfLocalHeader }
    entries.set(fileName, { ...listed, encrypted: entry.isEncrypted() })
  }
  return entries
}
