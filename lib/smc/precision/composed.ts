import { sizeOf } from '../../base/shape.js'
import type { Basis, EnergyFunction, PrecisionTable } from '../energy-function.js'
import { nameOf } from '../evaluation.js'
import { basisOf } from './calibration.js'

/** Precisions of composed densities. Precisions of independent factors add up, and so are those of a composition taken to do. */

/** h = sum_j exponents_j h_j; undefined where a model has no table, or the tables are not in one basis. */
export function summedPrecisions(
  models: readonly EnergyFunction[],
  exponents: ArrayLike<number>,
): PrecisionTable | undefined {
  const tables = models.map(({ calibration }) => calibration)
  const basis = tables[0]?.basis
  if (basis === undefined || !tables.every((table) => table?.basis === basis)) return undefined
  return {
    basis,
    precisionAt(sigma, noise) {
      const h = new Float64Array(sizeOf(models[0].shape))
      for (const [j, table] of tables.entries())
        for (const [i, precision] of table!.precisionAt(sigma, noise).entries()) h[i] += exponents[j] * precision
      return h
    },
  }
}

/**
 * Those of a mixture: h is the mean of its parts' by their weights, and noise adds to it as to one density to the power lambda, whose
 * backward kernel has the variance (s^2 - s'^2) / lambda.
 */
export function mixedPrecisions(
  models: readonly EnergyFunction[],
  weights: readonly number[],
  lambda: number,
): PrecisionTable | undefined {
  const total = weights.reduce((a, b) => a + b, 0)
  const mean = summedPrecisions(
    models,
    weights.map((w) => w / total),
  )
  return (
    mean && {
      basis: mean.basis,
      precisionAt: (sigma, noise = sigma) =>
        mean.precisionAt(sigma).map((h) => 1 / (1 / h + (noise * noise - sigma * sigma) / lambda)),
    }
  )
}

/**
 * Those of a noised soft box, by what it is by itself, a uniform density between its bounds under Gaussian noise of variance
 * t^2 = softness^2 + sigma^2: of width w t its mean precision is about 1 / (t^2 sqrt(1 + w^2 / 6)), exact for narrow ones, within 40 % for
 * wide ones. Cosines see the mean over the image's values. None where a coordinate has one wall: then it is the other models that say how
 * much of the density is near it.
 */
export function boxPrecisions(
  shape: readonly number[],
  lower: Float64Array,
  upper: Float64Array,
  softness: number,
): PrecisionTable | undefined {
  if (lower.some((l, i) => Number.isFinite(l) !== Number.isFinite(upper[i]))) return undefined
  const basis: Basis = basisOf(shape)
  return {
    basis,
    precisionAt(sigma, noise = sigma) {
      const t2 = softness * softness + sigma * sigma
      const added = noise * noise - sigma * sigma
      const h = lower.map((l, i) => 1 / (t2 * Math.sqrt(1 + (upper[i] - l) ** 2 / (6 * t2)) + added))
      return basis === 'identity' ? h : h.fill(h.reduce((sum, v) => sum + v, 0) / h.length)
    },
  }
}

/** The first model within a target that has no table, by its name. */
export function uncalibrated(energy: EnergyFunction): string | undefined {
  if (energy.calibration) return undefined
  const { models } = energy as { models?: readonly EnergyFunction[] }
  for (const model of models ?? []) {
    const name = uncalibrated(model)
    if (name !== undefined) return name
  }
  return nameOf(energy)
}
