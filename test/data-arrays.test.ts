import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ArgumentError, FeynkacError, FileError, FormatError } from '../lib/base/errors.js'
import { type Dataset, encodeLabel, labelDim } from '../lib/data/dataset.js'
import { loadDataset } from '../lib/data/load.js'
import type { LoadDatasetOptions } from '../lib/data/options.js'
import { corruptions } from './corruptions.js'
import { shared } from './shared.js'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'feynkac-arrays-'))
})
afterAll(() => rm(folder, { recursive: true }))

async function save(name: string, bytes: Uint8Array): Promise<string> {
  const path = join(folder, name)
  await mkdir(join(path, '..'), { recursive: true })
  await writeFile(path, bytes)
  return path
}

function idx(shape: number[], data: ArrayLike<number>, type = 8): Uint8Array {
  const header = Buffer.alloc(4 + 4 * shape.length)
  header[2] = type
  header[3] = shape.length
  for (const [i, n] of shape.entries()) header.writeUInt32BE(n, 4 + 4 * i)
  return Buffer.concat([header, Uint8Array.from(data)])
}

function npy(descr: string, shape: string, data: ArrayBufferView, fortran = 'False'): Uint8Array {
  const text = `{'descr': '${descr}', 'fortran_order': ${fortran}, 'shape': ${shape}, }`
  const header = Buffer.from(`${text.padEnd(Math.ceil((text.length + 11) / 64) * 64 - 11)}\n`)
  const head = Buffer.from([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, 0, 0])
  head.writeUInt16LE(header.length, 8)
  return Buffer.concat([head, header, Buffer.from(data.buffer, data.byteOffset, data.byteLength)])
}

function samples(data: Dataset): number[][] {
  const width = data.shape.reduce((a, b) => a * b, 1)
  const out = new Float32Array(width + 2).fill(NaN)
  return Array.from({ length: data.size }, (_, i) => {
    data.read(i, out, 1)
    expect(out[0]).toBeNaN()
    expect(out[width + 1]).toBeNaN()
    return [...out.subarray(1, width + 1)]
  })
}

async function failure(path: string, options?: LoadDatasetOptions): Promise<FeynkacError> {
  return loadDataset(path, options).then(
    () => expect.fail(`${path} was read`),
    (error) => {
      expect(error).toBeInstanceOf(FeynkacError)
      return error
    },
  )
}

const scaled = (bytes: number[]) => bytes.map((v) => Math.fround(v / 127.5 - 1))

describe('labels', () => {
  const spec = {
    attributes: [
      { name: 'hair', size: 3 },
      { name: 'pose', size: 2 },
    ],
  }
  it('become one-hot vectors side by side', () => {
    expect(labelDim(spec)).toBe(5)
    expect(labelDim(null)).toBe(0)
    const out = new Float32Array(7).fill(9)
    encodeLabel(spec, [2, 0], out, 1)
    expect([...out]).toEqual([9, 0, 0, 1, 1, 0, 9])
    encodeLabel(spec, [null, 1], out, 1)
    expect([...out]).toEqual([9, 0, 0, 0, 0, 1, 9])
  })

  it('are checked', () => {
    const out = new Float32Array(5)
    for (const classes of [[0], [3, 0], [0, -1], [0.5, 0], [NaN, 0], [undefined, 0]])
      expect(() => encodeLabel(spec, classes as number[], out, 0)).toThrow(ArgumentError)
    expect(() => encodeLabel(spec, [0, 0], out, 1)).toThrow(ArgumentError)
  })
})

