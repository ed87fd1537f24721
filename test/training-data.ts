import { uniformAt } from '../lib/base/random.js'
import { MemoryDataset } from '../lib/data/dataset.js'

/** Small data sets for the tests of training. */

/** n points of an axis-aligned Gaussian in the plane: x ~ N((0.5, -0.3), diag(0.6^2, 0.2^2)). */
export const gaussian = { mean: [0.5, -0.3], deviation: [0.6, 0.2] } as const

export function gaussianPoints(n: number): MemoryDataset {
  const data = new Float32Array(2 * n)
  for (let i = 0; i < n; i++) {
    const radius = Math.sqrt(-2 * Math.log(uniformAt(1, 11, 0, i, 0)))
    const angle = 2 * Math.PI * uniformAt(1, 11, 0, i, 1)
    data[2 * i] = gaussian.mean[0] + gaussian.deviation[0] * radius * Math.cos(angle)
    data[2 * i + 1] = gaussian.mean[1] + gaussian.deviation[1] * radius * Math.sin(angle)
  }
  return new MemoryDataset({ name: 'gaussian', shape: [2], data, labels: null })
}

/** n random grey images of 8x8 with two attributes, for runs that must repeat bit by bit. */
export function labelledImages(n: number): MemoryDataset {
  const data = new Uint8Array(64 * n)
  const classes = new Int32Array(2 * n)
  for (let i = 0; i < n; i++) {
    classes[2 * i] = i % 2
    classes[2 * i + 1] = i % 3
    for (let at = 0; at < 64; at++) data[64 * i + at] = 60 * (i % 2) + 50 * (i % 3) + 80 * uniformAt(2, 11, 0, i, at)
  }
  const attributes = [
    { name: 'first', size: 2 },
    { name: 'second', size: 3 },
  ]
  return new MemoryDataset({ name: 'images', shape: [1, 8, 8], data, labels: { attributes }, classes })
}
