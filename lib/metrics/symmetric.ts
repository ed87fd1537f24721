import { NumericsError } from '../base/errors.js'
import { turns } from '../base/turns.js'

/**
 * Symmetric matrices of float64, row after row: a Cholesky factor and the eigenvalues alone. Eigenvectors, as general libraries
 * compute them, would take many times as long at the 2048 dimensions of Inception's features.
 */

const EPS = Number.EPSILON

/**
 * R with R^T R = a, for a [d, d] positive semi-definite of any rank: Cholesky with diagonal pivoting (Higham, Accuracy and Stability of
 * Numerical Algorithms, section 10.3), which ends where no pivot exceeds d eps max(a_ii). Returns R [rank, d].
 */
export async function choleskyFactor(
  a: Float64Array,
  d: number,
  signal?: AbortSignal,
): Promise<{ factor: Float64Array; rank: number }> {
  const breath = turns(signal)
  const factor = new Float64Array(d * d)
  const left = Float64Array.from({ length: d }, (_, i) => a[i * d + i])
  const tolerance = d * EPS * left.reduce((x, y) => Math.max(x, y), 0)
  let rank = 0
  for (; rank < d; rank++) {
    const pivot = left.reduce((best, value, i) => (value > left[best] ? i : best), 0)
    if (!(left[pivot] > tolerance)) break
    const row = factor.subarray(rank * d, (rank + 1) * d)
    row.set(a.subarray(pivot * d, (pivot + 1) * d))
    for (let k = 0; k < rank; k++) {
      subtract(row, factor, k * d, factor[k * d + pivot])
      if (k % 256 === 255) await breath()
    }
    const scale = 1 / Math.sqrt(left[pivot])
    for (let j = 0; j < d; j++) {
      row[j] = left[j] === -Infinity ? 0 : row[j] * scale // nothing is left of those that were pivots
      left[j] -= row[j] ** 2
    }
    left[pivot] = -Infinity
    await breath()
  }
  return { factor: factor.subarray(0, rank * d), rank }
}

function subtract(row: Float64Array, from: Float64Array, at: number, factor: number): void {
  for (let j = 0; j < row.length; j++) row[j] -= factor * from[at + j]
}

/** The eigenvalues of a symmetric matrix a [n, n], in no order; only its lower triangle is read, and overwritten. */
export async function symmetricEigenvalues(a: Float64Array, n: number, signal?: AbortSignal): Promise<Float64Array> {
  const { diagonal, beside } = await tridiagonal(a, n, signal)
  await tridiagonalEigenvalues(diagonal, beside, signal)
  return diagonal
}

/** Householder's reduction from the last row up (Golub & Van Loan, Matrix Computations, section 8.3.1). beside[i] couples i and i + 1. */
async function tridiagonal(a: Float64Array, n: number, signal?: AbortSignal) {
  const breath = turns(signal)
  const [diagonal, beside] = [new Float64Array(n), new Float64Array(n)]
  const q = new Float64Array(n)
  for (let i = n - 1; i >= 0; i--) {
    diagonal[i] = a[i * n + i]
    if (i === 0) break
    const v = a.subarray(i * n, i * n + i)
    const norm = Math.sqrt(v.reduce((sum, x) => sum + x * x, 0))
    const last = v[i - 1]
    beside[i - 1] = last >= 0 ? -norm : norm
    if (norm === 0) continue
    const h = norm * norm - last * beside[i - 1] // |v|^2 / 2 of the reflection I - v v^T / h
    v[i - 1] = last - beside[i - 1]
    multiply(a, n, v, i, q)
    await breath()
    let along = 0
    for (let k = 0; k < i; k++) along += v[k] * q[k]
    for (let k = 0; k < i; k++) q[k] = (q[k] - (along / (2 * h)) * v[k]) / h
    reflect(a, n, v, i, q)
    await breath()
  }
  return { diagonal, beside }
}

/** out = A v for the first `size` rows of a symmetric matrix, of which the lower triangle is there. */
function multiply(a: Float64Array, n: number, v: Float64Array, size: number, out: Float64Array): void {
  for (let j = 0; j < size; j++) {
    const row = j * n
    const vj = v[j]
    let sum = 0
    for (let k = 0; k < j; k++) {
      const value = a[row + k]
      sum += value * v[k]
      out[k] += value * vj
    }
    out[j] = sum + a[row + j] * vj
  }
}

/** A -= v q^T + q v^T, in the lower triangle of the first `size` rows. */
function reflect(a: Float64Array, n: number, v: Float64Array, size: number, q: Float64Array): void {
  for (let j = 0; j < size; j++) {
    const row = j * n
    const [vj, qj] = [v[j], q[j]]
    for (let k = 0; k <= j; k++) a[row + k] -= vj * q[k] + qj * v[k]
  }
}

/** QL with implicit shifts (Dubrulle, Martin & Wilkinson 1968): leaves the eigenvalues in `d`. */
async function tridiagonalEigenvalues(d: Float64Array, e: Float64Array, signal?: AbortSignal): Promise<void> {
  const turn = turns(signal)
  const norm = d.reduce((most, value, i) => Math.max(most, Math.abs(value) + Math.abs(e[i])), 0)
  for (let l = 0; l < d.length; l++) {
    isolate(l, d, e, EPS * norm)
    await turn()
  }
}

/** Sweeps until nothing couples l to what is below it. negligible: the error that the reduction has left anyway; beside tiny eigenvalues e never becomes small to them. */
function isolate(l: number, d: Float64Array, e: Float64Array, negligible: number): void {
  for (let round = 0; ; round++) {
    let m = l
    while (m < d.length - 1 && Math.abs(e[m]) > negligible) m++
    if (m === l) return
    if (round === 60) throw new NumericsError('the eigenvalues of a covariance do not converge')
    let g = (d[l + 1] - d[l]) / (2 * e[l])
    g = d[m] - d[l] + e[l] / (g + Math.sign(g || 1) * Math.hypot(g, 1))
    let s = 1
    let c = 1
    let p = 0
    let i = m - 1
    for (; i >= l; i--) {
      const f = s * e[i]
      const b = c * e[i]
      const r = Math.hypot(f, g)
      e[i + 1] = r
      if (r === 0) break // the matrix falls apart here
      s = f / r
      c = g / r
      g = d[i + 1] - p
      const t = (d[i] - g) * s + 2 * c * b
      p = s * t
      d[i + 1] = g + p
      g = c * t - b
    }
    if (i >= l) d[i + 1] -= p
    else {
      d[l] -= p
      e[l] = g
    }
    e[m] = 0
  }
}
