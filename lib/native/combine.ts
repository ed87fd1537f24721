import { native, run } from './addon.js'
import type { Noise } from './particle-ops.js'
import type { Space } from './space.js'
import type { Floats } from './types.js'

/** Sums of the particles' arrays, [rows, d] each. */

interface Place {
  /** Where the result is put. */
  space: Space
  rows: number
  signal?: AbortSignal
}

/** sum_j coefficients[j] terms[j], and noise where it is given: a new array. */
export async function combined(
  { space, rows, signal }: Place,
  terms: readonly Floats[],
  coefficients: Iterable<number>,
  noise?: Noise,
): Promise<Floats> {
  const out = space.floats(terms[0]!.length)
  const request = { out, terms, coefficients: Float64Array.from(coefficients), rows, ...(noise && { noise }) }
  await run(() => native.combine(request), signal)
  return out
}

const nothing = { terms: [], coefficients: new Float64Array(0) }

/** Fills `out` with draws of N(0, std^2). */
export async function drawNormals(out: Floats, rows: number, noise: Noise, signal?: AbortSignal): Promise<void> {
  await run(() => native.combine({ out, ...nothing, rows, noise }), signal)
}

/** Fills `out` with zeros. */
export async function clear(out: Floats, rows: number, signal?: AbortSignal): Promise<void> {
  await run(() => native.combine({ out, ...nothing, rows }), signal)
}
