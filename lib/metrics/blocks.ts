import { turns } from '../base/turns.js'

/**
 * Inner products and distances of all pairs of two sets of features, block by block, so that memory stays small. What is done with a block is a
 * function that awaits nothing: one that does is left and entered again at each block, and runs uncompiled for long.
 */

/** Most rows of either side in a block, so that the numbers of both stay in the cache, and products in one: below a millisecond. */
const MOST_ROWS = 128
const PRODUCTS = 2 ** 20

/** Values of the pairs (first + i, second + j) at [i * columns + j], i < rows, j < columns. */
export interface Block {
  first: number
  rows: number
  second: number
  columns: number
  /** Used again for the next block. */
  values: Float64Array
}

/**
 * out[i * n + j] = sum_k a[i, k] b[j, k] of a [m, d] and b [n, d]. Every sum runs over k in order, so equal rows give equal products.
 * Four by four rows at a time: each number that is read serves four products.
 */
export function innerProducts(
  a: Float64Array,
  m: number,
  b: Float64Array,
  n: number,
  d: number,
  out: Float64Array,
): void {
  const [m4, n4] = [m & ~3, n & ~3]
  for (let i = 0; i < m4; i += 4) {
    const [a0, a1, a2, a3] = [i * d, (i + 1) * d, (i + 2) * d, (i + 3) * d]
    for (let j = 0; j < n4; j += 4) {
      const [b0, b1, b2, b3] = [j * d, (j + 1) * d, (j + 2) * d, (j + 3) * d]
      // each by itself: V8 boxes numbers that come out of a pattern
      let s00 = 0
      let s01 = 0
      let s02 = 0
      let s03 = 0
      let s10 = 0
      let s11 = 0
      let s12 = 0
      let s13 = 0
      let s20 = 0
      let s21 = 0
      let s22 = 0
      let s23 = 0
      let s30 = 0
      let s31 = 0
      let s32 = 0
      let s33 = 0
      for (let k = 0; k < d; k++) {
        const x0 = a[a0 + k]
        const x1 = a[a1 + k]
        const x2 = a[a2 + k]
        const x3 = a[a3 + k]
        const y0 = b[b0 + k]
        const y1 = b[b1 + k]
        const y2 = b[b2 + k]
        const y3 = b[b3 + k]
        s00 += x0 * y0
        s01 += x0 * y1
        s02 += x0 * y2
        s03 += x0 * y3
        s10 += x1 * y0
        s11 += x1 * y1
        s12 += x1 * y2
        s13 += x1 * y3
        s20 += x2 * y0
        s21 += x2 * y1
        s22 += x2 * y2
        s23 += x2 * y3
        s30 += x3 * y0
        s31 += x3 * y1
        s32 += x3 * y2
        s33 += x3 * y3
      }
      const at = i * n + j
      out[at] = s00
      out[at + 1] = s01
      out[at + 2] = s02
      out[at + 3] = s03
      out[at + n] = s10
      out[at + n + 1] = s11
      out[at + n + 2] = s12
      out[at + n + 3] = s13
      out[at + 2 * n] = s20
      out[at + 2 * n + 1] = s21
      out[at + 2 * n + 2] = s22
      out[at + 2 * n + 3] = s23
      out[at + 3 * n] = s30
      out[at + 3 * n + 1] = s31
      out[at + 3 * n + 2] = s32
      out[at + 3 * n + 3] = s33
    }
  }
  // the rows that are left over at the two ends
  for (let i = 0; i < m; i++) for (let j = i < m4 ? n4 : 0; j < n; j++) out[i * n + j] = inner(a, i * d, b, j * d, d)
}

function inner(a: Float64Array, from: number, b: Float64Array, at: number, d: number): number {
  let sum = 0
  for (let k = 0; k < d; k++) sum += a[from + k] * b[at + k]
  return sum
}

