import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { strToU8, type Zippable, zipSync } from 'fflate'
import sharp from 'sharp'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ArgumentError } from '../lib/base/errors.js'
import { splitData } from '../lib/training/hold-out.js'
import { chooseWishes } from '../packages/lab/src/experiments/composition-wishes.js'
import type { ControlledRow, PlainRow } from '../packages/lab/src/experiments/consistency-images-tables.js'
import { problemsOf } from '../packages/lab/src/experiments/consistency-problems.js'
import { ownImages } from '../packages/lab/src/experiments/own-images.js'
import { type ExperimentOptions, runExperiment } from '../packages/lab/src/experiments/run.js'
import { labelledImages } from './training-data.js'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'feynkac-composition-'))
})
afterAll(() => rm(folder, { recursive: true }))

const colours = [[220, 40, 40], [40, 220, 40], [40, 40, 220]] // biome-ignore format: a palette

/** A zip of 12 x 12 images: one colour of three on one side of two, and each a shade of its own. */
async function saveImages(name: string, label: (colour: number, side: number) => number[], count = 96) {
  const files: Zippable = {}
  const labels: [string, number[]][] = []
  for (let i = 0; i < count; i++) {
    const [colour, side] = [i % 3, Math.floor(i / 3) % 2]
    const bytes = new Uint8Array(12 * 12 * 3)
    for (let p = 0; p < 144; p++)
      if (p % 12 < 6 === (side === 0)) bytes.set(colours[colour].map((v) => v + (i % 30)), 3 * p) // biome-ignore format: one line
    const image = sharp(bytes, { raw: { width: 12, height: 12, channels: 3 } })
    files[`${i}.png`] = await image.png().toBuffer()
    labels.push([`${i}.png`, label(colour, side)])
  }
  files['dataset.json'] = strToU8(JSON.stringify({ labels }))
  const names = { colour: ['red', 'green', 'blue'], side: 2 }
  if (label(0, 0).length === 2) files['attributes.json'] = strToU8(JSON.stringify(names))
  const path = join(folder, name)
  await writeFile(path, zipSync(files))
  return path
}

const both = (colour: number, side: number) => [colour, side]

describe('composition of own images', () => {
  it('trains its models, reads by the classifier and writes its report', async () => {
    const output = join(folder, 'report')
    const data = await saveImages('both.zip', both)
    const options: ExperimentOptions = { output, data, size: 8, budget: 'quick', models: join(folder, 'models') }
    const { result, tables, files } = await runExperiment('composition', options)
    expect(result.images).toEqual({ data: 'both.zip', size: 8 })
    for (const { header, rows } of tables) for (const row of rows) expect(row).toHaveLength(header.length)
    const [methods, classifier, real] = tables
    expect(methods.header).toEqual(expect.arrayContaining(['right', 'verdict', 'recognised', 'distance']))
    expect(classifier.rows.map(([name]) => name)).toEqual(['colour', 'side'])
    const asked = ['AND: red, side 0', 'AND: green, side 1', 'OR: blue or red', 'NOT: red, not side 0']
    expect(real.rows.map(([name]) => name)).toEqual(asked)
    expect(new Set(methods.rows.map(([name]) => name))).toEqual(new Set(asked))
    expect(result.findings.map(({ claim }) => claim.split(':')[0])).toEqual(['AND', 'OR', 'NOT'])
    const { rows } = result.data as { rows: { right: number; verdict: number; recognised: number; distance: number }[] }
    for (const { right, verdict, recognised, distance } of rows) {
      expect(right).toBeLessThanOrEqual(Math.min(verdict, recognised))
      expect(Number.isFinite(distance)).toBe(true)
    }
    expect(files.filter((file) => file.endsWith('.png'))).toHaveLength(4)
    for (const file of ['results.json', 'report.md'])
      expect(await readFile(join(output, file), 'utf8')).not.toContain(folder)
    expect(await readFile(join(output, 'report.md'), 'utf8')).toContain('--data both.zip --size 8')
  })

  it('refuses data that it cannot ask anything of', async () => {
    const output = join(folder, 'refused')
    const refused = async (message: RegExp, name: 'composition' | 'exact', options: Partial<ExperimentOptions>) => {
      const failure = runExperiment(name, { output, budget: 'quick', ...options })
      await expect(failure).rejects.toThrow(ArgumentError)
      await expect(failure).rejects.toThrow(message)
    }
    const data = await saveImages('one.zip', (colour) => [colour], 12)
    await refused(/two attributes or more/, 'composition', { data })
    const still = await saveImages('still.zip', (colour) => [colour, 0], 12)
    await refused(/two frequent values/, 'composition', { data: still })
    await refused(/exact takes none/, 'exact', { data })
    await refused(/size/, 'composition', { size: 16 })
    await refused(/multiple of 4/, 'composition', { data, size: 18 })
    await refused(/64/, 'composition', { data, size: 128 })
    await refused(/data/, 'composition', { data: '' })
  })

  it('shows no model the images of another part', async () => {
    const data = await saveImages('parts.zip', both, 30)
    const options = { seed: 3, stage: () => {} }
    const { all, forEnergy, forClassifier, test, values } = await ownImages({ data, size: 12 }, options)
    expect(values).toEqual([[0, 1, 2], [0, 1]]) // biome-ignore format: one line
    expect([forEnergy, forClassifier, test].map(({ size }) => size)).toEqual([15, 11, 4])
    const key = (set: typeof all, i: number) => {
      const x = new Float32Array(3 * 144)
      set.read(i, x, 0)
      return x.join()
    }
    const keys = [all, forEnergy, forClassifier, test].map((set) =>
      Array.from({ length: set.size }, (_, i) => key(set, i)),
    )
    expect(new Set(keys.slice(1).flat())).toEqual(new Set(keys[0]))
    const other = await ownImages({ data, size: 16 }, options)
    expect(other.key).not.toBe((await ownImages({ data, size: 12 }, options)).key)
    expect(() => splitData(labelledImages(2), [0.5, 0.25, 0.25], 0)).toThrow(ArgumentError)
  })
})