describe('IDX', () => {
  const images = idx([3, 2, 1], [0, 255, 51, 102, 255, 0])
  it('reads images with the labels beside them, compressed or not', async () => {
    await save('idx/train-images-idx3-ubyte', images)
    await save('idx/train-labels-idx1-ubyte.gz', gzipSync(idx([3], [4, 0, 1])))
    for (const path of [join(folder, 'idx', 'train-images-idx3-ubyte'), join(folder, 'idx')]) {
      const data = await loadDataset(path)
      expect([data.size, data.shape]).toEqual([3, [1, 2, 1]])
      expect(data.labels).toEqual({ attributes: [{ name: 'class', size: 5 }] })
      expect([0, 1, 2].map((i) => data.label(i)[0])).toEqual([4, 0, 1])
      expect(samples(data)).toEqual([scaled([0, 255]), scaled([51, 102]), scaled([255, 0])])
    }
  })

  it('reads the labels of QMNIST, the first of eight integers', async () => {
    const rows = [5, 0, 7].flatMap((label) => [label, 4, 3, 9, 1, 2, 0, -1]) // class, series, writer, ...
    const bytes = Buffer.alloc(4 * rows.length)
    for (const [i, n] of rows.entries()) bytes.writeInt32BE(n, 4 * i)
    await save('qmnist/qmnist-train-images-idx3-ubyte.gz', gzipSync(images))
    for (const [name, labels] of [
      ['qmnist-train-labels-idx2-int', idx([3, 8], bytes, 12)],
      ['qmnist-train-labels-idx2-int.gz', gzipSync(idx([3, 8], bytes, 12))],
    ] as const) {
      const file = await save(`qmnist/${name}`, labels)
      for (const path of ['qmnist/qmnist-train-images-idx3-ubyte.gz', 'qmnist']) {
        const data = await loadDataset(join(folder, path))
        expect([data.labels, ...[0, 1, 2].map((i) => data.label(i)[0])]).toEqual([
          { attributes: [{ name: 'class', size: 8 }] },
          ...[5, 0, 7],
        ])
      }
      await rm(file)
    }
    const given = async (labels: Uint8Array) =>
      (await failure(join(folder, 'qmnist'), { labels: await save('others', labels) })).message
    expect(await given(idx([3, 4], bytes.subarray(0, 48), 12))).toMatch(/one dimension, or be QMNIST.* shape \[3,4\]/)
    expect(await given(idx([2, 8], bytes.subarray(0, 64), 12))).toMatch(/2 labels for 3 images/)
    expect(await given(idx([3, 8], bytes.subarray(0, 80), 12))).toMatch(/needs 96 bytes but 80 follow/)
    expect(await given(idx([3], bytes.subarray(20, 32), 12))).toMatch(/label 2 is -1/)
    expect(await given(idx([3], new Uint8Array(12), 13))).toMatch(/type 13 .* only unsigned bytes .* and 32-bit/)
  })

  it('reads images without labels, or with labels given', async () => {
    const path = await save('pictures.gz', gzipSync(images))
    const plain = await loadDataset(path)
    expect([plain.labels, plain.label(0)]).toEqual([null, []])
    const data = await loadDataset(path, { labels: await save('classes', idx([3], [1, 1, 0])), limit: 2 })
    expect([data.size, data.label(1), data.labels!.attributes[0].size]).toEqual([2, [1], 2])
  })

  it('checks index and offset of a read', async () => {
    const data = await loadDataset(await save('pictures', images))
    const out = new Float32Array(2)
    for (const index of [-1, 3, 0.5, NaN]) expect(() => data.read(index, out, 0)).toThrow(ArgumentError)
    expect(() => data.read(0, out, 1)).toThrow(ArgumentError)
    expect(() => data.label(3)).toThrow(ArgumentError)
  })

  it('rejects what is not right', async () => {
    const cases: [Uint8Array, RegExp][] = [
      [images.slice(0, -1), /needs 6 bytes but 5 follow/],
      [Buffer.concat([images, Uint8Array.of(0)]), /truncated or corrupt/],
      [images.slice(0, 9), /header is truncated/],
      [idx([3, 2, 1], [1, 2, 3, 4, 5, 6], 13), /type 13/],
      [idx([6], [1, 2, 3, 4, 5, 6]), /expected images/],
      [idx([0, 2, 2], []), /expected images/],
      [idx([0xffffffff, 0xffffffff, 0xffffffff], [1]), /needs/],
      [gzipSync(images).subarray(0, 20), /gzip data are corrupt/],
      [Buffer.from('hello, this is text'), /format is not known/],
      [new Uint8Array(0), /empty/],
    ]
    for (const [bytes, pattern] of cases) {
      const path = await save('wrong', bytes)
      const error = await failure(path)
      expect(error).toBeInstanceOf(FormatError)
      expect(error.message).toContain(path)
      expect(error.message).toMatch(pattern)
    }
    const path = await save('pictures', images)
    expect((await failure(path, { labels: await save('few', idx([2], [0, 1])) })).message).toMatch(/2 labels for 3/)
    expect((await failure(path, { labels: join(folder, 'none') })).code).toBe('FEYNKAC_FILE')
  })
})

