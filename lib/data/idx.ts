import { basename, dirname, join } from 'node:path'
import { formatFailure } from '../base/errors.js'
import { found } from '../base/files.js'
import { sizeOf } from '../base/shape.js'
import { readContent } from './content.js'
import type { LabelSpec } from './dataset.js'

/**
 * IDX, the format of MNIST: two zero bytes, a byte for the type (8: unsigned bytes), a byte for the number of dimensions, each
 * dimension as a big-endian uint32, then the numbers (http://yann.lecun.com/exdb/mnist).
 */
export interface Idx {
  shape: number[]
  data: Uint8Array
}

/** Whether bytes begin as IDX does; the CIFAR-10 format can begin so too. */
export function looksLikeIdx(bytes: Uint8Array): boolean {
  return (
    bytes.length >= 4 &&
    bytes[0] === 0 &&
    bytes[1] === 0 &&
    bytes[2] >= 8 &&
    bytes[2] <= 14 &&
    bytes[3] >= 1 &&
    bytes[3] <= 4
  )
}

/** The dimensions in a header, and where the numbers begin; null where the header is not whole. */
function idxHeader(bytes: Uint8Array): { shape: number[]; start: number } | null {
  const dimensions = bytes[3]
  const start = 4 + 4 * dimensions
  if (bytes.length < start) return null
  const view = new DataView(bytes.buffer, bytes.byteOffset)
  return { shape: Array.from({ length: dimensions }, (_, i) => view.getUint32(4 + 4 * i)), start }
}

/** Bytes of a number of the types that are read: unsigned bytes, and the 32-bit integers of QMNIST's labels. */
const WIDTHS: Record<number, number> = { 8: 1, 12: 4 }

/** The length of a whole IDX file, by its first bytes; undefined where they are none of such a file. */
export function idxLength(head: Uint8Array): number | undefined {
  const width = looksLikeIdx(head) ? WIDTHS[head[2]] : undefined
  const header = width ? idxHeader(head) : null
  return header ? header.start + width! * sizeOf(header.shape) : undefined
}

/** Reads IDX of unsigned bytes. Throws FormatError. */
export function parseIdx(bytes: Uint8Array, path: string): Idx {
  const { shape, start } = wholeHeader(bytes, path, [8], 'unsigned bytes (8)')
  return { shape, data: bytes.subarray(start) }
}

/** The header of a file of one of the types, whose numbers are all there. Throws FormatError. */
function wholeHeader(bytes: Uint8Array, path: string, types: readonly number[], named: string) {
  const fail: (what: string) => never = formatFailure(path)
  if (!looksLikeIdx(bytes)) fail('no IDX file: it must begin with 0, 0, a type and a number of dimensions')
  if (!types.includes(bytes[2])) fail(`IDX of type ${bytes[2]} is not supported: only ${named}`)
  const { shape, start } = idxHeader(bytes) ?? fail('the IDX header is truncated')
  const count = WIDTHS[bytes[2]] * sizeOf(shape)
  if (count !== bytes.length - start)
    fail(`IDX of shape [${shape}] needs ${count} bytes but ${bytes.length - start} follow: truncated or corrupt`)
  return { shape, start }
}

async function ofFile(path: string): Promise<'file' | 'folder' | null> {
  const there = await found(path)
  return there?.isFile() ? 'file' : there?.isDirectory() ? 'folder' : null
}

/** A file of this name, or one in a folder that is called as the file in it, as some archives unpack; null when there is none. */
export async function idxFile(folder: string, name: string): Promise<string | null> {
  const path = join(folder, name)
  const kind = await ofFile(path)
  if (kind === 'file') return path
  const inner = join(path, name)
  return kind === 'folder' && (await ofFile(inner)) === 'file' ? inner : null
}

/** The labels file that belongs to an images file by the usual naming, compressed or not; null when there is none. */
export async function labelsBeside(images: string): Promise<string | null> {
  const name = basename(images)
  const labels = name.replace('images', 'labels').replace('idx3', 'idx1')
  if (labels === name) return null
  const bare = labels.replace(/\.gz$/, '')
  // one and the same set is found as train-labels-idx1-ubyte and as train-labels.idx1-ubyte
  const names = [labels, bare, `${bare}.gz`, ...[bare, `${bare}.gz`].map((n) => n.replace(/[.-]idx1/, (s) => (s[0] === '.' ? '-idx1' : '.idx1')))] // biome-ignore format: one line
  names.push(...names.filter((n) => n.includes('idx1-ubyte')).map((n) => n.replace('idx1-ubyte', 'idx2-int'))) // QMNIST
  const home = dirname(images)
  // the folder that is called as the file has its like beside it
  const folders = basename(home) === name ? [home, dirname(home)] : [home]
  for (const folder of folders)
    for (const candidate of names) {
      const path = await idxFile(folder, candidate)
      if (path !== null) return path
    }
  return null
}

/** More classes than this are no classes: a column of something else. */
const MOST_CLASSES = 2 ** 16

/**
 * Reads class indices, one for each of `count` samples, from an IDX file; also from QMNIST's, whose rows of eight 32-bit integers begin with
 * them (Yadav & Bottou 2019). Throws FileError, FormatError.
 */
export async function readIdxLabels(
  path: string,
  count: number,
  signal?: AbortSignal,
): Promise<{ labels: LabelSpec; classes: Int32Array }> {
  const fail: (what: string) => never = formatFailure(path)
  const bytes = await readContent(path, signal, idxLength)
  const { shape, start } = wholeHeader(bytes, path, [8, 12], 'unsigned bytes (8) and 32-bit integers (12)')
  const isQmnist = bytes[2] === 12 && shape.length === 2 && shape[1] === 8
  if (shape.length !== 1 && !isQmnist)
    fail(`labels must have one dimension, or be QMNIST's [n, 8] of 32-bit integers, but have shape [${shape}]`)
  if (shape[0] !== count) fail(`${shape[0]} labels for ${count} images`)
  if (bytes[2] === 8) return classLabels(bytes.subarray(start))
  const view = new DataView(bytes.buffer, bytes.byteOffset + start)
  const stride = isQmnist ? 32 : 4
  const classes = Int32Array.from({ length: count }, (_, i) => view.getInt32(i * stride))
  const wrong = classes.findIndex((c) => !(c >= 0 && c < MOST_CLASSES))
  if (wrong >= 0) fail(`label ${wrong} is ${classes[wrong]}: expected a class from 0 to ${MOST_CLASSES - 1}`)
  return classLabels(classes)
}

/** Labels by one attribute, of class indices. */
export function classLabels(indices: ArrayLike<number>): { labels: LabelSpec; classes: Int32Array } {
  const classes = Int32Array.from(indices)
  const size = classes.reduce((a, b) => Math.max(a, b), 0) + 1
  return { labels: { attributes: [{ name: 'class', size }] }, classes }
}
