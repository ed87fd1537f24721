import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { crc32, deflateSync, gzipSync } from 'node:zlib'
import { strToU8, zipSync } from 'fflate'
import sharp from 'sharp'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { FormatError } from '../lib/base/errors.js'
import { loadDataset } from '../lib/data/load.js'
import type { LoadDatasetOptions } from '../lib/data/options.js'
import { withoutTexts } from '../lib/data/png.js'
import { evaluate } from '../lib/metrics/evaluate.js'

/** Data in the forms that other people's tools give them. */

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'feynkac-kinds-'))
})
afterAll(() => rm(folder, { recursive: true }))

type Files = Record<string, Uint8Array>

async function save(name: string, content: Uint8Array | Files): Promise<string> {
  const root = join(folder, name)
  const files = content instanceof Uint8Array ? { '': content } : content
  for (const [file, bytes] of Object.entries(files)) {
    await mkdir(dirname(join(root, file)), { recursive: true })
    await writeFile(join(root, file), bytes)
  }
  return root
}

function idx(shape: number[], data: ArrayLike<number>): Uint8Array {
  const header = Buffer.alloc(4 + 4 * shape.length)
  header.set([0, 0, 8, shape.length])
  for (const [i, n] of shape.entries()) header.writeUInt32BE(n, 4 + 4 * i)
  return Buffer.concat([header, Uint8Array.from(data)])
}

function npy(descr: string, shape: string, data: ArrayBufferView): Uint8Array {
  const text = `{'descr': '${descr}', 'fortran_order': False, 'shape': ${shape}, }`
  const header = Buffer.from(`${text.padEnd(117)}\n`)
  const head = Buffer.from([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, header.length, 0])
  return Buffer.concat([head, header, Buffer.from(data.buffer, data.byteOffset, data.byteLength)])
}

const raw = (bytes: Uint8Array, channels: 1 | 3, side = 8) =>
  sharp(bytes, { raw: { width: side, height: side, channels } })
const tile = (colour: number[], side = 8) =>
  raw(Uint8Array.from({ length: side * side * colour.length }, (_, i) => colour[i % colour.length]), colour.length as 1 | 3, side) // biome-ignore format: one line
const png = (colour: number[], side = 8): Promise<Buffer> =>
  (colour.length === 1 ? tile(colour, side).toColourspace('b-w') : tile(colour, side)).png().toBuffer()

/** What is told of a data set: shape, size, labels by name and size, and the first pixel of each sample as bytes. */
async function look(path: string, options?: LoadDatasetOptions) {
  const data = await loadDataset(path, options)
  const width = data.shape.reduce((a, b) => a * b, 1)
  const x = new Float32Array(width)
  const first = Array.from({ length: data.size }, (_, i) => {
    data.read(i, x, 0)
    return Array.from({ length: data.shape[0] }, (_, c) => Math.round((x[(c * width) / data.shape[0]] + 1) * 127.5))
  })
  const labels = data.labels?.attributes.map(({ name, size }) => `${name}:${size}`) ?? null
  return { shape: data.shape, size: data.size, labels, first, classes: first.map((_, i) => data.label(i)) }
}

const refused = async (path: string, pattern: RegExp) => {
  const error = await loadDataset(path).catch((e) => e)
  expect(error).toBeInstanceOf(FormatError)
  expect(error.message).toMatch(pattern)
}

const colours = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [200, 100, 50]] // biome-ignore format: one line

