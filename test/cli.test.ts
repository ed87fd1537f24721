import { mkdtemp, readFile, rm } from 'node:fs/promises'
import os from 'node:os'
import { join } from 'node:path'
import sharp from 'sharp'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { main } from '../lib/cli/index.js'
import { count, counts, number } from '../lib/cli/options.js'
import { gridPng } from '../lib/data/grid.js'
import { writeNpy } from '../lib/data/npy-write.js'

let out = ''
let err = ''
let folder = ''

beforeEach(async () => {
  out = err = ''
  folder = await mkdtemp(join(os.tmpdir(), 'feynkac-cli-'))
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
    out += text
    return true
  })
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
    err += text
    return true
  })
  vi.spyOn(console, 'log').mockImplementation((text) => {
    out += `${text}\n`
  })
})

afterEach(async () => {
  vi.restoreAllMocks()
  await rm(folder, { recursive: true })
})

const commands = [
  'demo',
  'fit',
  'train',
  'train-autoencoder',
  'train-classifier',
  'distill',
  'calibrate',
  'sample',
  'evaluate',
  'convert',
  'inspect',
  'verify',
  'bench',
  'doctor',
]

describe('feynkac', () => {
  it('lists its commands', async () => {
    expect(await main(['--help'])).toBe(0)
    for (const command of [...commands, 'build']) expect(out).toMatch(new RegExp(`^  ${command} `, 'm'))
  })

  it('takes no option for the value of another', async () => {
    expect(await main(['train', '--data', 'synthetic:ring', '--output', '--resume'])).toBe(2)
    expect(err).toMatch(/'--output <\w+>' argument '--resume' is invalid\. Expected a value/)
  })

  it('gives its version', async () => {
    expect(await main(['--version'])).toBe(0)
    expect(out).toMatch(/^\d+\.\d+\.\d+\n$/)
  })

  it.each(commands)('%s has help with an example and the common options', async (command) => {
    expect(await main([command, '--help'])).toBe(0)
    expect(out).toContain(`Example:\n  feynkac ${command}`)
    for (const option of ['--device', '--seed', '--threads', '--json']) expect(out).toContain(option)
  })

  it.each([
    [['nonsense'], /nonsense/],
    [['--', 'build'], /first word: feynkac build/],
    [['doctor', '--nonsense'], /--nonsense/],
    [['fit'], /missing required argument 'data'/],
    [['fit', 'x', '--minutes', '0'], /--minutes.*Expected a number above 0/s],
    [
      ['fit', 'synthetic:ring:count=100', '--output', join(os.tmpdir(), 'feynkac-none')],
      /for pictures.*train, then distill/,
    ],
    [['train', '--data', 'x'], /--output/],
    [['train', '--output', 'x', '--lr', 'fast'], /--lr.*fast.*Expected a number above 0/s],
    [['train', '--output', 'x', '--batch', '1.5'], /Expected a whole number/],
    [['train', '--output', 'x', '--head', 'cross'], /dot, l2, norm/],
    [['doctor', '--threads', '0'], /--threads.*0/s],
    [['inspect'], /source/],
    [['convert', 'model.pkl'], /output/],
    [['convert', 'model.pkl', 'model.safetensors', '--to', 'onnx'], /feynkac, diffusers, edm/],
  ])('%j is wrong usage: exit code 2 and the reason', async (argv, reason) => {
    expect(await main(argv)).toBe(2)
    expect(err).toMatch(reason)
    expect(out).toBe('')
  })

  it('fails with the message alone, with the stack when asked', async () => {
    const argv = ['inspect', join(folder, 'missing.safetensors')]
    expect(await main(argv)).toBe(1)
    expect(err).toMatch(/^feynkac: .*missing\.safetensors/)
    expect(err).not.toMatch(/\n\s+at /)
    err = ''
    expect(await main([...argv, '--verbose'])).toBe(1)
    expect(err).toMatch(/\n\s+at /)
  })

  it('doctor says where it runs and why there is no CUDA', async () => {
    expect(await main(['doctor', '--json', '--threads', '1'])).toBe(0)
    const found = JSON.parse(out)
    expect(found.addon).toMatchObject({ threads: 1, error: null })
    expect(found.addon.path).toMatch(/\.node$/)
    const gpu = found.devices.find(({ name }: { name: string }) => name.startsWith('cuda'))
    expect(gpu.available ? gpu.kernels : gpu.reason).toMatch(/\w/)
    out = ''
    expect(await main(['doctor'])).toBe(0)
    expect(out).toMatch(/kernels .*threads/)
  })

  it('bench points to the benchmarks of a checkout', async () => {
    expect(await main(['bench'])).toBe(0)
    expect(out).toContain('npm run bench')
  })
})

describe('values of options', () => {
  it('reads numbers with thousands and millions', () => {
    expect(number()('-1.5e-3')).toBe(-1.5e-3)
    expect(count()('200k')).toBe(200_000)
    expect(count()('1.5M')).toBe(1_500_000)
    expect(counts()('1,2,4')).toEqual([1, 2, 4])
    expect(counts()('none')).toEqual([])
    for (const bad of ['', 'x', '1..2', '0x10', 'Infinity', '1e999', '5 5']) expect(() => number()(bad)).toThrow()
  })
})

describe('files of the command line', () => {
  it('writes .npy', async () => {
    const path = join(folder, 'a.npy')
    await writeNpy(path, Float32Array.of(1, 2, 3, 4, 5, 6), [3, 2])
    const bytes = await readFile(path)
    expect(bytes.subarray(0, 8)).toEqual(Buffer.from([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0]))
    const length = bytes.readUInt16LE(8)
    expect((10 + length) % 64).toBe(0)
    expect(bytes.subarray(10, 10 + length).toString()).toMatch(
      /^\{'descr': '<f4', 'fortran_order': False, 'shape': \(3, 2,\), \} *\n$/,
    )
    expect([
      ...new Float32Array(bytes.buffer.slice(bytes.byteOffset + 10 + length, bytes.byteOffset + bytes.length)),
    ]).toEqual([1, 2, 3, 4, 5, 6])
  })

  it('writes a grid of grey or colour images', async () => {
    for (const channels of [1, 3]) {
      const size = channels * 2 * 3
      const samples = new Float32Array(3 * size).fill(-1)
      samples.fill(2, size, 2 * size) // the second image is white, clipped
      const png = await gridPng(samples, [channels, 2, 3])
      const { data, info } = await sharp(png).removeAlpha().raw().toBuffer({ resolveWithObject: true })
      const scale = info.width / 7
      expect(Number.isInteger(scale)).toBe(true)
      expect(info.height).toBe(5 * scale)
      const pixel = (x: number, y: number) => data[(y * scale * info.width + x * scale) * info.channels]
      expect([pixel(0, 0), pixel(2, 1), pixel(4, 0), pixel(6, 1), pixel(0, 3)]).toEqual([0, 0, 255, 255, 0])
    }
  })
})
