import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import os from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import sharp from 'sharp'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { ArgumentError, FeynkacError, FileError, FormatError } from '../lib/base/errors.js'
import { main } from '../lib/cli/index.js'
import { MemoryDataset } from '../lib/data/dataset.js'
import { writeNpy } from '../lib/data/npy-write.js'
import { evaluate } from '../lib/metrics/evaluate.js'
import { openFeatures, pixelFeatures } from '../lib/metrics/features.js'
import { frechetDistance } from '../lib/metrics/frechet.js'
import { precisionRecall } from '../lib/metrics/manifolds.js'
import { mmd } from '../lib/metrics/mmd.js'
import { type OnnxRuntime, type OnnxTensor, onnxFeatures } from '../lib/metrics/onnx.js'
import type { EvaluateOptions } from '../lib/metrics/options.js'
import { slicedWasserstein } from '../lib/metrics/sliced-wasserstein.js'
import vectors from './vectors/metrics.json' with { type: 'json' }

const { inputs } = vectors
const { dim } = inputs
const [a, b] = [Float32Array.from(inputs.a), Float32Array.from(inputs.b)]
const weights = Float64Array.from(inputs.countsA, (count) => count / inputs.countsA.reduce((sum, c) => sum + c))
const dataset = (data: Float32Array, shape = [dim]) => new MemoryDataset({ name: 'points', shape, data, labels: null })
const [samples, data] = [dataset(a), dataset(b)]

let folder = ''
beforeAll(async () => {
  folder = await mkdtemp(join(os.tmpdir(), 'feynkac-evaluate-'))
})
afterAll(() => rm(folder, { recursive: true }))

