import { inflateSync } from 'node:zlib'
import { formatFailure } from '../base/errors.js'

/** Parts of a PNG that hold no pixels and unfold to as much as they like: a thousand times the size of the file. */

const SIGNATURE = Buffer.from('\x89PNG\r\n\x1a\n', 'latin1')
const TEXTS = ['tEXt', 'zTXt', 'iTXt']
const PROFILE = 'iCCP'
/** Profiles of colours have kilobytes, large ones a few megabytes. */
const MAX_PROFILE = 2 ** 24

/**
 * A PNG without its texts, and without its profile unless that is wanted; the same bytes where it has none of these, or is none. Throws
 * FormatError where the profile unfolds to more than profiles have.
 */
export function withoutTexts(bytes: Uint8Array, profile: boolean, name: string): Uint8Array {
  if (bytes.length < SIGNATURE.length || !SIGNATURE.equals(bytes.subarray(0, SIGNATURE.length))) return bytes
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const kept: Uint8Array[] = []
  let from = 0 // of what is kept next
  for (let at = SIGNATURE.length; at + 12 <= bytes.length; ) {
    const length = view.getUint32(at)
    const end = at + 12 + length
    if (end > bytes.length) break // truncated: the decoder says so
    const type = Buffer.from(bytes.buffer, bytes.byteOffset + at + 4, 4).toString('latin1')
    if (type === PROFILE && profile) checkProfile(bytes.subarray(at + 8, end - 4), name)
    else if (type === PROFILE || TEXTS.includes(type)) {
      kept.push(bytes.subarray(from, at))
      from = end
    }
    at = end
  }
  return from === 0 ? bytes : Buffer.concat([...kept, bytes.subarray(from)])
}

/** A profile's name, a zero, the method of its compression, and the profile. */
function checkProfile(content: Uint8Array, name: string): void {
  const start = content.indexOf(0) + 2
  try {
    inflateSync(content.subarray(start), { maxOutputLength: MAX_PROFILE })
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'ERR_BUFFER_TOO_LARGE') return // damaged: the decoder passes it over
    formatFailure(name)(`its colour profile unfolds to more than ${MAX_PROFILE} bytes: refused`, cause)
  }
}
