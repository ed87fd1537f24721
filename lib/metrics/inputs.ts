import { integer } from '../args.js'
import { ArgumentError, invalid } from '../errors.js'

/** Checks of what metrics take: features [n, dim] in one array, row after row, and weights of the rows. */

/** Number of rows, all finite. least: how many there must be. Throws ArgumentError. */
export function countRows(name: string, features: Float32Array, dim: number, least = 1): number {
  integer('dim', dim, 1)
  if (!(features instanceof Float32Array) || features.length % dim !== 0)
    throw invalid(name, `a Float32Array whose length is a multiple of dim = ${dim}`, features)
  const rows = features.length / dim
  if (rows < least) throw new ArgumentError(`expected at least ${least} samples for ${name} but received ${rows}`)
  for (let i = 0; i < features.length; i++)
    if (!Number.isFinite(features[i]))
      throw new ArgumentError(`expected finite features for ${name} but number ${i} is ${features[i]}`)
  return rows
}

/** Weights of n rows with sum 1; equal ones where none are given. Throws ArgumentError. */
export function normalisedWeights(name: string, weights: Float64Array | undefined, n: number): Float64Array {
  if (weights === undefined) return new Float64Array(n).fill(1 / n)
  if (!(weights instanceof Float64Array) || weights.length !== n)
    throw invalid(name, `a Float64Array of length ${n}`, weights)
  const wrong = weights.find((w) => !(w >= 0 && w < Infinity))
  if (wrong !== undefined) throw invalid(name, 'finite weights of at least 0', wrong)
  const sum = weights.reduce((a, b) => a + b)
  if (!(sum > 0 && sum < Infinity)) throw invalid(name, 'weights with a positive, finite sum', sum)
  return weights.map((w) => w / sum)
}

/** The rows order(first), ..., order(first + count - 1). */
export function rowsAt(
  x: Float32Array,
  dim: number,
  order: (position: number) => number,
  first: number,
  count: number,
): Float32Array {
  const out = new Float32Array(count * dim)
  for (let i = 0; i < count; i++) {
    const row = order(first + i)
    out.set(x.subarray(row * dim, (row + 1) * dim), i * dim)
  }
  return out
}