describe('pictures', () => {
  it('grey is Rec. 601 on the stored values, by every route', async () => {
    const files: Files = {}
    for (const [i, colour] of colours.entries()) files[`${i}.png`] = await png(colour)
    const planes = Uint8Array.from({ length: 4 * 192 }, (_, i) => colours[Math.floor(i / 192)][Math.floor(i / 64) % 3])
    const last = Uint8Array.from({ length: 4 * 192 }, (_, i) => colours[Math.floor(i / 192)][i % 3])
    for (const path of [
      await save('colour', files),
      await save('colour.zip', zipSync(files)),
      await save('colour.npy', npy('|u1', '(4, 3, 8, 8)', planes)),
      await save('last.npy', npy('|u1', '(4, 8, 8, 3)', last)),
      await save('colour.npz', zipSync({ 'arr_0.npy': npy('|u1', '(4, 8, 8, 3)', last) })),
    ]) {
      expect((await look(path)).first, path).toEqual(colours)
      expect((await look(path, { channels: 1 })).first, path).toEqual([[76], [150], [29], [124]])
      expect((await look(path, { channels: 1, resize: 4 })).first, path).toEqual([[76], [150], [29], [124]])
    }
  })

  it('stored values whatever the profile, unless icc asks for sRGB', async () => {
    const path = await save('p3', { 'a.png': await tile([200, 100, 50]).withIccProfile('p3').png().toBuffer() })
    expect((await look(path)).first).toEqual([[187, 105, 62]])
    const [[r, g, b]] = (await look(path, { icc: true })).first
    expect(Math.max(Math.abs(r - 200), Math.abs(g - 100), Math.abs(b - 50))).toBeLessThanOrEqual(1)
  })

  it('large pictures are made smaller alike, by every route', async () => {
    const [height, width] = [301, 257]
    const pixels = Uint8Array.from({ length: height * width }, (_, i) => (i * i) % 251)
    const image = sharp(pixels, { raw: { width, height, channels: 1 } }).toColourspace('b-w')
    const files = await save('large', { 'a.png': await image.png().toBuffer() })
    const array = await save('large.npy', npy('|u1', `(1, ${height}, ${width})`, pixels))
    const [own, other] = await Promise.all([files, array].map((path) => loadDataset(path, { resize: [12, 16] })))
    const [x, y] = [own, other].map((data) => {
      const out = new Float32Array(192)
      data.read(0, out, 0)
      return out
    })
    expect(y).toEqual(x)
  })

  it('classes by links to folders, and one picture that keeps them from being any', async () => {
    const root = await save('linked', { 'real/cat/0.png': await png([1]), 'real/dog/0.jfif': await png([2]), 'set/x/y.txt': new Uint8Array(1) }) // biome-ignore format: one line
    for (const name of ['cat', 'dog']) await symlink(`../real/${name}`, join(root, 'set', name))
    await symlink('..', join(root, 'set/x/back'))
    const set = join(root, 'set')
    expect(await look(set)).toMatchObject({ labels: ['class:2'], classes: [[0], [1]], first: [[1], [2]] })
    await writeFile(join(set, 'cover.png'), await png([3]))
    const warn = vi.spyOn(process, 'emitWarning').mockImplementation(() => {})
    expect(await look(set)).toMatchObject({ labels: null, size: 3 })
    expect(warn.mock.calls).toMatchObject([[expect.stringMatching(/cat, dog, but others beside/), 'FeynkacWarning']])
    warn.mockRestore()
  })

  it('labels that contradict one another, and names without an order', async () => {
    const files = { 'a.png': await png([1]), 'b.png': await png([2]) }
    const labels = '[["a.png", [0, 0]], ["b.png", [1, 1]]'
    const of = (more: string, attributes = '[2, 2]') =>
      save('contrary.zip', zipSync({ ...files, 'dataset.json': strToU8(`{"labels": ${labels}${more}]}`), 'attributes.json': strToU8(attributes) })) // biome-ignore format: one line
    expect((await look(await of(', ["a.png", [0, 0]]'))).size).toBe(2)
    await refused(await of(', ["a.png", [0, 1]]'), /'a.png' has two labels, \[0,0\] and \[0,1\]/)
    await refused(await of('', '{"hair": 2, "10": ["x", "y"]}'), /'10' is a number, which has no order/)
    await refused(await of('', '{"hair": 2, "pose": ["x", "x"]}'), /two values of 'pose' have one name/)
  })

  it('classes by folders are the same in a zip of the folder, and hidden files are passed over', async () => {
    const files: Files = { 'animals/cat/0.png': await png([1, 1, 1]), 'animals/dog/0.png': await png([2, 2, 2]) }
    const hidden = { '__MACOSX/animals/._cat.png': strToU8('no picture'), 'animals/.cache/a.png': strToU8('none') }
    const expected = await look(join(await save('pets', files), 'animals'))
    expect(expected).toMatchObject({ labels: ['class:2'], classes: [[0], [1]] })
    expect(await look(await save('pets.zip', zipSync({ ...files, ...hidden })))).toEqual(expected)
    const json = strToU8('{"labels": [["cat/0.png", 3], ["dog/0.png", 1]]}')
    const own = await look(await save('named.zip', zipSync({ ...files, 'animals/dataset.json': json })))
    expect(own).toMatchObject({ labels: ['class:4'], classes: [[3], [1]] })
  })

  it('harmless defects are told once; what a name claims does not count', async () => {
    const jpeg = await tile([90, 80, 70]).jpeg().toBuffer()
    const at = jpeg.indexOf(Buffer.from([0xff, 0xdb]))
    const junk = Buffer.concat([jpeg.subarray(0, at), Buffer.from([0, 1, 2, 3]), jpeg.subarray(at)])
    const warn = vi.spyOn(process, 'emitWarning').mockImplementation(() => {})
    expect((await look(await save('junk', { 'a.jpg': junk, 'b.jpg': junk }))).size).toBe(2)
    expect(warn.mock.calls).toMatchObject([
      [expect.stringMatching(/^2 of 2 pictures.*a\.jpg.*extraneous/), 'FeynkacWarning'],
    ])
    warn.mockRestore()
    await refused(await save('cut', { 'a.jpg': jpeg.subarray(0, -40) }), /no image that can be decoded/)
    const svg = '<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"/>'
    await refused(await save('svg', { 'a.png': strToU8(svg) }), /it is no png/)
  })

  it('TIFF large, with defects, and of what would be taken for pictures', async () => {
    const grey = Uint8Array.of(10, 20, 30, 40)
    const warn = vi.spyOn(process, 'emitWarning').mockImplementation(() => {})
    expect(await look(await save('big', { 'a.tif': tiff(grey, {}, { big: true }) }))).toMatchObject({ first: [[10]] })
    expect(warn).not.toHaveBeenCalled()
    const defects = { 'a.tif': tiff(grey, {}, { reversed: true }), 'b.tif': tiff(grey, { 279: 2 ** 31 }) }
    expect(await look(await save('loose', defects))).toMatchObject({ first: [[10], [10]] })
    expect(warn.mock.calls).toMatchObject([
      [expect.stringMatching(/^2 of 2 pictures.*a\.tif.*not sorted/), 'FeynkacWarning'],
    ])
    warn.mockRestore()
    const floats = tiff(new Uint8Array(Float32Array.of(0.25, 0.5, 0.75, 1).buffer), { 258: 32, 339: 3 })
    await refused(await save('float', { 'a.tif': floats }), /type float/)
    await refused(
      await save('infrared', { 'a.tif': tiff(new Uint8Array(8), { 277: 2 }) }),
      /2 channels, and nothing says/,
    )
    await refused(await save('bands', { 'a.tif': tiff(new Uint8Array(20), { 277: 5, 338: 2 }) }), /5 channels/)
  })
})

