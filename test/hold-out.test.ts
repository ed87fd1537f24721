import { expect, test } from 'vitest'
import { MemoryDataset } from '../lib/data/dataset.js'
import { holdOut, splitData } from '../lib/training/hold-out.js'

/** Parts of a data set: its samples, each in one of them, and what is known of them. */

test('parts of latents are latents with their decoder, and no sample is in two', () => {
  const decoder = { shape: [1, 4, 4], decode: async (latents: Float32Array) => latents }
  const data = new MemoryDataset({
    ...{ name: 'latents', shape: [1, 1, 1], data: Float32Array.from({ length: 40 }, (_, i) => i), labels: null },
    ...{ latent: true, decoder, origin: 'all of them' },
  })
  const parts = splitData(data, [0.5, 0.25, 0.25], 3)
  expect(parts.map(({ size }) => size)).toEqual([20, 10, 10])
  const { training, held } = holdOut(data, 0.1, 3)
  for (const part of [...parts, training]) {
    expect(part).toMatchObject({ latent: true, shape: [1, 1, 1] })
    expect(part.decoder).toBe(decoder)
    expect(part.origin).toBeUndefined()
  }
  const read = (part: typeof training) =>
    Array.from({ length: part.size }, (_, i) => {
      const out = new Float32Array(1)
      part.read(i, out, 0)
      return out[0]
    })
  const all = Array.from({ length: 40 }, (_, i) => i)
  expect(parts.flatMap(read).sort((a, b) => a - b)).toEqual(all)
  expect([...read(training), ...held].sort((a, b) => a - b)).toEqual(all)
})
