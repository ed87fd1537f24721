import { setImmediate } from 'node:timers/promises'
import { promisify } from 'node:util'
import { gunzip as gunzipCallback } from 'node:zlib'
import { FormatError, OutOfMemoryError } from '../errors.js'
import { formatBytes, readFileChecked } from '../files.js'

const gunzip = promisify(gunzipCallback)

/** The most that a compressed file may unfold to: a small file can claim a thousand times its size. */
const MAX_CONTENT = 2 ** 31

/** The bytes of a file, unfolded when they are gzip. Throws FileError, FormatError, OutOfMemoryError. */
export async function readContent(path: string, signal?: AbortSignal): Promise<Uint8Array> {
  const bytes = await readFileChecked(path, { signal })
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes
  try {
    return await gunzip(bytes, { maxOutputLength: MAX_CONTENT, chunkSize: 1 << 20 })
  } catch (cause) {
    signal?.throwIfAborted()
    const { code, message } = cause as NodeJS.ErrnoException
    const what =
      code === 'ERR_BUFFER_TOO_LARGE'
        ? `it unfolds to more than ${formatBytes(MAX_CONTENT)}`
        : `the gzip data are corrupt or truncated (${message})`
    throw new FormatError(`${path}: ${what}`, path, { cause })
  }
}

/** Runs `work` over [0, count) in slices of about `slice`, giving the event loop a turn between them. */
export async function inSlices(
  count: number,
  slice: number,
  work: (from: number, to: number) => void,
  signal?: AbortSignal,
): Promise<void> {
  for (let from = 0; from < count; from += slice) {
    signal?.throwIfAborted()
    work(from, Math.min(count, from + slice))
    await setImmediate()
  }
}

/** Bytes for samples, or OutOfMemoryError. */
export function allocateBytes(bytes: number, what: string): Uint8Array<ArrayBuffer> {
  try {
    return new Uint8Array(bytes)
  } catch (cause) {
    throw new OutOfMemoryError(`not enough memory for ${what} (${formatBytes(bytes)}): use limit or resize`, { cause })
  }
}