describe('CIFAR-10', () => {
  const records = (labels: number[]) =>
    Buffer.concat(
      labels.map((label) => Uint8Array.from({ length: 3073 }, (_, i) => (i === 0 ? label : (i * (label + 3)) & 255))),
    )

  it('reads a batch, a compressed one, and a folder of them in order', async () => {
    await save('cifar/data_batch_2.bin.gz', gzipSync(records([7])))
    await save('cifar/data_batch_1.bin', records([0, 9]))
    await save('cifar/test_batch.bin', records([1]))
    await save('cifar/batches.meta.txt', Buffer.from('a b c d e f g h i j '.replaceAll(' ', '\n')))
    const data = await loadDataset(join(folder, 'cifar'))
    expect([data.size, data.shape, data.labels!.attributes[0].values![9]]).toEqual([3, [3, 32, 32], 'j'])
    expect([0, 1, 2].map((i) => data.label(i)[0])).toEqual([0, 9, 7])
    expect(samples(data)[1]).toEqual(scaled([...records([9]).subarray(1)]))
    const test = await loadDataset(join(folder, 'cifar', 'test_batch.bin'))
    expect([test.size, test.label(0)]).toEqual([1, [1]])
  })

  it('is told from IDX though it may begin alike', async () => {
    const bytes = records([0])
    bytes.set([0, 0, 8, 3], 0)
    expect((await loadDataset(await save('dark.bin', bytes))).shape).toEqual([3, 32, 32])
  })

  it('rejects a broken batch', async () => {
    await save('broken/data_batch_1.bin', records([0, 9]).subarray(0, 5000))
    expect((await failure(join(folder, 'broken'))).message).toMatch(/no CIFAR-10 batch/)
    await save('broken/data_batch_1.bin', records([0, 10]))
    expect(await failure(join(folder, 'broken'))).toBeInstanceOf(FormatError)
  })
})

describe('npy', () => {
  it('reads vectors and images of floats as they are, bytes scaled', async () => {
    const vectors = await loadDataset(await save('a.npy', npy('<f4', '(2, 3)', Float32Array.of(1, 2, 3, 4, 5, -6))))
    expect([vectors.shape, samples(vectors)]).toEqual([
      [3],
      [
        [1, 2, 3],
        [4, 5, -6],
      ],
    ])
    const doubles = await loadDataset(await save('b.npy', npy('<f8', '(1, 2, 1)', Float64Array.of(0.1, 7))))
    expect([doubles.shape, samples(doubles)]).toEqual([[1, 2, 1], [[Math.fround(0.1), 7]]])
    const bytes = await loadDataset(await save('c.npy', npy('|u1', '(2, 3, 1, 1)', Uint8Array.of(0, 1, 2, 3, 4, 255))))
    expect([bytes.shape, samples(bytes)]).toEqual([
      [3, 1, 1],
      [scaled([0, 1, 2]), scaled([3, 4, 255])],
    ])
    const labelled = await loadDataset(join(folder, 'a.npy'), { labels: await save('two', idx([2], [0, 3])) })
    expect([labelled.label(1), labelled.labels!.attributes[0].size]).toEqual([[3], 4])
  })

  it('reads an array that is not aligned', async () => {
    const text = "{'descr': '<f8', 'fortran_order': False, 'shape': (1, 2)}  "
    const head = Buffer.from([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 2, 0, text.length, 0, 0, 0])
    const path = await save(
      'odd.npy',
      Buffer.concat([head, Buffer.from(text), Buffer.from(Float64Array.of(3, 4).buffer)]),
    )
    expect((12 + text.length) % 8).not.toBe(0)
    expect(samples(await loadDataset(path))).toEqual([[3, 4]])
  })

  it('rejects other kinds with what is expected', async () => {
    const four = Float32Array.of(1, 2, 3, 4)
    const cases: [Uint8Array, RegExp][] = [
      [npy('<f4', '(2, 2)', four, 'True'), /Fortran/],
      [npy('>f4', '(2, 2)', four), /dtype '>f4' is not supported/],
      [npy('<i4', '(2, 2)', four), /not supported/],
      [npy('<f4', '(4,)', four), /expected shape \[N, d\]/],
      [npy('<f4', '()', four.subarray(0, 1)), /expected shape/],
      [npy('<f4', '(0, 2)', four.subarray(0, 0)), /at least 1/],
      [npy('<f4', '(2, 3)', four), /needs 24 bytes but 16 follow/],
      [npy('<f4', '(99999999999999999999, 2)', four), /at least 1/],
      [npy('<f4', '(2, 2)', Float32Array.of(1, 2, NaN, 4)), /number 2 is NaN/],
      [npy('<f8', '(1, 2)', Float64Array.of(1, 1e300)), /number 1 is 1e\+300/],
      [npy('<f4', '(1, 8, 8, 3)', new Float32Array(192)), /channels last/],
      [npy('<f4', '(2, 2)', four).slice(0, 30), /header is truncated/],
      [npy('<f4', '(2, 2)', four).slice(0, 8), /truncated/],
      [npy("', 'x': '<f4", '(2, 2)', four), /dtype '' is not supported/],
    ]
    for (const [bytes, pattern] of cases) {
      const error = await failure(await save('wrong.npy', bytes))
      expect(error).toBeInstanceOf(FormatError)
      expect(error.message).toMatch(pattern)
    }
  })
})