/** A TIFF of 2 x 2 grey pixels, or what other values of its tags make of it: libvips writes no such ones. */
function tiff(
  pixels: Uint8Array,
  changed: Record<number, number> = {},
  { big = false, reversed = false } = {},
): Buffer {
  const usual = { 256: 2, 257: 2, 258: 8, 259: 1, 262: 1, 273: 16, 277: 1, 278: 2, 279: pixels.length }
  const entries = Object.entries({ ...usual, ...changed }).map(([tag, value]) => [Number(tag), value])
  if (reversed) entries.reverse()
  const word = (value: number) => {
    const bytes = Buffer.alloc(big ? 8 : 4)
    bytes.writeUInt32LE(value)
    return bytes
  }
  const short = (...values: number[]) => Buffer.from(Uint16Array.from(values).buffer)
  const head = Buffer.concat(big ? [short(0x4949, 43, 8, 0)] : [short(0x4949, 42)])
  const body = Buffer.concat([pixels], Math.ceil(pixels.length / 16) * 16)
  const count = big ? word(entries.length) : short(entries.length)
  const directory = entries.map(([tag, value]) => Buffer.concat([short(tag, 4), word(1), word(value)]))
  const start = Buffer.concat([head, word(16 + body.length)], 16)
  return Buffer.concat([start, body, count, ...directory, word(0)])
}

