import { createHash, type Hash } from 'node:crypto'
import { setImmediate as breathe } from 'node:timers/promises'
import { sizeOf } from '../base/shape.js'
import { run } from '../native/addon.js'
import type { NetworkWeights } from '../native/types.js'
import type { Dataset } from './dataset.js'
import { encodeLabel, labelDim } from './dataset.js'

/** Short texts by which a resumed run knows its data and its teacher again. */

/** Numbers that are read and hashed between two turns of the event loop: about a millisecond. */
const PIECE = 2 ** 18

/** Tells data sets apart by size, shape, labels and all of their samples, or by what those were made of. */
export async function fingerprintData(data: Dataset): Promise<string> {
  const hash = createHash('sha256')
  const { labels, origin } = data
  if (origin !== undefined) hash.update(origin)
  const width = sizeOf(data.shape)
  const dim = labelDim(labels)
  const rows = Math.max(1, Math.floor(PIECE / (width + dim)))
  const [x0, vectors] = [new Float32Array(rows * width), new Float32Array(rows * dim)]
  for (let first = 0; first < data.size; first += rows) {
    const count = Math.min(rows, data.size - first)
    for (let i = 0; i < count; i++) {
      if (origin === undefined) data.read(first + i, x0, i * width)
      if (labels) encodeLabel(labels, data.label(first + i), vectors, i * dim)
    }
    if (origin === undefined) hash.update(bytesOf(x0, count * width))
    if (labels) hash.update(bytesOf(vectors, count * dim))
    await breathe()
  }
  return described(data, hash)
}

/** Samples that checkpoints of before knew their data by. */
const FIRST = 16

export function fingerprintFirst(data: Dataset): string {
  const { labels, origin } = data
  const count = Math.min(FIRST, data.size)
  const width = sizeOf(data.shape)
  const dim = labelDim(labels)
  const [x0, vectors] = [new Float32Array(count * width), new Float32Array(count * dim)]
  for (let i = 0; i < count; i++) {
    data.read(i, x0, i * width)
    if (labels) encodeLabel(labels, data.label(i), vectors, i * dim)
  }
  const hash = createHash('sha256').update(origin ?? bytesOf(x0, x0.length))
  if (labels) hash.update(bytesOf(vectors, vectors.length))
  return described(data, hash)
}

/**
 * The fingerprint of the data of a run. Where the options in its checkpoint know them by the first samples alone, as those of before do, they are told
 * by these, with a warning, and the options have the whole fingerprint from then on.
 */
export async function fingerprintFor(data: Dataset, stored: { data: string } | undefined): Promise<string> {
  const fingerprint = await fingerprintData(data)
  if (stored && stored.data !== fingerprint && stored.data === fingerprintFirst(data)) {
    const what = `the checkpoint is of an older version, which knew its data by their first ${FIRST} samples: only those were compared`
    process.emitWarning(what, 'FeynkacWarning')
    stored.data = fingerprint
  }
  return fingerprint
}

const described = (data: Dataset, hash: Hash) =>
  `${data.size} samples of ${data.shape.join('x')} (${hash.digest('hex').slice(0, 12)})`

const bytesOf = (values: Float32Array, count: number) => new Uint8Array(values.buffer, values.byteOffset, 4 * count)

export async function fingerprintNetwork(network: NetworkWeights): Promise<string> {
  const values = new Float32Array(network.parameterCount())
  await run(() => network.read('params', values))
  const hash = createHash('sha256')
  const piece = 2 ** 19
  for (let at = 0; at < values.length; at += piece) {
    const part = values.subarray(at, at + piece)
    hash.update(new Uint8Array(part.buffer, part.byteOffset, part.byteLength))
    await breathe()
  }
  return `${values.length} weights (${hash.digest('hex').slice(0, 12)})`
}
