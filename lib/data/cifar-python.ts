import { join } from 'node:path'
import { formatFailure } from '../base/errors.js'
import { readFileChecked } from '../base/files.js'
import { Opaque, type PickleHost, unpickle } from '../weights/pickle.js'
import { PickleBudget } from '../weights/pickle-bytes.js'
import { findGlobal } from '../weights/pickle-globals.js'
import { CIFAR_PIXELS } from './cifar.js'
import { allocateBytes } from './content.js'
import type { Attribute, DatasetParts } from './dataset.js'

/** CIFAR-10 and CIFAR-100 as pickles for Python, of dicts with the array `data` and lists of labels. No code of a file is run. */

const NO_BATCH = 'it is a pickle for Python, but no batch of CIFAR (save its arrays as .npy or .npz)'

/** A batch of 10,000 pictures has 31 MB, the whole of CIFAR-100 154. */
const MAX_FILE = 2 ** 28

/** The files of the training half in a folder, by the names of its files; null where it is none of these. */
export function pythonBatches(files: readonly string[]): string[] | null {
  const batches = files.filter((name) => /^data_batch_\d+$/.test(name)).sort()
  if (batches.length > 0) return batches
  return files.includes('train') && files.includes('meta') ? ['train'] : null
}

/** Whether a file is a pickle for Python: a dict by protocol 0, or what begins with the number of a later one. */
export function looksLikePickle(bytes: Uint8Array): boolean {
  return bytes[0] === 0x80 ? bytes[1] >= 2 && bytes[1] <= 5 : latin1(bytes.subarray(0, 2)) === '(d'
}

/** Throws FileError, FormatError. */
export async function readPythonCifar(
  folder: string,
  batches: readonly string[],
  signal?: AbortSignal,
): Promise<DatasetParts> {
  const read: Batch[] = []
  for (const name of batches) read.push(batchOf(await load(join(folder, name), signal), join(folder, name)))
  const [{ labels }] = read
  const names = Object.keys(labels)
  const size = read.reduce((sum, { pixels }) => sum + pixels.length / CIFAR_PIXELS, 0)
  const data = allocateBytes(size * CIFAR_PIXELS, folder)
  const classes = new Int32Array(size * names.length)
  let first = 0
  for (const [i, batch] of read.entries()) {
    const count = batch.pixels.length / CIFAR_PIXELS
    for (const [a, name] of names.entries()) {
      const column = batch.labels[name]
      if (column?.length !== count) formatFailure(join(folder, batches[i]))(`it has not one ${name} for each picture`)
      for (let r = 0; r < count; r++) classes[(first + r) * names.length + a] = column[r]
    }
    data.set(batch.pixels, first * CIFAR_PIXELS)
    first += count
  }
  const meta = await load(join(folder, labels.superclass ? 'meta' : 'batches.meta'), signal).catch(() => new Map())
  const attributes = names.map((name, a): Attribute => {
    const values = textsOf(meta.get(NAMES[name]))
    const largest = classes.reduce((most, c, i) => (i % names.length === a ? Math.max(most, c) : most), 0)
    if (values && values.length > largest) return { name, size: values.length, values }
    // as many as the set has, whichever of them a batch shows
    return { name, size: Math.max(largest + 1, names.length > 1 ? SIZES[name] : 10) }
  })
  return { name: folder, shape: [3, 32, 32], data, labels: { attributes }, classes }
}

interface Batch {
  pixels: Uint8Array
  /** By the attribute's name. */
  labels: Record<string, number[]>
}

/** Lists of names in the file of names, by the attribute. */
const NAMES: Record<string, string> = { superclass: 'coarse_label_names', class: 'label_names' }

/** CIFAR-100's attributes. */
const SIZES: Record<string, number> = { superclass: 20, class: 100 }

