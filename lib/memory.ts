import { OutOfMemoryError } from './errors.js'
import { formatBytes } from './files.js'

/**
 * Throws OutOfMemoryError where a job will need more memory than there is. Systems that promise memory they do not have end the
 * process when it is used, so a failed allocation alone is no protection.
 */
export function requireMemory(bytes: number, what: string): void {
  const available = process.availableMemory()
  if (bytes > available)
    throw new OutOfMemoryError(
      `${what} need at least ${formatBytes(bytes)} of memory but ${formatBytes(available)} are available: use fewer`,
    )
}
