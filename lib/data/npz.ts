import { formatFailure } from '../base/errors.js'
import { sizeOf } from '../base/shape.js'
import type { ZipContent } from '../base/zip.js'
import type { DatasetParts } from './dataset.js'
import { classLabels } from './idx.js'
import { arrayParts, type NpyArray, parseNpyArray } from './npy.js'

/** NumPy's .npz: a zip archive of .npy files, by the names of their arrays. */

/** What samples and their classes are called in the archives that people have; the first that is there. */
const SAMPLES = ['arr_0', 'images', 'train_images', 'x_train', 'X_train', 'x', 'X', 'data', 'samples']
const CLASSES: Record<string, readonly string[]> = {
  arr_0: ['arr_1'],
  images: ['labels', 'label'],
  train_images: ['train_labels'],
  x_train: ['y_train'],
  X_train: ['y_train', 'Y_train'],
  x: ['y', 'labels'],
  X: ['y', 'Y', 'labels'],
  data: ['labels', 'label', 'target'],
  samples: ['labels'],
}
/** No single array may be larger. */
const MAX_ARRAY = 2 ** 32

/** `file.npz` or `file.npz:name`, with the name of the array that holds the samples. */
export function splitNpz(spec: string): { path: string; array?: string } {
  const match = /^(.+\.npz):([^:/\\]+)$/i.exec(spec)
  return match ? { path: match[1], array: match[2] } : { path: spec }
}

/** Whether an archive holds arrays and nothing else. */
export function looksLikeNpz({ sizes }: ZipContent): boolean {
  return sizes.size > 0 && [...sizes.keys()].every((name) => name.endsWith('.npy'))
}

/** The samples of an archive, with their classes where they are beside them. Throws FileError, FormatError. */
export async function npzParts(
  zip: ZipContent,
  path: string,
  array: string | undefined,
  signal?: AbortSignal,
): Promise<DatasetParts> {
  const names = [...zip.sizes.keys()].map((name) => name.replace(/\.npy$/, ''))
  const read = async (name: string): Promise<NpyArray> =>
    parseNpyArray(await zip.read(`${name}.npy`, MAX_ARRAY), `${path}: ${name}`)
  const chosen = array ?? SAMPLES.find((name) => names.includes(name)) ?? (names.length === 1 ? names[0] : undefined)
  if (chosen === undefined || !names.includes(chosen))
    return formatFailure(path)(
      `${array === undefined ? 'which array holds the samples?' : `it has no array '${array}'.`} It has ${names.slice(0, 20).join(', ')}: give ${path}:NAME`,
    )
  const parts = await arrayParts(await read(chosen), `${path}: ${chosen}`, signal)
  const beside = (CLASSES[chosen] ?? []).find((name) => names.includes(name))
  const classes = beside === undefined ? null : indices(await read(beside))
  const count = parts.data.length / sizeOf(parts.shape)
  return { ...parts, name: path, ...(classes?.length === count && classLabels(classes)) }
}

/** Class indices, or null where the array holds something else. */
function indices({ shape, data }: NpyArray): number[] | null {
  const flat = shape.length === 1 || (shape.length === 2 && shape[1] === 1)
  const classes = flat ? Array.from(data as ArrayLike<number | bigint>, Number) : [-1]
  return classes.every((c) => Number.isSafeInteger(c) && c >= 0 && c < 2 ** 16) ? classes : null
}
