import { formatFailure } from '../base/errors.js'

/** What a TIFF says of its colours, where sharp takes the numbers as they are whatever they mean. */

const COMPRESSION = 259
const PHOTOMETRIC = 262
const SAMPLES = 277
const EXTRA = 338
/** Grey from white or from black, red green blue, a palette; and what sharp converts or refuses by itself. */
const KNOWN = [0, 1, 2, 3, 5, 8]
const RGB = 2
const YCBCR = 6
/** Colours of JPEG are converted by the decoder. */
const JPEG = 7

/** Throws FormatError where the first picture of a TIFF has colours that would be taken for others; says nothing of what is no TIFF. */
export function checkTiff(bytes: Uint8Array, name: string): void {
  const tags = firstTags(bytes)
  if (tags === null) return
  const fail: (what: string) => never = formatFailure(name)
  const colours = tags.get(PHOTOMETRIC) ?? 1
  const own = colours === RGB ? 3 : 1
  const samples = tags.get(SAMPLES) ?? 1
  if (colours <= RGB && samples > own && !tags.get(EXTRA))
    fail(`it has ${samples} channels, and nothing says that the last is transparency: save it as RGB, or as .npy`)
  if (KNOWN.includes(colours) || (colours === YCBCR && tags.get(COMPRESSION) === JPEG)) return
  const what = colours === YCBCR ? 'YCbCr' : `of kind ${colours}`
  fail(`its colours are ${what}, which is not converted here: save it as RGB`)
}

/** The first number of each entry of the first directory, of TIFF and of BigTIFF; null where that is not there. */
function firstTags(bytes: Uint8Array): Map<number, number> | null {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const [, order, version] = /^(II|MM)\0?([*+])/.exec(String.fromCharCode(...bytes.subarray(0, 4))) ?? []
  if (bytes.length < 16 || order === undefined) return null
  const little = order === 'II'
  const isBig = version === '+'
  const at = isBig ? Number(view.getBigUint64(8, little)) : view.getUint32(4, little)
  const [head, entry, value] = isBig ? [8, 20, 12] : [2, 12, 8]
  if (at + head > bytes.length) return null // truncated: the decoder says so
  const count = isBig ? Number(view.getBigUint64(at, little)) : view.getUint16(at, little)
  const tags = new Map<number, number>()
  for (let i = 0, from = at + head; i < count && from + entry <= bytes.length; i++, from += entry)
    tags.set(view.getUint16(from, little), view.getUint16(from + value, little))
  return tags
}
