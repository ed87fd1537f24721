import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ArgumentError, FileError, FormatError } from '../lib/base/errors.js'
import { readSafetensors, toFloat32, writeSafetensors } from '../lib/weights/safetensors.js'
import { corruptions } from './corruptions.js'
import { shared } from './shared.js'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'feynkac-safetensors-'))
})
afterAll(() => rm(folder, { recursive: true }))

/** A file of a header as text (or its object) and data bytes. */
async function file(header: unknown, data: Uint8Array = new Uint8Array(0), length?: number | bigint): Promise<string> {
  const text = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header))
  const prefix = Buffer.alloc(8)
  prefix.writeBigUInt64LE(BigInt(length ?? text.length))
  const path = join(folder, 'crafted.safetensors')
  await writeFile(path, Buffer.concat([prefix, text, data]))
  return path
}

async function rejected(header: unknown, data: Uint8Array | undefined, pattern: RegExp, length?: number | bigint) {
  const path = await file(header, data, length)
  const error = await readSafetensors(path).then(
    () => expect.fail('it was read'),
    (e) => e,
  )
  expect(error).toBeInstanceOf(FormatError)
  expect(error.path).toBe(path)
  expect(error.message).toContain(path)
  expect(error.message).toMatch(pattern)
}

const one = (entry: object) => ({ w: { dtype: 'F32', shape: [2], data_offsets: [0, 8], ...entry } })

describe('round trip', () => {
  it('keeps names, shapes, numbers and metadata', async () => {
    const path = join(folder, 'round.safetensors')
    const tensors: [string, { shape: number[]; data: Float32Array | Float64Array }][] = [
      ['a', { shape: [3], data: Float32Array.of(1, -0, NaN) }],
      ['b', { shape: [], data: Float64Array.of(Math.PI) }],
      ['__proto__', { shape: [1, 2], data: Float32Array.of(3, 4) }],
      ['constructor', { shape: [0, 5], data: new Float32Array(0) }],
      ['10', { shape: [1], data: new Float32Array(8).subarray(3, 4) }],
      ['ü "\\', { shape: [2], data: Float64Array.of(5e-324, 1e308) }],
    ]
    await writeSafetensors(path, tensors, { note: 'a "text" ü', empty: '' })
    const read = await readSafetensors(path)
    expect({ ...read.metadata }).toEqual({ note: 'a "text" ü', empty: '' })
    expect(new Set(read.tensors.keys())).toEqual(new Set(tensors.map(([name]) => name)))
    for (const [name, { shape, data }] of tensors) {
      expect(read.tensors.get(name)!.shape).toEqual(shape)
      expect(read.tensors.get(name)!.data).toEqual(data.slice())
    }
    expect(Object.is(read.tensors.get('a')!.data[1], -0)).toBe(true)
  })

  it('aligns the data to 8 bytes and every F64 with it', async () => {
    for (const name of ['x', 'xy', 'xyz', 'xyzabcdefgh']) {
      const path = join(folder, 'aligned.safetensors')
      await writeSafetensors(path, [
        [name, { shape: [1], data: Float32Array.of(1) }],
        ['double', { shape: [1], data: Float64Array.of(2) }],
      ])
      const bytes = await readFile(path)
      const length = Number(bytes.readBigUInt64LE())
      expect((8 + length) % 8).toBe(0)
      const header = JSON.parse(bytes.subarray(8, 8 + length).toString())
      expect(header.double.data_offsets[0] % 8).toBe(0)
      expect(bytes.length).toBe(8 + length + 12)
    }
  })

  it('writes no tensors at all', async () => {
    const path = join(folder, 'none.safetensors')
    await writeSafetensors(path, [])
    expect((await readSafetensors(path)).tensors.size).toBe(0)
  })

  it('rejects wrong arguments and leaves nothing behind', async () => {
    const place = await mkdtemp(join(folder, 'wrong-'))
    const path = join(place, 'a')
    const data = new Float32Array(2)
    await expect(writeSafetensors(path, [['w', { shape: [3], data }]])).rejects.toThrow(ArgumentError)
    await expect(writeSafetensors(path, [['w', { shape: [-1, -2], data }]])).rejects.toThrow(ArgumentError)
    const twice = [
      ['w', { shape: [2], data }],
      ['w', { shape: [2], data }],
    ] as const
    await expect(writeSafetensors(path, twice)).rejects.toThrow(/new name/)
    await expect(writeSafetensors(path, [['__metadata__', { shape: [2], data }]])).rejects.toThrow(ArgumentError)
    const ints = new Int32Array(2) as unknown as Float32Array
    await expect(writeSafetensors(path, [['w', { shape: [2], data: ints }]])).rejects.toThrow(ArgumentError)
    await expect(writeSafetensors(path, [], { n: 1 as unknown as string })).rejects.toThrow(ArgumentError)
    expect(await readdir(place)).toEqual([])
  })
})

