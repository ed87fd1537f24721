import { finiteNumber, isList } from '../base/args.js'
import { describe } from '../base/errors.js'

/**
 * log Z(sigma) of an energy whose levels were learnt (docs/levelled.md): -E(x, sigma) - log Z(sigma) = log p_sigma(x). Values at equally spaced
 * ln sigma from ln sigmaMin to ln sigmaMax, linear between them; right up to one constant for all noise levels.
 */
export interface LogNormaliser {
  sigmaMin: number
  sigmaMax: number
  values: number[]
}

/** log Z(sigma). Throws ArgumentError where sigma is out of its range. */
export function logNormaliserAt({ sigmaMin, sigmaMax, values }: LogNormaliser, sigma: number): number {
  finiteNumber('sigma', sigma, { min: sigmaMin, max: sigmaMax })
  return interpolate(values, cellAt(Math.log(sigma), Math.log(sigmaMin), Math.log(sigmaMax), values.length - 1))
}

/** Where a value lies on a grid of equal cells over [min, max]: the cell and how far in it, 0 to 1. */
export function cellAt(value: number, min: number, max: number, cells: number): { cell: number; part: number } {
  const at = ((value - min) / (max - min)) * cells
  const cell = Math.min(cells - 1, Math.max(0, Math.floor(at)))
  return { cell, part: at - cell }
}

export function interpolate(edges: ArrayLike<number>, { cell, part }: { cell: number; part: number }): number {
  return edges[cell]! + part * (edges[cell + 1]! - edges[cell]!)
}

/** Checks what a model's description has; `fail` throws. */
export function parseLogNormaliser(json: unknown, fail: (what: string) => never): LogNormaliser {
  const { sigmaMin, sigmaMax, values } = (json ?? {}) as Partial<LogNormaliser>
  if (!(sigmaMin! > 0) || !(sigmaMin! < sigmaMax!) || !Number.isFinite(sigmaMax))
    return fail(
      `expected a range of noise levels for logNormaliser but it has ${describe(sigmaMin)}, ${describe(sigmaMax)}`,
    )
  if (!isList(values) || values.length < 2 || !values.every(Number.isFinite))
    return fail('expected at least two finite values for logNormaliser')
  return { sigmaMin: sigmaMin!, sigmaMax: sigmaMax!, values }
}
