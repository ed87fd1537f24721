import { type EnergyFunction, resample, slicedWasserstein } from 'feynkac'
import { uniformAt } from 'feynkac/internal'

/** Weighted points of the plane: x is [n, 2], the weights sum to one. */
export interface Cloud {
  x: Float32Array
  weights: Float64Array
}

/** How far a cloud is from a density. */
export interface Distance {
  /** Total variation over square cells, 0 to 1. A finite cloud is never at 0. */
  totalVariation: number
  /** Sliced 2-Wasserstein distance, in the plane's own units. */
  slicedW2: number
}

const HALF = 1.3 // the square |x|, |y| < HALF holds all but nothing of every target
const CELLS = 48
const FINE = 8 // quadrature points per side of a cell
const SLICES = 24
const REFERENCE = 16_384

export const uniformWeights = (n: number): Float64Array => new Float64Array(n).fill(1 / n)

/** A normalised density exp(-U(x)) on a square, by the midpoint rule: the exact answer in two dimensions. */
export class GridDensity {
  readonly #side = CELLS * FINE
  readonly #step = (2 * HALF) / (CELLS * FINE)
  readonly #masses: Float64Array // of the fine cells
  readonly #cells = new Float64Array(CELLS * CELLS)
  readonly #reference: Float32Array

  private constructor(energy: Float64Array) {
    const side = this.#side
    const lowest = energy.reduce((a, b) => Math.min(a, b))
    const unnormalised = energy.map((e) => Math.exp(lowest - e))
    const total = unnormalised.reduce((a, b) => a + b)
    this.#masses = unnormalised.map((p) => p / total)
    for (let i = 0; i < side; i++)
      for (let j = 0; j < side; j++)
        this.#cells[Math.floor(i / FINE) * CELLS + Math.floor(j / FINE)] += this.#masses[i * side + j]
    this.#reference = this.draw(REFERENCE, 0x5eed).x
  }

  static async of(target: EnergyFunction, sigma: number): Promise<GridDensity> {
    const side = CELLS * FINE
    const x = new Float32Array(2 * side * side)
    for (let k = 0; k < side * side; k++) {
      x[2 * k] = ((2 * ((k % side) + 0.5)) / side - 1) * HALF
      x[2 * k + 1] = ((2 * (Math.floor(k / side) + 0.5)) / side - 1) * HALF
    }
    return new GridDensity((await target.energyGrad(x, sigma)).energy)
  }

  /** Independent draws: what a perfect sampler would give. */
  draw(n: number, seed: number): Cloud {
    const [side, step] = [this.#side, this.#step]
    const chosen = resample(this.#masses, { scheme: 'multinomial', n, seed })
    const x = new Float32Array(2 * n)
    for (let i = 0; i < n; i++) {
      x[2 * i] = ((chosen[i] % side) + uniformAt(seed, 0, 0, i, 0)) * step - HALF
      x[2 * i + 1] = (Math.floor(chosen[i] / side) + uniformAt(seed, 0, 0, i, 1)) * step - HALF
    }
    return { x, weights: uniformWeights(n) }
  }

  async distance(cloud: Cloud): Promise<Distance> {
    const found = new Float64Array(CELLS * CELLS)
    let outside = 0
    for (let i = 0; i < cloud.weights.length; i++) {
      const [column, row] = [0, 1].map((c) => Math.floor(((cloud.x[2 * i + c] / HALF + 1) / 2) * CELLS))
      if (!(Math.min(column, row) >= 0 && Math.max(column, row) < CELLS))
        outside += cloud.weights[i] // NaN too
      else found[row * CELLS + column] += cloud.weights[i]
    }
    const totalVariation = (outside + found.reduce((sum, p, k) => sum + Math.abs(p - this.#cells[k]), 0)) / 2
    // a cloud with NaN or infinity in it is not at any distance
    const finite = cloud.x.every(Number.isFinite)
    const options = { dim: 2, directions, weightsA: cloud.weights }
    const slicedW2 = finite ? await slicedWasserstein(cloud.x, this.#reference, options) : Number.NaN
    return { totalVariation, slicedW2 }
  }
}

/** SLICES directions, evenly over half a turn. */
const directions = Float32Array.from({ length: 2 * SLICES }, (_, i) =>
  (i % 2 ? Math.sin : Math.cos)((Math.PI * Math.floor(i / 2)) / SLICES),
)
