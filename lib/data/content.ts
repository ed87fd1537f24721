import { setImmediate } from 'node:timers/promises'
import { createGunzip } from 'node:zlib'
import { FormatError, OutOfMemoryError } from '../errors.js'
import { formatBytes, readFileChecked } from '../files.js'

/** The most that a compressed file may unfold to: a small file can claim a thousand times its size. */
const MAX_CONTENT = 2 ** 31

/** The bytes of a file, unfolded when they are gzip. Throws FileError, FormatError, OutOfMemoryError. */
export async function readContent(path: string, signal?: AbortSignal): Promise<Uint8Array> {
  const bytes = await readFileChecked(path, { signal })
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes
  const chunks: Uint8Array[] = []
  let total = 0
  const stream = createGunzip({ chunkSize: 1 << 20 })
  try {
    stream.end(bytes)
    for await (const chunk of stream) {
      signal?.throwIfAborted()
      total += chunk.length
      if (total > MAX_CONTENT)
        throw new FormatError(`${path}: it unfolds to more than ${formatBytes(MAX_CONTENT)}`, path)
      chunks.push(chunk)
    }
  } catch (cause) {
    if (cause instanceof FormatError || signal?.aborted) throw cause
    throw new FormatError(`${path}: the gzip data are corrupt or truncated (${(cause as Error).message})`, path, {
      cause,
    })
  }
  const out = allocateBytes(total, path)
  let at = 0
  const copy = (from: number, to: number) => {
    for (const chunk of chunks.slice(from, to)) {
      out.set(chunk, at)
      at += chunk.length
    }
  }
  await inSlices(chunks.length, 4, copy, signal)
  return out
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
