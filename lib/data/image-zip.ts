import type { FileHandle } from 'node:fs/promises'
import { promisify } from 'node:util'
import { crc32, inflateRaw as inflateRawCallback } from 'node:zlib'
import { type Entry, fromRandomAccessReaderPromise, RandomAccessReader, type ZipFile } from 'yauzl'
import { FeynkacError, FormatError } from '../errors.js'
import { fileError, formatBytes, openFile, readFully } from '../files.js'
import { type ImageSource, MAX_FILE } from './image-source.js'

const inflateRaw = promisify(inflateRawCallback)
const STORED = 0
const DEFLATED = 8
const WINDOW = 1 << 16

/** Serves the many small reads of an archive's directory from one large one. */
class WindowReader extends RandomAccessReader {
  private window = new Uint8Array(0)
  private start = 0

  constructor(
    private readonly handle: FileHandle,
    private readonly size: number,
  ) {
    super()
  }

  override read(
    out: Buffer,
    offset: number,
    length: number,
    position: number,
    callback: (error: Error | null) => void,
  ): void {
    this.fill(position, length).then(
      () => {
        const at = position - this.start
        out.set(this.window.subarray(at, at + length), offset)
        setImmediate(callback, null)
      },
      (error) => setImmediate(callback, error),
    )
  }

  private async fill(position: number, length: number): Promise<void> {
    if (position >= this.start && position + length <= this.start + this.window.length) return
    if (position < 0 || position + length > this.size) throw new Error('it is truncated')
    const window = new Uint8Array(Math.min(this.size - position, Math.max(length, WINDOW)))
    await readFully(this.handle, window, position, '')
    this.window = window
    this.start = position
  }
}

/** Whether bytes begin as a zip archive does, also an empty one. */
export function looksLikeZip(bytes: Uint8Array): boolean {
  return bytes[0] === 0x50 && bytes[1] === 0x4b && (bytes[2] === 3 || bytes[2] === 5)
}

/**
 * Opens an archive, hands its files to `use` and closes it. Nothing is unpacked to the disk; files are read one by one from
 * where they lie, checked against the size and checksum that the archive states. Throws FileError, FormatError.
 */
export async function withZip<T>(
  path: string,
  use: (source: ImageSource) => Promise<T>,
  signal?: AbortSignal,
): Promise<T> {
  const { handle, size } = await openFile(path)
  const corrupt = (error: unknown): never => {
    signal?.throwIfAborted()
    const known = fileError(error, path, 'read')
    if (known instanceof FeynkacError) throw known
    // yauzl reports what is wrong with an archive as plain errors
    const { message } = error as Error
    throw new FormatError(`${path}: not a zip archive that can be read: ${message}`, path, { cause: error })
  }
  try {
    const options = { lazyEntries: true, autoClose: false }
    const zip = await fromRandomAccessReaderPromise(new WindowReader(handle, size), size, options).catch(corrupt)
    const entries = await listFiles(zip, path, signal).catch(corrupt)
    const read = async (name: string): Promise<Uint8Array> => {
      const entry = entries.get(name)!
      const fail = (what: string, cause?: unknown): never => {
        throw new FormatError(`${path}: ${name}: ${what}`, path, { cause })
      }
      const { compressedSize, uncompressedSize, compressionMethod } = entry
      if (entry.isEncrypted()) fail('it is encrypted')
      if (compressionMethod !== STORED && compressionMethod !== DEFLATED)
        fail(`compression method ${compressionMethod} is not supported: stored or deflated`)
      if (Math.max(compressedSize, uncompressedSize) > MAX_FILE)
        fail(`it has ${formatBytes(uncompressedSize)}, more than the limit of ${formatBytes(MAX_FILE)}`)
      // yauzl has checked that the data lie inside the file
      const { fileDataStart } = await zip.readLocalFileHeaderPromise(entry, { minimal: true }).catch(corrupt)
      const packed = new Uint8Array(compressedSize)
      await readFully(handle, packed, fileDataStart, path)
      const bytes =
        compressionMethod === STORED
          ? packed
          : await inflateRaw(packed, { maxOutputLength: Math.max(1, uncompressedSize) }).catch((cause) =>
              fail('its compressed data are corrupt, or more than the archive states', cause),
            )
      if (bytes.length !== uncompressedSize || crc32(bytes) !== entry.crc32)
        fail('its size or checksum is not what the archive states: the archive is corrupt')
      return bytes
    }
    return await use({ path, names: [...entries.keys()], read })
  } finally {
    await handle.close()
  }
}

async function listFiles(zip: ZipFile, path: string, signal?: AbortSignal): Promise<Map<string, Entry>> {
  const entries = new Map<string, Entry>()
  for await (const entry of zip.eachEntry()) {
    signal?.throwIfAborted()
    const { fileName } = entry
    if (fileName.endsWith('/')) continue
    if (entries.has(fileName)) throw new FormatError(`${path}: it holds '${fileName}' twice`, path)
    entries.set(fileName, entry)
  }
  return entries
}
