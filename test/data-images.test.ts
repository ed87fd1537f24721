import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { strToU8, type Zippable, zipSync } from 'fflate'
import sharp from 'sharp'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { ArgumentError, FileError, FormatError } from '../lib/base/errors.js'
import { loadDataset } from '../lib/data/load.js'
import type { LoadDatasetOptions } from '../lib/data/options.js'
import { corruptions } from './corruptions.js'
import { shared } from './shared.js'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'feynkac-images-'))
})
afterAll(() => rm(folder, { recursive: true }))

/** A PNG of one colour (or grey value). */
function png(colour: number[], height = 4, width = 4): Promise<Buffer> {
  const channels = colour.length as 1 | 3 | 4
  const bytes = Uint8Array.from({ length: height * width * channels }, (_, i) => colour[i % channels])
  const image = sharp(bytes, { raw: { width, height, channels } })
  return (channels === 1 ? image.toColourspace('b-w') : image).png().toBuffer()
}

async function saveZip(files: Zippable, level: 0 | 6 = 0): Promise<string> {
  const path = join(folder, 'set.zip')
  await writeFile(path, zipSync(files, { level }))
  return path
}

async function saveFolder(name: string, files: Record<string, Uint8Array>): Promise<string> {
  const root = join(folder, name)
  await mkdir(root, { recursive: true })
  for (const [file, bytes] of Object.entries(files)) {
    await mkdir(join(root, file, '..'), { recursive: true })
    await writeFile(join(root, file), bytes)
  }
  return root
}

const json = (value: unknown) => strToU8(JSON.stringify(value))

async function pixels(path: string, options?: LoadDatasetOptions) {
  const data = await loadDataset(path, options)
  const out = new Float32Array(data.shape.reduce((a, b) => a * b, 1))
  const images = Array.from({ length: data.size }, (_, i) => {
    data.read(i, out, 0)
    return [...out].map((v) => Math.round((v + 1) * 127.5))
  })
  return { data, images }
}

const rejected = async (path: string, pattern: RegExp, options?: LoadDatasetOptions) => {
  const error = await loadDataset(path, options).catch((e) => e)
  expect(error).toBeInstanceOf(FormatError)
  expect(error.message).toContain(path)
  expect(error.message).toMatch(pattern)
}

