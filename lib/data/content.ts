import { createGunzip } from 'node:zlib'
import { FormatError, formatFailure, OutOfMemoryError } from '../base/errors.js'
import { formatBytes, readFileChecked } from '../base/files.js'
import { requireMemory } from '../base/memory.js'
import { inPieces, turns } from '../base/turns.js'

/** The most that a compressed file may unfold to: a small file can claim a thousand times its size. */
const MAX_CONTENT = 2 ** 31

/** How many bytes a file of a kind has by how it begins: undefined where that does not tell. Throws where it is of no kind. */
export type Expected = (head: Uint8Array) => number | undefined

/**
 * The bytes of a file, unfolded when they are gzip, and then no more of them than `expected` says. Throws FileError, FormatError,
 * OutOfMemoryError.
 */
export async function readContent(
  path: string,
  signal?: AbortSignal,
  expected: Expected = () => undefined,
): Promise<Uint8Array> {
  const bytes = await readFileChecked(path, { signal })
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes
  try {
    return await unfold(bytes, path, expected, signal)
  } catch (cause) {
    if (cause instanceof FormatError || cause instanceof OutOfMemoryError || signal?.aborted) throw cause
    return formatFailure(path)(`the gzip data are corrupt or truncated (${(cause as Error).message})`, cause)
  }
}

async function unfold(bytes: Uint8Array, path: string, expected: Expected, signal?: AbortSignal): Promise<Uint8Array> {
  const fail: (what: string) => never = formatFailure(path)
  const stream = createGunzip({ chunkSize: 1 << 18 })
  stream.end(bytes)
  const chunks: Uint8Array[] = []
  let out: Uint8Array | undefined
  let total = 0
  for await (const chunk of stream as AsyncIterable<Uint8Array>) {
    signal?.throwIfAborted()
    if (total === 0) {
      const size = expected(chunk)
      if (size !== undefined && size > MAX_CONTENT) fail(`it unfolds to more than ${formatBytes(MAX_CONTENT)}`)
      // the memory comes as it is filled, so that a header alone costs none
      if (size !== undefined) out = allocateBytes(size, path)
    }
    const most = out?.length ?? MAX_CONTENT
    if (total + chunk.length > most)
      fail(
        out
          ? `more follows than the ${most} bytes of its header: corrupt`
          : `it unfolds to more than ${formatBytes(most)}`,
      )
    if (out) out.set(chunk, total)
    else chunks.push(chunk)
    total += chunk.length
  }
  if (out) return out.subarray(0, total)
  return joined(chunks, total, path, signal)
}

async function joined(chunks: Uint8Array[], total: number, path: string, signal?: AbortSignal): Promise<Uint8Array> {
  requireMemory(total, path)
  const out = allocateBytes(total, path)
  let at = 0
  const copy = (from: number, to: number) => {
    for (const chunk of chunks.slice(from, to)) {
      out.set(chunk, at)
      at += chunk.length
    }
  }
  await inPieces(chunks.length, turns(signal), copy, 16)
  return out
}

/** Bytes for samples, or OutOfMemoryError. */
export function allocateBytes(bytes: number, what: string): Uint8Array<ArrayBuffer> {
  try {
    return new Uint8Array(bytes)
  } catch (cause) {
    throw new OutOfMemoryError(`not enough memory for ${what} (${formatBytes(bytes)}): use limit or resize`, { cause })
  }
}
