import { philox, purpose, uniformAt } from './random.js'

/**
 * Which sample stands at which place of a run, which are flipped and which labels are left out: pure functions of the
 * seed and of the place, so that a resumed run needs only its step.
 */

const shuffles = 0xffffffff // particle number of the permutation's keys: no row of a batch has it

/** Mixes the bits of a 32-bit word (the finaliser of MurmurHash3); signed, as V8 boxes what is above 2^31. */
function mix(word: number): number {
  let h = word
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return h ^ (h >>> 16)
}

/**
 * A seeded permutation of 0..n-1 without a table: eight Feistel rounds on the smallest even number of bits that holds n,
 * repeated until the result falls below n (cycle walking; Black & Rogaway 2002).
 */
export function permutation(seed: number, epoch: number, n: number): (position: number) => number {
  const keys = [0, 1].flatMap((block) => philox(seed, purpose.data, epoch, shuffles, block))
  const half = Math.max(1, Math.ceil(Math.log2(Math.max(2, n)) / 2))
  const size = 2 ** half
  return (position) => {
    let index = position
    do {
      let left = Math.floor(index / size)
      let right = index % size
      for (const key of keys) {
        const next = (left ^ mix(right ^ key)) & (size - 1)
        left = right
        right = next
      }
      index = left * size + right
    } while (index >= n)
    return index
  }
}

/** Indices of the samples of step `step` (from 1): every epoch passes once over all n in a new order. */
export function batchIndices(seed: number, step: number, batchSize: number, n: number): Int32Array {
  const indices = new Int32Array(batchSize)
  let position = (step - 1) * batchSize
  let epoch = -1
  let order = permutation(seed, 0, n)
  for (let row = 0; row < batchSize; row++, position++) {
    if (Math.floor(position / n) !== epoch) {
      epoch = Math.floor(position / n)
      order = permutation(seed, epoch, n)
    }
    indices[row] = order(position % n)
  }
  return indices
}

/** Whether the sample in this row of this step is mirrored left to right: one fair coin each. */
export function flipped(seed: number, step: number, row: number): boolean {
  return uniformAt(seed, purpose.data, step, row, 0) >= 0.5
}

/** Mirrors one image [channels, height, width] in place; `width` is the extent of its last axis. */
export function mirror(image: Float32Array, width: number): void {
  for (let line = 0; line < image.length; line += width)
    for (let left = line, right = line + width - 1; left < right; left++, right--) {
      const pixel = image[left]!
      image[left] = image[right]!
      image[right] = pixel
    }
}

/** Mirrored left to right (1), top to bottom (2), with the axes exchanged (4), and all of these together. */
export function turnsOf([, height, width]: readonly number[]): number {
  if (height === undefined || width === undefined) return 0
  return height === width ? 7 : 3
}

/** How the sample in this row of this step is turned: one of `turns` with the given probability, 0 for not at all. */
export function turnAt(turns: number, probability: number, seed: number, step: number, row: number): number {
  if (uniformAt(seed, purpose.data, step, row, 1) >= probability) return 0
  return 1 + Math.floor(turns * uniformAt(seed, purpose.data, step, row, 2))
}

/** Turns one image [channels, height, width] in place; the axes of a square alone can be exchanged. */
export function turnImage(image: Float32Array, [channels, height, width]: readonly number[], turn: number): void {
  const [h, w, from] = [height!, width!, image.slice()]
  for (let c = 0; c < channels!; c++)
    for (let y = 0; y < h; y++)
      for (let x = 0; x < w; x++) {
        const [row, column] = [turn & 2 ? h - 1 - y : y, turn & 1 ? w - 1 - x : x]
        image[(c * h + y) * w + x] = from[c * h * w + (turn & 4 ? column * w + row : row * w + column)]!
      }
}

/**
 * Zeroes each block of one sample's label vector independently with the given probability, so that one network learns
 * each attribute alone, every combination of them, and none. blocks: the lengths of the blocks, in order.
 */
export function dropLabels(
  label: Float32Array,
  blocks: readonly number[],
  probability: number,
  seed: number,
  step: number,
  row: number,
): void {
  let at = 0
  blocks.forEach((size, block) => {
    if (uniformAt(seed, purpose.dropLabel, step, row, block) < probability) label.fill(0, at, at + size)
    at += size
  })
}
