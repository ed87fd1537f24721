import { mkdtemp, readFile, rm } from 'node:fs/promises'
import os from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { ArgumentError, FormatError } from '../lib/base/errors.js'
import { main } from '../lib/cli/index.js'
import { type Dataset, MemoryDataset } from '../lib/data/dataset.js'
import { loadDataset } from '../lib/data/load.js'
import { Autoencoder } from '../lib/models/autoencoder.js'
import { Classifier } from '../lib/models/classifier.js'
import { Denoiser } from '../lib/models/denoiser.js'
import { EnergyModel } from '../lib/models/energy.js'
import { residualMLP } from '../lib/networks/config.js'
import { holdOut } from '../lib/training/hold-out.js'
import { classifierFor, trainClassifier } from '../lib/training/objectives/classifier.js'
import { trainDenoiser } from '../lib/training/objectives/dsm.js'
import { readSafetensors, writeSafetensors } from '../lib/weights/safetensors.js'
import { labelledImages } from './training-data.js'

let folder = ''
beforeEach(async () => {
  folder = await mkdtemp(join(os.tmpdir(), 'feynkac-classifier-'))
})
afterEach(() => rm(folder, { recursive: true }))

const noise = (n: number, k = 7) => Float32Array.from({ length: n }, (_, i) => Math.sin(k * i + 1))

const network = { width: 8, channelMult: [1, 2] }
const untrained = (data: Dataset, seed = 0) =>
  Classifier.create({ network: classifierFor(data, network), labels: data.labels! }, { seed })

function readImages(data: Dataset): Float32Array {
  const width = data.shape.reduce((a, b) => a * b, 1)
  const x = new Float32Array(data.size * width)
  for (let i = 0; i < data.size; i++) data.read(i, x, i * width)
  return x
}

describe('a classifier', () => {
  it('gives features, and classes by probabilities that sum to 1, row by row', async () => {
    using model = await untrained(labelledImages(6), 3)
    const x = noise(5 * 64)
    const features = await model.features(x)
    expect(model.featureSize).toBe(16)
    expect(features).toHaveLength(5 * 16)
    const { classes, probabilities } = await model.classify(x)
    expect([classes.length, probabilities.length]).toEqual([10, 25])
    for (let row = 0; row < 5; row++)
      for (const [attribute, first, last] of [
        [0, 0, 2],
        [1, 2, 5],
      ]) {
        const block = [...probabilities.subarray(5 * row + first, 5 * row + last)]
        expect(block.reduce((a, b) => a + b, 0)).toBeCloseTo(1, 6)
        expect(classes[2 * row + attribute]).toBe(block.indexOf(Math.max(...block)))
      }
    const alone = await model.classify(x.slice(64, 128))
    expect(alone.classes).toEqual(classes.slice(2, 4))
    for (const i of alone.probabilities.keys()) expect(alone.probabilities[i]).toBeCloseTo(probabilities[5 + i], 5)
  })

  it('keeps everything in its file, and is taken for nothing else', async () => {
    const data = labelledImages(6)
    using model = await untrained(data, 1)
    model.accuracy = [0.5, null]
    const path = join(folder, 'model.safetensors')
    await model.save(path)
    using loaded = await Classifier.load(path)
    expect(loaded.info).toEqual(model.info)
    expect(loaded.labels).toEqual(data.labels)
    expect(loaded.accuracy).toEqual([0.5, null])
    expect(loaded.shape).toEqual([1, 8, 8])
    const x = noise(3 * 64)
    expect(await loaded.features(x)).toEqual(await model.features(x))
    expect(await loaded.classify(x)).toEqual(await model.classify(x))

    await expect(Denoiser.load(path)).rejects.toThrow(/holds a classifier, not a denoiser or an energy/)
    await expect(EnergyModel.load(path)).rejects.toThrow(ArgumentError)
    await expect(Autoencoder.load(path)).rejects.toThrow(/it holds no autoencoder/)
    using denoiser = await Denoiser.create({ network: residualMLP(2) })
    const other = join(folder, 'denoiser.safetensors')
    await denoiser.save(other)
    await expect(Classifier.load(other)).rejects.toThrow(/it holds no classifier/)
  })

  it('refuses files that are wrong and calls that cannot be', async () => {
    using model = await untrained(labelledImages(6))
    const path = join(folder, 'model.safetensors')
    await model.save(path)
    const { metadata, tensors } = await readSafetensors(path)
    const entries = [...tensors].map(([name, { shape, data }]) => {
      const bytes = data.slice()
      return [name, { shape, data: new Float32Array(bytes.buffer) }] as [
        string,
        { shape: number[]; data: Float32Array },
      ]
    })
    const description = JSON.parse(metadata.feynkac!)
    const wrong: [object, string][] = [
      [{ accuracy: [2, 0] }, 'accuracy'],
      [{ accuracy: [0.5] }, 'accuracy'],
      [{ labels: null }, 'labels'],
      [{ labels: { attributes: [{ name: 'first', size: 5 }] } }, 'classes'],
      [{ network: { ...description.network, class: 'SongUNet' } }, 'ConvClassifier'],
      [{ network: { ...description.network, shape: [3, 8, 8] } }, 'shape'],
      [{ network: null }, 'object'],
    ]
    for (const [change, message] of wrong) {
      await writeSafetensors(path, entries, { feynkac: JSON.stringify({ ...description, ...change }) })
      const failure = Classifier.load(path)
      await expect(failure, message).rejects.toThrow(FormatError)
      await expect(failure).rejects.toThrow(message)
    }
    for (const x of [new Float32Array(65), new Float32Array(0), [1] as never]) {
      await expect(model.features(x)).rejects.toThrow(ArgumentError)
      await expect(model.classify(x)).rejects.toThrow(ArgumentError)
    }
    await expect(model.classify(noise(64), { batch: 1 } as never)).rejects.toThrow(ArgumentError)
    const signal = AbortSignal.abort(new Error('enough'))
    await expect(model.features(noise(64), { signal })).rejects.toThrow('enough')
    model.dispose()
    await expect(model.features(noise(64))).rejects.toThrow(/disposed/)
  })
})