describe('dtypes', () => {
  it('reads every type, raw where JavaScript has none, also unaligned', async () => {
    const header = {
      pad: { dtype: 'U8', shape: [1], data_offsets: [0, 1] },
      half: { dtype: 'F16', shape: [4], data_offsets: [1, 9] },
      brain: { dtype: 'BF16', shape: [2], data_offsets: [9, 13] },
      float: { dtype: 'F32', shape: [1], data_offsets: [13, 17] },
      long: { dtype: 'I64', shape: [1], data_offsets: [17, 25] },
      flag: { dtype: 'BOOL', shape: [2], data_offsets: [25, 27] },
      int: { dtype: 'I32', shape: [1], data_offsets: [27, 31] },
    }
    const data = new DataView(new ArrayBuffer(31))
    for (const [i, bits] of [0x3c00, 0xc248, 0x0001, 0xfc00].entries()) data.setUint16(1 + 2 * i, bits, true)
    data.setUint16(9, 0x3f80, true)
    data.setUint16(11, 0xc049, true)
    data.setFloat32(13, 1.5, true)
    data.setBigInt64(17, -5n, true)
    data.setUint8(26, 1)
    data.setInt32(27, -70000, true)
    const { tensors } = await readSafetensors(await file(header, new Uint8Array(data.buffer)))
    const numbers = (name: string) => [...toFloat32(tensors.get(name)!)]
    expect(numbers('half')).toEqual([1, -3.140625, 2 ** -24, -Infinity])
    expect(numbers('brain')).toEqual([1, -3.140625])
    expect(numbers('float')).toEqual([1.5])
    expect(numbers('long')).toEqual([-5])
    expect(tensors.get('long')!.data).toEqual(BigInt64Array.of(-5n))
    expect(numbers('flag')).toEqual([0, 1])
    expect(numbers('int')).toEqual([-70000])
    expect(tensors.get('half')!.data).toBeInstanceOf(Uint16Array)
  })

  it('converts every half exactly', () => {
    const data = new Uint16Array(65536).map((_, i) => i)
    const floats = toFloat32({ dtype: 'F16', shape: [65536], data })
    let wrong = 0
    for (let i = 0; i < 0x7c00; i++) {
      // positive halves are ordered, neighbours differ by one unit in the last place
      if (i > 0 && floats[i] - floats[i - 1] !== 2 ** (Math.max(1, (i - 1) >> 10) - 25)) wrong++
      if (floats[i + 0x8000] !== -floats[i]) wrong++
    }
    expect(wrong).toBe(0)
    expect(floats[0x7bff]).toBe(65504)
    expect(floats[0x7c01]).toBeNaN()
  })
})

