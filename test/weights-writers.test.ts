import { spawnSync } from 'node:child_process'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ArgumentError, FileError } from '../lib/base/errors.js'
import { writeDiffusersModel, writeDiffusersPipeline } from '../lib/weights/diffusers-write.js'
import { readSource } from '../lib/weights/source.js'
import { type TorchTensorData, writeTorchStateDict } from '../lib/weights/torch-write.js'
import { expectTensors, vector } from './expected-tensors.js'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'feynkac-writers-'))
})
afterAll(() => rm(folder, { recursive: true }))

const python = '/usr/bin/python3'
const torch = spawnSync(python, ['-c', 'import torch'], { timeout: 60_000 }).status === 0

const TENSORS: [string, TorchTensorData][] = [
  ['enc.8x8_conv.weight', { shape: [2, 1, 3], data: Float32Array.of(1, -2, 3.5, -0, 1e-40, 6) }],
  ['ü "\\', { shape: [], data: Float64Array.of(Math.PI) }],
  ['__proto__', { shape: [1, 2], data: Int32Array.of(-1, 2) }],
  ['long', { shape: [2], data: BigInt64Array.of(-(2n ** 62n), 7n) }],
  ['short', { shape: [1], data: Int16Array.of(-300) }],
  ['bytes', { shape: [3], data: Uint8Array.of(1, 2, 255) }],
  ['signed', { shape: [1], data: Int8Array.of(-128) }],
  ['flags', { dtype: 'BOOL', shape: [2], data: Uint8Array.of(1, 0) }],
  ['half', { dtype: 'F16', shape: [2], data: Uint16Array.of(0x3c00, 0xc248) }],
  ['brain', { dtype: 'BF16', shape: [1], data: Uint16Array.of(0xc049) }],
  ['empty', { shape: [0, 5], data: new Float32Array(0) }],
  ['part', { shape: [2], data: new Float32Array(8).fill(4).subarray(3, 5) }],
]

describe('state dicts of PyTorch', () => {
  it('are read again as they were', async () => {
    const path = join(folder, 'state.pt')
    await writeTorchStateDict(path, TENSORS)
    const { tensors, format } = await readSource(path)
    expect(format).toBe('torch-zip')
    expect([...tensors.keys()]).toEqual(TENSORS.map(([name]) => name))
    for (const [name, { shape, data, dtype }] of TENSORS) {
      const read = tensors.get(name)!
      expect(read.shape, name).toEqual(shape)
      expect(read.data, name).toEqual(data.slice())
      if (dtype) expect(read.dtype).toBe(dtype)
    }
    expect(Object.is(tensors.get('enc.8x8_conv.weight')!.data[3], -0)).toBe(true)
    for (const name of ['kinds.pt', 'kinds-legacy.pt']) {
      await writeTorchStateDict(path, (await readSource(vector(name))).tensors)
      expectTensors((await readSource(path)).tensors, name)
    }
  })

  it('are the same bytes each time, with aligned numbers', async () => {
    const [a, b] = [join(folder, 'a.pt'), join(folder, 'b.pt')]
    await writeTorchStateDict(a, TENSORS)
    await writeTorchStateDict(b, TENSORS)
    const bytes = await readFile(a)
    expect(bytes.equals(await readFile(b))).toBe(true)
    for (let at = 0, files = 0; ; files++) {
      at = bytes.indexOf('PK\x03\x04', at)
      if (at < 0) {
        expect(files).toBe(TENSORS.length + 3)
        break
      }
      at += 30 + bytes.readUInt16LE(at + 26) + bytes.readUInt16LE(at + 28)
      expect(at % 64).toBe(0)
    }
  })

  it('keep one storage for one array, and may be empty', async () => {
    const path = join(folder, 'tied.pt')
    const data = new Float32Array(1000)
    await writeTorchStateDict(path, [
      ['a', { shape: [1000], data }],
      ['b', { shape: [10, 100], data }],
    ])
    expect((await readFile(path)).length).toBeLessThan(6000)
    const { tensors } = await readSource(path)
    expect(tensors.get('b')!.data.buffer).toBe(tensors.get('a')!.data.buffer)
    await writeTorchStateDict(path, [])
    await expect(readSource(path)).rejects.toThrow(/holds no network/)
  })

  it('reject wrong arguments and leave nothing behind', async () => {
    const place = await mkdtemp(join(folder, 'wrong-'))
    const path = join(place, 'a.pt')
    const data = new Float32Array(2)
    const wrong = (...tensors: [string, unknown][]) =>
      expect(writeTorchStateDict(path, tensors as [string, TorchTensorData][])).rejects.toThrow(ArgumentError)
    await wrong(['w', { shape: [3], data }])
    await wrong(['w', { shape: [-1, -2], data }])
    await wrong(['w', { shape: [2], data }], ['w', { shape: [2], data }])
    await wrong(['w', { shape: [2], data: Uint16Array.of(1, 2) }])
    await wrong(['w', { shape: [2], data: Uint32Array.of(1, 2) }])
    await wrong(['w', { dtype: 'F8_E4M3', shape: [2], data: Uint8Array.of(1, 2) }])
    await wrong(['w', { dtype: 'F64', shape: [2], data }])
    await wrong(['w', { shape: [2], data: [1, 2] }])
    const memory = new ArrayBuffer(5e7)
    const views = Array.from(
      { length: 100 },
      (_, i) => [`w${i}`, { shape: [5e7], data: new Uint8Array(memory) }] as const,
    )
    await expect(writeTorchStateDict(path, views)).rejects.toThrow(/5\.00 GB are more than .*: write safetensors/)
    expect(await readdir(place)).toEqual([])
    await expect(writeTorchStateDict(join(place, 'no/folder/a.pt'), [['w', { shape: [2], data }]])).rejects.toThrow(
      FileError,
    )
  })

  it.skipIf(!torch)('are what torch.load reads, also without running any code', async () => {
    const path = join(folder, 'oracle.pt')
    await writeTorchStateDict(path, TENSORS)
    const script = join(folder, 'oracle.py')
    await writeFile(
      script,
      `
import json, sys, torch
for options in [dict(), dict(weights_only=True)]:
    state = torch.load(sys.argv[1], **options)
    print(json.dumps({k: [str(t.dtype), list(t.shape), t.double().flatten().tolist()] for k, t in state.items()}))
`,
    )
    const { stdout, stderr } = spawnSync(python, [script, path], { encoding: 'utf8', timeout: 100_000 })
    const lines = stdout.trim().split('\n')
    expect(lines.length, stderr).toBe(2)
    expect(lines[1]).toBe(lines[0])
    expect(JSON.parse(lines[0])).toEqual({
      'enc.8x8_conv.weight': ['torch.float32', [2, 1, 3], [1, -2, 3.5, -0, Math.fround(1e-40), 6]],
      'ü "\\': ['torch.float64', [], [Math.PI]],
      ['__proto__']: ['torch.int32', [1, 2], [-1, 2]],
      long: ['torch.int64', [2], [-(2 ** 62), 7]],
      short: ['torch.int16', [1], [-300]],
      bytes: ['torch.uint8', [3], [1, 2, 255]],
      signed: ['torch.int8', [1], [-128]],
      flags: ['torch.bool', [2], [1, 0]],
      half: ['torch.float16', [2], [1, -3.140625]],
      brain: ['torch.bfloat16', [1], [-3.140625]],
      empty: ['torch.float32', [0, 5], []],
      part: ['torch.float32', [2], [4, 4]],
    })
  })
})