it('the split is by the seed, disjoint and whole', () => {
  const data = labelledImages(50)
  const { training, held } = holdOut(data, 0.1, 4)
  expect([training.size, held.length]).toEqual([45, 5])
  const key = (read: (out: Float32Array) => void) => {
    const x = new Float32Array(64)
    read(x)
    return x.join()
  }
  const all = new Set(Array.from({ length: 50 }, (_, i) => key((x) => data.read(i, x, 0))))
  for (let i = 0; i < 45; i++) all.delete(key((x) => training.read(i, x, 0)))
  expect(all).toEqual(new Set([...held].map((i) => key((x) => data.read(i, x, 0)))))
  expect(holdOut(data, 0.1, 4).held).toEqual(held)
  expect(holdOut(data, 0.1, 5).held).not.toEqual(held)
  expect(holdOut(data, 0, 4).held).toHaveLength(0)
  expect(() => holdOut(labelledImages(1), 0.5, 0)).toThrow(ArgumentError)
})

describe('training a classifier', () => {
  const options = { data: 'synthetic:shapes:count=600,size=8', batchSize: 32, lr: 3e-3, network, seed: 2 }

  it('learns to tell what it was not trained on, with noise and from classes that are partly unknown', async () => {
    const data = await loadDataset(options.data)
    // every third shape and every fourth place are not known
    const partly: Dataset = {
      ...{ name: data.name, size: data.size, shape: data.shape, labels: data.labels },
      read: (index, out, offset) => data.read(index, out, offset),
      label: (index) => data.label(index).map((c, a) => (index % (3 + a) === 0 ? null : c)),
    }
    const seen: number[] = []
    const result = await trainClassifier({
      ...{ ...options, data: partly, images: 6400, noise: 0.1, output: join(folder, 'run') },
      onProgress: ({ images }) => seen.push(images),
    })
    using model = result.model
    expect(result).toMatchObject({ steps: 200, images: 6400, path: join(folder, 'run', 'model.safetensors') })
    expect(seen).toHaveLength(200)
    const [shape, place] = model.accuracy
    expect(shape).toBeGreaterThan(0.8) // chance: 1/3
    expect(place).toBeGreaterThan(0.9) // 1/4

    const other = await loadDataset('synthetic:shapes:count=200,size=8,seed=77')
    const x = readImages(other).map((v, i) => v + 0.05 * Math.sin(99 * i))
    const { classes } = await model.classify(x)
    const right = [0, 1].map((a) => classes.filter((c, i) => i % 2 === a && c === other.label(i >> 1)[a]).length / 200)
    expect(right[0]).toBeGreaterThan(0.8)
    expect(right[1]).toBeGreaterThan(0.9)
    using loaded = await Classifier.load(result.path!)
    expect(loaded.accuracy).toEqual(model.accuracy)
    expect(loaded.labels).toEqual(data.labels)
  })

  it('resumes and ends with the bits of an unbroken run', async () => {
    const settings = { ...options, images: 640, checkpointEvery: 64, noise: 0.1, flips: true }
    const whole = await trainClassifier({ ...settings, output: join(folder, 'whole') })
    whole.model.dispose()
    const output = join(folder, 'broken')
    const controller = new AbortController()
    const broken = trainClassifier({
      ...{ ...settings, output, signal: controller.signal },
      onProgress: ({ step }) => {
        if (step === 9) controller.abort(new Error('enough'))
      },
    })
    await expect(broken).rejects.toThrow('enough')
    await expect(trainClassifier({ resume: true, output, holdOut: 0.2 })).rejects.toThrow(/holdOut/)
    await expect(trainDenoiser({ resume: true, output })).rejects.toThrow(/it holds a classifier/)
    const resumed = await trainClassifier({ resume: true, output })
    resumed.model.dispose()
    expect(await readFile(resumed.path!)).toEqual(await readFile(whole.path!))
  })

  it('measures nothing where nothing is held out', async () => {
    const { model } = await trainClassifier({ ...options, images: 32, holdOut: 0 })
    using _ = model
    expect(model.accuracy).toEqual([null, null])
  })

  it('refuses options and data that do not belong to it', async () => {
    const unlabelled = new MemoryDataset({ name: 'bare', shape: [1, 8, 8], data: new Uint8Array(128), labels: null })
    const wrong = [
      { dropout: 0.1 },
      { noise: -1 },
      { holdOut: 1 },
      { holdOut: '1' },
      { network: { width: 2 } },
      { network: { depth: 2 } },
      { network: { channelMult: [1, 1, 1, 1, 1] } },
      { network: 3 },
      { data: 'synthetic:moons' },
      { data: unlabelled },
      { dataOptions: { autoencoder: 'x' } },
    ]
    const unknown = Object.assign(labelledImages(8), { label: () => [null, 0] })
    await expect(trainClassifier({ ...options, images: 32, data: unknown })).rejects.toThrow(/not known for any image/)
    for (const extra of wrong)
      await expect(trainClassifier({ ...options, images: 32, ...extra } as never)).rejects.toThrow(ArgumentError)
    await expect(trainClassifier(undefined as never)).rejects.toThrow(ArgumentError)
  })
})

