import { ArgumentError, type EnergyFunction } from 'feynkac'
import { brightness, shapeCoverage } from 'feynkac/internal'
import { truncatedNormal } from './truncated-normal.js'

/**
 * The law of the procedural pictures (data/shapes.ts) under Gaussian noise, without a network: what learnt weights are held against. A picture
 * is 2 b c - 1 with the coverage c(kind, x, y, radius) and the brightness b, all uniform, so that given c the noised picture is normal in b and b
 * is integrated in closed form. c is summed over a grid of (x, y, radius) that is fine beside the noise (midpoint sums of smooth integrands
 * converge exponentially), below FINE a finer one about the best cells of a coarse one.
 */

export const KINDS = 12
export const kindOf = ({ shape, place }: { shape: number | null; place: number | null }): number | null =>
  shape === null || place === null ? null : shape * 4 + place

export interface ShapesPosterior {
  /** E = -log p_sigma(x), normalised. */
  energy: Float64Array
  /** E[x0 | x] [n, d] */
  denoised: Float32Array
  /** m = tr Cov(x0 | x) / sigma^2, about the number of directions in which the pictures vary at that scale. */
  dimension: Float64Array
  /** Posterior probabilities of the kinds [n, KINDS]. */
  kinds: Float64Array
}

/** Templates of some kinds on a grid: coverages [count, d], their squares and kinds. */
interface Grid {
  covers: Float32Array
  squares: Float64Array
  kinds: Int32Array
  /** How many of every kind. */
  each: number
}

/** Midpoints of the parameters by the noise: positions along an axis, radii. */
const GRIDS = [
  { above: 1.5, positions: 5, radii: 5 },
  { above: 0.6, positions: 9, radii: 7 },
  { above: 0, positions: 13, radii: 11 },
]
const FINE = 0.3
const FINEST = { positions: 37, radii: 31 }
/** Cells of the coarse grid about its best one, to either side, that the finer one covers. */
const MARGIN = 3
/** Nats below the best template from which others are left out. */
const NEGLIGIBLE = 40

export class ExactShapes {
  readonly shape: readonly [1, number, number]
  readonly #grids: (Grid | undefined)[] = GRIDS.map(() => undefined)

  constructor(readonly side = 12) {
    this.shape = [1, side, side]
  }

  /**
   * @param x [n, side * side], in [-1, 1] but for the noise @param kinds those that there are; default all, alike
   * Throws ArgumentError below sigma = 0.05, which would take a finer grid.
   */
  posterior(x: Float32Array, sigma: number, kinds = Array.from({ length: KINDS }, (_, k) => k)): ShapesPosterior {
    if (!(sigma >= 0.05)) throw new ArgumentError(`the exact pictures are known from sigma = 0.05 up, not at ${sigma}`)
    const d = this.side ** 2
    const n = x.length / d
    const out = {
      energy: new Float64Array(n),
      denoised: new Float32Array(x.length),
      dimension: new Float64Array(n),
      kinds: new Float64Array(n * KINDS),
    }
    const level = GRIDS.findIndex(({ above }) => sigma >= above)
    const grid = this.#grids[level] ?? makeGrid(this.side, GRIDS[level])
    this.#grids[level] = grid
    const allowed = Array.from({ length: KINDS }, (_, k) => kinds.includes(k))
    const constant = Math.log(kinds.length)
    for (let i = 0; i < n; i++) {
      const y = x.slice(i * d, (i + 1) * d).map((v) => v + 1)
      let sum = summed(y, sigma, grid, allowed)
      const shares = sum.kinds.map((w) => w / sum.total)
      out.kinds.set(shares, i * KINDS)
      if (sigma < FINE) sum = this.#refined(y, sigma, sum, shares)
      out.energy[i] = constant - sum.offset - Math.log(sum.total)
      let squared = 0
      for (let p = 0; p < d; p++) {
        const mean = sum.mean[p] / sum.total
        squared += mean * mean
        out.denoised[i * d + p] = mean - 1
      }
      out.dimension[i] = Math.max(0, sum.square / sum.total - squared) / sigma ** 2
    }
    return out
  }

  /** As an energy of smc: of all pictures, or of some kinds. */
  energy(kinds?: number[]): EnergyFunction {
    return {
      shape: this.shape,
      energyGrad: async (x, sigma) => {
        const { energy, denoised } = this.posterior(x, sigma, kinds)
        return { energy, grad: denoised.map((v, i) => (x[i] - v) / sigma ** 2) }
      },
    }
  }

  /** The best kind's sums over a finer grid about its best coarse template; the others keep their share. */
  #refined(y: Float32Array, sigma: number, coarse: Sums, shares: Float64Array): Sums {
    const kind = shares.indexOf(Math.max(...shares))
    const { positions, radii } = GRIDS.at(-1)!
    const at = coarse.best[kind]
    const cell = [Math.floor(at / (positions * radii)), Math.floor(at / radii) % positions, at % radii]
    const sizes = [positions, positions, radii]
    const fine = [FINEST.positions, FINEST.positions, FINEST.radii]
    const ranges = cell.map((c, axis) => {
      const low = Math.floor(((c - MARGIN) / sizes[axis]) * fine[axis])
      const high = Math.ceil(((c + 1 + MARGIN) / sizes[axis]) * fine[axis])
      return [Math.max(0, low), Math.min(fine[axis], high)] as const
    })
    const sum = summed(y, sigma, makeGrid(this.side, FINEST, [kind], ranges), null)
    const share = shares[kind]
    return { ...sum, offset: sum.offset - Math.log(share) }
  }
}

