import { expect, test } from 'vitest'
import { ArgumentError } from '../lib/base/errors.js'
import { conservativity } from '../lib/models/conservativity.js'
import { EnergyModel } from '../lib/models/energy.js'
import { native } from '../lib/native/addon.js'
import { residualMLP } from '../lib/networks/config.js'

/** D(x) = A x */
const linear = (a: number[][]) => ({
  shape: [a.length],
  denoise: async (x: Float32Array) => {
    const d = a.length
    return x.map((_, i) => a[i % d].reduce((sum, v, k) => sum + v * x[i - (i % d) + k], 0))
  },
})

const points = (rows: number, d: number) => {
  const x = new Float32Array(rows * d)
  native.normals(x, rows, 1, 11, 99)
  return x
}

test('is ||A - Aᵀ|| / ||A|| of a linear denoiser', async () => {
  const a = [[1, 2, 0], [0, 1, -1], [0.5, 0, 2]] // biome-ignore format: a matrix
  const square = (f: (i: number, j: number) => number) =>
    a.reduce((sum, row, i) => sum + row.reduce((s, _, j) => s + f(i, j) ** 2, 0), 0)
  const exact = Math.sqrt(square((i, j) => a[i][j] - a[j][i]) / square((i, j) => a[i][j]))
  const found = await conservativity(linear(a), { x: points(400, 3), sigma: 0.7, probes: 10 })
  expect(found).toBeGreaterThan(0.93 * exact)
  expect(found).toBeLessThan(1.07 * exact)
  const rotation = [[0, 1], [-1, 0]] // biome-ignore format: a matrix
  expect(await conservativity(linear(rotation), { x: points(400, 2), sigma: 2, probes: 10 })).toBeCloseTo(2, 2)
})

test('is nothing for the gradient of an energy', async () => {
  using energy = await EnergyModel.create({ kind: 'dot', network: residualMLP(3, { hidden: 32, layers: 2 }) })
  expect(await conservativity(energy, { x: points(16, 3), sigma: 0.5 })).toBeLessThan(0.01)
})

test('rejects what it cannot measure', async () => {
  const denoiser = linear([[1]])
  await expect(conservativity(denoiser, { x: new Float32Array(0), sigma: 1 })).rejects.toThrow(ArgumentError)
  await expect(conservativity(denoiser, { x: new Float32Array(2), sigma: 0 })).rejects.toThrow(ArgumentError)
  await expect(conservativity(linear([[1, 0], [0, 1]]), { x: new Float32Array(3), sigma: 1 })).rejects.toThrow(ArgumentError) // biome-ignore format: one line
})