it('the command line trains one, shows it, and refuses to sample or distil it', async () => {
  const [out, err]: string[][] = [[], []]
  vi.spyOn(console, 'log').mockImplementation((text) => void out.push(text))
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => void err.push(String(text)) === undefined)
  const data = ['--data', 'synthetic:shapes:count=100,size=8']
  const quick = ['--batch', '16', '--threads', '1']
  const file = join(folder, 'run', 'model.safetensors')
  const command = async (...argv: string[]) => expect(await main(argv), argv.join(' ')).toBe(0)
  const train = ['train-classifier', ...data, ...quick, '--images', '160', '--noise', '0.05', '--hold-out', '0.2']
  const small = ['--width', '8', '--channel-mult', '1,2', '--blocks', '1']
  await command(...train, ...small, '--output', join(folder, 'run'), '--json')
  expect(JSON.parse(out.at(-1)!)).toMatchObject({
    model: file,
    steps: 10,
    accuracy: { shape: expect.any(Number), place: expect.any(Number) },
  })
  await command(...train, '--output', join(folder, 'other'), '--hold-out', '0')
  expect(out.at(-1)).toMatch(/held out: shape not measured, place not measured$/)
  await command('inspect', file, '--json')
  expect(JSON.parse(out.at(-1)!)).toMatchObject({ kind: 'classifier', featureSize: 16 })
  await command('inspect', file)
  expect(out.join('\n')).toMatch(/^accuracy {4}shape \d+\.\d %, place \d+\.\d %$/m)

  const fails = async (code: number, message: string, ...argv: string[]) => {
    expect(await main(argv), argv.join(' ')).toBe(code)
    expect(err.at(-1)).toContain(message)
  }
  const output = ['--output', join(folder, 'none')]
  await fails(2, 'holds a classifier', 'sample', file, ...output)
  await fails(2, 'holds a classifier', 'distill', '--teacher', file, ...data, '--images', '16', ...output)
  await fails(2, 'holds a classifier', 'convert', file, join(folder, 'converted.safetensors'))
  await fails(1, 'it holds no autoencoder', 'train', ...data, '--autoencoder', file, '--images', '16', ...output)
  vi.restoreAllMocks()
})