interface Sums {
  /** log of the factor that is left out of the sums. */
  offset: number
  total: number
  kinds: Float64Array
  /** The means of weight times b c and of weight times |b c|^2, in the scale of 2 b c. */
  mean: Float64Array
  square: number
  /** The template nearest to the picture, for every kind. */
  best: Int32Array
}

/** Sums of one picture y = x + 1 over a grid: each kind's mean evidence, up to exp(offset). */
function summed(y: Float32Array, sigma: number, grid: Grid, allowed: readonly boolean[] | null): Sums {
  const { covers, squares, kinds, each } = grid
  const d = y.length
  const count = squares.length
  const variance = sigma * sigma
  let norm = 0
  for (const v of y) norm += v * v
  const products = new Float64Array(count)
  const bounds = new Float64Array(count).fill(Number.NEGATIVE_INFINITY)
  const best = new Int32Array(KINDS)
  const heights = new Float64Array(KINDS).fill(Number.NEGATIVE_INFINITY)
  let highest = Number.NEGATIVE_INFINITY
  for (let t = 0; t < count; t++) {
    if (allowed && !allowed[kinds[t]]) continue
    let product = 0
    for (let p = 0, at = t * d; p < d; p++, at++) product += y[p] * covers[at]
    products[t] = product
    // at the best brightness
    const b = Math.min(brightness.max, Math.max(brightness.min, product / (2 * squares[t])))
    const bound = (2 * b * product - 2 * b * b * squares[t]) / variance
    bounds[t] = bound
    if (bound > heights[kinds[t]]) {
      heights[kinds[t]] = bound
      best[kinds[t]] = t % each
    }
    if (bound > highest) highest = bound
  }
  const width = brightness.max - brightness.min
  const out: Sums = {
    offset: highest - norm / (2 * variance) - (d / 2) * Math.log(2 * Math.PI * variance) - Math.log(each * width),
    total: 0,
    kinds: new Float64Array(KINDS),
    mean: new Float64Array(d),
    square: 0,
    best,
  }
  for (let t = 0; t < count; t++) {
    if (!(bounds[t] > highest - NEGLIGIBLE)) continue
    const [centre, spread] = [products[t] / (2 * squares[t]), sigma / (2 * Math.sqrt(squares[t]))]
    const { logMass, mean, second } = truncatedNormal(centre, spread, brightness.min, brightness.max)
    // the integral over b of exp(-|y - 2 b c|^2 / 2 s^2), without |y|^2
    const weight = Math.exp(products[t] ** 2 / (2 * squares[t] * variance) - highest + logMass + 0.5 * Math.log(2 * Math.PI) + Math.log(spread)) // biome-ignore format: one line
    out.total += weight
    out.kinds[kinds[t]] += weight
    const light = 2 * weight * mean
    for (let p = 0, at = t * d; p < d; p++, at++) out.mean[p] += light * covers[at]
    out.square += 4 * weight * second * squares[t]
  }
  return out
}

const all = Array.from({ length: KINDS }, (_, k) => k)
const midpoint = (i: number, n: number) => ((i + 0.5) / n) * 2 - 1

/** `ranges`: of each parameter's midpoints, those from the first to before the last; `each` counts the whole grid. */
function makeGrid(
  side: number,
  { positions, radii }: { positions: number; radii: number },
  of: readonly number[] = all,
  ranges: readonly (readonly [number, number])[] = [
    [0, positions],
    [0, positions],
    [0, radii],
  ],
): Grid {
  const d = side * side
  const inside = ranges.reduce((product, [from, to]) => product * (to - from), 1)
  const count = of.length * inside
  const grid: Grid = {
    covers: new Float32Array(count * d),
    squares: new Float64Array(count),
    kinds: new Int32Array(count),
    each: positions ** 2 * radii,
  }
  let t = 0
  for (const kind of of)
    for (let i = ranges[0][0]; i < ranges[0][1]; i++)
      for (let j = ranges[1][0]; j < ranges[1][1]; j++)
        for (let k = ranges[2][0]; k < ranges[2][1]; k++, t++) {
          const cover = grid.covers.subarray(t * d, (t + 1) * d)
          const [shiftX, shiftY, stretch] = [midpoint(i, positions), midpoint(j, positions), midpoint(k, radii)]
          shapeCoverage({ shape: Math.floor(kind / 4), place: kind % 4 }, { shiftX, shiftY, stretch }, side, cover)
          for (const v of cover) grid.squares[t] += v * v
          grid.kinds[t] = kind
        }
  return grid
}
