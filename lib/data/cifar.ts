import { dirname, join } from 'node:path'
import { FormatError } from '../base/errors.js'
import { textOf } from '../base/files.js'
import { inPieces, turns } from '../base/turns.js'
import { allocateBytes, readContent } from './content.js'
import type { Attribute, DatasetParts } from './dataset.js'

/** The binary formats of CIFAR-10 and CIFAR-100: records of label bytes and three 32 x 32 planes (Krizhevsky 2009). */
export const CIFAR_PIXELS = 3 * 32 * 32

interface Kind {
  name: string
  attributes: readonly { name: string; size: number; file: string }[]
}

const KINDS: readonly Kind[] = [
  { name: 'cifar10', attributes: [{ name: 'class', size: 10, file: 'batches.meta.txt' }] },
  {
    name: 'cifar100',
    attributes: [
      { name: 'superclass', size: 20, file: 'coarse_label_names.txt' },
      { name: 'class', size: 100, file: 'fine_label_names.txt' },
    ],
  },
]

export const BATCH_NAME = /^data_batch_\d+\.bin(\.gz)?$/
/** CIFAR-100 has its training half in one file. */
export const TRAIN_NAME = /^train\.bin(\.gz)?$/

const recordOf = ({ attributes }: Kind) => attributes.length + CIFAR_PIXELS

/** Which of the two bytes are records of: by their number, and every label. */
function kindOf(bytes: Uint8Array): Kind | undefined {
  return KINDS.find((kind) => {
    const record = recordOf(kind)
    if (bytes.length === 0 || bytes.length % record !== 0) return false
    for (let at = 0; at < bytes.length; at += record)
      if (kind.attributes.some(({ size }, a) => bytes[at + a] >= size)) return false
    return true
  })
}

export function looksLikeCifar(bytes: Uint8Array): boolean {
  return kindOf(bytes) !== undefined
}

/** Joins the records of several files. Throws FileError, FormatError. */
export async function readCifar(paths: readonly string[], signal?: AbortSignal): Promise<DatasetParts> {
  const files: Uint8Array[] = []
  for (const path of paths) files.push(await readContent(path, signal))
  const kind = kindOf(files[0]) ?? noBatch(paths[0])
  for (const [i, bytes] of files.entries()) if (kindOf(bytes) !== kind) noBatch(paths[i])
  const record = recordOf(kind)
  const width = kind.attributes.length
  const size = files.reduce((sum, bytes) => sum + bytes.length / record, 0)
  const data = allocateBytes(size * CIFAR_PIXELS, paths[0])
  const classes = new Int32Array(size * width)
  let first = 0
  for (const bytes of files) {
    const records = bytes.length / record
    const base = first
    const copy = (from: number, to: number) => {
      for (let i = from; i < to; i++) {
        classes.set(bytes.subarray(i * record, i * record + width), (base + i) * width)
        data.set(bytes.subarray(i * record + width, (i + 1) * record), (base + i) * CIFAR_PIXELS)
      }
    }
    await inPieces(records, turns(signal), copy, 500)
    first += records
  }
  const attributes: Attribute[] = []
  for (const { name, size, file } of kind.attributes)
    attributes.push({ name, size, ...(await classNames(join(dirname(paths[0]), file), size)) })
  return { name: kind.name, shape: [3, 32, 32], data, labels: { attributes }, classes }
}

function noBatch(path: string): never {
  throw new FormatError(
    `${path}: no CIFAR-10 batch, nor one of CIFAR-100: expected records of ${KINDS.map(recordOf).join(' or ')} bytes with labels in range`,
    path,
  )
}

/** The names in the file that comes with the batches, when it is there. */
async function classNames(file: string, count: number): Promise<{ values?: string[] }> {
  const values = ((await textOf(file)) ?? '')
    .split('\n')
    .map((line) => line.trim())
    .filter(Boolean)
  return values.length === count ? { values } : {}
}
