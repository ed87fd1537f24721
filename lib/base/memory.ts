import { OutOfMemoryError } from './errors.js'
import { formatBytes } from './files.js'

/**
 * Throws OutOfMemoryError where a job will need more memory than there is. Systems that promise memory they do not have end the
 * process when it is used, so a failed allocation alone is no protection.
 */
export function requireMemory(bytes: number, what: string): void {
  const available = process.availableMemory() || Number.POSITIVE_INFINITY // 0: the system does not say, as without /proc
  if (bytes > available)
    throw new OutOfMemoryError(
      `${what} need at least ${formatBytes(bytes)} of memory but ${formatBytes(available)} are available: use fewer`,
    )
}

/**
 * Bytes to be filled, or OutOfMemoryError: not zeroed, which takes a millisecond for 4 MB. what: what they are for, as in "not enough memory for ...".
 */
export function allocate(bytes: number, what: string): Uint8Array<ArrayBuffer> {
  try {
    const { buffer, byteOffset } = Buffer.allocUnsafeSlow(bytes)
    return new Uint8Array(buffer as ArrayBuffer, byteOffset, bytes)
  } catch (cause) {
    throw new OutOfMemoryError(`not enough memory for ${what.slice(0, 500)} (${formatBytes(bytes)})`, { cause })
  }
}