describe('arrays', () => {
  it('an IDX header that says the length is one, of any number of batches’ length', async () => {
    const path = await save('i/train-images-idx3-ubyte', idx([48, 32, 32], new Uint8Array(48 * 1024)))
    await save(
      'i/train-labels.idx1-ubyte',
      idx(
        [48],
        Array.from({ length: 48 }, (_, i) => i % 10),
      ),
    )
    expect(await look(path)).toMatchObject({ shape: [1, 32, 32], size: 48, labels: ['class:10'] })
  })

  it('IDX in folders that are called as the files', async () => {
    const images = idx([4, 2, 2], new Uint8Array(16))
    const labels = idx([4], [0, 1, 2, 1])
    const beside = { 'train-images.idx3-ubyte': images, 'train-labels.idx1-ubyte': labels }
    const within = {
      'train-images-idx3-ubyte/train-images-idx3-ubyte': images,
      'train-labels-idx1-ubyte/train-labels-idx1-ubyte': labels,
    }
    for (const path of [await save('both', { ...beside, ...within }), await save('within', within)])
      expect(await look(path)).toMatchObject({ size: 4, labels: ['class:3'], classes: [[0], [1], [2], [1]] })
    await refused(await save('t10k', { 't10k-images-idx3-ubyte': images }), /test half .* alone: give .*t10k-images/)
  })

  it('what sample writes, of any shape; headers of Python 2', async () => {
    const latents = Float32Array.from({ length: 2 * 8 * 16 }, (_, i) => i / 300)
    const path = await save('latents.npy', npy('<f4', '(2, 8, 4, 4)', latents))
    expect(await look(path)).toMatchObject({ shape: [8, 4, 4], size: 2 })
    expect(await look(await save('two.npy', npy('<f4', '(2L, 4L)', latents.subarray(0, 8))))).toMatchObject({ size: 2 })
    const drawn = { 'samples.npy': npy('<f4', '(2, 4)', latents.subarray(0, 8)), 'samples.json': strToU8('{}'), 'samples.png': await png([1]) } // biome-ignore format: one line
    expect(await look(await save('drawn', drawn))).toMatchObject({ shape: [4], size: 2 })
  })

  it('bytes of small squares have their channels last, and one picture is no data set', async () => {
    const bytes = (...shape: number[]) => npy('|u1', `(${shape})`, Uint8Array.from({ length: shape.reduce((a, b) => a * b) }, (_, i) => i)) // biome-ignore format: one line
    expect(await look(await save('tiles.npy', bytes(1, 4, 4, 3)))).toMatchObject({
      shape: [3, 4, 4],
      first: [[0, 1, 2]],
    })
    await refused(await save('one.npy', bytes(8, 8, 3)), /that of one picture/)
  })

  it('npz by the names of its arrays', async () => {
    const images = npy('|u1', '(3, 8, 8)', new Uint8Array(192).fill(7))
    const y = npy('<i8', '(3,)', BigInt64Array.of(0n, 2n, 1n))
    const keras = await save('mnist.npz', zipSync({ 'x_test.npy': images, 'x_train.npy': images, 'y_train.npy': y }))
    expect(await look(keras)).toMatchObject({ shape: [1, 8, 8], labels: ['class:3'], classes: [[0], [2], [1]] })
    expect(await look(`${keras}:x_test`)).toMatchObject({ size: 3, labels: null })
    await refused(`${keras}:z`, /no array 'z'.* It has x_test, x_train, y_train/)
    await refused(await save('which.npz', zipSync({ 'u.npy': images, 'v.npy': images })), /which array/)
  })

  it('CIFAR-100, and both for Python', async () => {
    const record = (labels: number[]) => Buffer.concat([Buffer.from(labels), Buffer.alloc(3072, labels.at(-1))])
    const binary = Buffer.concat([record([1, 99]), record([19, 3])])
    const hundred = await save('hundred', { 'train.bin': binary })
    const expected = { shape: [3, 32, 32], labels: ['superclass:20', 'class:100'], classes: [[1, 99], [19, 3]] } // biome-ignore format: one line
    expect(await look(hundred)).toMatchObject(expected)
    expect(await look(await save('hundred.bin.gz', gzipSync(binary)))).toMatchObject(expected)
    const meta = pickle(['label_names', ['bird', 'cat', 'dog']])
    const ten = { data_batch_1: pickle(['data', Buffer.alloc(3072, 5), 'labels', [2]]), data_batch_2: pickle(['data', Buffer.alloc(3072, 9), 'labels', [1]]) } // biome-ignore format: one line
    const python = await look(await save('python', { ...ten, 'batches.meta': meta }))
    expect(python).toMatchObject({ labels: ['class:3'], classes: [[2], [1]], first: [[5, 5, 5], [9, 9, 9]] }) // biome-ignore format: one line
  })

  it('stand-ins are named', async () => {
    const pointer = `version https://git-lfs.github.com/spec/v1\noid sha256:${'a'.repeat(64)}\nsize 143000000\n`
    await refused(await save('pointer', strToU8(pointer)), /Git LFS pointer/)
    await refused(await save('pointers', { 'a.png': strToU8(pointer) }), /Git LFS pointer/)
    const tar = Buffer.alloc(1024)
    tar.write('ustar', 257)
    await refused(await save('cifar.tar.gz', gzipSync(tar)), /tar archive: unpack/)
    await refused(await save('page.zip', strToU8('<!DOCTYPE html><html>')), /web page/)
    await refused(await save('set.npy.xz', Buffer.from('\xfd7zXZ\0\0', 'latin1')), /xz, zstd or bzip2: unpack/)
    await refused(await save('model', Buffer.from('\x40\0\0\0\0\0\0\0{"a":{}}', 'latin1')), /weights of a model/)
    await refused(await save('set.mat', strToU8('MATLAB 5.0 MAT-file, Platform: GLNXA64')), /MATLAB file/)
    await refused(await save('data-00000-of-00001.arrow', strToU8('ARROW1\0\0')), /Arrow table/)
    await refused(await save('film.mp4', Buffer.from('\0\0\0\x18ftypmp42', 'latin1')), /HEIC picture or a film/)
    await refused(
      await save('bitmaps', { 'a.bmp': strToU8('BM'), 'b.tar': tar }),
      /no images .* but files \.bmp, \.tar$/,
    )
  })

  it('a batch of CIFAR for Python has all classes of its set, as its binary twin', async () => {
    const batch = pickle(['data', Buffer.alloc(3072, 5), 'labels', [2]])
    expect(await look(await save('bare', { data_batch_1: batch }))).toMatchObject({ labels: ['class:10'] })
    const fine = pickle(['data', Buffer.alloc(3072, 5), 'fine_labels', [7], 'coarse_labels', [1]])
    expect(await look(await save('fine', { train: fine, meta: pickle([]) }))).toMatchObject({ labels: ['superclass:20', 'class:100'] }) // biome-ignore format: one line
  })

  it('IDX files with the name of a set before the usual one', async () => {
    const [images, labels] = [idx([2, 1, 1], [7, 9]), idx([2], [0, 1])]
    const letters = { 'emnist-letters-train-images-idx3-ubyte': images, 'emnist-letters-train-labels-idx1-ubyte': labels } // biome-ignore format: one line
    expect(await look(await save('emnist', letters))).toMatchObject({ shape: [1, 1, 1], labels: ['class:2'] })
    const two = { ...letters, 'emnist-digits-train-images-idx3-ubyte': images }
    await refused(await save('both', two), /several data sets, emnist-digits.*emnist-letters.*: give one of them/)
  })

  it('pictures with transparency, and floats in other units than -1 to 1', async () => {
    await refused(
      await save('rgba.npy', npy('|u1', '(1, 8, 8, 4)', Buffer.alloc(256))),
      /transparency as its last channel/,
    )
    const warned: string[] = []
    const emitted = vi.spyOn(process, 'emitWarning').mockImplementation((text) => void warned.push(String(text)))
    const floats = (scale: number, from = 0) => Buffer.from(Float32Array.from({ length: 64 }, (_, i) => from + (scale * i) / 63).buffer) // biome-ignore format: one line
    for (const [scale, from] of [[1, 0], [255, 0], [2, -1], [900, 0]]) await look(await save('f.npy', npy('<f4', '(1, 8, 8)', floats(scale, from)))) // biome-ignore format: one line
    await look(await save('f.npy', npy('<f4', '(8, 8)', floats(1))))
    emitted.mockRestore()
    expect(warned.map((text) => /from 0 to (\d+) .* save ([^,]*),/.exec(text)?.slice(1))).toEqual([['1', '2 x - 1'], ['255', 'x / 127.5 - 1']]) // biome-ignore format: one line
  })
})

