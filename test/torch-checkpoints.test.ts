import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { unzipSync, zipSync } from 'fflate'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { FileError, FormatError } from '../lib/base/errors.js'
import { readSource, type SourceOptions } from '../lib/weights/source.js'
import { archive, floats, legacy, p, state, tensor } from './crafted.js'
import { expectTensors, vector } from './expected-tensors.js'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'feynkac-torch-'))
})
afterAll(() => rm(folder, { recursive: true }))

async function file(bytes: Uint8Array): Promise<string> {
  const path = join(folder, 'crafted')
  await writeFile(path, bytes)
  return path
}

const read = async (bytes: Uint8Array, options?: SourceOptions) => readSource(await file(bytes), options)

async function rejected(bytes: Uint8Array, pattern: RegExp, options?: SourceOptions): Promise<void> {
  const error = await read(bytes, options).then(
    () => expect.fail(`it was read, not refused with ${pattern}`),
    (e) => e,
  )
  expect(error).toBeInstanceOf(FormatError)
  expect(error.message).toMatch(pattern)
  expect(error.message).toContain(join(folder, 'crafted'))
}

const numbers = (model: { tensors: Map<string, { data: Iterable<number | bigint> }> }, name: string) =>
  Array.from(model.tensors.get(name)!.data, Number)