describe('zip of images', () => {
  it('reads stored and deflated entries in the order of their names, channel by channel', async () => {
    const files = { 'b/2.png': await png([1, 2, 3]), 'a/1.png': await png([40, 50, 60]), 'readme.txt': strToU8('x') }
    for (const level of [0, 6] as const) {
      const { data, images } = await pixels(await saveZip(files, level))
      expect(data.shape).toEqual([3, 4, 4])
      expect(images).toEqual([
        [40, 50, 60].flatMap((v) => Array(16).fill(v)),
        [1, 2, 3].flatMap((v) => Array(16).fill(v)),
      ])
      expect(data.labels!.attributes).toEqual([{ name: 'class', size: 2, values: ['a', 'b'] }])
    }
  })

  it('reads the labels of dataset.json', async () => {
    const two = { '0/a.png': await png([1]), '0/b.png': await png([2]) }
    const labelled = (labels: unknown, attributes?: unknown) =>
      saveZip({
        ...two,
        'dataset.json': json({ labels }),
        ...(attributes ? { 'attributes.json': json(attributes) } : {}),
      })
    const plain = await loadDataset(await labelled(null))
    expect([plain.labels, plain.label(1), plain.shape]).toEqual([null, [], [1, 4, 4]])
    const classes = await loadDataset(
      await labelled([
        ['0/b.png', 5],
        ['0\\a.png', 2],
      ]),
    )
    expect([classes.label(0), classes.label(1)]).toEqual([[2], [5]])
    expect(classes.labels!.attributes).toEqual([{ name: 'class', size: 6 }])
    const vectors = [
      ['0/a.png', [0, 3]],
      ['0/b.png', [1, 0]],
    ]
    expect((await loadDataset(await labelled(vectors))).labels!.attributes.map((a) => a.size)).toEqual([2, 4])
    const named = await loadDataset(await labelled(vectors, { hair: 7, pose: ['n', 'e', 's', 'w'] }))
    expect([named.label(0), named.label(1)]).toEqual([
      [0, 3],
      [1, 0],
    ])
    expect(named.labels!.attributes).toEqual([
      { name: 'hair', size: 7 },
      { name: 'pose', size: 4, values: ['n', 'e', 's', 'w'] },
    ])
    expect((await loadDataset(await labelled(vectors, [2, 4]))).labels!.attributes[1]).toEqual({
      name: 'attribute1',
      size: 4,
    })
    expect((await loadDataset(await labelled(vectors), { limit: 1 })).labels!.attributes[1].size).toBe(4)
  })

  it('warns of labels of pictures that are not there', async () => {
    const warned = vi.spyOn(process, 'emitWarning').mockImplementation(() => {})
    const labels = ['a', 'b', 'c'].map((name, i) => [`${name}.png`, i])
    const path = await saveZip({ 'b.png': await png([1]), 'dataset.json': json({ labels }) })
    expect((await loadDataset(path)).label(0)).toEqual([1])
    expect(warned.mock.calls).toEqual([
      [`${path}: dataset.json labels 3 pictures, of which 2 are not there, such as a.png`, 'FeynkacWarning'],
    ])
    warned.mockRestore()
  })

  it('rejects labels that are not right', async () => {
    const one = { 'a.png': await png([1]) }
    const wrong: [unknown, unknown, RegExp][] = [
      [[['b.png', 1]], undefined, /'a.png' has no label/],
      [[['a.png', -1]], undefined, /class index or a list/],
      [[['a.png', 0.5]], undefined, /class index or a list/],
      [[['a.png', 1e12]], undefined, /class index or a list/],
      [[['a.png', []]], undefined, /class index or a list/],
      [
        [
          ['a.png', 1],
          ['b.png', [1, 2]],
        ],
        undefined,
        /2 attributes, others have 1/,
      ],
      [['a.png'], undefined, /\[file name, label\]/],
      ['x', undefined, /expected a list/],
      [[['a.png', [1, 2]]], { a: 4 }, /describes 1 attributes/],
      [[['a.png', [1, 2]]], { a: 4, b: 2 }, /'b' has 2 values but a label has index 2/],
      [[['a.png', [1, 2]]], { a: 4, b: 'x' }, /number of values/],
      [[['a.png', [1, 2]]], 7, /object or a list/],
    ]
    for (const [labels, attributes, pattern] of wrong) {
      const files: Zippable = { ...one, 'dataset.json': json({ labels }) }
      if (attributes !== undefined) files['attributes.json'] = json(attributes)
      await rejected(await saveZip(files), pattern)
    }
    await rejected(await saveZip({ ...one, 'dataset.json': strToU8('{') }), /not JSON/)
    await rejected(await saveZip({ ...one, 'dataset.json': strToU8('[]') }), /expected an object/)
    const path = await saveZip(one)
    await expect(loadDataset(path, { labels: 'x' })).rejects.toThrow(ArgumentError)
  })

  it('rejects archives that are broken, hostile or empty', async () => {
    const image = await png([1])
    await rejected(await saveZip({ 'a.txt': image }), /holds no images/)
    await rejected(await saveZip({}), /holds no images/)
    await rejected(await saveZip({ '../a.png': image }), /not a zip archive that can be read: .*relative path/)
    const path = await saveZip({ 'a.png': image, 'b.png': image })
    const bytes = zipSync({ 'a.png': image, 'b.png': image }, { level: 0 })
    await writeFile(path, bytes.subarray(0, bytes.length - 10))
    await rejected(path, /not a zip archive/)
    const twice = Buffer.from(bytes)
    for (let at = twice.indexOf('b.png'); at >= 0; at = twice.indexOf('b.png')) twice.write('a.png', at)
    await writeFile(path, twice)
    await rejected(path, /'a.png' twice/)
    // a byte of the image changed: the checksum tells
    const changed = Uint8Array.from(bytes)
    changed[60]++
    await writeFile(path, changed)
    await rejected(path, /a\.png.*checksum/)
  })

  it('does not unfold a bomb', async () => {
    const bytes = Buffer.from(zipSync({ 'a.png': new Uint8Array(5e6) }, { level: 1 }))
    const path = join(folder, 'set.zip')
    const central = bytes.lastIndexOf(Buffer.from([0x50, 0x4b, 1, 2]))
    bytes.writeUInt32LE(1000, central + 24) // claims 1000 bytes
    await writeFile(path, bytes)
    await rejected(path, /corrupt, or more than the archive states/)
    bytes.writeUInt32LE(0x7fffffff, central + 24)
    await writeFile(path, bytes)
    await rejected(path, /more than the limit/)
  })

  it('survives random corruption with typed errors only', async () => {
    const bytes = zipSync(
      { 'a.png': await png([1, 2, 3]), 'dataset.json': json({ labels: [['a.png', 1]] }) },
      { level: 6 },
    )
    const path = join(folder, 'set.zip')
    for (const corrupt of corruptions(bytes, 120, 3)) {
      await writeFile(path, corrupt)
      const error = await loadDataset(path).catch((e) => e)
      if (error instanceof Error) expect(error).toBeInstanceOf(FileError)
    }
  })
})