describe('folders of diffusers', () => {
  const config = { _class_name: 'UNet2DModel', sample_size: 8, block_out_channels: [32, 64] }
  const scheduler = { _class_name: 'DDPMScheduler', num_train_timesteps: 1000 }
  const tensors = (value: number) => [['conv_in.bias', { shape: [1], data: Float32Array.of(value) }]] as const

  it('are read again as they were', async () => {
    const model = join(folder, 'deep/er/model')
    await writeDiffusersModel(model, { config, tensors: tensors(1) })
    const read = await readSource(model)
    expect(read).toMatchObject({ className: 'UNet2DModel', args: config, scheduler: null, metadata: { format: 'pt' } })
    expect(read.tensors.get('conv_in.bias')!.data).toEqual(Float32Array.of(1))
    const pipeline = join(folder, 'pipeline')
    const vae = { config: { _class_name: 'AutoencoderKL' }, tensors: tensors(3) }
    await writeDiffusersPipeline(pipeline, { unet: { config, tensors: tensors(2) }, scheduler, vae })
    expect(await readSource(pipeline)).toMatchObject({
      className: 'UNet2DModel',
      scheduler,
      networks: ['unet', 'vae'],
      extra: { vae: join(pipeline, 'vae') },
    })
    expect(JSON.parse(await readFile(join(pipeline, 'model_index.json'), 'utf8'))).toEqual({
      _class_name: 'DDPMPipeline',
      scheduler: ['diffusers', 'DDPMScheduler'],
      unet: ['diffusers', 'UNet2DModel'],
      vae: ['diffusers', 'AutoencoderKL'],
    })
  })

  it('reject wrong arguments', async () => {
    const place = join(folder, 'none')
    await expect(writeDiffusersModel(place, { config: {}, tensors: [] })).rejects.toThrow(/_class_name/)
    const own: Record<string, unknown> = { _class_name: 'X' }
    own.own = own
    await expect(writeDiffusersModel(place, { config: own, tensors: [] })).rejects.toThrow(/JSON can hold/)
    await expect(writeDiffusersPipeline(place, { unet: { config, tensors: [] }, scheduler: {} })).rejects.toThrow(
      ArgumentError,
    )
    await expect(readdir(place)).rejects.toThrow(/ENOENT/)
    await writeFile(join(folder, 'file'), '')
    await expect(writeDiffusersModel(join(folder, 'file/x'), { config, tensors: [] })).rejects.toThrow(FileError)
  })
})