describe('files of torch.save', () => {
  it.each(['kinds.pt', 'kinds-legacy.pt', 'protocol4-legacy.pt'])('reads every type and layout of %s', async (name) => {
    const model = await readSource(vector(name))
    expectTensors(model.tensors, name)
    expect(model).toMatchObject({
      format: name.includes('legacy') ? 'torch-legacy' : 'torch-zip',
      path: vector(name),
      className: null,
      args: null,
      preconditioning: null,
      network: '',
    })
  })

  it('keeps the bits of numbers, and shares storages instead of copying them', async () => {
    const { tensors } = await readSource(vector('kinds.pt'))
    expect(tensors.get('f16')!.data).toEqual(Uint16Array.of(0x3e00, 0xb400, 0x7bff, 0x0001))
    expect(tensors.get('whole')!.data.buffer).toBe(tensors.get('rows')!.data.buffer)
    expect(tensors.get('transposed')!.data.buffer).not.toBe(tensors.get('whole')!.data.buffer)
    const nan = p.raw(0x01, 0x00, 0xa0, 0x7f, 0xff, 0xff, 0xff, 0xff) // a signalling one, and one of all bits
    const copied = await read(archive(state(['w', tensor({ count: 2, shape: [1, 2], strides: [1, 1] })]), { 0: nan }))
    expect(new Uint8Array(copied.tensors.get('w')!.data.buffer, 0, 8)).toEqual(Uint8Array.from(nan))
    const turned = await read(
      archive(state(['w', tensor({ count: 4, shape: [2, 2], strides: [1, 2] })]), { 0: Buffer.concat([nan, nan]) }),
    )
    const bits = new Uint32Array(turned.tensors.get('w')!.data.buffer)
    expect([...bits]).toEqual([0x7fa00001, 0x7fa00001, 0xffffffff, 0xffffffff])
  })

  it('finds the state dict of a training run, and asks when there are several', async () => {
    const model = await readSource(vector('training.pt'))
    expectTensors(model.tensors, 'training.pt')
    expect(model.network).toBe('state_dict')
    await expect(readSource(vector('averaged.pt'))).rejects.toThrow(/several networks, 'model', 'ema': choose one/)
    const average = await readSource(vector('averaged.pt'), { network: 'ema' })
    expectTensors(average.tensors, 'averaged.pt')
    expect(average.networks).toEqual(['model', 'ema'])
    await expect(readSource(vector('averaged.pt'), { network: 'best' })).rejects.toThrow(
      /no network "best": it holds 'model', 'ema'/,
    )
  })

  it('takes what wrapped the network off the names', async () => {
    expectTensors((await readSource(vector('wrapped.pt'))).tensors, 'wrapped.pt')
  })

  it('reads a pickled module of PyTorch', async () => {
    const model = await readSource(vector('module.pkl'))
    expectTensors(model.tensors, 'module.pkl')
    expect(model.className).toBe('Sequential')
  })

  it('reads compressed entries, any folder name, and the other byte order', async () => {
    const files = unzipSync(await readFile(vector('training.pt')))
    const renamed = Object.fromEntries(Object.entries(files).map(([n, b]) => [n.replace(/^[^/]+/, 'a b'), b]))
    expectTensors((await read(zipSync(renamed, { level: 9 }))).tensors, 'training.pt')
    const swapped = Object.fromEntries(
      Object.entries(renamed).map(([n, b]) => [n, n.includes('/data/') ? Buffer.from(b).swap32() : b]),
    )
    swapped['a b/byteorder'] = Buffer.from('big')
    expectTensors((await read(zipSync(swapped, { level: 0 }))).tensors, 'training.pt')
    await rejected(zipSync({ ...swapped, 'a b/byteorder': Buffer.from('odd') }), /byte order "odd"/)
  })

  it('reads only the storages of the network that is chosen', async () => {
    const files = unzipSync(await readFile(vector('averaged.pt')))
    const order = Object.keys(files).filter((name) => name.includes('/data/'))
    const last = order.at(-1)!
    files[last] = files[last].map((byte) => byte ^ 255)
    const bytes = Buffer.from(zipSync(files, { level: 0 }))
    const model = await read(bytes, { network: 'model' })
    expect(model.tensors.size).toBe(4)
  })

  it('stops when it is asked to', async () => {
    const reason = new Error('enough')
    for (const name of ['kinds.pt', 'kinds-legacy.pt'])
      await expect(readSource(vector(name), { signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
  })
})

describe('hostile files', () => {
  const data = { 0: floats(1, 2) }

  it('runs nothing', async () => {
    await expect(readSource(vector('hostile-system.pt'))).rejects.toThrow(/asks for posix\.system/)
    await expect(readSource(vector('hostile-system.pkl'))).rejects.toThrow(/asks for posix\.system/)
  })

  it('rejects tensors that are not in their storages', async () => {
    const one = (options: Parameters<typeof tensor>[0]) => archive(state(['w', tensor(options)]), data)
    expect(numbers(await read(one({})), 'w')).toEqual([1, 2])
    await rejected(one({ shape: [3] }), /goes beyond its storage of 2 numbers/)
    await rejected(one({ offset: 1 }), /goes beyond/)
    await rejected(one({ strides: [2] }), /goes beyond/)
    await rejected(one({ offset: 2, shape: [], strides: [] }), /goes beyond/)
    await rejected(one({ offset: -1 }), /offset/)
    await rejected(one({ shape: [-1] }), /shape or the strides/)
    await rejected(one({ strides: [-1] }), /shape or the strides/)
    await rejected(one({ shape: [2n ** 62n] }), /shape or the strides/)
    await rejected(one({ shape: [2 ** 31, 2 ** 31], strides: [0, 0] }), /too large/)
    await rejected(one({ shape: [1, 2] }), /strides than dimensions/)
    await rejected(one({ shape: Array(65).fill(1), strides: Array(65).fill(1) }), /65 dimensions/)
    await rejected(one({ count: 3 }), /has 8 bytes but its storage of 3 F32 needs 12/)
    await rejected(one({ count: 2n ** 60n }), /key or the size/)
    await rejected(one({ count: -1 }), /key or the size/)
    await rejected(one({ storage: 'DoubleStorage' }), /needs 16/)
    await rejected(one({ storage: 'ComplexFloatStorage' }), /torch\.ComplexFloatStorage/)
    await rejected(one({ key: '1' }), /made\/data\/1' is missing/)
    await rejected(one({ key: '../../etc/passwd' }), /is missing/)
    const two = state(['a', tensor()], ['b', tensor({ storage: 'IntStorage' })])
    await rejected(archive(two, data), /storage 0 has two types or sizes/)
    const empty = await read(one({ shape: [0, 5], strides: [5, 1] }))
    expect(empty.tensors.get('w')).toEqual({ dtype: 'F32', shape: [0, 5], data: new Float32Array(0) })
  })

  it('bounds what views may repeat', async () => {
    const wide = tensor({ shape: [2 ** 15, 2 ** 15], strides: [0, 0] })
    await rejected(archive(state(['w', wide]), data), /repeats numbers of a small storage/)
    const some = Array.from({ length: 40 }, (_, i): [string, Buffer] => [
      `w${i}`,
      tensor({ shape: [2 ** 20], strides: [0] }),
    ])
    await rejected(archive(state(...some), data), /repeats numbers/)
  })

  it('rejects archives that are not what they must be', async () => {
    await rejected(zipSync({ 'a/x.npy': floats(1) }), /no data\.pkl/)
    await rejected(zipSync({ 'a/data.pkl': floats(1), 'b/data.pkl': floats(1) }), /2 pickles/)
    await rejected(zipSync({ 'a/data.pkl': floats(1), 'a/constants.pkl': floats(1) }), /TorchScript/)
    await rejected(zipSync({ 'a/../../data.pkl': floats(1) }), /not a zip archive that can be read/)
    await rejected(zipSync({ '/data.pkl': floats(1) }), /not a zip archive that can be read/)
    await rejected(archive(p.pickle(p.none), {}), /holds no network/)
    await rejected(archive(p.pickle(p.dict([p.text('epoch'), p.int(1)])), {}), /holds no network/)
    const bytes = Buffer.from(archive(state(['w', tensor()]), data))
    await rejected(bytes.subarray(0, bytes.length - 30), /not a zip archive/)
    const place = bytes.indexOf(Buffer.from(floats(1, 2)))
    bytes[place] ^= 1
    await rejected(bytes, /checksum/)
  })

  it('bounds what compressed entries unfold to', async () => {
    const count = 18 * 2 ** 20
    const zeros = new Uint8Array(4 * count)
    const bomb = archive(state(['w', tensor({ count, shape: [count] })]), { 0: zeros }, true)
    await rejected(bomb, /unfold to more than/)
    // an entry that says less than it holds
    const lie = Buffer.from(archive(state(['w', tensor()]), { 0: new Uint8Array(1e6) }, true))
    const directory = lie.lastIndexOf(Buffer.from('made/data/0')) - 46
    lie.writeUInt32LE(8, directory + 24)
    await rejected(lie, /compressed data are corrupt, or more/)
  })

  it('rejects entries that share bytes of the archive', async () => {
    const bytes = Buffer.from(
      archive(state(['a', tensor()], ['b', tensor({ key: '1' })]), { 0: floats(1, 2), 1: floats(1, 2) }),
    )
    const [first, second] = ['made/data/0', 'made/data/1'].map((name) => bytes.lastIndexOf(Buffer.from(name)) - 46)
    const quoted = Buffer.from(bytes)
    quoted.writeUInt32LE(bytes.readUInt32LE(first + 42), second + 42)
    await rejected(quoted, /overlaps another file/)
    // a header within the data of another
    const inside = Buffer.from(bytes)
    inside.writeUInt32LE(bytes.readUInt32LE(first + 42) + 4, second + 42)
    await rejected(inside, /overlaps another file|local file header|not a zip archive/)
  })

  it('rejects old files that are not what they must be', async () => {
    const object = state(['w', tensor()])
    const good: [bigint, Uint8Array] = [2n, floats(1, 2)]
    expect(numbers(await read(legacy(object, ['0'], [good])), 'w')).toEqual([1, 2])
    await rejected(legacy(object, ['0'], [[3n, floats(1, 2, 3)]]), /has 3 numbers where its tensors need 2/)
    await rejected(legacy(object, ['0'], [[-2n, floats(1, 2)]]), /has -2 numbers/)
    await rejected(legacy(object, ['0'], [[2n, floats(1)]]), /needs 8 bytes but 4 are left/)
    await rejected(legacy(object, ['0'], []), /truncated before storage 0/)
    await rejected(legacy(object, ['0', '0'], [good, good]), /comes twice/)
    await rejected(legacy(object, ['1'], [good]), /does not have/)
    await rejected(legacy(object, [], []), /numbers of storage 0 are missing/)
    const huge = state(['w', tensor({ count: 2 ** 40, shape: [2 ** 40] })])
    await rejected(legacy(huge, ['0'], [[2n ** 40n, floats(1)]]), /truncated or corrupt/)
    const bytes = await readFile(vector('kinds-legacy.pt'))
    for (const length of [20, 100, 400, bytes.length - 100, bytes.length - 1])
      await rejected(bytes.subarray(0, length), /./)
  })

  it('reads a part of a storage as the oldest files have it', async () => {
    const view = p.tuple(p.text('9'), p.int(1), p.int(2))
    const part = (...of: Buffer[]) =>
      p.persistent(
        p.tuple(p.text('storage'), p.global('torch', 'FloatStorage'), p.text('0'), p.text('cpu'), p.int(3), ...of),
      )
    const object = (storage: Buffer) =>
      state([
        'w',
        p.call(p.global('torch._utils', '_rebuild_tensor'), storage, p.int(0), p.tuple(p.int(2)), p.tuple(p.int(1))),
      ])
    expect(numbers(await read(legacy(object(part(view)), ['0'], [[3n, floats(1, 2, 3)]])), 'w')).toEqual([2, 3])
    const beyond = p.tuple(p.text('9'), p.int(2), p.int(2))
    await rejected(legacy(object(part(beyond)), ['0'], [[3n, floats(1, 2, 3)]]), /part of storage 0 goes beyond/)
  })

  it('says what else a file is', async () => {
    const tar = Buffer.alloc(1024)
    tar.write('ustar', 257)
    await rejected(tar, /tar archive.*load it in PyTorch/)
    await rejected(Buffer.from('hello'), /format is not known/)
    await rejected(Buffer.alloc(0), /it is empty/)
    await expect(readSource(join(folder, 'missing'))).rejects.toThrow(FileError)
  })

  it('bounds files within files', async () => {
    const nest = (inner: Buffer) => p.call(p.global('torch.storage', '_load_from_bytes'), p.bytes(inner))
    let object = p.none
    for (let depth = 0; depth < 6; depth++) object = nest(legacy(p.pickle(object), [], []))
    await rejected(p.pickle(object), /files within files/)
  })
})