describe('folder of images', () => {
  it('takes the top folders as classes, and skips what is no image', async () => {
    const root = await saveFolder('classes', {
      'cat/x/1.png': await png([10]),
      'ape/2.JPG': await sharp(await png([50, 50, 50]))
        .jpeg()
        .toBuffer(),
      'cat/3.webp': await sharp(await png([90, 90, 90]))
        .webp({ lossless: true })
        .toBuffer(),
      'notes.txt': strToU8('x'),
      '.hidden/4.png': strToU8('x'),
    })
    await symlink('..', join(root, 'cat', 'loop'))
    const { data, images } = await pixels(root, { channels: 3 })
    expect(data.labels!.attributes[0].values).toEqual(['ape', 'cat'])
    expect([0, 1, 2].map((i) => data.label(i)[0])).toEqual([0, 1, 1])
    expect(images.map((image) => image[0])).toEqual([50, 90, 10])
  })

  it('has no classes where images lie at the top, and honours dataset.json', async () => {
    const image = await png([1])
    expect((await loadDataset(await saveFolder('flat', { '1.png': image, 'sub/2.png': image }))).labels).toBeNull()
    expect((await loadDataset(await saveFolder('one', { 'all/1.png': image }))).labels).toBeNull()
    const labels = json({ labels: [['a/1.png', 3]] })
    const data = await loadDataset(await saveFolder('own', { 'a/1.png': image, 'dataset.json': labels }))
    expect(data.label(0)).toEqual([3])
  })

  it('makes images alike, or says which is not', async () => {
    const mixed = await saveFolder('mixed', { '1.png': await png([100], 4, 4), '2.png': await png([100], 6, 8) })
    await rejected(mixed, /2\.png: 6x8 pixels but others have 4x4: give resize/)
    const { data, images } = await pixels(mixed, { resize: [2, 4] })
    expect(data.shape).toEqual([1, 2, 4])
    expect(images).toEqual(Array(2).fill(Array(8).fill(100)))
    const coloured = await saveFolder('coloured', { '1.png': await png([100]), '2.png': await png([0, 200, 0]) })
    await rejected(coloured, /2\.png: in colour but others are grey: give channels/)
    expect((await loadDataset(coloured, { channels: 3 })).shape).toEqual([3, 4, 4])
    expect((await loadDataset(coloured, { channels: 1 })).shape).toEqual([1, 4, 4])
  })

  it('lays transparency on black, makes 16-bit images 8-bit, and shrinks large ones', async () => {
    const deep = sharp(await png([128, 128, 128]))
      .toColourspace('rgb16')
      .png()
      .toBuffer()
    const root = await saveFolder('kinds', { '1.png': await png([200, 100, 50, 0]), '2.png': await deep })
    const { images } = await pixels(root)
    expect([images[0][0], images[0][20], images[1][0]]).toEqual([0, 0, 128])
    const large = await pixels(await saveFolder('large', { '1.png': await png([70], 300, 600) }), { resize: 8 })
    expect([large.data.shape, large.images[0]]).toEqual([[1, 8, 8], Array(64).fill(70)])
  })

  it('lays transparency on what is asked for, and says so where nothing is', async () => {
    const half = await png([200, 100, 50, 51]) // a fifth of it
    const greys = sharp(Uint8Array.of(100, 51, 100, 255), { raw: { width: 2, height: 1, channels: 2 } }).toColourspace('b-w') // biome-ignore format: one line
    const root = await saveFolder('half', { '1.png': half, '2.png': half })
    const grey = await saveFolder('half-grey', { '1.png': await greys.png().toBuffer() })
    const opaque = await saveFolder('opaque', { '1.png': await png([200, 100, 50, 255]) })
    const warned = vi.spyOn(process, 'emitWarning').mockImplementation(() => {})
    const at = async (path: string, step: number, options: LoadDatasetOptions = {}) => {
      const image = (await pixels(path, options)).images[0]
      return image.filter((_, i) => i % step === 0)
    }
    expect(await at(opaque, 16)).toEqual([200, 100, 50])
    expect(await at(root, 16, { background: 'black' })).toEqual([40, 20, 10])
    expect(await at(root, 16, { background: 'white' })).toEqual([244, 224, 214])
    expect(await at(root, 16, { background: '#0A64ff' })).toEqual([48, 100, 214])
    expect(await at(grey, 1, { background: 'white' })).toEqual([224, 100])
    expect(await at(grey, 1, { background: '#ff0000' })).toEqual([224, 100, 20, 100, 20, 100]) // in colour, as the ground is
    expect(warned).not.toHaveBeenCalled()
    expect(await at(root, 16)).toEqual([40, 20, 10])
    expect(warned.mock.calls).toEqual([
      [`transparent parts are laid on black, as of ${root}: 1.png: give background for another colour`, 'FeynkacWarning'],
    ]) // biome-ignore format: one line
    warned.mockRestore()
    const red = loadDataset(root, { background: 'red' })
    await expect(red).rejects.toThrow(/expected black, white or #rrggbb for background/)
  })

  it('takes inks as Pillow does, by no profile but the one that is asked for', async () => {
    // 16 x 8 by Pillow 9.4: inks 217, 163, 130, 69 on the left and 20, 0, 255, 7 on the right, and what its convert('RGB') says of them
    const bytes = Buffer.from(
      '/9j/7gAOQWRvYmUAZAAAAAAA/9sAQwABAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB/8AAFAgACAAQBEMRAE0RAFkRAEsRAP/EABcAAAMBAAAAAAAAAAAAAAAAAAkKCwX/xAAUEAEAAAAAAAAAAAAAAAAAAAAA/9oADgRDAE0AWQBLAAA/AFLw32OOgsUKjBBcfB//2Q==',
      'base64',
    )
    const right = [28, 67, 91, 229, 248, 0]
    const look = ({ images: [image] }: Awaited<ReturnType<typeof pixels>>) =>
      [4, 12].flatMap((x) => [0, 1, 2].map((c) => image[128 * c + 64 + x]))
    const root = await saveFolder('inks', { 'a.jpg': bytes })
    expect(look(await pixels(root))).toEqual(right)
    expect(look(await pixels(root, { icc: true }))).toEqual(right) // it has none
    const grey = (await pixels(root, { channels: 1 })).images[0]
    expect([grey[68], grey[76]]).toEqual([58, 214])
    // inks with a profile: of themselves, and by the profile's colours
    const profiled = await sharp(bytes).pipelineColourspace('cmyk').toColourspace('cmyk').withIccProfile('cmyk').tiff({ compression: 'none' }).toBuffer() // biome-ignore format: one line
    const inks = await sharp(profiled, { ignoreIcc: true }).pipelineColourspace('cmyk').toColourspace('cmyk').raw().toBuffer() // biome-ignore format: one line
    const of = (i: number) => [0, 1, 2].map((c) => Math.round(((255 - inks[4 * i + c]) * (255 - inks[4 * i + 3])) / 255)) // biome-ignore format: one line
    const other = await saveFolder('profiled', { 'a.tif': profiled })
    expect(look(await pixels(other))).toEqual([...of(68), ...of(76)])
    expect(look(await pixels(other, { icc: true }))).not.toEqual([...of(68), ...of(76)])
  })

  it('rejects what is no image and nothing at all', async () => {
    const root = await saveFolder('wrong', { '1.png': strToU8('not an image') })
    await rejected(root, /1\.png: no image that can be decoded/)
    await rejected(await saveFolder('empty', {}), /holds no images/)
    await rejected(
      await saveFolder('wrong', { '1.png': (await png([1], 64, 64)).subarray(0, 60) }),
      /cannot|can be decoded/,
    )
    await rejected(join(root, '1.png'), /one image is no data set/)
  })

  it('stops when aborted', async () => {
    const files: Record<string, Uint8Array> = {}
    for (let i = 0; i < 100; i++) files[`${i}.png`] = await png([i])
    const root = await saveFolder('many', files)
    const controller = new AbortController()
    const seen: number[] = []
    const onProgress = ({ done }: { done: number }) => {
      seen.push(done)
      controller.abort(new Error('enough'))
    }
    await expect(loadDataset(root, { signal: controller.signal, onProgress })).rejects.toThrow('enough')
    expect(seen[0]).toBeLessThan(100)
  })
})

describe('real data', () => {
  const lpc = shared('data/lpc-sprites/lpc-sprites-64x64.zip')
  it.skipIf(lpc.missing)('reads the sprites and their attributes', async () => {
    const data = await loadDataset(lpc.path, { resize: 32, limit: 300 })
    expect([data.size, data.shape]).toEqual([300, [3, 32, 32]])
    expect(data.labels!.attributes.map((a) => [a.name, a.size])).toEqual([
      ['body', 7],
      ['bottomwear', 7],
      ['topwear', 7],
      ['hair', 10],
      ['pose', 4],
    ])
    expect(data.label(45)).toEqual([0, 0, 1, 1, 1]) // pose fastest, then hair
  })
})
