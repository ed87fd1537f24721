import type { FileHandle } from 'node:fs/promises'
import { fromRandomAccessReaderPromise, RandomAccessReader, type ZipFile } from 'yauzl'
import { readFully } from './files.js'

/** The list of files at the end of a zip archive, by yauzl. */

const WINDOW = 1 << 16

/** Serves the many small reads of an archive's directory from one large one. */
class WindowReader extends RandomAccessReader {
  #window = new Uint8Array(0)
  #start = 0
  readonly #handle: FileHandle
  readonly #size: number

  constructor(handle: FileHandle, size: number) {
    super()
    this.#handle = handle
    this.#size = size
  }

  override read(
    out: Buffer,
    offset: number,
    length: number,
    position: number,
    callback: (error: Error | null) => void,
  ): void {
    this.#fill(position, length).then(
      () => {
        const at = position - this.#start
        out.set(this.#window.subarray(at, at + length), offset)
        setImmediate(callback, null)
      },
      (error) => setImmediate(callback, error),
    )
  }

  async #fill(position: number, length: number): Promise<void> {
    if (position >= this.#start && position + length <= this.#start + this.#window.length) return
    if (position < 0 || position + length > this.#size) throw new Error('it is truncated')
    const window = new Uint8Array(Math.min(this.#size - position, Math.max(length, WINDOW)))
    await readFully(this.#handle, window, position, '')
    this.#window = window
    this.#start = position
  }
}

/** Leaves the file open. Rejects with plain errors where it is no archive. */
export function openDirectory(handle: FileHandle, size: number): Promise<ZipFile> {
  return fromRandomAccessReaderPromise(new WindowReader(handle, size), size, {
    lazyEntries: true,
    autoClose: false,
    validateEntrySizes: false, // what is read is checked, after what an entry says of encryption
  })
}