describe('consistency of own images', () => {
  it('trains each way, keeps what it samples and asks what the attributes allow', { timeout: 120_000 }, async () => {
    const data = await saveImages('learnt.zip', both)
    const options = { data, size: 8, budget: 'quick', models: join(folder, 'learnt-models') } as const
    const run = () => runExperiment('consistency', { output: join(folder, 'learnt'), ...options })
    const { result, tables, files } = await run()
    for (const { header, rows } of tables) for (const row of rows) expect(row).toHaveLength(header.length)
    const { plainRows, rows } = result.data as { plainRows: PlainRow[]; rows: ControlledRow[] }
    expect(plainRows.map(({ energies }) => energies)).toEqual(['images', 'denoiser', 'dot'])
    for (const row of plainRows) expect(row.frechet + row.kernel + row.coverage).toBeGreaterThan(-1)
    expect(plainRows[2].ratio).toBeGreaterThan(0)
    const asked = ['AND: blue, side 1', 'AND: blue, side 1, guidance 2', 'NOT: side 1, not blue', 'OR: blue or red']
    const targets = new Set(rows.map(({ target }) => target))
    expect([...targets].toSorted()).toEqual([...asked, 'gamma = 1', 'gamma = 2', 'gamma = 3', 'guidance 2: blue'])
    for (const { energies, target, weights, right, roots, logZ } of rows) {
      if (energies === 'images') expect(roots).toBe(6)
      expect(right >= 0 && right <= 1).toBe(true)
      expect(logZ).toHaveLength(weights === 'bridge' && target === 'gamma = 1' ? 2 : Number(weights.length > 4))
    }
    expect(files.filter((file) => file.endsWith('.png'))).toHaveLength(9)
    expect((await run()).result.data).toEqual(result.data)
  })

  it('asks one attribute alone for other pictures than it names', async () => {
    const data = await saveImages('colours.zip', (colour) => [colour])
    const own = await ownImages({ data, size: 8 }, { seed: 0, stage: () => {} }, 1)
    const problems = problemsOf(own)
    expect(problems.map(({ name }) => name).slice(3)).toHaveLength(3)
    const without = problems.at(-1)!
    expect(without.name).toBe('NOT: class 2')
    expect([[0], [1], [2]].map(without.right)).toEqual([true, true, false])
  })
})

describe('what is asked of attributes', () => {
  /** Every combination of values, `copies` of each. */
  const grid = (sizes: readonly number[], copies: number) => {
    const total = sizes.reduce((a, b) => a * b, copies)
    const label = (index: number) => {
      let rest = index
      return sizes.map((size) => {
        const value = rest % size
        rest = Math.floor(rest / size)
        return value
      })
    }
    return { size: total, label }
  }
  const sizes = [3, 4, 2, 3]
  const values = sizes.map((n) => [...Array(n).keys()])
  const say = (wishes: ReturnType<typeof chooseWishes>) =>
    wishes.map(({ operation, traits }) => `${operation} ${traits.map((t) => `${t.attribute}=${t.value}`).join(' ')}`)

  it('takes attributes and values in turn', () => {
    expect(say(chooseWishes(grid(sizes, 8), values, [1, 0.95, 0.9, 1]))).toEqual([
      'AND 0=0 1=0',
      'AND 2=0 3=0',
      'AND 0=1 1=1 2=1',
      'OR 1=2 1=3',
      'NOT 3=1 2=0',
    ])
  })

  it('leaves out what is not read well, unless nothing is', () => {
    expect(say(chooseWishes(grid(sizes, 8), values, [1, 0.5, 0.89, 1]))).toEqual([
      'AND 0=0 3=0',
      'AND 0=1 3=1',
      'OR 3=2 3=0',
      'NOT 3=0 0=2',
    ])
    expect(say(chooseWishes(grid(sizes, 8), values, [0.1, 0.3, null, 0.2]))[0]).toBe('AND 1=0 3=0')
  })

  it('asks for nothing that too few images show', () => {
    const { size, label } = grid([2, 2], 40)
    // the values 0 never occur together
    const apart = { size, label: (i: number) => (i % 4 === 0 ? [0, 1] : label(i)) }
    const two = [[0, 1], [0, 1]] // biome-ignore format: one line
    expect(say(chooseWishes(apart, two, [1, 1]))).toEqual(['AND 0=0 1=1', 'AND 0=1 1=1', 'OR 1=0 1=1', 'NOT 1=1 0=0'])
  })
})
