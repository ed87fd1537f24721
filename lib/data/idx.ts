import { access } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { FormatError } from '../errors.js'
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

/** Reads IDX of unsigned bytes. Throws FormatError. */
export function parseIdx(bytes: Uint8Array, path: string): Idx {
  const fail = (what: string): never => {
    throw new FormatError(`${path}: ${what}`, path)
  }
  if (!looksLikeIdx(bytes)) fail('no IDX file: it must begin with 0, 0, a type and a number of dimensions')
  if (bytes[2] !== 8) fail(`IDX of type ${bytes[2]} is not supported: only unsigned bytes (8)`)
  const dimensions = bytes[3]
  const start = 4 + 4 * dimensions
  if (bytes.length < start) fail('the IDX header is truncated')
  const view = new DataView(bytes.buffer, bytes.byteOffset)
  const shape = Array.from({ length: dimensions }, (_, i) => view.getUint32(4 + 4 * i))
  const count = shape.reduce((a, b) => a * b, 1)
  if (count !== bytes.length - start)
    fail(`IDX of shape [${shape}] needs ${count} bytes but ${bytes.length - start} follow: truncated or corrupt`)
  return { shape, data: bytes.subarray(start) }
}

/** The labels file that belongs to an images file by the usual naming, compressed or not; null when there is none. */
export async function labelsBeside(images: string): Promise<string | null> {
  const name = basename(images)
  const labels = name.replace('images', 'labels').replace('idx3', 'idx1')
  if (labels === name) return null
  const bare = labels.replace(/\.gz$/, '')
  for (const candidate of [labels, bare, `${bare}.gz`]) {
    const path = join(dirname(images), candidate)
    if (
      await access(path).then(
        () => true,
        () => false,
      )
    )
      return path
  }
  return null
}

/** Reads class indices, one for each of `count` samples, from an IDX file. Throws FileError, FormatError. */
export async function readIdxLabels(
  path: string,
  count: number,
  signal?: AbortSignal,
): Promise<{ labels: LabelSpec; classes: Int32Array }> {
  const { shape, data } = parseIdx(await readContent(path, signal), path)
  if (shape.length !== 1)
    throw new FormatError(`${path}: labels must have one dimension but have shape [${shape}]`, path)
  if (shape[0] !== count) throw new FormatError(`${path}: ${shape[0]} labels for ${count} images`, path)
  const size = data.reduce((a, b) => Math.max(a, b), 0) + 1
  return { labels: { attributes: [{ name: 'class', size }] }, classes: new Int32Array(data) }
}
