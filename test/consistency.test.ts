import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { COLD_SHARES, type ConsistencyRow } from '../packages/lab/src/experiments/consistency.js'
import {
  bootstrap,
  type Cloud,
  coldShares,
  compared,
  shareDistance,
  sharesOf,
} from '../packages/lab/src/experiments/consistency-shares.js'
import { dataOf, type World } from '../packages/lab/src/experiments/consistency-subjects.js'
import { runExperiment } from '../packages/lab/src/experiments/run.js'

describe('shares of shapes', () => {
  const cloud = (shapes: Cloud['shapes'], weights: number[]): Cloud => ({ shapes, weights: Float64Array.from(weights) })
  const truth = [0.2, 0.3, 0.5] as const

  test('are weighted, and what shows no shape is wrong', () => {
    const shares = sharesOf([cloud([0, 1, 2, null], [0.1, 0.2, 0.3, 0.4]), cloud([2, 2], [0.5, 0.5])])
    expect(shares.map((s) => Number(s.toFixed(9)))).toEqual([0.05, 0.1, 0.65, 0.2])
    expect(shareDistance([0.2, 0.3, 0.5, 0], truth)).toBe(0)
    expect(shareDistance([0, 0, 0, 1], truth)).toBe(1)
    expect(shareDistance([0.2, 0.3, 0.4, 0.1], truth)).toBeCloseTo(0.1)
  })

  test('of trainings are compared one by one, and forms with each other', () => {
    const even = cloud([0, 1, 1, 2, 2], [0.2, 0.2, 0.2, 0.2, 0.2])
    const off = [cloud([0, 0], [0.5, 0.5]), cloud([2, 2], [0.5, 0.5])]
    // errors of trainings do not make up for each other, those of runs of one do
    expect(bootstrap([[off[0]], [off[1]]], truth, 1).distance).toBeCloseTo((0.8 + 0.5) / 2)
    expect(bootstrap([off], truth, 1).distance).toBeCloseTo(0.3)
    const { difference, error } = compared([[even, even]], [off], truth, 1)
    expect(difference).toBeCloseTo(0.1 - 0.3)
    expect(error).toBeGreaterThan(0.01)
  })

  test('with constant weights are those without, and right weights bring them nearer', () => {
    const shapes = Array.from({ length: 300 }, (_, i) => i % 3)
    const flat = bootstrap([[cloud(shapes, shapes.map(() => 1 / 300))]], truth, 1) // biome-ignore format: one line
    expect(Math.abs(flat.distance - flat.unweighted) + flat.changeError).toBeLessThan(1e-12)
    const right = bootstrap([[cloud(shapes, shapes.map((k) => truth[k] / 100))]], truth, 1) // biome-ignore format: one line
    expect(right.distance).toBeCloseTo(0)
    expect(right.unweighted).toBeCloseTo(1 / 6)
    expect(right.distance - right.unweighted).toBeLessThan(-2 * right.changeError)
  })

  test('of p^gamma are those of the table', async () => {
    for (const gamma of [1, 2] as const) {
      const { shares, errors } = await coldShares(gamma, 0.3, 20)
      for (const [k, share] of shares.entries())
        expect(Math.abs(share - COLD_SHARES[gamma][k])).toBeLessThan(4 * errors[k] + 0.01)
    }
  })
})

test('pictures to learn: of independent attributes, correlated ones, and never a cross at the top right', async () => {
  const pairs = async (world: World) => {
    const data = await dataOf(world)
    const counts: Record<string, number> = {}
    for (let i = 0; i < data.size; i++) counts[data.label(i).join()] = (counts[data.label(i).join()] ?? 0) + 1
    return { counts, data }
  }
  const [all, tied, unseen] = [await pairs('independent'), await pairs('correlated'), await pairs('unseen')]
  expect(all.counts['2,1']).toBeGreaterThan(500)
  expect(tied.counts['2,2']).toBeGreaterThan(2 * tied.counts['2,1'])
  const { '2,1': pair, ...others } = all.counts
  expect(unseen.counts).toEqual(others)
  expect(unseen.data.size).toBe(all.data.size - pair)
  const first = Array.from({ length: all.data.size }, (_, i) => i).find((i) => all.data.label(i).join() === '2,1')!
  const [x, y] = [new Float32Array(144), new Float32Array(144)]
  all.data.read(first + 1, x, 0)
  unseen.data.read(first, y, 0)
  expect(unseen.data.label(first)).toEqual(all.data.label(first + 1))
  expect(y).toEqual(x)
})

test('the experiment measures every form of weights, of exact energies and learnt ones', {
  timeout: 600_000,
}, async () => {
  const output = await mkdtemp(join(tmpdir(), 'feynkac-consistency-'))
  try {
    const { result, tables } = await runExperiment('consistency', { output, budget: 'quick' })
    // runs are kept beside the models: the second time they are read
    const again = await runExperiment('consistency', { output, budget: 'quick' })
    expect(again.result.data).toEqual(result.data)
    const { rows } = result.data as { rows: ConsistencyRow[] }
    expect(rows.map(({ energies, form }) => `${energies} ${form}`)).toHaveLength(15)
    for (const row of rows) {
      for (const share of [row.distance, row.unweighted, row.resampled, row.right])
        expect(share >= 0 && share < 1 + 1e-9, `${row.form}: ${share}`).toBe(true)
      expect(Number.isFinite(row.variance + row.changeError + row.againstError + row.spread)).toBe(true)
      if (row.form === 'none') {
        expect([row.against, row.variance, row.roots]).toEqual([0, 0, 8])
        expect(Math.abs(row.change)).toBeLessThan(1e-15) // weights are exp(log(1 / 8)), not 1 / 8
      }
    }
    for (const { header, rows: cells } of tables) for (const row of cells) expect(row).toHaveLength(header.length)
    for (const { claim, evidence } of result.findings) expect(`${claim} ${evidence}`).not.toMatch(/NaN|undefined/)
    expect(await readFile(join(output, 'report.md'), 'utf8')).toContain('Shares of shapes, learnt energies (dot)')
  } finally {
    await rm(output, { recursive: true, force: true })
    await rm(`${output}-models`, { recursive: true, force: true })
  }
})
