import { open } from 'node:fs/promises'

/** A log of JSON lines that grows, or is started again. */

/** Bytes of a log that are read: more is not of a run of feynkac. */
const MOST = 2 ** 28

export class LogTail {
  lines: Record<string, unknown>[] = []
  /** Changes where the file is another, or shorter: what was read before is of the past. */
  epoch = 0
  modified = 0
  #at = 0
  #inode = 0
  #rest: Buffer = Buffer.alloc(0)
  readonly #file: string

  constructor(file: string) {
    this.#file = file
  }

  /** Reads what was added. */
  async read(): Promise<void> {
    const handle = await open(this.#file, 'r').catch(() => undefined)
    if (!handle) return
    try {
      const { size, ino, mtimeMs } = await handle.stat()
      this.modified = mtimeMs
      if (ino !== this.#inode || size < this.#at) {
        if (this.#inode !== 0) this.epoch++
        this.lines = []
        this.#at = 0
        this.#inode = ino
        this.#rest = Buffer.alloc(0)
      }
      const wanted = Math.min(size, MOST) - this.#at
      if (wanted <= 0) return
      const { buffer, bytesRead } = await handle.read(Buffer.alloc(wanted), 0, wanted, this.#at)
      this.#at += bytesRead
      const bytes = Buffer.concat([this.#rest, buffer.subarray(0, bytesRead)])
      const end = bytes.lastIndexOf(10) + 1 // the last line may still be being written
      this.#rest = bytes.subarray(end)
      for (const text of bytes.toString('utf8', 0, end).split('\n')) {
        if (text === '') continue
        try {
          const line: unknown = JSON.parse(text)
          if (typeof line === 'object' && line !== null && !Array.isArray(line)) this.lines.push(line as Record<string, unknown>) // biome-ignore format: one line
        } catch {} // torn by a crash
      }
    } finally {
      await handle.close()
    }
  }
}