describe('evaluate', () => {
  it('gives every metric of all samples where they are few, whatever the batches', async () => {
    const seen: string[] = []
    const result = await evaluate({ samples, data, batchSize: 7, onProgress: ({ stage }) => seen.push(stage) })
    expect(result).toMatchObject({ samples: 61, data: 45, weighted: false, features: 'pixels', dim })
    expect(result.values.frechet).toBeCloseTo(vectors.frechet.ab, 9)
    expect(result.values).toMatchObject(vectors.precisionRecall[3])
    expect(result.values).toMatchObject(vectors.densityCoverage[5])
    expect(result.values.slicedWasserstein).toBeCloseTo(await slicedWasserstein(a, b, { dim }), 12)
    expect(result.values.mmd).toBeCloseTo((await mmd(a, b, { dim })).squared, 12)
    expect(result.values.mmdBandwidth).toBeCloseTo(vectors.mmd.median, 12)
    expect(result.values.kernelStandardError).toBeGreaterThan(0)
    expect([...new Set(seen)]).toEqual(['features', 'frechet', 'kernel', 'coverage', 'sliced-wasserstein', 'mmd'])
    const whole = await evaluate({ samples, data })
    expect(whole.values.frechet).toBeCloseTo(result.values.frechet!, 9)
    expect({ ...whole.values, frechet: 0 }).toEqual({ ...result.values, frechet: 0 })
  })

  it('reads what samples show by a classifier', async () => {
    const labels = { attributes: [{ name: 'sign', size: 2, values: ['minus', 'plus'] }, { name: 'size', size: 3 }] } // biome-ignore format: one line
    const rows = new Float32Array([-3, -1, 1, 2, 3, 0.5, 0.1, -0.2])
    const points = dataset(rows, [1])
    const size = (v: number) => (Math.abs(v) < 1 ? 0 : Math.abs(v) < 2.5 ? 1 : 2)
    const features = {
      ...{ name: 'signs', shape: [1], dim: 1, labels },
      features: async (x: Float32Array) => x,
      attributes: async (x: Float32Array) => Int32Array.from([...x].flatMap((v) => [v > 0 ? 1 : 0, size(v)])),
    }
    const common = { samples: points, data: points, features, metrics: ['mmd'], batchSize: 3 } as const
    const shares = async (more: Partial<EvaluateOptions>) => (await evaluate({ ...common, ...more })).attributes
    expect(await shares({})).toBeUndefined()
    expect(await shares({ attributes: { sign: 'plus' } })).toEqual({ sign: 5 / 8, all: 5 / 8 })
    expect(await shares({ attributes: { size: 1, sign: 1 } })).toEqual({ sign: 5 / 8, size: 3 / 8, all: 2 / 8 })
    const weights = Float64Array.of(0, 0, 0.5, 0, 0.25, 0, 0, 0.25)
    expect(await shares({ attributes: { sign: 1, size: 1 }, weights })).toEqual({ sign: 0.75, size: 0.5, all: 0.5 })
    await expect(shares({ attributes: { colour: 1 } })).rejects.toThrow(/unknown attribute 'colour'/)
    await expect(shares({ attributes: { size: 3 } })).rejects.toThrow(ArgumentError)
    await expect(shares({ attributes: {} })).rejects.toThrow(ArgumentError)
    await expect(shares({ attributes: { sign: 1 }, features: 'pixels' })).rejects.toThrow(/tells none/)
  })

  it('chooses by the weights where there are more samples than pairs', async () => {
    const heavy = new Float64Array(61).map((_, i) => (i === 7 || i === 50 ? 0.5 : 0))
    const both = [...a.subarray(7 * dim, 8 * dim), ...a.subarray(50 * dim, 51 * dim)]
    const same = dataset(Float32Array.from({ length: 10 * dim }, (_, k) => both[k % (2 * dim)]))
    for (const seed of [0, 1, 2]) {
      const metrics = ['sliced-wasserstein'] as const
      const { values, notes } = await evaluate({ samples, data: same, weights: heavy, pairs: 10, metrics, seed })
      expect(values.slicedWasserstein).toBeCloseTo(0, 6)
      expect(notes.join()).toMatch(/resampled systematically for sliced-wasserstein/)
    }
  })

  it('keeps the other metrics where one cannot be', async () => {
    const one = new Float64Array(61).map((_, i) => (i === 7 ? 1 : 1e-30))
    const { values, notes } = await evaluate({ samples, data, weights: one })
    expect(values.mmd).toBeUndefined()
    expect(values.slicedWasserstein).toBeGreaterThan(0)
    expect(notes.join('\n')).toMatch(/mmd: all weight of a is on one sample/)
  })

  it('takes weights for the Fréchet distance alone', async () => {
    const { values, weighted } = await evaluate({ samples, data, weights, metrics: ['frechet'] })
    expect(weighted).toBe(true)
    expect(values.frechet).toBeGreaterThan(0)
  })

  it('resamples by the weights, except where a metric takes them', async () => {
    const { values, notes, weighted } = await evaluate({ samples, data, weights })
    expect(weighted).toBe(true)
    const exact = await slicedWasserstein(a, b, { dim, weightsA: weights })
    expect(values.slicedWasserstein).toBeCloseTo(exact, 12)
    expect(values.mmd).toBeCloseTo((await mmd(a, b, { dim, weightsA: weights })).squared, 12)
    const note = notes.find((text) => text.startsWith('weights'))
    expect(note).toMatch(
      /effective sample size \d+\.\d; resampled systematically for frechet, kernel, precision-recall, coverage$/,
    )
    // weights of 0 and 2 / 60 leave two copies of every other sample
    const even = dataset(a.subarray(0, 60 * dim))
    const alternate = Float64Array.from({ length: 60 }, (_, i) => 2 * (i % 2))
    const copies = Float32Array.from(
      { length: 60 * dim },
      (_, i) => a[(2 * Math.floor(i / dim / 2) + 1) * dim + (i % dim)],
    )
    const copied = await evaluate({ samples: even, data, weights: alternate })
    expect(copied.values.frechet).toBeCloseTo(await frechetDistance(copies, b, { dim }), 9)
    expect(copied.values).toMatchObject(await precisionRecall(copies, b, { dim }))
    // equal weights leave every sample once
    const equal = await evaluate({ samples, data, weights: new Float64Array(61).fill(3) })
    expect(equal.values.frechet).toBeCloseTo(vectors.frechet.ab, 9)
    expect(equal.values).toMatchObject(vectors.densityCoverage[5])
  })

  it('draws pairs at random where there are many, and says so', async () => {
    const { values, notes } = await evaluate({ samples, data, pairs: 30, metrics: ['frechet', 'mmd'] })
    expect(values.frechet).toBeCloseTo(vectors.frechet.ab, 9)
    expect(values.mmd).not.toBeCloseTo((await mmd(a, b, { dim })).squared, 6)
    expect(notes.join('\n')).toMatch(/mmd: of 30 samples and 30 data drawn at random/)
    expect(Object.keys(values)).toEqual(['frechet', 'mmd', 'mmdBandwidth'])
    const limited = await evaluate({ samples, data, limit: 20, metrics: ['sliced-wasserstein'] })
    const first = await slicedWasserstein(a.subarray(0, 20 * dim), b.subarray(0, 20 * dim), { dim })
    expect(limited.values.slicedWasserstein).toBeCloseTo(first, 12)
    expect(limited).toMatchObject({ samples: 20, data: 20 })
  })

  it("takes an extractor of one's own", async () => {
    const double = { ...pixelFeatures([dim]), name: 'double', features: async (x: Float32Array) => x.map((v) => 2 * v) }
    const { values } = await evaluate({ samples, data, features: double, metrics: ['frechet'] })
    expect(values.frechet).toBeCloseTo(4 * vectors.frechet.ab, 8)
    const short = { ...double, features: async () => new Float32Array(3) }
    await expect(evaluate({ samples, data, features: short })).rejects.toThrow(/features of double/)
  })

  it('says whether the samples are copies of what the model was trained on', async () => {
    const copied = await evaluate({ samples, data, training: samples, metrics: ['frechet'] })
    expect(copied.copies).toMatchObject({ copies: true, samples: 61, reference: 45, sampleDistance: 0 })
    const others = await evaluate({ samples, data: samples, training: data, metrics: ['frechet'] })
    expect(others.copies).toMatchObject({ copies: false, sampleShare: others.copies!.referenceShare })
    expect(others.values).toEqual((await evaluate({ samples, data: samples, metrics: ['frechet'] })).values)
    await expect(evaluate({ samples, data, training: dataset(a, [1]) })).rejects.toThrow(/the training data are \[1\]/)
    await expect(evaluate({ samples, data, training: 'none' })).rejects.toThrow(FileError)
  })

  it('refuses what cannot be, and stops when aborted', async () => {
    const bad: [object, RegExp][] = [
      [{ metrics: ['fid'] }, /one of 'frechet'.* for metrics .* "fid"/],
      [{ metrics: [] }, /at least one name/],
      [{ data: dataset(b.subarray(0, 44), [11]) }, /samples are \[7\] but the data are \[11\]/],
      [{ data: dataset(b.subarray(0, 35)) }, /at least 6 samples and data but there are 61 and 5/],
      [{ data: 7 }, /Dataset for data/],
      [{ weights: weights.subarray(1) }, /60 weights were given for 61 samples/],
      [{ weights: [...weights] }, /Float64Array for weights/],
      [{ weights: 'weights.npy' }, /weights can be a file only/],
      [{ features: 'inception' }, /'pixels', or the name of an .onnx file/],
      [{ features: pixelFeatures([3]) }, /for samples of \[3\]/],
      [{ featureOptions: { size: 4 } }, /options of an .onnx network/],
      [{ features: pixelFeatures([dim]), featureOptions: { size: 4 } }, /featureOptions/],
      [{ features: null }, /features/],
      [{ pairs: 1 }, /pairs/],
      [{ colour: 'red' }, /colour/],
    ]
    for (const [options, message] of bad) {
      const failed = evaluate({ samples, data, ...options } as EvaluateOptions)
      await expect(failed, String(message)).rejects.toThrow(message)
      await expect(failed, String(message)).rejects.toThrow(ArgumentError)
    }
    await expect(evaluate({ samples: dataset(a.map(() => Number.NaN)), data })).rejects.toThrow(/finite features/)
    const reason = new Error('enough')
    await expect(evaluate({ samples, data, signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
  })
})

const network = fileURLToPath(new URL('vectors/features.onnx', import.meta.url))
const images = Float32Array.from(vectors.onnx.pixels, (byte) => byte / 127.5 - 1)
const { mean, std } = vectors.onnx

/** Stands in for onnxruntime-node: a network of two features, the first number of an image and the mean of all. */
function runtime(shape: (number | string)[], seen: OnnxTensor[] = []): OnnxRuntime {
  class Tensor implements OnnxTensor {
    constructor(
      _type: 'float32',
      readonly data: Float32Array,
      readonly dims: readonly number[],
    ) {}
  }
  const create = async () => ({
    inputNames: ['x'],
    outputNames: ['y', 'z'],
    inputMetadata: [{ name: 'x', shape }],
    run: async ({ x }: Record<string, OnnxTensor>, [name]: readonly string[]) => {
      seen.push(x)
      const values = x.data as Float32Array
      const size = values.length / x.dims[0]
      const rows = Array.from({ length: x.dims[0] }, (_, i) => values.subarray(i * size, (i + 1) * size))
      const features = rows.flatMap((row) => [row[0], row.reduce((sum, v) => sum + v, 0) / size])
      return { [name]: new Tensor('float32', Float32Array.from(features), [x.dims[0], 2, 1, 1]) }
    },
  })
  return { InferenceSession: { create }, Tensor }
}

describe('onnxFeatures', () => {
  it('gives the network what it wants', async () => {
    const seen: OnnxTensor[] = []
    const grey = Float32Array.of(-1, 1, 0.5, 3) // 3 is clipped
    const options = { shape: [1, 2, 2], range: [-1, 1] as const, runtime: runtime(['n', 3, 'h', 'w'], seen) }
    const extractor = await onnxFeatures(network, options)
    expect([extractor.dim, extractor.shape]).toEqual([2, [1, 2, 2]])
    const features = await extractor.features(grey)
    expect(seen.at(-1)!.dims).toEqual([1, 3, 2, 2])
    const bytes = Float32Array.of(-1, 1, 191 / 127.5 - 1, 1)
    const prepared = seen.at(-1)!.data as Float32Array
    for (let i = 0; i < 12; i++) expect(prepared[i]).toBeCloseTo(bytes[i % 4], 6)
    expect(features[1]).toBeCloseTo(bytes.reduce((sum, v) => sum + v) / 4, 6)
    const normalised = await onnxFeatures(network, {
      ...options,
      ...{ range: [0, 255], mean: [0, 10, 20], std: [1, 2, 4], output: 'z' },
    })
    await normalised.features(grey)
    const channels = [0, 4, 8].map((at) => (seen.at(-1)!.data as Float32Array)[at + 1])
    expect(channels).toEqual([255, 122.5, 58.75])
  })

  it('resizes images to what the network says, or the user', async () => {
    const seen: OnnxTensor[] = []
    const flat = new Float32Array(3 * 36).fill(0.2)
    const fixed = await onnxFeatures(network, { shape: [3, 6, 6], runtime: runtime(['n', 3, 4, 4], seen) })
    await fixed.features(flat)
    expect(seen.at(-1)!.dims).toEqual([1, 3, 4, 4])
    expect((seen.at(-1)!.data as Float32Array).every((v) => Math.abs(v - 153 / 255) < 1e-6)).toBe(true)
    const free = { shape: [3, 6, 6], runtime: runtime([], seen) }
    await (await onnxFeatures(network, { ...free, size: 9 })).features(flat)
    expect(seen.at(-1)!.dims).toEqual([1, 3, 9, 9])
    await (await onnxFeatures(network, free)).features(flat)
    expect(seen.at(-1)!.dims).toEqual([1, 3, 6, 6])
  })

  it('refuses what does not fit', async () => {
    const open = (options: object, shape = [3, 4, 4]) =>
      onnxFeatures(network, { shape, runtime: runtime(['n', 3, 4, 4]), ...options })
    await expect(open({ size: 5 })).rejects.toThrow(/images of 4, not 5/)
    await expect(open({}, [2, 4, 4])).rejects.toThrow(/3 channels but these have 2/)
    await expect(open({}, [48])).rejects.toThrow(/\[channels, height, width\]/)
    await expect(open({ input: 'q' })).rejects.toThrow(/one of x for input/)
    await expect(open({ output: 'q' })).rejects.toThrow(/one of y, z for output/)
    await expect(open({ std: [1, 0, 1] })).rejects.toThrow(/std/)
    await expect(open({ mean: [1, 2] })).rejects.toThrow(/one number or 3/)
    await expect(open({ range: [1, 1] })).rejects.toThrow(/range/)
    await expect(open({ runtime: runtime(['n', 9]) })).rejects.toThrow(/shape \[n,9\]/)
    await expect(open({ bins: 1 })).rejects.toThrow(ArgumentError)
    await expect(openFeatures(join(folder, 'none.onnx'), [3, 4, 4])).rejects.toThrow(FileError)
  })

  const missing = (() => {
    try {
      createRequire(import.meta.url).resolve('onnxruntime-node')
      return false
    } catch {
      return true
    }
  })()

  it.runIf(missing)('says how to install onnxruntime-node', async () => {
    const failed = openFeatures(network, [3, 4, 4])
    await expect(failed).rejects.toThrow(/npm install onnxruntime-node/)
    await expect(failed).rejects.toBeInstanceOf(FeynkacError)
  })

  it.skipIf(missing)('runs a network as NumPy does', async () => {
    const extractor = await openFeatures(network, [3, 4, 4], { mean, std })
    const features = await extractor.features(images)
    expect(extractor.dim).toBe(5)
    vectors.onnx.features.forEach((value, i) => {
      expect(features[i]).toBeCloseTo(value, 6)
    })
    await extractor.dispose?.()
    const corrupt = join(folder, 'corrupt.onnx')
    await writeFile(corrupt, 'no network')
    await expect(openFeatures(corrupt, [3, 4, 4])).rejects.toThrow(FormatError)
  })
})

describe('feynkac evaluate', () => {
  afterEach(() => vi.restoreAllMocks())

  async function run(...argv: string[]) {
    let [out, err] = ['', '']
    vi.spyOn(console, 'log').mockImplementation((text) => {
      out += `${text}\n`
    })
    vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
      err += text
      return true
    })
    const code = await main(['evaluate', ...argv])
    return { code, out, err }
  }

  it('reads what sample writes, with its weights', async () => {
    const drawn = join(folder, 'drawn')
    await mkdir(drawn)
    await writeNpy(join(drawn, 'samples.npy'), a, [61, dim])
    await writeNpy(join(drawn, 'weights.npy'), weights, [61])
    await writeNpy(join(folder, 'data.npy'), b, [45, dim])
    const both = ['--samples', drawn, '--data', join(folder, 'data.npy')]
    const { code, out } = await run(...both, '--json')
    expect(code).toBe(0)
    expect(JSON.parse(out)).toEqual(await evaluate({ samples, data, weights }))
    const table = (await run(...both, '--metrics', 'kernel,coverage', '--seed', '2')).out
    expect(table).toMatch(/^samples +.*drawn \(61, weighted\)$/m)
    expect(table).toMatch(/^kernel +-?\d\S* ± \d\S*$/m)
    expect(table).toMatch(/^coverage +0\.\d+$/m)
    expect(table).toMatch(/^note +weights of effective sample size .* resampled systematically for kernel, coverage$/m)
    expect(table).not.toMatch(/^frechet/m)

    const alone = ['--samples', join(drawn, 'samples.npy'), ...both.slice(2), '--json', '--metrics', 'mmd']
    expect(JSON.parse((await run(...alone)).out).weighted).toBe(false)
    const given = await run(...alone, '--weights', join(drawn, 'weights.npy'), '--limit', '40')
    expect(JSON.parse(given.out)).toMatchObject({ weighted: true, samples: 40, data: 40 })
    await writeNpy(join(folder, 'few.npy'), weights.subarray(0, 9), [9])
    const few = await run(...alone, '--weights', join(folder, 'few.npy'))
    expect(few).toMatchObject({ code: 1, err: expect.stringMatching(/few\.npy: 9 weights for 61 samples/) })
    const flat = await run(...alone, '--weights', join(drawn, 'samples.npy'))
    expect(flat).toMatchObject({ code: 1, err: expect.stringMatching(/expected weights \[n\]/) })
  })

  it('reads folders of pictures', async () => {
    const pictures = join(folder, 'pictures')
    await mkdir(pictures)
    for (let i = 0; i < 8; i++) {
      const raw = { width: 8, height: 8, channels: 1 as const }
      const pixels = Uint8Array.from({ length: 64 }, (_, p) => (p * (i + 3)) % 256)
      await sharp(pixels, { raw })
        .toColourspace('b-w')
        .png()
        .toFile(join(pictures, `${i}.png`))
    }
    const shapes = ['--data', 'synthetic:shapes:count=30,size=16,seed=1', '--resize', '8', '--json']
    const { code, out, err } = await run('--samples', pictures, ...shapes)
    expect(code, err).toBe(0)
    const result = JSON.parse(out)
    expect(result).toMatchObject({ samples: 8, data: 30, dim: 64, features: 'pixels' })
    expect(result.notes.join()).toMatch(/no more samples than features \(64\)/)
    expect(await run('--samples', pictures, ...shapes.slice(0, 2))).toMatchObject({
      code: 2,
      err: expect.stringMatching(/samples are \[1,8,8\] but the data are \[1,16,16\]: give --resize/),
    })
  })

  it('refuses wrong usage', async () => {
    const ring = ['--samples', 'synthetic:ring', '--data', 'synthetic:ring', '--limit', '50']
    expect(await run(...ring, '--metrics', 'fid')).toMatchObject({ code: 2, err: expect.stringMatching(/"fid"/) })
    expect(await run(...ring, '--feature-range', '0,x')).toMatchObject({ code: 2 })
    expect(await run('--samples', 'synthetic:ring')).toMatchObject({ code: 2, err: expect.stringMatching(/--data/) })
    expect(await run(...ring, '--samples', join(folder, 'none'))).toMatchObject({ code: 1 })
  })
})
