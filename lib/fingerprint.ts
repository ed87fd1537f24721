import { createHash } from 'node:crypto'
import { setImmediate as breathe } from 'node:timers/promises'
import type { Dataset } from './data/dataset.js'
import { encodeLabel, labelDim } from './data/dataset.js'
import type { NetworkWeights } from './models/model-file.js'
import { run } from './native.js'

/** Short texts by which a resumed run knows its data and its teacher again. */

/** Tells data sets apart by size, shape, labels and their first samples, or by what those were made of. */
export async function fingerprintData(data: Dataset): Promise<string> {
  const count = Math.min(16, data.size)
  const width = data.shape.reduce((a, b) => a * b, 1)
  const x0 = new Float32Array(count * width)
  const dim = labelDim(data.labels)
  const labels = new Float32Array(count * dim)
  for (let i = 0; i < count; i++) {
    data.read(i, x0, i * width)
    if (data.labels) encodeLabel(data.labels, data.label(i), labels, i * dim)
  }
  const hash = createHash('sha256').update(data.origin ?? new Uint8Array(x0.buffer))
  if (data.labels) hash.update(new Uint8Array(labels.buffer))
  return `${data.size} samples of ${data.shape.join('x')} (${hash.digest('hex').slice(0, 12)})`
}

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
