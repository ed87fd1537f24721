import { readFileSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import sharp from 'sharp'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { sameBits } from '../lib/cli/same-bits.js'
import { MemoryDataset } from '../lib/data/dataset.js'
import { budgetFor, energyWithin, shareBefore, teacherWithin, workOf } from '../lib/fit/budget.js'
import { describeFindings, findingsOf } from '../lib/fit/findings.js'
import { fitPictures } from '../lib/fit/pictures.js'
import { adviceFor, describeClassifier, describeDrawing, sampleCommands } from '../lib/fit/report.js'
import { layoutOf, rowGroups } from '../lib/fit/rows.js'
import { ArgumentError, EnergyModel, FileError, type FitOptions, fit as learn, writeNpy } from '../lib/index.js'
import type { CopiesResult } from '../lib/metrics/copies.js'
import { holdFolder } from '../lib/training/folder.js'
import { imagesWithin } from '../lib/training/speed.js'
import { labelledImages } from './training-data.js'

/** The first n of 8x8, without labels. */
function pictures(n: number): MemoryDataset {
  const data = new Uint8Array(64 * n)
  for (let k = 0; k < data.length; k++) data[k] = (k * 7919 + (k % 64) * (k >> 6) * 31) % 256
  return new MemoryDataset({ name: 'pictures', shape: [1, 8, 8], data, labels: null })
}

let output = ''
beforeEach(async () => {
  output = await mkdtemp(join(tmpdir(), 'feynkac-fit-'))
})
afterEach(() => rm(output, { recursive: true }))

describe('fit', () => {
  it('learns an energy of labelled pictures, draws what was asked for and counts what is right', {
    timeout: 600_000,
  }, async () => {
    const stages = new Set<string>()
    let [last, findings] = [0, 0]
    const options: FitOptions = {
      data: labelledImages(120),
      images: 64,
      output,
      seed: 3,
      device: 'cpu',
      tensorboard: true,
    }
    const result = await learn({
      ...options,
      onFindings: () => findings++,
      onProgress: ({ stage, done, total }) => {
        stages.add(stage)
        expect(done).toBeGreaterThanOrEqual(last)
        expect(done).toBeLessThanOrEqual(total)
        last = done
      },
    })
    expect(findings).toBe(1)
    expect([...stages]).toEqual(['teacher', 'classifier', 'energy', 'calibration', 'pictures'])
    expect(JSON.parse(await readFile(join(output, 'fit.json'), 'utf8'))).toEqual({
      ...result,
      files: result.files.slice(0, -1),
    })
    expect(result.samples.map(({ name, rows }) => [name, rows.map(({ label }) => label)])).toEqual([
      ['samples', ['', '', '', '']],
      ['by-first', ['first 0', 'first 1']],
      ['by-second', ['second 0', 'second 1', 'second 2']],
      ['composition', ['first 0 AND second 0', 'first 1 AND second 1']],
    ])
    for (const { rows } of result.samples)
      for (const { samples, right } of rows) {
        expect(samples).toBe(4)
        expect(right).toBeLessThanOrEqual(4)
      }
    // plain brightness tells both attributes
    expect(result.classifier!.first).toBeGreaterThan(0.9)
    expect(result.classifierHeldOut).toEqual({ first: 12, second: 12 })
    expect(result.teacher).toMatchObject({ images: 64, heldOutLoss: expect.any(Number) })
    expect(result.copies).toMatchObject({ samples: 16, reference: 12, heldOut: true })
    expect((await readdir(output)).sort()).toEqual([
      ...['by-first.png', 'by-second.png', 'classifier.safetensors', 'composition.png', 'data.png', 'fit.json'],
      ...['model.safetensors', 'report.html', 'report.md', 'runs', 'samples.png', 'teacher.safetensors'],
    ])
    for (const run of ['teacher', 'energy', 'classifier'])
      expect((await readdir(join(output, 'runs', run))).sort()).toEqual([expect.stringMatching(/^events\.out\.tfevents\./), 'log.jsonl']) // biome-ignore format: one line
    expect(await readFile(join(output, 'report.html'), 'utf8')).not.toMatch(/src="(?!data:)/)
    using energy = await EnergyModel.load(result.model, { device: 'cpu' })
    expect(energy.calibration).toBeDefined()
    await expect(learn(options)).rejects.toThrow(/a fit that is finished.*--overwrite/)
  })

  it('goes on where it was stopped, and ends with the bits of an unbroken one', { timeout: 600_000 }, async () => {
    const options = { data: pictures(110), images: 64, device: 'cpu' }
    const [whole, broken] = [join(output, 'whole'), join(output, 'broken')]
    const unbroken = await learn({ ...options, output: whole })
    expect(unbroken.classifier).toBeNull()
    expect(unbroken.samples).toMatchObject([{ name: 'samples', rows: Array(4).fill({ right: null }) }])
    for (const stage of ['teacher', 'energy', 'pictures']) {
      const stop = new AbortController()
      const reason = new Error(stage)
      const onProgress: FitOptions['onProgress'] = (at) => at.stage === stage && stop.abort(reason)
      await expect(learn({ ...options, output: broken, signal: stop.signal, onProgress })).rejects.toBe(reason)
    }
    await expect(learn({ ...options, output: broken, seed: 1 })).rejects.toThrow(/other options \(seed\)/)
    const free = await holdFolder(broken)
    await expect(learn({ ...options, output: broken })).rejects.toThrow(/in use by another run/)
    await free()
    await learn({ ...options, output: broken, overwrite: true }) // of this fit there is nothing to overwrite yet
    for (const name of ['model', 'teacher'].map((model) => `${model}.safetensors`).concat('samples.png'))
      expect(readFileSync(join(broken, name)).equals(readFileSync(join(whole, name))), name).toBe(true)
  })

  it('refuses what it cannot learn from, and options that are wrong', async () => {
    const refused = (options: object) => expect(learn({ data: pictures(20), output, device: 'cpu', ...options }))
    await refused({ data: 'synthetic:ring:count=100' }).rejects.toThrow(/for pictures.*train, then distill/)
    await refused({ data: pictures(7) }).rejects.toThrow('pictures has 7 pictures: fit needs at least 8')
    const data = new MemoryDataset({ name: 'same', shape: [1, 8, 8], data: new Uint8Array(640).fill(3), labels: null })
    await refused({ data }).rejects.toThrow(/all 10 pictures of same are the same/)
    const labels = { attributes: [{ name: 'kind', size: 2 }] }
    const classes = Int32Array.from({ length: 20 }, (_, i) => (i < 9 ? 1 : -1))
    const few = new MemoryDataset({ name: 'few', shape: [1, 8, 8], data: Uint8Array.from({ length: 1280 }, (_, k) => k % 251), labels, classes }) // biome-ignore format: one line
    await refused({ data: few }).rejects.toThrow(/the kind of 9 pictures alone is known: label at least 10/)
    await refused({ minutes: 1e-5 }).rejects.toThrow(/min the teacher sees \d+ pictures.*it takes \d+ min/)
    // and leaves the folder to the next try, which has other options
    await refused({ minutes: 2e-5 }).rejects.toThrow(/min the teacher sees/)
    await refused({ minutes: 1, images: 1 }).rejects.toThrow(/nothing beside images/)
    await refused({ minutes: 0 }).rejects.toThrow(ArgumentError)
    await refused({ minutes: 1, energyImages: 9 }).rejects.toThrow('nothing without images for energyImages')
    await mkdir(join(output, 'runs', 'mine'), { recursive: true })
    await refused({ data: labelledImages(20), overwrite: true }).rejects.toThrow(/runs is there, and not of a fit/)
    expect(await readdir(join(output, 'runs'))).toEqual(['mine'])
    await refused({ output: '' }).rejects.toThrow(ArgumentError)
    await refused({ output: '/proc/none/fit' }).rejects.toThrow(FileError)
    await refused({ dataOptions: { autoencoder: 'x' } }).rejects.toThrow(ArgumentError)
  })
})

describe('what is said of the classifier', () => {
  it('names how many pictures its shares are of, and doubts what rests on few or is low', () => {
    const said = (share: number, pictures: number) =>
      describeClassifier({ classifier: { side: share }, classifierHeldOut: { side: pictures } })
    expect(said(0.98, 50)).toMatch(/held out, the side of 98\.0 % of 50$/)
    expect(said(1, 6)).toMatch(/the side of 100\.0 % of 6: so few pictures hardly tell how well it knows side$/)
    expect(said(0.5, 50)).toMatch(/the side of 50\.0 % of 50: too few for counts of side to mean anything$/)
  })
})

describe('what is said of the samples', () => {
  it('is what they are of, and what would make them better', () => {
    const rows = (right: number | null) => [{ label: '', samples: 10, right }]
    const group = (name: string, right: number | null) => ({ name, caption: '', rows: rows(right) })
    const samples = [group('samples', 8), group('composition', 8)]
    expect(describeDrawing({ samples })).toMatch(/the energy's own.*; compositions approximate the density named/)
    expect(describeDrawing({ samples: samples.slice(0, 1) })).toMatch(/draw them$/)
    const findings = { name: '', pictures: 60, shape: [1, 1, 1], attributes: [], odd: [] }
    const advised = (right: number | null, share: number | null, copied: boolean) => {
      const copies = { copies: copied } as CopiesResult
      const classifier = share === null ? null : { side: share }
      return adviceFor({ samples: [group('samples', right)], classifier, copies, findings })
    }
    expect(advised(8, 0.9, false)).toEqual([
      '8 of 10 plain samples as asked: more minutes make more of them right (--minutes)',
    ])
    expect(advised(8, 0.5, false)).toEqual([])
    expect(advised(9, 0.9, false)).toEqual([])
    expect(advised(null, null, false)).toEqual([])
    expect(advised(8, 0.9, true)).toEqual([
      'more than 60 pictures would make samples differ from them; more minutes do not',
    ])
  })
})

describe('findings', () => {
  it('count the values and say what is odd', async () => {
    const data = new Uint8Array(3 * 81 * 12)
    for (let i = 1; i < 12; i++) for (let k = 0; k < 243; k++) data[243 * i + k] = ((k % 81) * Math.min(i, 10)) % 256
    const labels = { attributes: [{ name: 'kind', size: 3, values: ['a', 'b', 'c'] }] }
    const classes = Int32Array.from({ length: 12 }, (_, i) => (i === 0 ? -1 : i % 2))
    const findings = await findingsOf(new MemoryDataset({ name: 'odd', shape: [3, 9, 9], data, labels, classes }))
    expect(describeFindings(findings)).toEqual([
      'odd: 12 pictures of 9 x 9, in colour',
      '  kind: a (5), b (6), c (0)',
      '  note: 12 pictures are few: samples are likely to be copies of them',
      '  note: 1 picture is the same as another one',
      '  note: 1 picture is of one colour alone',
      '  note: the pictures are grey, so that one channel is enough (give channels)',
      '  note: 9 x 9 does not halve evenly, which makes the network slow: 12 does',
      '  note: no picture has kind c',
      '  note: fewer than 10 pictures have kind a, b',
      '  note: the kind of 1 is not known',
    ])
  })
})

describe('pictures given by name', () => {
  /** A folder of PNG files, each of [height, width] in one colour. */
  async function folderOf(files: [colour: number[], height: number, width: number][]): Promise<string> {
    for (const [i, [colour, height, width]] of files.entries()) {
      const channels = colour.length as 1 | 3
      const raw = Uint8Array.from({ length: height * width * channels }, (_, k) => colour[k % channels])
      const image = sharp(raw, { raw: { width, height, channels } })
      await (channels === 1 ? image.toColourspace('b-w') : image).png().toFile(join(output, `${i}.png`))
    }
    return output
  }

  it('get one size, a small one, and one channel where they are grey', async () => {
    const grey = [90, 90, 90]
    const data = await folderOf([[grey, 18, 20], [grey, 20, 18], [[7], 40, 40]]) // biome-ignore format: one line
    const found = await fitPictures({ data })
    expect([found.data.shape, found.data.size]).toEqual([[1, 20, 20], 3])
    expect(found.changes).toEqual([
      'the pictures differ in size: they are learnt at 20 x 20 (give resize for another size)',
      'the pictures are stored in colour but grey: they are learnt in one channel (give channels for three)',
    ])
    const asked = await fitPictures({ data, dataOptions: { resize: 8, channels: 3 } })
    expect([asked.data.shape, asked.changes]).toEqual([[3, 8, 8], []])
  })

  it('are made smaller where they are large, and coloured where some are', async () => {
    const found = await fitPictures({ data: await folderOf([[[9], 80, 60], [[1, 2, 3], 70, 90]]) }) // biome-ignore format: one line
    expect([found.data.shape, found.data.size]).toEqual([[3, 32, 32], 2])
    expect(found.changes).toEqual([
      'pictures of 60 x 80 take long to learn on a processor: they are learnt at 32 x 32 (give resize for another size)',
      'some pictures are grey and some in colour: all are learnt in colour (give channels for grey)',
    ])
  })

  it('stay as they are where nothing is amiss, or nothing can be done about it', async () => {
    expect(await fitPictures({ data: pictures(9) })).toMatchObject({ changes: [] })
    expect(await fitPictures({ data: 'synthetic:shapes:count=20' })).toMatchObject({ changes: [] })
    await expect(fitPictures({ data: join(output, 'none') })).rejects.toThrow(FileError)
    const path = join(output, 'large.npy')
    await writeNpy(path, new Float32Array(2 * 70 * 70), [2, 70, 70])
    expect((await fitPictures({ data: path })).data.shape).toEqual([1, 70, 70])
  })
})

it('says how to have the same bits again, whatever the minutes', () => {
  const said = (...words: string[]) =>
    sameBits(['fit', 'my pictures', ...words], ['--images', '18000', '--energy-images', '6310'])
  const same = 'the same bits again, whatever the time: feynkac fit "my pictures" --seed 2 --images 18000 --energy-images 6310' // biome-ignore format: one line
  expect(said('--minutes', '3', '--seed', '2')).toBe(same)
  expect(said('--seed', '2', '--minutes=3')).toBe(same)
})

it('says how to draw more, by labels that a command line can say', () => {
  const values = (...names: string[]) => names.map((value, count) => ({ value, count }))
  const attributes = [
    { name: 'kind', values: values('none', 'b.1'), unknown: 0 },
    { name: 'a place', values: values('x', 'y'), unknown: 0 },
  ]
  const findings = { name: '', pictures: 1, shape: [1, 1, 1], attributes, odd: [] }
  expect(sampleCommands({ model: 'm', findings })).toEqual([
    'feynkac sample m --method ancestral --attributes kind=b.1',
  ])
  expect(sampleCommands({ model: 'm', findings: { ...findings, attributes: [] } })).toEqual([
    'feynkac sample m --method ancestral',
  ])
  const side = { name: 'side', values: values('', 'left'), unknown: 0 }
  expect(sampleCommands({ model: 'm', findings: { ...findings, attributes: [attributes[0], side] } })).toEqual([
    'feynkac sample m --method ancestral --attributes kind=b.1,side=left',
    'feynkac sample m --attributes kind=b.1 --with side=left --divide-prior --guidance 2',
  ])
})

describe('rows', () => {
  it('are of the most frequent values, at most ten of an attribute, and of pairs of the first two attributes', () => {
    const many = Array.from({ length: 12 }, (_, i) => ({ value: `v${i}`, count: i === 3 ? 0 : 100 - i }))
    const attributes = [
      { name: 'a/b', values: many, unknown: 0 },
      { name: 'a b', values: [{ value: 'x', count: 5 }, { value: 'y', count: 7 }], unknown: 0 }, // biome-ignore format: one line
    ]
    const layout = layoutOf(attributes)
    expect(layout.values.filter(({ attribute }) => attribute === 0).map(({ value }) => value)).toEqual([0, 1, 2, 4, 5, 6, 7, 8, 9, 10]) // biome-ignore format: one line
    expect(layout.compositions).toEqual([[[0, 0], [1, 1]], [[0, 1], [1, 0]]]) // biome-ignore format: one line
    expect(layout.cost).toBe(4 + 12 + 6)
    const labels = { attributes: attributes.map(({ name, values }) => ({ name, size: values.length, values: values.map(({ value }) => value) })) } // biome-ignore format: one line
    const classes = Int32Array.of(0, 1, 1, -1)
    const data = new MemoryDataset({ name: 'd', shape: [1, 1, 1], data: new Uint8Array(2), labels, classes })
    const groups = rowGroups(data, layout, 2, 0)
    expect(groups.map(({ name }) => name)).toEqual(['samples', 'by-a-b', 'by-a-b1', 'composition'])
    expect(groups[0].rows[0].asked.map(String).sort()).toEqual(['0,1', '1,'])
    expect(groups[3].rows[0]).toEqual({ label: 'v0 AND y', asked: [[0, 1], [0, 1]], composed: true }) // biome-ignore format: one line
  })

  it('are longer where there is more time', () => {
    expect([1000, 20_000, 1e6].map((images) => budgetFor({ images, smallFirst: 0 }, 500, 15, true).columns)).toEqual([
      4, 9, 12,
    ])
    expect(budgetFor({ images: 1000, smallFirst: 1 }, 500, 4, false).work.classifier).toBe(0)
    expect(budgetFor({ images: 3594, smallFirst: 1 }, 500, 4, true).classifierImages).toBe(10_064)
    // as many pictures at half the size are work, too
    const { atHalf, work, energyImages } = budgetFor({ images: 10_000, smallFirst: 1 }, 500, 15, true)
    expect([atHalf * work.teacher, (1 - atHalf) * work.teacher, energyImages]).toEqual([4000, 10_000, 3500])
  })

  it('leave the energy what is left of the time', () => {
    const whole = budgetFor({ images: 10_000, smallFirst: 0 }, 500, 15, true, 40_000).work
    expect(Object.values(whole).reduce((a, b) => a + b)).toBeCloseTo(40_000)
    expect(shareBefore(budgetFor({ images: 10_000, smallFirst: 0 }, 500, 15, true, 40_000))).toBeCloseTo(0.2725)
  })

  it('bound the images of a teacher and its energy by what else has to be done in the time', () => {
    const budget = (images: number) => budgetFor({ images, smallFirst: 1 }, 500, 15, true)
    const within = teacherWithin(5, budget)
    const images = imagesWithin(5, 100, within)
    const { work } = budget(images)
    // in images of the full size with their part at half of it, as the speed is
    expect(workOf(work) / 1.4 / (60 * 5 * 100)).toBeCloseTo(0.95, 2)
    expect(imagesWithin(0.5, 20, teacherWithin(0.5, budget))).toBe(180) // 0.35 of 600, less what the others leave
    // 36 levels of two evaluations of 0.01 s for each of 20 rows: 14.4 s; 2 s for the report
    expect(imagesWithin(1, 100, energyWithin(budget(1000), 0.01, 20))).toBe(4060)
    expect(imagesWithin(0, 100, energyWithin(budget(1000), 0.01, 20))).toBe(175)
  })
})
