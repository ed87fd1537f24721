/**
 * Counter-based random numbers, the twin of native/kernels/common/random.h: Philox4x32-10 (Salmon et al. 2011). A number is a
 * pure function of (seed, purpose, step, particle, index), so nothing has to be kept to go on with a run.
 */

/** What a stream is for: two purposes never share numbers. The values are random.h's. */
export const purpose = {
  noise: 1,
  sigma: 2,
  dropLabel: 3,
  data: 4,
  init: 5,
  start: 6,
  propose: 7,
  resample: 8,
  moment: 9,
  accept: 10,
  user: 11,
  calibrate: 15,
  levels: 16,
  walk: 17,
  ownStates: 18,
  ownPaths: 19,
  sharpened: 20,
} as const

/** High 32 bits of the product of two unsigned 32-bit numbers, in halves that stay exact in a double. */
function multiplyHigh(a: number, b: number): number {
  const al = a & 0xffff
  const ah = a >>> 16
  const bl = b & 0xffff
  const bh = b >>> 16
  const middle = ah * bl + ((al * bl) >>> 16)
  const carry = al * bh + (middle % 65536)
  return (ah * bh + Math.floor(middle / 65536) + Math.floor(carry / 65536)) >>> 0
}

/** One block of four 32-bit words for a counter of four and a key of two words. */
export function philox4x32(
  counter: readonly [number, number, number, number],
  key: readonly [number, number],
): [number, number, number, number] {
  let [c0, c1, c2, c3] = counter
  let [k0, k1] = key
  for (let round = 0; round < 10; round++) {
    const h0 = multiplyHigh(0xd2511f53, c0)
    const l0 = Math.imul(0xd2511f53, c0) >>> 0
    const h1 = multiplyHigh(0xcd9e8d57, c2)
    const l1 = Math.imul(0xcd9e8d57, c2) >>> 0
    c0 = (h1 ^ c1 ^ k0) >>> 0
    c1 = l1
    c2 = (h0 ^ c3 ^ k1) >>> 0
    c3 = l0
    k0 = (k0 + 0x9e3779b9) >>> 0
    k1 = (k1 + 0xbb67ae85) >>> 0
  }
  return [c0, c1, c2, c3]
}

/** The block of random.h's `philox`; seed: an integer from 0 to 2^53 - 1. */
export function philox(seed: number, purpose: number, step: number, particle: number, block: number) {
  return philox4x32([block, particle, step, purpose], [seed >>> 0, Math.floor(seed / 2 ** 32)])
}

/** Uniform in (0, 1) with 52 bits, number `index` of a stream; never 0 or 1. */
export function uniformAt(seed: number, purpose: number, step: number, particle: number, index: number): number {
  const words = philox(seed, purpose, step, particle, index >>> 1)
  const at = index % 2 ? 2 : 0
  return (words[at]! * 2 ** 20 + (words[at + 1]! >>> 12) + 0.5) * 2 ** -52
}
