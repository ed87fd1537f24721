import { withZip } from '../zip.js'
import { type ImageSource, MAX_FILE } from './image-source.js'

/** Opens an archive of images, hands its files to `use` and closes it. Throws FileError, FormatError. */
export function withImageZip<T>(
  path: string,
  use: (source: ImageSource) => Promise<T>,
  signal?: AbortSignal,
): Promise<T> {
  return withZip(
    path,
    ({ sizes, read }) => use({ path, names: [...sizes.keys()], read: (name) => read(name, MAX_FILE) }),
    { signal },
  )
}