describe('hostile files', () => {
  const eight = new Uint8Array(8)
  it('rejects wrong headers', async () => {
    await rejected('{}', undefined, /truncated/, 1000)
    await rejected('{}', undefined, /claims/, 2n ** 63n)
    await rejected('{}', undefined, /claims/, 100_000_001)
    await rejected('not json', undefined, /not JSON/)
    await rejected('{"w":', undefined, /not JSON/)
    await rejected('[]       ', undefined, /not a JSON object/)
    await rejected('null     ', undefined, /not a JSON object/)
    await rejected(`{"a":"${'['.repeat(50_000)}`, undefined, /not JSON/)
    await rejected(`${'['.repeat(50_000)}${']'.repeat(50_000)}`, undefined, /JSON/)
    await rejected('['.repeat(90e6), undefined, /not JSON/) // JSON.parse would take half a minute and gigabytes
    await rejected(`[${'[],'.repeat(30e6)}[]]`, undefined, /not JSON/)
    await rejected({ __metadata__: [] }, undefined, /__metadata__/)
    await rejected({ __metadata__: { a: 1 } }, undefined, /'a' is not a text/)
  })

  it('rejects keys that come twice, also escaped, at any depth', async () => {
    const entry = '{"dtype":"F32","shape":[2],"data_offsets":[0,8]}'
    await rejected(`{"w":${entry},"w":${entry}}`, eight, /key "w" twice/)
    await rejected(`{"w":${entry},"\\u0077":${entry}}`, eight, /twice/)
    await rejected(`{"w":{"dtype":"F32","shape":[2],"shape":[2],"data_offsets":[0,8]}}`, eight, /"shape" twice/)
    await rejected(`{"__metadata__":{"a":"1","a":"2"}}`, undefined, /"a" twice/)
    // the same key in different objects is right
    const other = '{"dtype":"F32","shape":[],"data_offsets":[8,12]}'
    const { tensors } = await readSafetensors(await file(`{"w":${entry},"v:\\"{":${other}}`, new Uint8Array(12)))
    expect([...tensors.keys()]).toEqual(['w', 'v:"{'])
  })

  it('rejects wrong entries', async () => {
    await rejected({ w: 1 }, eight, /'w'.*not an object/)
    await rejected(one({ dtype: 'F33' }), eight, /'w'.*dtype "F33"/)
    await rejected(one({ dtype: 'toString' }), eight, /dtype/)
    await rejected(one({ dtype: 5 }), eight, /dtype/)
    for (const shape of [[-2], [1.5], ['2'], [null], 2, [1e300], { length: 1 }])
      await rejected(one({ shape }), eight, /shape/)
    await rejected(one({ shape: [2 ** 30, 2 ** 30] }), eight, /too large/)
    await rejected(one({ shape: [2 ** 40, 2 ** 40, 0] }), eight, /too large/)
    await rejected(one({ shape: [3] }), eight, /needs 12 bytes/)
    for (const data_offsets of [[0], [0, 8, 16], [-8, 0], [0.5, 8.5], 'x', null])
      await rejected(one({ data_offsets }), eight, /data_offsets/)
    await rejected(one({ data_offsets: [8, 0] }), eight, /reversed/)
    await rejected(one({ data_offsets: [0, 16], shape: [4] }), eight, /ends at 16/)
  })

  it('rejects overlaps and holes', async () => {
    const f32 = (begin: number, end: number) => ({
      dtype: 'F32',
      shape: [(end - begin) / 4],
      data_offsets: [begin, end],
    })
    await rejected({ a: f32(0, 8), b: f32(4, 12) }, new Uint8Array(12), /'b' overlaps/)
    await rejected({ a: f32(0, 8), b: f32(0, 8) }, eight, /overlaps/)
    await rejected({ a: f32(0, 4), b: f32(8, 12) }, new Uint8Array(12), /4 bytes before tensor 'b'/)
    await rejected({ a: f32(4, 8) }, eight, /4 bytes before/)
    await rejected({ a: f32(0, 4) }, eight, /4 bytes after/)
  })

  it('rejects what is no file of the format', async () => {
    const path = join(folder, 'short')
    await writeFile(path, 'abc')
    await expect(readSafetensors(path)).rejects.toThrow(FormatError)
    await expect(readSafetensors(join(folder, 'missing'))).rejects.toThrow(FileError)
    await expect(readSafetensors(folder)).rejects.toThrow(/it is a folder/)
  })

  it('survives random corruption with typed errors only', async () => {
    const path = join(folder, 'fuzz.safetensors')
    await writeSafetensors(
      path,
      [
        ['first', { shape: [2, 3], data: new Float32Array(6).fill(1.5) }],
        ['second', { shape: [2], data: Float64Array.of(1, 2) }],
      ],
      { feynkac: '{"format":"x"}' },
    )
    const bytes = await readFile(path)
    let read = 0
    for (const corrupt of corruptions(bytes, 300, 1)) {
      await writeFile(path, corrupt)
      await readSafetensors(path).then(
        () => read++,
        (error) => expect(error).toBeInstanceOf(FileError),
      )
    }
    expect(read).toBeGreaterThan(0) // flips of the numbers themselves are no errors
    expect(read).toBeLessThan(300)
  })
})

describe('fixtures', () => {
  const { path, missing } = shared('fixtures/unet/gray28.safetensors')
  it.skipIf(missing)('reads a file that another implementation wrote', async () => {
    const { metadata, tensors } = await readSafetensors(path)
    expect(tensors.size).toBe(314)
    expect(JSON.parse(metadata.config).shape).toEqual([1, 28, 28])
    expect(tensors.get('x')!.shape).toEqual([2, 1, 28, 28])
    for (const { data } of tensors.values()) expect(data.every((v) => Number.isFinite(Number(v)))).toBe(true)
  })
})
