import type { ZipContent } from '../base/zip.js'
import { type ImageSource, MAX_FILE } from './image-source.js'

/** Pictures hardly become smaller in an archive: what unfolds to many times what it takes there, and to more than this, is none. */
const MAX_RATIO = 64
const MIN_UNPACKED = 2 ** 24

/** The files of an archive. */
export function zipSource(path: string, { sizes, packedSize, read }: ZipContent): ImageSource {
  const most = (name: string) => Math.min(MAX_FILE, Math.max(MIN_UNPACKED, MAX_RATIO * packedSize(name)))
  return { path, names: [...sizes.keys()], read: (name, maxBytes = most(name)) => read(name, maxBytes) }
}
