import { float32Array, float64Array, held, integer } from '../base/args.js'
import { ArgumentError, invalid } from '../base/errors.js'
import { inPieces, turns } from '../base/turns.js'

/** Checks of what metrics take: features [n, dim] in one array, row after row, and weights of the rows. */

/** A copy of features (args.ts), all finite, in whole rows. least: how many rows there must be. Throws ArgumentError. */
export async function heldRows(
  name: string,
  features: Float32Array,
  dim: number,
  least = 1,
  signal?: AbortSignal,
): Promise<Float32Array> {
  integer('dim', dim, 1)
  if (float32Array(name, features).length % dim !== 0)
    throw invalid(name, `a Float32Array whose length is a multiple of dim = ${dim}`, features)
  const rows = features.length / dim
  if (rows < least) throw new ArgumentError(`expected at least ${least} samples for ${name} but received ${rows}`)
  const own = await held(name, features, signal)
  await inPieces(own.length, turns(signal), (first, end) => {
    for (let i = first; i < end; i++)
      if (!Number.isFinite(own[i]))
        throw new ArgumentError(`expected finite features for ${name} but number ${i} is ${own[i]}`)
  })
  return own
}

/** A copy of the weights that a caller gives, if any: they may go while his features are read. Throws ArgumentError. */
export function ownWeights(name: string, weights: Float64Array | undefined): Float64Array | undefined {
  return weights === undefined ? undefined : new Float64Array(float64Array(name, weights))
}

/** Weights of n rows with sum 1; equal ones where none are given. Throws ArgumentError. */
export function normalisedWeights(name: string, weights: Float64Array | undefined, n: number): Float64Array {
  if (weights === undefined) return new Float64Array(n).fill(1 / n)
  float64Array(name, weights, n)
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
