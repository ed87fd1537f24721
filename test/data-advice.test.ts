import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { zipSync } from 'fflate'
import sharp from 'sharp'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { FormatError } from '../lib/base/errors.js'
import { loadDataset } from '../lib/data/load.js'
import { readSource } from '../lib/weights/source.js'
import { p } from './crafted.js'

/** What a refusal advises can be done, what is left out is said, and what would be read as something else is refused. */

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'feynkac-advice-'))
})
afterAll(() => rm(folder, { recursive: true }))

let warned: string[] = []
beforeEach(() => {
  warned = []
  vi.spyOn(process, 'emitWarning').mockImplementation((text) => void warned.push(String(text)))
})
afterEach(() => void vi.restoreAllMocks())

async function save(name: string, files: Record<string, Uint8Array>): Promise<string> {
  for (const [file, bytes] of Object.entries(files)) {
    await mkdir(dirname(join(folder, name, file)), { recursive: true })
    await writeFile(join(folder, name, file), bytes)
  }
  return join(folder, name)
}

const saveFile = (name: string, bytes: Uint8Array) => save('.', { [name]: bytes }).then(() => join(folder, name))

const refused = async (path: string, pattern: RegExp) => {
  const error = await loadDataset(path).catch((e) => e)
  expect(error).toBeInstanceOf(FormatError)
  expect(error.message).toMatch(pattern)
  return error.message as string
}

const picture = (kind: 'png' | 'jpeg') =>
  sharp(Buffer.alloc(192, 90), { raw: { width: 8, height: 8, channels: 3 } }).toFormat(kind).toBuffer() // biome-ignore format: one line

const npy = (descr: string, shape: string, bytes = 0) => {
  const text = `{'descr': ${descr}, 'fortran_order': False, 'shape': ${shape}, }`.padEnd(117)
  return Buffer.concat([Buffer.from('\x93NUMPY\x01\0\x76\0', 'latin1'), Buffer.from(`${text}\n`), Buffer.alloc(bytes)])
}

describe('batches of CIFAR as pickles', () => {
  const dtype = (name: string) => p.raw(p.call(p.global('numpy', 'dtype'), p.text(name), p.int(0), p.int(1)), p.tuple(p.int(3), p.text(name === 'u1' ? '|' : '<')), 'b') // biome-ignore format: one line
  const batch = (labels: Buffer) => {
    // protocol 5: the bytes are an argument
    const data = p.call(p.global('numpy.core.numeric', '_frombuffer'), p.bytes(Buffer.alloc(2 * 3072, 5)), dtype('u1'), p.tuple(p.int(2), p.int(3072)), p.text('C')) // biome-ignore format: one line
    return p.pickle(p.dict([p.text('data'), data], [p.text('labels'), labels]))
  }
  const indices = Buffer.from(BigInt64Array.of(3n, 1n).buffer)
  const array = p.raw(
    p.call(p.global('numpy.core.multiarray', '_reconstruct'), p.global('numpy', 'ndarray'), p.tuple(p.int(0)), p.bytes(Buffer.from('b'))),
    p.tuple(p.int(1), p.tuple(p.int(2)), dtype('i8'), p.raw(0x89), p.bytes(indices)),
    'b',
  ) // biome-ignore format: one line

  it.each([
    ['a list', p.list(p.int(3), p.int(1))],
    ['an array', array],
  ])('labels are %s; each is read alone, as the refusal of a test half says', async (name, labels) => {
    const path = await save(`test half, ${name}`, { test_batch: batch(labels) })
    const advice = /give (.*) to take that/.exec(await refused(path, /test half/))!
    const data = await loadDataset(advice[1])
    expect(data).toMatchObject({ size: 2, shape: [3, 32, 32] })
    expect([data.label(0), data.label(1)]).toEqual([[3], [1]])
  })

  it('the test halves of CIFAR-100 are known, other pickles are no batch', async () => {
    await refused(await save('python', { test: batch(array), meta: p.pickle(p.dict()) }), /test half .*python.test to/)
    await refused(await save('binary', { 'test.bin': Buffer.alloc(3074) }), /test half .*test\.bin to/)
    const other = await saveFile('other.pkl', p.pickle(p.dict([p.text('a'), p.int(1)])))
    await refused(other, /pickle for Python, but no batch of CIFAR/)
  })
})

describe('collections', () => {
  it('of train and test are halves, no classes', async () => {
    const png = await picture('png')
    await refused(await save('halves', { 'train/0.png': png, 'test/0.png': png }), /test, train, which are no classes/)
    const zip = zipSync({ 'set/train/a/0.png': png, 'set/val/a/0.png': png })
    await refused(await saveFile('halves.zip', zip), /train, val, which are no classes/)
    const trains = await loadDataset(await save('trains', { 'train/0.png': png, 'tram/0.png': png }))
    expect(trains.labels?.attributes[0].values).toEqual(['train', 'tram'])
  })

  it('whose data lie deeper, or in an archive, are named', async () => {
    const bytes = Buffer.alloc(3073)
    const deep = await save('deep', { 'cifar-10-batches-bin/data_batch_1.bin': bytes })
    const advice = /: give (.*)$/.exec(await refused(deep, /no images .* but files \.bin/))!
    expect((await loadDataset(advice[1])).size).toBe(1)
    await refused(await saveFile('mnist.zip', zipSync({ 'train-images-idx3-ubyte': bytes })), /ubyte: unpack it first/)
    await refused(await saveFile('outer.zip', zipSync({ 'inner.zip': bytes })), /files \.zip: unpack it first/)
  })

  it('tell of pictures that are left out', async () => {
    const path = await save('mixed', {
      'a.png': await picture('png'),
      'b.bmp': Buffer.from('BM'),
      '._c.bmp': Buffer.of(0),
    })
    expect((await loadDataset(path)).size).toBe(1)
    expect(warned).toEqual([expect.stringMatching(/left out as their format is not read: 1, such as b\.bmp/)])
  })
})

