import { FormatError, formatFailure } from '../base/errors.js'
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
  const match = /^(.+\.npz):([^:\\]+)$/i.exec(spec)
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
  const count = parts.data.length / sizeOf(parts.shape)
  const classes = beside === undefined ? null : await read(beside).then((found) => indices(found, count), reasonOf)
  if (classes === null || Array.isArray(classes)) return { ...parts, name: path, ...(classes && classLabels(classes)) }
  process.emitWarning(`${path}: the samples are read without the classes in '${beside}': ${classes}`, 'FeynkacWarning')
  return { ...parts, name: path }
}

/** What is wrong with an array that is not read. */
function reasonOf(error: unknown): string {
  if (error instanceof FormatError) return error.message
  throw error
}

/** Class indices, one for each sample, or what else the array holds. */
function indices({ shape, data }: NpyArray, count: number): number[] | string {
  if (shape[0] !== count || data.length !== count) return `it has shape [${shape}], not one index for each of ${count}`
  const classes = Array.from(data as ArrayLike<number | bigint>, Number)
  const right = classes.every((c) => Number.isSafeInteger(c) && c >= 0 && c < 2 ** 16)
  return right ? classes : 'its numbers are no indices, which count from 0'
}