/** A dict as Python 2 pickles it: texts, lists of small numbers, and bytes as an array [1, 3072]. */
function pickle(items: (string | Buffer | (number | string)[])[]): Buffer {
  const text = (s: string) => Buffer.concat([Buffer.from('U'), Buffer.from([s.length]), Buffer.from(s, 'latin1')])
  const value = (item: (typeof items)[number]): Buffer => {
    if (typeof item === 'string') return text(item)
    if (Array.isArray(item))
      return Buffer.concat([Buffer.from(']('), ...item.map((v) => (typeof v === 'number' ? Buffer.from([0x4b, v]) : text(v))), Buffer.from('e')]) // biome-ignore format: one line
    const size = Buffer.alloc(4)
    size.writeUInt32LE(item.length)
    return Buffer.concat([
      Buffer.from(
        'cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\0tU\x01btR(K\x01(K\x01M\x00\x0ct',
        'latin1',
      ),
      Buffer.from('cnumpy\ndtype\n(U\x02u1K\0K\x01tR\x89T', 'latin1'),
      size,
      item,
      Buffer.from('tb'),
    ])
  }
  return Buffer.concat([Buffer.from('\x80\x02}(', 'latin1'), ...items.map(value), Buffer.from('u.')])
}

describe('bounds', () => {
  it('texts and profiles of a PNG are passed over, not unfolded', async () => {
    const crc = crc32 as (data: Uint8Array) => number
    const chunk = (type: string, data: Uint8Array) => {
      const body = Buffer.concat([Buffer.from(type, 'latin1'), data])
      const [head, tail] = [Buffer.alloc(4), Buffer.alloc(4)]
      head.writeUInt32BE(data.length)
      tail.writeUInt32BE(crc(body))
      return Buffer.concat([head, body, tail])
    }
    const plain = await png([7, 8, 9])
    const with_ = (...chunks: Buffer[]) => Buffer.concat([plain.subarray(0, 33), ...chunks, plain.subarray(33)]) // after IHDR
    const unfolds = (bytes: number) => deflateSync(Buffer.alloc(bytes))
    const text = (type: string) => chunk(type, Buffer.concat([Buffer.from('k\0\0'), unfolds(2 ** 20)]))
    const profile = (bytes: number) => chunk('iCCP', Buffer.concat([Buffer.from('p\0\0'), unfolds(bytes)]))
    for (const bytes of [
      with_(text('zTXt'), text('tEXt'), text('iTXt'), profile(2 ** 20)),
      with_(text('zTXt')),
      plain,
    ]) {
      expect(withoutTexts(bytes, false, 'a.png')).toEqual(plain)
      expect((await look(await save('texts', { 'a.png': bytes }))).first).toEqual([[7, 8, 9]])
    }
    expect(withoutTexts(plain, false, 'a.png')).toBe(plain)
    const cut = with_(text('zTXt')).subarray(0, 60)
    expect(withoutTexts(cut, false, 'a.png')).toBe(cut)
    const kept = with_(profile(2 ** 20))
    expect(withoutTexts(kept, true, 'a.png')).toBe(kept)
    expect(() => withoutTexts(with_(profile(2 ** 25)), true, 'a.png')).toThrow(/colour profile unfolds to more than/)
  })

  it('headers of arrays are short', async () => {
    const header = Buffer.from(`{'descr': '<f4', 'fortran_order': False, 'shape': (${'1,'.repeat(40_000)}), }\n`)
    const size = Buffer.alloc(4)
    size.writeUInt32LE(header.length)
    const bytes = Buffer.concat([Buffer.from('\x93NUMPY\x02\0', 'latin1'), size, header, Buffer.alloc(4)])
    await refused(await save('dims.npy', bytes), /header has 80\d+ bytes, more than the 65536/)
  })

  it('what a small archive unfolds to is refused before it is unfolded', async () => {
    const many = Buffer.concat([strToU8('{"labels": [["a.png", ['), Buffer.alloc(4e6, '0,'), strToU8('0]]]}')])
    const image = await png([1, 1, 1])
    const labels = await save('labels.zip', zipSync({ 'dataset.json': many, 'a.png': image }, { level: 6 }))
    await refused(labels, /dataset\.json: it has 4.* MB, more than the limit/)
    const values = Buffer.concat([strToU8('{"labels": [["a.png", ['), Buffer.alloc(6e5, '0,'), strToU8('0]]]}')])
    await refused(await save('values.zip', zipSync({ 'dataset.json': values, 'a.png': image })), /more than \d+ values/)
    const padded = Buffer.concat([image, Buffer.alloc(2 ** 25)])
    await refused(await save('padded.zip', zipSync({ 'a.png': padded }, { level: 6 })), /more than the limit of 16/)
    const endless = gzipSync(Buffer.concat([idx([2, 2, 2], new Uint8Array(8)), Buffer.alloc(2 ** 22)]))
    await refused(await save('endless.gz', endless), /more follows than the 24 bytes/)
    await refused(await save('unknown.gz', gzipSync(Buffer.alloc(2 ** 22, 0xaa))), /format is not known/)
  })
})

it('the options of the data reach both sides of an evaluation', async () => {
  const mixed: Files = {}
  for (let i = 0; i < 4; i++) {
    mixed[`a${i}.png`] = await png([i])
    mixed[`b${i}.png`] = await png([i, 9, 9])
  }
  const path = await save('mixed', mixed)
  const metrics = ['sliced-wasserstein'] as const
  expect((await evaluate({ samples: path, data: path, dataOptions: { channels: 3 }, metrics })).dim).toBe(192)
  const sides = await Promise.all([16, 32].map(async (side) => {
    const files: Files = {}
    for (let i = 0; i < 8; i++) files[`${i}.png`] = await png([i, 9, 9], side)
    return save(`side${side}`, files)
  })) // biome-ignore format: one line
  const [samples, data] = sides
  const { values } = await evaluate({ samples, data, dataOptions: { resize: 8 }, metrics })
  expect(values.slicedWasserstein).toBeCloseTo(0, 6)
})