describe('pictures', () => {
  it('a JPEG that lacks its end alone is whole', async () => {
    const jpeg = await picture('jpeg')
    const right = await loadDataset(await save('whole', { 'a.jpg': jpeg }))
    const data = await loadDataset(await save('endless', { 'a.jpg': jpeg.subarray(0, -2) }))
    expect(warned).toEqual([expect.stringMatching(/^1 of 1 pictures.*premature end/)])
    const [x, y] = [new Float32Array(192), new Float32Array(192)]
    data.read(0, x, 0)
    right.read(0, y, 0)
    expect(x).toEqual(y)
    await refused(await save('torn', { 'a.jpg': jpeg.subarray(0, -12) }), /no image that can be decoded/)
    await refused(await save('nothing', { 'a.png': Buffer.alloc(0) }), /it is empty/)
  })

  it('a TIFF whose colours would be taken for others is refused', async () => {
    const tiff = await sharp(Buffer.alloc(192, 90), { raw: { width: 8, height: 8, channels: 3 } }).tiff({ compression: 'none' }).toBuffer() // biome-ignore format: one line
    expect((await loadDataset(await save('rgb', { 'a.tif': tiff }))).size).toBe(1)
    const little = tiff[0] === 0x49
    const at = tiff.indexOf(Buffer.from(little ? [0x06, 0x01, 3, 0] : [0x01, 0x06, 0, 3]))
    tiff[at + (little ? 8 : 9)] = 6
    await refused(await save('ycbcr', { 'a.tif': tiff }), /its colours are YCbCr/)
  })
})

describe('arrays', () => {
  it.each([
    ["'>f4'", /'>f4' is not supported: it is big-endian: save/],
    ["'|O'", /Python objects/],
    ["'<U3'", /texts: save indices/],
    ["'<f2'", /half precision: save/],
    ["'|b1'", /true and false/],
    ["[('a', '<f4')]", /an array of records/],
  ])('of %s are refused for what they are', async (descr, pattern) => {
    await refused(await saveFile('array.npy', npy(descr, '(4, 2)')), pattern)
  })

  it('whose classes are none are read without, and it is said', async () => {
    const images = npy("'|u1'", '(4, 8, 8)', 256)
    for (const [labels, reason] of [
      [npy("'<U3'", '(4,)', 48), /texts/],
      [npy("'<f4'", '(4, 3)', 48), /shape \[4,3\]/],
      [npy("'<i8'", '(4,)', 32).fill(0xff, 128), /no indices/],
    ] as const) {
      warned = []
      const data = await loadDataset(await saveFile('set.npz', zipSync({ 'images.npy': images, 'labels.npy': labels })))
      expect(data).toMatchObject({ size: 4, labels: null })
      expect(warned).toEqual([expect.stringMatching(/without the classes in 'labels'/)])
      expect(warned[0]).toMatch(reason)
    }
    const nested = await saveFile('nested.npz', zipSync({ 'a/x.npy': images, 'b/x.npy': images }))
    expect((await loadDataset(`${nested}:b/x`)).size).toBe(4)
  })
})

describe('labels in other files', () => {
  it('are said not to be read, where there are no others', async () => {
    const image = await sharp(Buffer.alloc(48), { raw: { width: 4, height: 4, channels: 3 } })
      .png()
      .toBuffer()
    for (const [names, note] of [
      [['0.png', 'metadata.jsonl'], /metadata\.jsonl may hold labels, but is not read: .* dataset\.json/],
      [['0.png', 'list_attr_celeba.txt'], /list_attr_celeba\.txt may hold/],
      [['a/0.png', 'b/0.png', 'labels.csv'], null],
      [['0.png', 'readme.txt', '.labels.csv'], null],
    ] as const) {
      warned = []
      const files = Object.fromEntries(names.map((name) => [name, name.endsWith('.png') ? image : Buffer.from('a,b')]))
      expect((await loadDataset(await saveFile('pictures.zip', zipSync(files)))).size).toBeGreaterThan(0)
      expect(warned).toEqual(note ? [expect.stringMatching(note)] : [])
    }
  })
})

describe('weights', () => {
  it.each([
    [Buffer.from('version https://git-lfs.github.com/spec/v1\nsize 1\n'), /Git LFS pointer/],
    [Buffer.from('<!DOCTYPE html><html>'), /web page/],
    [Buffer.from('\x1f\x8b\x08\0', 'latin1'), /compressed by gzip/],
    [Buffer.from('\x89HDF\r\n', 'latin1'), /HDF5/],
    [Buffer.alloc(0), /it is empty/],
  ])('stand-ins are named, %#', async (bytes, pattern) => {
    await expect(readSource(await saveFile('model.safetensors', bytes))).rejects.toThrow(pattern)
  })
})
