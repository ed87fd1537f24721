import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import sharp from 'sharp'
import { describe, expect, it } from 'vitest'
import { ArgumentError, FileError, gaussianMixture } from '../lib/index.js'
import { GridDensity } from '../packages/lab/src/demo/density.js'
import { runDemo } from '../packages/lab/src/demo/run.js'

describe('GridDensity', () => {
  const gaussian = (x: number) => gaussianMixture({ weights: [1], means: [[x, 0]], covariances: [0.01] })

  it('is near its own draws and measures a shift', async () => {
    const density = await GridDensity.of(gaussian(0), 0.1)
    const own = await density.distance(density.draw(8192, 1))
    expect(own.totalVariation).toBeLessThan(0.1)
    expect(own.slicedW2).toBeLessThan(0.01)
    const shifted = await density.distance((await GridDensity.of(gaussian(0.3), 0.1)).draw(8192, 1))
    // the mean over directions of (0.3 cos)^2 is 0.045
    expect(shifted.slicedW2).toBeCloseTo(Math.sqrt(0.045), 2)
    // 2 Phi(0.15 / 0.1414) - 1, and the finite sample
    expect(shifted.totalVariation).toBeGreaterThan(0.7)
    expect(shifted.totalVariation).toBeLessThan(0.8)
  })

  it('counts what lies outside its square as wrong', async () => {
    const density = await GridDensity.of(gaussian(0), 0.1)
    const far = { x: new Float32Array([9, 9, Number.NaN, 0]), weights: new Float64Array([0.5, 0.5]) }
    expect((await density.distance(far)).totalVariation).toBeCloseTo(1)
  })
})

describe('runDemo', () => {
  it('writes its report, results and figures', { timeout: 300_000 }, async () => {
    const output = await mkdtemp(join(tmpdir(), 'feynkac-demo-'))
    try {
      const { result, files } = await runDemo({ output, shorter: 0.002 })
      expect(result.plane.rows).toHaveLength(20)
      expect(result.pictures.rows).toHaveLength(8)
      for (const file of files.filter((name) => name.endsWith('.png')))
        expect((await sharp(file).metadata()).width).toBeGreaterThan(100)
      const html = await readFile(join(output, 'report.html'), 'utf8')
      expect(html.match(/<img /g)).toHaveLength(10)
      expect(html).not.toMatch(/src="(?!data:)/)
      expect(JSON.parse(await readFile(join(output, 'results.json'), 'utf8'))).toEqual(result)
      // the stages as runs that can be watched: six trainings, and SMC by each method that weighs or is drawn
      const runs = (await readdir(join(output, 'runs'))).sort()
      const logs = await Promise.all(runs.map((name) => readdir(join(output, 'runs', name))))
      const kinds = logs.map((files) => (files.includes('log.jsonl') ? 'training' : 'sampling'))
      expect(kinds.filter((kind) => kind === 'training')).toHaveLength(6)
      expect(kinds.filter((kind) => kind === 'sampling')).toHaveLength(8 + 8)
      expect(runs).toContain('ring-and-bar-smc-distilled-energies')
      expect(logs.flat().filter((name) => name.startsWith('checkpoint-'))).toEqual([])
      const levels = await readFile(join(output, 'runs', 'bar3-smc-distilled-energies', 'levels.jsonl'), 'utf8')
      const [first, ...lines] = levels.trim().split('\n').map((line) => JSON.parse(line)) // biome-ignore format: one line
      expect(first).toMatchObject({ model: 'bar³', method: 'smc', particles: 512, shape: [2], lastLevel: 64 })
      expect(lines.at(-1)).toMatchObject({ summary: { collapsed: expect.any(Boolean) } })
      expect(lines.slice(0, -1).map(({ level }) => level)).toEqual(Array.from({ length: 65 }, (_, level) => level))
    } finally {
      await rm(output, { recursive: true, force: true })
    }
  })

  it('rejects bad options', async () => {
    await expect(runDemo({ output: '/proc/none/demo' })).rejects.toThrow(FileError)
    await expect(runDemo({ output: 'x', shorter: 0 })).rejects.toThrow(ArgumentError)
  })
})
