import { readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { FormatError } from '../errors.js'
import { allocateBytes, inSlices, readContent } from './content.js'
import type { DatasetParts, LabelSpec } from './dataset.js'

/** The CIFAR-10 binary format: records of one label byte and three 32 x 32 planes (Krizhevsky 2009). */
const PIXELS = 3 * 32 * 32
const RECORD = 1 + PIXELS
const CLASSES = 10

export const BATCH_NAME = /^data_batch_\d+\.bin(\.gz)?$/

/** Whether bytes are such records: their number, and every label. */
export function looksLikeCifar(bytes: Uint8Array): boolean {
  if (bytes.length === 0 || bytes.length % RECORD !== 0) return false
  for (let at = 0; at < bytes.length; at += RECORD) if (bytes[at] >= CLASSES) return false
  return true
}

/** Joins the records of several files. Throws FileError, FormatError. */
export async function readCifar(paths: readonly string[], signal?: AbortSignal): Promise<DatasetParts> {
  const files: Uint8Array[] = []
  for (const path of paths) {
    const bytes = await readContent(path, signal)
    if (!looksLikeCifar(bytes))
      throw new FormatError(
        `${path}: no CIFAR-10 batch: expected records of ${RECORD} bytes with labels from 0 to 9`,
        path,
      )
    files.push(bytes)
  }
  const size = files.reduce((sum, bytes) => sum + bytes.length / RECORD, 0)
  const data = allocateBytes(size * PIXELS, paths[0])
  const classes = new Int32Array(size)
  let first = 0
  for (const bytes of files) {
    const records = bytes.length / RECORD
    const base = first
    const copy = (from: number, to: number) => {
      for (let i = from; i < to; i++) {
        classes[base + i] = bytes[i * RECORD]
        data.set(bytes.subarray(i * RECORD + 1, (i + 1) * RECORD), (base + i) * PIXELS)
      }
    }
    await inSlices(records, 1000, copy, signal)
    first += records
  }
  const labels: LabelSpec = { attributes: [{ name: 'class', size: CLASSES, ...(await classNames(dirname(paths[0]))) }] }
  return { name: 'cifar10', shape: [3, 32, 32], data, labels, classes }
}

/** The names in the file that comes with the batches, when it is there. */
async function classNames(folder: string): Promise<{ values?: string[] }> {
  const text = await readFile(join(folder, 'batches.meta.txt'), 'utf8').catch(() => '')
  const values = text
    .split('\n')
    .map((line) => line.trim())
    .filter(Boolean)
  return values.length === CLASSES ? { values } : {}
}
