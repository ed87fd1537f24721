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

/** A batch of 10,000 pictures has 31 MB, the whole of CIFAR-100 154. */
const MAX_FILE = 2 ** 28

/** The files of the training half in a folder, by the names of its files; null where it is none of these. */
export function pythonBatches(files: readonly string[]): string[] | null {
  const batches = files.filter((name) => /^data_batch_\d+$/.test(name)).sort()
  if (batches.length > 0) return batches
  return files.includes('train') && files.includes('meta') ? ['train'] : null
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
  const meta = await load(join(folder, batches[0] === 'train' ? 'meta' : 'batches.meta'), signal).catch(() => new Map())
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

/** Of CIFAR-100. */
const SIZES: Record<string, number> = { superclass: 20, class: 100 }

async function load(path: string, signal?: AbortSignal): Promise<Map<string, unknown>> {
  const fail: (what: string) => never = formatFailure(path)
  const bytes = await readFileChecked(path, { maxBytes: MAX_FILE, signal })
  const host: PickleHost = { budget: new PickleBudget(), find: findGlobal, fail }
  const { value } = unpickle(bytes, 0, host)
  if (!(value instanceof Map)) return fail('no batch of CIFAR for Python: expected a dict')
  const texts = [...value].map(([key, item]) => [key instanceof Uint8Array ? latin1(key) : key, item] as const)
  const dict = new Map<string, unknown>(texts as [string, unknown][])
  if (dict.has('fine_label_names')) dict.set('label_names', dict.get('fine_label_names'))
  return dict
}

const latin1 = (bytes: Uint8Array) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1')

function batchOf(dict: Map<string, unknown>, path: string): Batch {
  const fail: (what: string) => never = formatFailure(path)
  const array = dict.get('data')
  // ndarray: its state is (version, shape, dtype, Fortran order, bytes), which Python 2 writes as a text
  const state = array instanceof Opaque && Array.isArray(array.state) ? array.state : []
  const [, shape, , fortran, content] = state
  const pixels = typeof content === 'string' ? Buffer.from(content, 'latin1') : content
  const whole = Array.isArray(shape) && shape.length === 2 && shape[1] === CIFAR_PIXELS && fortran === false
  if (!whole || !(pixels instanceof Uint8Array) || pixels.length !== shape[0] * CIFAR_PIXELS)
    return fail('no batch of CIFAR for Python: expected data of uint8 [N, 3072]')
  const labels: Record<string, number[]> = {}
  const kinds = { superclass: ['coarse_labels'], class: ['fine_labels', 'labels'] }
  for (const [name, keys] of Object.entries(kinds)) {
    const column = keys.map((key) => dict.get(key)).find(Array.isArray)
    if (column?.every((c) => Number.isSafeInteger(c) && c >= 0 && c < 100)) labels[name] = column
  }
  if (!labels.class) fail('no batch of CIFAR for Python: it has no labels')
  return { pixels, labels }
}

function textsOf(value: unknown): string[] | undefined {
  if (!Array.isArray(value)) return undefined
  return value.map((text) => (text instanceof Uint8Array ? latin1(text) : String(text)))
}
