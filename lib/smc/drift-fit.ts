import { native, run } from '../native/addon.js'

/** What a step of N particles tells of the coefficients theta of its control drift (control-drift.ts). */
export interface DriftSample {
  /** Normalised, before the step [N]. */
  weights: Float64Array
  /** log G [N] */
  logG: Float64Array
  /** D_j = d log G / d theta_j, one [N] for each coefficient. */
  slopes: readonly Float64Array[]
  /** Functions of the states before the step, one [N] for each coefficient. */
  instruments: readonly Float64Array[]
}

export interface DriftFitState {
  zz: number[][]
  zd: number[][]
  zy: number[]
  noise: number
  count: number
}

/** Weight of the steps before beside a new one: theta varies slowly along the levels, and one step's log G are few and noisy. */
const RECALL = 0.7
/** Ridge of the instruments' covariances, as a share of their mean variance: models with the same gradient are collinear. */
const RIDGE = 1e-3

/**
 * theta by two-stage least squares with instruments, over the steps so far with weights that decay (RECALL). With P the projection onto the
 * instruments z, of centred and weighted particles, it minimises
 *
 *   |P (log G + sum_j delta_j D_j)|^2 + s^2 |theta|^2,   delta = theta - the step's own theta,   s^2 = Var log G,
 *
 * the posterior mean for the prior theta_j ~ N(0, 1): where log G is little but noise, or the particles are few, theta stays near 0. Without P
 * the fit would trade the noise of a step, which the next step mostly takes back, for differences between states, which add up.
 */
export class DriftFit {
  #zz: number[][] = []
  #zd: number[][] = []
  #zy: number[] = []
  #noise = 0
  #count = 0

  constructor(readonly size: number) {}

  /** What the steps so far have left, as plain numbers. */
  state(): DriftFitState {
    return { zz: this.#zz, zd: this.#zd, zy: this.#zy, noise: this.#noise, count: this.#count }
  }

  restore({ zz, zd, zy, noise, count }: DriftFitState): void {
    this.#zz = zz
    this.#zd = zd
    this.#zy = zy
    this.#noise = noise
    this.#count = count
  }

  /** The new theta, or the old one where too few particles are finite and have weight. */
  async update(
    theta: Float64Array,
    { weights, logG, slopes, instruments }: DriftSample,
    signal?: AbortSignal,
  ): Promise<Float64Array> {
    const { size } = this
    // in one pass over the particles; what the fit takes of them are their covariances alone
    const count = 2 * size + 1
    const out = new Float64Array(count * count)
    const columns = [...slopes, ...instruments, logG]
    const effective = await run(() => native.covariances({ out, weights, columns }), signal)
    if (!(effective > size + 2)) return theta
    const [d, z] = [0, size].map((first) => Array.from({ length: size }, (_, j) => first + j))
    const y = 2 * size
    const covariance = (a: number, b: number) => out[a * count + b]
    const scaleOf = (list: readonly number[]) =>
      Math.sqrt(list.reduce((sum, j) => sum + covariance(j, j), 0) / list.length)
    const [dScale, zScale] = [scaleOf(d), scaleOf(z)]
    if (!(dScale > 0 && zScale > 0 && Number.isFinite(dScale * zScale))) return theta
    const [zz, zd] = [z, d].map((list) => z.map((i) => list.map((j) => covariance(i, j))))
    // of log G as it would be at theta = 0, by its slopes
    const zy = z.map((i) => d.reduce((left, j, k) => left - theta[k] * covariance(i, j), covariance(i, y)))
    const noise = covariance(y, y)
    const pooled = (before: number, now: number) => RECALL * before + effective * now
    this.#zz = zz.map((row, i) => row.map((c, j) => pooled(this.#zz[i]?.[j] ?? 0, c / zScale ** 2)))
    this.#zd = zd.map((row, i) => row.map((c, j) => pooled(this.#zd[i]?.[j] ?? 0, c / (zScale * dScale))))
    this.#zy = zy.map((c, i) => pooled(this.#zy[i] ?? 0, c / (zScale * dScale)))
    this.#noise = pooled(this.#noise, noise / dScale ** 2)
    this.#count = pooled(this.#count, 1)
    const solved = this.#solve()
    return solved.every(Number.isFinite) ? solved : theta
  }

  #solve(): Float64Array {
    const { size } = this
    const zz = this.#zz.map((row, i) => row.map((value, j) => (i === j ? value + RIDGE * this.#count : value)))
    // the first stage: D_j as the instruments tell it
    const stage = Array.from({ length: size }, (_, j) =>
      solveSymmetric(
        zz,
        this.#zd.map((row) => row[j]),
      ),
    )
    const against = (p: readonly number[], column: (k: number) => number) =>
      p.reduce((sum, value, k) => sum + value * column(k), 0)
    const normal = stage.map((p, i) =>
      stage.map((_, j) => against(p, (k) => this.#zd[k][j]) + (i === j ? this.#noise / this.#count : 0)),
    )
    const right = stage.map((p) => -against(p, (k) => this.#zy[k]))
    return Float64Array.from(solveSymmetric(normal, right))
  }
}

/** x of a x = b for a symmetric positive definite a, by elimination. */
function solveSymmetric(a: readonly (readonly number[])[], b: readonly number[]): number[] {
  const n = b.length
  const rows = a.map((row, i) => [...row, b[i]])
  for (let i = 0; i < n; i++)
    for (let k = i + 1; k < n; k++) {
      const factor = rows[k][i] / rows[i][i]
      for (let j = i; j <= n; j++) rows[k][j] -= factor * rows[i][j]
    }
  const x = new Array<number>(n).fill(0)
  for (let i = n - 1; i >= 0; i--) {
    let rest = rows[i][n]
    for (let j = i + 1; j < n; j++) rest -= rows[i][j] * x[j]
    x[i] = rest / rows[i][i]
  }
  return x
}
