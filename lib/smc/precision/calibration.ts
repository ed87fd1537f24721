import { finiteNumber, numberList } from '../../base/args.js'
import { invalid } from '../../base/errors.js'
import { sizeOf } from '../../base/shape.js'
import type { Basis, Consistency, PrecisionTable } from '../energy-function.js'

/**
 * Tables of mean precisions (docs/concepts/precision-tables.md). The density p of an energy at noise s has, in coordinate i of an
 * orthonormal basis, the mean precision
 *
 *   h_i(s) = E[(d_i log p_s)^2] = E[-d_ii log p_s] = 1 / (V_i(s) + s^2),   0 <= V_i(s) <= Var(x0_i),
 *
 * and V_i grows with s: d(1/h_i)/d(s^2) >= E[(d_ii log p_s)^2] / h_i^2 >= 1. For a Gaussian V_i is its variance. What is kept is V.
 */

/** Largest side of an image that has a cosine transform here. */
const MAX_SIDE = 4096

/** Images [channels, height, width] are kept in the 2-D DCT basis, which nearly decorrelates them; others in their coordinates. */
export function basisOf(shape: readonly number[]): Basis {
  return shape.length === 3 && shape[1] <= MAX_SIDE && shape[2] <= MAX_SIDE ? 'dct' : 'identity'
}

/** Coordinates whose precisions are one number: group of every value of a sample, and how many groups there are. */
export interface Groups {
  readonly of: Int32Array
  readonly count: number
  /** The radii between the bands, for groups of frequencies. */
  readonly edges?: readonly number[]
}

/**
 * Bands of equal frequency, of every channel its own: by the radius max(H, W) sqrt((u/H)^2 + (v/W)^2), the constant alone, then
 * the lowest four whole numbers, then in steps of a factor 1.3.
 * @param given the radii between the bands, if not these
 */
export function frequencyBands(shape: readonly number[], given?: readonly number[]): Groups {
  const [channels, height, width] = shape
  const side = Math.max(height, width)
  const radius = (u: number, v: number) => side * Math.hypot(u / height, v / width)
  const edges = given?.slice() ?? [0.5, 1.5, 2.5, 3.5, 4.5]
  const last = radius(height - 1, width - 1)
  while (!given && edges.at(-1)! * 1.3 < last) edges.push(Number((edges.at(-1)! * 1.3).toPrecision(6)))
  const bands = edges.length + 1
  const of = new Int32Array(sizeOf(shape))
  let i = 0
  for (let c = 0; c < channels; c++)
    for (let u = 0; u < height; u++)
      for (let v = 0; v < width; v++) of[i++] = c * bands + edges.filter((edge) => edge <= radius(u, v)).length
  return { of, count: channels * bands, edges }
}

/** Every coordinate by itself, or the groups of a vector's coordinates that `pool` numbers from 0. Throws ArgumentError. */
export function coordinateGroups(d: number, pool?: ArrayLike<number>): Groups {
  if (pool === undefined) return { of: Int32Array.from({ length: d }, (_, i) => i), count: d }
  const given = numberList('pool', pool, { min: 0 })
  const of = Int32Array.from(given)
  if (of.length !== d || of.some((g, i) => g !== given[i] || g >= d))
    throw invalid('pool', `${d} groups, numbered from 0`, pool)
  return { of, count: Math.max(...of) + 1 }
}

/** What a table holds. */
export interface CalibrationData {
  /** Shape of a sample. */
  shape: readonly number[]
  groups: Groups
  /** Strictly decreasing. */
  sigmas: Float64Array
  /** V [levels, groups] at the sigmas: 1/h - sigma^2. */
  variances: Float64Array
  /** Draws of data at every level. */
  count: number
  seed: number
  consistency?: Consistency
}

/** The precisions that were measured of one energy. */
export class Calibration implements PrecisionTable {
  /** Coordinates that the precisions are of: the 2-D DCT of images, a vector's own. */
  readonly basis: Basis
  readonly #slopes: Float64Array

  /** Of measured variances. */
  constructor(
    /** What was measured, as it is stored. */
    readonly data: CalibrationData,
  ) {
    this.basis = basisOf(data.shape)
    this.#slopes = monotoneSlopes(data)
  }

  /** The noise levels that were measured, falling. */
  get sigmas(): Float64Array {
    return this.data.sigmas
  }

  /** How far the energy is from consistent across its noise levels, where that was measured. */
  get consistency(): Consistency | undefined {
    return this.data.consistency
  }

  /** Draws of data at every level. */
  get count(): number {
    return this.data.count
  }

  /**
   * The mean precision of every coordinate [d] at a noise level, 1 / (V(sigma) + noise^2), in units of 1/x^2. Throws ArgumentError.
   * V is interpolated in ln sigma by monotone cubics (Fritsch and Butland 1984); beyond the levels it stays as at their ends.
   */
  precisionAt(sigma: number, noise = sigma): Float64Array {
    finiteNumber('sigma', sigma, { min: 0 })
    finiteNumber('noise', noise, { min: 0 })
    const { groups, sigmas, variances } = this.data
    const { count } = groups
    const last = sigmas.length - 1
    const s = Math.min(sigmas[0], Math.max(sigmas[last], sigma))
    let k = 0
    while (k < last - 1 && sigmas[k + 1] > s) k++
    const width = Math.log(sigmas[k] / sigmas[Math.min(k + 1, last)]) || 1
    const t = Math.log(sigmas[k] / s) / width
    // Hermite's basis at t
    const [a, b] = [(1 + 2 * t) * (1 - t) ** 2, t * t * (3 - 2 * t)]
    const [da, db] = [width * t * (1 - t) ** 2, width * t * t * (t - 1)]
    const next = Math.min(k + 1, last)
    const h = new Float64Array(count)
    for (let g = 0; g < count; g++) {
      const [i, j] = [k * count + g, next * count + g]
      const v = a * variances[i] + b * variances[j] + da * this.#slopes[i] + db * this.#slopes[j]
      h[g] = 1 / (Math.max(v, 0) + noise * noise)
    }
    return Float64Array.from(groups.of, (g) => h[g])
  }
}

/** dV / d(-ln sigma) at the levels: harmonic means of the neighbouring differences, 0 at the ends, where V is constant beyond. */
function monotoneSlopes({ groups: { count }, sigmas, variances }: CalibrationData): Float64Array {
  const slopes = new Float64Array(variances.length)
  for (let k = 1; k < sigmas.length - 1; k++)
    for (let g = 0; g < count; g++) {
      const at = (level: number) => variances[level * count + g]
      const before = (at(k) - at(k - 1)) / Math.log(sigmas[k - 1] / sigmas[k])
      const after = (at(k + 1) - at(k)) / Math.log(sigmas[k] / sigmas[k + 1])
      if (before * after > 0) slopes[k * count + g] = (2 * before * after) / (before + after)
    }
  return slopes
}

/** The least-squares fit that does not decrease, in place (pool adjacent violators). */
export function monotone(values: Float64Array): Float64Array {
  const means: number[] = []
  const sizes: number[] = []
  for (const value of values) {
    means.push(value)
    sizes.push(1)
    while (means.length > 1 && means.at(-2)! > means.at(-1)!) {
      const [mean, size] = [means.pop()!, sizes.pop()!]
      const both = sizes.at(-1)! + size
      means[means.length - 1] = (means.at(-1)! * sizes.at(-1)! + mean * size) / both
      sizes[sizes.length - 1] = both
    }
  }
  let first = 0
  for (const [b, size] of sizes.entries()) {
    values.fill(means[b], first, first + size)
    first += size
  }
  return values
}
