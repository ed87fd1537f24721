import { formatFailure } from '../base/errors.js'

/** What a TIFF says of its colours, where sharp takes the numbers as they are whatever they mean. */

const COMPRESSION = 259
const PHOTOMETRIC = 262
/** Grey from white or from black, red green blue, a palette; and what sharp converts or refuses by itself. */
const KNOWN = [0, 1, 2, 3, 5, 8]
const YCBCR = 6
/** Colours of JPEG are converted by the decoder. */
const JPEG = 7

/** Throws FormatError where the first picture of a TIFF has colours that would be taken for others; says nothing of what is no TIFF. */
export function checkTiff(bytes: Uint8Array, name: string): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const little = bytes[0] === 0x49
  if (bytes.length < 8 || !/^(II\*\0|MM\0\*)$/.test(String.fromCharCode(...bytes.subarray(0, 4)))) return
  const at = view.getUint32(4, little)
  const tags = new Map<number, number>()
  if (at + 2 > bytes.length) return // truncated: the decoder says so
  for (let i = 0; i < view.getUint16(at, little) && at + 14 + 12 * i <= bytes.length; i++)
    tags.set(view.getUint16(at + 2 + 12 * i, little), view.getUint16(at + 10 + 12 * i, little))
  const colours = tags.get(PHOTOMETRIC) ?? 1
  if (KNOWN.includes(colours) || (colours === YCBCR && tags.get(COMPRESSION) === JPEG)) return
  const what = colours === YCBCR ? 'YCbCr' : `of kind ${colours}`
  formatFailure(name)(`its colours are ${what}, which is not converted here: save it as RGB`)
}