/**
 * Inner products of all rows of a and b, [n, dim] each; b null: of a with itself. upper, for symmetric products: only the blocks on and
 * above the diagonal (second >= first), where those on it are complete; so it is of a with itself.
 */
export async function* innerBlocks(
  a: Float32Array | Float64Array,
  b: Float32Array | Float64Array | null,
  dim: number,
  signal?: AbortSignal,
  upper = b === null,
): AsyncGenerator<Block> {
  const other = b ?? a
  const [m, n] = [a.length / dim, other.length / dim]
  const breath = turns(signal)
  const side = Math.max(4, Math.min(MOST_ROWS, Math.floor(Math.sqrt(PRODUCTS / dim)) & ~3))
  const [left, right] = [new Float64Array(side * dim), new Float64Array(side * dim)]
  const values = new Float64Array(side * side)
  for (let first = 0; first < m; first += side) {
    const rows = Math.min(side, m - first)
    left.set(a.subarray(first * dim, (first + rows) * dim))
    for (let second = upper ? first : 0; second < n; second += side) {
      const columns = Math.min(side, n - second)
      right.set(other.subarray(second * dim, (second + columns) * dim))
      innerProducts(left, rows, right, columns, dim, values)
      yield { first, rows, second, columns, values }
      await breath()
    }
  }
}

/** Squared distances |a_i|^2 + |b_j|^2 - 2 <a_i, b_j> in the same blocks; exactly 0 for equal rows. */
export async function* distanceBlocks(
  a: Float32Array,
  b: Float32Array | null,
  dim: number,
  signal?: AbortSignal,
): AsyncGenerator<Block> {
  const left = squaredNorms(a, dim)
  const right = b === null ? left : squaredNorms(b, dim)
  for await (const block of innerBlocks(a, b, dim, signal)) {
    toSquares(block, left, right)
    yield block
  }
}

function toSquares({ first, rows, second, columns, values }: Block, left: Float64Array, right: Float64Array): void {
  for (let i = 0; i < rows; i++)
    for (let j = 0; j < columns; j++) {
      const at = i * columns + j
      values[at] = Math.max(0, left[first + i] + right[second + j] - 2 * values[at])
    }
}

function squaredNorms(x: Float32Array, dim: number): Float64Array {
  const norms = new Float64Array(x.length / dim)
  for (let i = 0; i < norms.length; i++) {
    let sum = 0
    for (let k = i * dim; k < (i + 1) * dim; k++) sum += x[k] * x[k]
    norms[i] = sum
  }
  return norms
}

/** Puts kernel(value) in the place of the first `count` values: a whole block in one call, as a call for each would box its number. */
export type Kernel = (values: Float64Array, count: number) => void

/** sum_ij w_i v_j kernel(value_ij) over the blocks of two sets. */
export async function sumBetween(
  blocks: AsyncIterable<Block>,
  kernel: Kernel,
  w: Float64Array,
  v: Float64Array,
): Promise<number> {
  let sum = 0
  for await (const block of blocks) {
    kernel(block.values, block.rows * block.columns)
    sum += weightedSum(block, w, v, false)
  }
  return sum
}

/** sum over i != j of w_i w_j kernel(value_ij), over the blocks of one set with itself. */
export async function sumWithin(blocks: AsyncIterable<Block>, kernel: Kernel, w: Float64Array): Promise<number> {
  let sum = 0
  for await (const block of blocks) {
    kernel(block.values, block.rows * block.columns)
    sum += 2 * weightedSum(block, w, w, block.first === block.second)
  }
  return sum
}

/** sum_ij w_i v_j value_ij of a block; above: of the pairs i < j alone. */
function weightedSum(
  { first, rows, second, columns, values }: Block,
  w: Float64Array,
  v: Float64Array,
  above: boolean,
): number {
  let sum = 0
  for (let i = 0; i < rows; i++) {
    let row = 0
    for (let j = above ? i + 1 : 0; j < columns; j++) row += v[second + j] * values[i * columns + j]
    sum += w[first + i] * row
  }
  return sum
}