describe('options', () => {
  it('resize and recolour images in memory', async () => {
    const grey = await loadDataset(await save('g', idx([2, 4, 4], Array(16).fill(100).concat(Array(16).fill(30)))), {
      resize: [8, 6],
      channels: 3,
    })
    expect(grey.shape).toEqual([3, 8, 6])
    expect(samples(grey)).toEqual([scaled(Array(144).fill(100)), scaled(Array(144).fill(30))])
    const colour = npy('|u1', '(1, 3, 1, 2)', Uint8Array.of(255, 0, 255, 0, 255, 100))
    const luma = await loadDataset(await save('c.npy', colour), { channels: 1 })
    expect(samples(luma)).toEqual([scaled([255, 11])])
  })

  it('keep a ramp a ramp, whatever the size', async () => {
    const ramp = idx(
      [1, 20, 20],
      Array.from({ length: 400 }, (_, i) => 6 * (i % 20) + 4 * Math.floor(i / 20)),
    )
    for (const side of [10, 20, 30]) {
      const data = await loadDataset(await save('ramp', ramp), { resize: side })
      const [values] = samples(data)
      const scale = 20 / side
      for (let y = 3; y < side - 3; y++)
        for (let x = 3; x < side - 3; x++) {
          const exact = 6 * ((x + 0.5) * scale - 0.5) + 4 * ((y + 0.5) * scale - 0.5)
          // half for the rounding to bytes; Lanczos reproduces a ramp to 1 %
          expect(Math.abs((values[y * side + x] + 1) * 127.5 - exact)).toBeLessThan(
            0.5 + 0.01 * 10 * Math.max(1, scale) * 3,
          )
        }
    }
  })

  it('are checked', async () => {
    const path = await save('g', idx([2, 2, 2], Array(8).fill(1)))
    const wrong: object[] = [
      { resize: 0 },
      { resize: [4] },
      { resize: 1e9 },
      { channels: 2 },
      { limit: 0 },
      { limit: 1.5 },
      { labels: 3 },
      { size: 5 },
    ]
    for (const options of wrong)
      expect(await failure(path, options as LoadDatasetOptions)).toBeInstanceOf(ArgumentError)
    const vectors = await save('v.npy', npy('<f4', '(2, 2)', new Float32Array(4)))
    expect(await failure(vectors, { resize: 4 })).toBeInstanceOf(ArgumentError)
    expect(await failure('')).toBeInstanceOf(ArgumentError)
    expect(await failure(join(folder, 'nothing'))).toBeInstanceOf(FileError)
    await expect(loadDataset(path, { signal: AbortSignal.abort(new Error('stop')) })).rejects.toThrow('stop')
  })
})

describe('corrupt files', () => {
  it('give typed errors only', async () => {
    const kinds: [string, Uint8Array][] = [
      ['fuzz.npy', npy('<f4', '(5, 4)', new Float32Array(20).fill(0.5))],
      ['fuzz-idx', idx([5, 2, 2], Array(20).fill(7))],
      ['fuzz.gz', gzipSync(idx([5, 2, 2], Array(20).fill(7)))],
    ]
    for (const [name, bytes] of kinds)
      for (const corrupt of corruptions(bytes, 200, 2)) {
        const error = await loadDataset(await save(name, corrupt)).catch((e) => e)
        if (error instanceof Error) expect(error).toBeInstanceOf(FileError)
      }
  })
})

describe('real data', () => {
  const fashion = shared('data/fashion-mnist')
  it.skipIf(fashion.missing)('reads Fashion-MNIST', async () => {
    const train = await loadDataset(fashion.path)
    expect([train.size, train.shape, train.label(0)]).toEqual([60000, [1, 28, 28], [9]])
    expect(labelDim(train.labels)).toBe(10)
    const counts = new Array<number>(10).fill(0)
    for (let i = 0; i < train.size; i++) counts[train.label(i)[0]!]++
    expect(counts).toEqual(Array(10).fill(6000))
    const test = await loadDataset(join(fashion.path, 't10k-images-idx3-ubyte.gz'), { limit: 100 })
    expect([test.size, test.label(0)]).toEqual([100, [9]])
  })

  const cifar = shared('data/cifar10')
  it.skipIf(cifar.missing)('reads CIFAR-10', async () => {
    const data = await loadDataset(cifar.path)
    expect([data.size, data.shape, data.labels!.attributes[0].values![0]]).toEqual([10000, [3, 32, 32], 'airplane'])
    const counts = new Array<number>(10).fill(0)
    for (let i = 0; i < data.size; i++) counts[data.label(i)[0]!]++
    expect(counts).toEqual(Array(10).fill(1000))
  })
})
