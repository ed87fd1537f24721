import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Run } from 'feynkac-watch'
import { describe, expect, it, vi } from 'vitest'
import { ArgumentError, FileError } from '../lib/base/errors.js'
import { main } from '../lib/cli/index.js'
import type { ExperimentName } from '../lib/cli/lab.js'
import { gaussianMixture } from '../lib/smc/mixtures.js'
import { sigmaGrid } from '../lib/smc/schedule.js'
import type { DimensionRow } from '../packages/lab/src/experiments/dimension-exact.js'
import { guide } from '../packages/lab/src/experiments/dimension-guide.js'
import type { LearntRow } from '../packages/lab/src/experiments/dimension-learnt.js'
import { errorsOf, exactProblems } from '../packages/lab/src/experiments/exact-problems.js'
import { type Method, runMethod } from '../packages/lab/src/experiments/methods.js'
import { modeWeights, varianceOf } from '../packages/lab/src/experiments/mixtures.js'
import { runExperiment } from '../packages/lab/src/experiments/run.js'

async function inFolder<T>(work: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'feynkac-experiments-'))
  try {
    return await work(folder)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

describe('exact problems', () => {
  const problems = exactProblems(6, 0.02)

  it('know their answers: draws of the answer are without error', () => {
    for (const problem of problems) {
      const { logZ, ...answer } = problem.answer
      const draws = gaussianMixture(answer).sample(50_000, { seed: 7 })
      const weights = new Float64Array(50_000).fill(1 / 50_000)
      const errors = errorsOf(problem, draws, weights, logZ)
      expect(errors.modes).toBeLessThan(0.01)
      expect(errors.variance).toBeCloseTo(1, 1)
      expect(errors.logZ).toBe(0)
      const shifted = draws.map((v) => v + 1)
      expect(errorsOf(problem, shifted, weights, 0).modes).toBeGreaterThan(0.1)
    }
  })

  it('have the log Z of the integral of exp(-U)', async () => {
    for (const { target, answer } of exactProblems(2, 0.3)) {
      const side = 400
      const step = 12 / side
      const x = new Float32Array(2 * side * side)
      for (let i = 0; i < side * side; i++) {
        x[2 * i] = ((i % side) + 0.5) * step - 6
        x[2 * i + 1] = (Math.floor(i / side) + 0.5) * step - 6
      }
      const { energy } = await target.energyGrad(x, 0.3)
      const integral = energy.reduce((sum, e) => sum + Math.exp(-e), 0) * step * step
      expect(Math.log(integral)).toBeCloseTo(answer.logZ, 4)
    }
  })

  it('measure spread and modes', () => {
    const m = { weights: [0.5, 0.5], means: [[-1, 0], [1, 0]], covariances: [[1, 2], [3, 2]] } // biome-ignore format: points
    expect(varianceOf(m)).toEqual([3, 2])
    expect(modeWeights(new Float32Array([-2, 0, 0.9, 1]), [0.25, 0.75], m.means)).toEqual([0.25, 0.75])
  })
})

describe('methods', () => {
  it('run with and without weights, on every level or on some', async () => {
    const [{ target }] = exactProblems(4, 0.05)
    const options = { particles: 64, sigmas: sigmaGrid({ steps: 12, min: 0.05, max: 20 }), seed: 1 }
    const evaluations = async (method: Omit<Method, 'name'>) =>
      (await runMethod(target, { name: 'x', ...method }, options)).evaluations / 64
    expect(await evaluations({})).toBe(12)
    expect(await evaluations({ smc: {} })).toBe(13)
    expect(await evaluations({ smc: {}, thin: 3 })).toBe(5)
    // two moves and the start of every level; 20 -> 0.05 in 4 of 13 levels
    expect(await evaluations({ mcmc: { steps: 2 }, thin: 4 })).toBe(4 * 3)
    const run = await runMethod(target, { name: 'x', smc: {} }, options)
    expect(run.weights.reduce((a, b) => a + b)).toBeCloseTo(1, 9)
  })
})

describe('runExperiment', () => {
  it.each(['exact', 'diversity'] as ExperimentName[])('%s writes its report', (name) =>
    inFolder(async (output) => {
      const stages = new Set<string>()
      const run = () => runExperiment(name, { output, budget: 'quick', seed: 3, onStage: (stage) => stages.add(stage) })
      const { result, files, tables } = await run()
      expect(stages.size).toBeGreaterThan(0)
      expect(tables[0].rows.length).toBeGreaterThan(5)
      for (const { header, rows } of tables) for (const row of rows) expect(row).toHaveLength(header.length)
      for (const { claim, evidence } of result.findings) expect(`${claim} ${evidence}`).not.toMatch(/NaN|undefined/)
      const html = await readFile(join(output, 'report.html'), 'utf8')
      expect(html.includes('What the numbers say')).toBe(true)
      expect(/src="(?!data:)/.test(html)).toBe(false)
      const markdown = await readFile(join(output, 'report.md'), 'utf8')
      for (const [, file] of markdown.matchAll(/!\[[^\]]*\]\(([^)]+)\)/g)) expect(files).toContain(join(output, file))
      expect(JSON.parse(await readFile(join(output, 'results.json'), 'utf8')).findings).toEqual(result.findings)
      expect(files.filter((file) => file.endsWith('.png')).length).toBeGreaterThan(0)
    }),
  )

  it(
    'dimension runs on learnt energies of pixels and latents, and says what a dimension needs',
    {
      timeout: 600_000,
    },
    () =>
      inFolder(async (output) => {
        const { result, tables } = await runExperiment('dimension', { output, budget: 'quick' })
        const { pictures, sweep } = result.data as { pictures: LearntRow[]; sweep: DimensionRow[] }
        const cases = (space: string) =>
          pictures.filter((r) => r.space === space).map((r) => [r.target, r.method, r.particles])
        expect(cases('latents').length).toBeGreaterThan(5)
        expect(cases('latents')).toEqual(cases('pixels'))
        for (const { right, logZ, distinctRoots } of pictures) {
          expect(right >= 0 && right <= 1 && Number.isFinite(logZ)).toBe(true)
          expect(distinctRoots).toBeGreaterThan(0)
        }
        expect(new Set(sweep.map((r) => r.threshold))).toEqual(new Set([0.2, 0.5, 1]))
        expect(tables[0].title).toBe('What a dimension needs')
        for (const { header, rows } of tables) for (const row of rows) expect(row).toHaveLength(header.length)
        for (const { claim, evidence } of result.findings) expect(`${claim} ${evidence}`).not.toMatch(/NaN|undefined/)
      }),
  )

  it('recommends the least work that is good enough, and of equals what keeps the most roots', () => {
    const row = (method: string, particles: number, threshold: number, distinctRoots: number): DimensionRow => ({
      ...{ target: 'AND', d: 8, method, particles, steps: 32, threshold, distinctRoots, evaluations: 33 * particles },
      ...{ modes: 0.05, variance: 1, logZ: 0.1, smallestEss: 10, resamplings: 2, seconds: 1 },
    })
    const guided = ['analytic', 'calibrated'].map((name) => ({ name }))
    const sweep = [row('analytic', 64, 0.5, 12), row('analytic', 256, 0.5, 30), row('calibrated', 64, 0.5, 40), row('calibrated', 64, 0.2, 50)] // biome-ignore format: one line
    const recommended = (more: DimensionRow[]) => guide(sweep, guided, more).rows[0].slice(2)
    const calibrated = ['64 particles, 32 levels', 'analytic, 256 particles, 32 levels', 'calibrated', '64', '32', 'below 0.2'] // biome-ignore format: one line
    expect(recommended([])).toEqual(['256 particles, 32 levels', ...calibrated])
    expect(recommended([row('tilt', 32, 0.5, 20)]).slice(3)).toEqual(['tilt', '32', '32', 'below 0.5'])
    expect(recommended([{ ...row('tilt', 32, 0.5, 20), logZ: 0.6 }]).slice(3)).toEqual(calibrated.slice(2))
  })

  it('gives the same numbers for the same seed, and writes the levels of its runs', () =>
    inFolder(async (output) => {
      const data = async (seed: number) => {
        const { result } = await runExperiment('diversity', { output, budget: 'quick', seed })
        return JSON.stringify(result.data)
      }
      const first = await data(5)
      expect(await data(6)).not.toBe(first)
      // by the command, and watched
      const watched = join(output, 'watched')
      let seen: Promise<Run[]> | undefined
      vi.spyOn(console, 'log').mockImplementation(() => {})
      vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
        const [, url] = /^watch at (http:\S+)/.exec(String(text)) ?? []
        if (url) seen = follow(url)
        return true
      })
      const follow = async (url: string): Promise<Run[]> => {
        for (;;) {
          const { runs } = (await (await fetch(`${url}api/runs`)).json()) as { runs: Run[] }
          if (runs.some(({ state }) => state === 'done')) return runs
          await new Promise((resolve) => setTimeout(resolve, 50))
        }
      }
      const models = ['--models', join(output, 'models')]
      expect(await main(['experiment', 'diversity', '--budget', 'quick', '--seed', '5', '--threads', '1', '--output', watched, ...models, '--watch', '0'])).toBe(0) // biome-ignore format: one line
      vi.restoreAllMocks()
      expect(JSON.stringify(JSON.parse(await readFile(join(watched, 'results.json'), 'utf8')).data)).toBe(first)
      expect(await seen).toContainEqual(expect.objectContaining({ kind: 'sampling', state: 'done', said: expect.stringMatching(/^ESS/) })) // biome-ignore format: one line
      const runs = await readdir(join(output, 'runs'))
      expect(runs.length).toBeGreaterThan(5)
      for (const name of runs) {
        const log = await readFile(join(output, 'runs', name, 'levels.jsonl'), 'utf8')
        expect(JSON.parse(log.trim().split('\n').at(-1)!)).toHaveProperty('summary')
      }
    }))

  it('stops when told to', () =>
    inFolder(async (output) => {
      const abort = new AbortController()
      const onStage = () => abort.abort(new Error('enough'))
      await expect(
        runExperiment('diversity', { output, budget: 'quick', signal: abort.signal, onStage }),
      ).rejects.toThrow('enough')
    }))

  it('rejects bad options', async () => {
    await expect(runExperiment('magic' as ExperimentName, { output: 'x' })).rejects.toThrow(ArgumentError)
    await expect(runExperiment('exact', { output: '' })).rejects.toThrow(ArgumentError)
    await expect(runExperiment('exact', { output: 'x', budget: 'huge' as 'small' })).rejects.toThrow(ArgumentError)
    await expect(runExperiment('exact', { output: '/proc/none/x' })).rejects.toThrow(FileError)
  })
})
