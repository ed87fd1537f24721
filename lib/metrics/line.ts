import { inPieces } from '../base/turns.js'

/** Distributions on the line, by pieces that leave the event loop its turns however many points there are. */

/** A distribution on the line: points in order, and the mass up to and with each; the last is 1. */
export interface Quantiles {
  points: Float64Array
  mass: Float64Array
}

/** Bits of a number that one pass of the sorting looks at. */
const DIGIT = 11

/** The quantiles of finite numbers, with weights of sum 1 or equal ones. turn: of `turns`. */
export async function quantiles(
  values: Float64Array,
  weights: Float64Array | undefined,
  turn: () => Promise<void>,
): Promise<Quantiles> {
  const n = values.length
  const order = await orderOf(values, turn)
  const [points, mass] = [new Float64Array(n), new Float64Array(n)]
  let sum = 0
  await inPieces(n, turn, (first, end) => {
    let mine = sum
    for (let i = first; i < end; i++) {
      points[i] = values[order[i]]
      mine += weights === undefined ? 0 : weights[order[i]]
      mass[i] = weights === undefined ? (i + 1) / n : Math.min(1, mine)
    }
    sum = mine
  })
  mass[n - 1] = 1
  return { points, mass }
}

/**
 * The indices of numbers in ascending order, equal ones as they stand: a radix sort. The bits of a float64 that is positive have its order as a
 * whole number; those of a negative one the reverse, so all of them are turned, and of a positive one the sign.
 */
async function orderOf(values: Float64Array, turn: () => Promise<void>): Promise<Uint32Array> {
  const n = values.length
  const words = new Uint32Array(values.buffer, values.byteOffset, 2 * n) // the machines here are little-endian: the upper word is the second
  const [low, high] = [new Uint32Array(n), new Uint32Array(n)]
  let [from, to] = [new Uint32Array(n), new Uint32Array(n)]
  await inPieces(n, turn, (first, end) => {
    for (let i = first; i < end; i++) {
      const negative = words[2 * i + 1] >>> 31
      low[i] = words[2 * i] ^ -negative
      high[i] = words[2 * i + 1] ^ (negative ? 0xffffffff : 0x80000000)
      from[i] = i
    }
  })
  for (const keys of [low, high])
    for (let shift = 0; shift < 32; shift += DIGIT) {
      const places = new Uint32Array(2 ** DIGIT + 1)
      const mask = 2 ** DIGIT - 1
      const [source, target] = [from, to]
      await inPieces(n, turn, (first, end) => {
        for (let i = first; i < end; i++) places[((keys[i] >>> shift) & mask) + 1]++
      })
      for (let digit = 1; digit <= mask; digit++) places[digit] += places[digit - 1]
      await inPieces(n, turn, (first, end) => {
        for (let i = first; i < end; i++) target[places[(keys[source[i]] >>> shift) & mask]++] = source[i]
      })
      ;[from, to] = [to, from]
    }
  return from
}

/** Squared 2-Wasserstein distance on the line: the integral over u of the squared difference of the u-quantiles. turn: of `turns`. */
export async function transport(a: Quantiles, b: Quantiles, turn: () => Promise<void>): Promise<number> {
  const [n, m] = [a.points.length, b.points.length]
  let [i, j, done, total] = [0, 0, 0, 0]
  // each step ends a point of one side at least
  await inPieces(n + m, turn, (first, end) => {
    let from = done
    let sum = total
    for (let step = first; step < end && i < n && j < m; step++) {
      const next = Math.min(a.mass[i], b.mass[j])
      sum += (next - from) * (a.points[i] - b.points[j]) ** 2
      from = next
      const endsB = b.mass[j] === next
      if (a.mass[i] === next) i++
      if (endsB) j++
    }
    done = from
    total = sum
  })
  return total
}