async function load(path: string, signal?: AbortSignal): Promise<Map<string, unknown>> {
  const fail: (what: string) => never = formatFailure(path)
  const bytes = await readFileChecked(path, { maxBytes: MAX_FILE, signal })
  const host: PickleHost = { budget: new PickleBudget(), find: findGlobal, fail }
  const { value } = unpickle(bytes, 0, host)
  if (!(value instanceof Map)) return fail(`${NO_BATCH}: expected a dict`)
  const texts = [...value].map(([key, item]) => [key instanceof Uint8Array ? latin1(key) : key, item] as const)
  const dict = new Map<string, unknown>(texts as [string, unknown][])
  if (dict.has('fine_label_names')) dict.set('label_names', dict.get('fine_label_names'))
  return dict
}

const latin1 = (bytes: Uint8Array) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1')

function batchOf(dict: Map<string, unknown>, path: string): Batch {
  const fail: (what: string) => never = formatFailure(path)
  const { shape = [], bytes: pixels } = arrayOf(dict.get('data')) ?? {}
  if (shape.length !== 2 || shape[1] !== CIFAR_PIXELS || pixels?.length !== shape[0] * CIFAR_PIXELS)
    return fail(`${NO_BATCH}: expected data of uint8 [N, ${CIFAR_PIXELS}]`)
  const labels: Record<string, number[]> = {}
  const kinds = { superclass: ['coarse_labels'], class: ['fine_labels', 'labels'] }
  for (const [name, keys] of Object.entries(kinds)) {
    const column = keys.map((key) => indices(dict.get(key))).find((list) => list !== undefined)
    if (column?.every((c) => Number.isSafeInteger(c) && c >= 0 && c < SIZES[name])) labels[name] = column
  }
  if (!labels.class) fail(`${NO_BATCH}: it has no labels that are classes from 0 to ${SIZES.class - 1}`)
  return { pixels, labels }
}

/** An array of NumPy, row-major. */
interface PickledArray {
  shape: number[]
  /** NumPy's name of the type, without the order of its bytes, which is little-endian. */
  type: string
  bytes: Uint8Array
}

/**
 * The array that a pickle describes: by its state (version, shape, type, Fortran order, bytes), where Python 2 writes the bytes as a text,
 * or, since protocol 5, by the call of a function (bytes, type, shape, order). undefined for anything else.
 */
function arrayOf(value: unknown): PickledArray | undefined {
  if (!(value instanceof Opaque)) return undefined
  const buffer = /\.numeric\._frombuffer$/.test(value.type)
  const [shape, dtype, fortran, content] = buffer
    ? [value.args[2], value.args[1], value.args[3] !== 'C', value.args[0]]
    : Array.isArray(value.state)
      ? value.state.slice(1)
      : []
  const bytes = typeof content === 'string' ? Buffer.from(content, 'latin1') : content
  const big = dtype instanceof Opaque && Array.isArray(dtype.state) && dtype.state[1] === '>'
  if (!Array.isArray(shape) || !(dtype instanceof Opaque) || !(bytes instanceof Uint8Array)) return undefined
  return fortran || big ? undefined : { shape, type: String(dtype.args[0]), bytes }
}

/** Class indices as a list, or as an array of integers; undefined for anything else. */
function indices(value: unknown): number[] | undefined {
  if (Array.isArray(value)) return value
  const array = arrayOf(value)
  const read = array && READERS[array.type]
  if (!read || array.shape.length !== 1) return undefined
  const width = Number(array.type[1])
  if (array.bytes.length !== width * array.shape[0]) return undefined
  const view = new DataView(array.bytes.buffer, array.bytes.byteOffset, array.bytes.length)
  return Array.from({ length: array.shape[0] }, (_, i) => read(view, width * i))
}

const READERS: Record<string, (view: DataView, at: number) => number> = {
  u1: (view, at) => view.getUint8(at),
  i4: (view, at) => view.getInt32(at, true),
  i8: (view, at) => Number(view.getBigInt64(at, true)),
}

function textsOf(value: unknown): string[] | undefined {
  if (!Array.isArray(value)) return undefined
  return value.map((text) => (text instanceof Uint8Array ? latin1(text) : String(text)))
}
