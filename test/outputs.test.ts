import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { ArgumentError, FileError, FormatError } from '../lib/base/errors.js'
import { prepareFile, prepareFolder, refuseOverwriting } from '../lib/base/files.js'
import { main } from '../lib/cli/index.js'
import { MemoryDataset } from '../lib/data/dataset.js'
import { fingerprintFirst } from '../lib/data/fingerprint.js'
import { Denoiser, EnergyModel, residualMLP, songUNet, trainDenoiser, unet2d } from '../lib/index.js'
import { holdFolder } from '../lib/training/folder.js'
import { readSafetensors, writeSafetensors } from '../lib/weights/safetensors.js'
import { writeTorchStateDict } from '../lib/weights/torch-write.js'

/** Folders that runs write to. */

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'feynkac-outputs-'))
})
afterAll(() => rm(folder, { recursive: true }))

const points = (change = -1) =>
  new MemoryDataset({
    name: 'points',
    shape: [2],
    data: Float32Array.from({ length: 200 }, (_, i) => Math.sin(i) + (i === change ? 0.01 : 0)),
    labels: null,
  })
const options = { data: points(), batchSize: 8, network: { width: 8, blocks: 1 }, device: 'cpu' }

describe('a run folder', () => {
  it('is of one run at a time', async () => {
    const output = join(folder, 'locked')
    const both = [0, 1].map(() => trainDenoiser({ ...options, output, images: 64 }).catch((error) => error))
    const [refused, ...others] = (await Promise.all(both)).filter((result) => result instanceof Error)
    expect(others).toEqual([])
    expect(refused).toBeInstanceOf(FileError)
    expect(refused.message).toMatch(/in use by another run/)
    expect((await trainDenoiser({ output, data: points(), resume: true, images: 72 })).images).toBe(72)
  })

  it('resumes as a queue wants it', async () => {
    const run = { ...options, output: join(folder, 'queue'), images: 32 }
    await expect(trainDenoiser({ ...run, resume: true })).rejects.toThrow(/no checkpoint to resume/)
    expect((await trainDenoiser({ ...run, resume: 'auto' })).steps).toBe(4)
    expect((await trainDenoiser({ ...run, resume: 'auto' })).steps).toBe(4) // finished: nothing to do
    expect((await trainDenoiser({ ...run, resume: 'auto', images: 40 })).steps).toBe(5)
    const shorter = await trainDenoiser({ ...run, resume: 'auto', images: 16 }).catch((error) => error)
    expect(shorter).toBeInstanceOf(ArgumentError)
    expect(shorter.message).toMatch(/has seen 40 images already, more than 16/)
    await expect(trainDenoiser({ ...run, resume: 'always' as never })).rejects.toThrow(/resume/)
  })

  it('has damaged metadata refused by name', async () => {
    const output = join(folder, 'damaged')
    await trainDenoiser({ ...options, output, images: 16 })
    const [name] = (await readdir(output))
      .filter((file) => file.startsWith('checkpoint'))
      .sort()
      .reverse()
    const path = join(output, name)
    const { tensors, metadata } = await readSafetensors(path)
    for (const file of await readdir(output)) if (file.startsWith('checkpoint')) await rm(join(output, file))
    const damage: Record<string, [section: string, change: object]> = {
      network: ['definition', { network: null }],
      batchSize: ['definition', { batchSize: 'x' }],
      images: ['definition', { images: -1 }],
      data: ['sources', { data: 5 }],
      losses: ['loop', { watch: {} }],
    }
    for (const [part, [section, change]] of Object.entries(damage)) {
      const state = JSON.parse(metadata.training)
      Object.assign(state[section], change)
      await writeSafetensors(path, tensors as never, { ...metadata, training: JSON.stringify(state) })
      const error = await trainDenoiser({ output, data: points(), resume: true }).catch((e) => e)
      expect(error, part).toBeInstanceOf(FormatError)
      expect(error.message, part).toMatch(new RegExp(part))
    }
  })

  it('knows all of its data again', async () => {
    const run = { ...options, output: join(folder, 'data'), images: 16 }
    await trainDenoiser(run)
    const other = { ...run, data: points(199), resume: true, images: 32 }
    await expect(trainDenoiser(other)).rejects.toThrow(/data \(/)
  })

  it('knows data by their first samples where its checkpoint does', async () => {
    const output = join(folder, 'before')
    await trainDenoiser({ ...options, output, images: 16 })
    for (const name of (await readdir(output)).filter((file) => file.startsWith('checkpoint'))) {
      const { tensors, metadata } = await readSafetensors(join(output, name))
      const state = JSON.parse(metadata.training)
      state.definition.data = fingerprintFirst(points())
      const training = JSON.stringify(state)
      await writeSafetensors(join(output, name), tensors as never, { ...metadata, training })
    }
    const run = { ...options, output, resume: true as const, images: 32 }
    await expect(trainDenoiser({ ...run, data: points(5) })).rejects.toThrow(/data \(/)
    const warned = vi.spyOn(process, 'emitWarning').mockImplementation(() => {})
    try {
      expect((await trainDenoiser(run)).steps).toBe(4)
      expect(warned.mock.calls).toEqual([[expect.stringMatching(/first 16 samples/), 'FeynkacWarning']])
      await trainDenoiser({ ...run, images: 40 }) // the last checkpoint has the whole fingerprint
      expect(warned).toHaveBeenCalledTimes(1)
    } finally {
      warned.mockRestore()
    }
  })
})

it('an output that cannot be written is known before the work', async () => {
  const file = join(folder, 'file')
  await writeFile(file, 'x')
  await expect(prepareFolder(file)).rejects.toThrow(FileError)
  await expect(prepareFolder(join(file, 'within'))).rejects.toThrow(FileError)
  await expect(prepareFolder('/proc/none')).rejects.toThrow(FileError)
  await expect(prepareFile(folder)).rejects.toThrow(FileError)
  await expect(prepareFile(join(folder, 'none', 'file'))).rejects.toThrow(FileError)
  await prepareFolder(join(folder, 'new', 'folder'))
  expect(await readdir(join(folder, 'new', 'folder'))).toEqual([])
  await expect(refuseOverwriting([file, join(folder, 'free')], false)).rejects.toThrow(/file would be overwritten/)
  await refuseOverwriting([file], true)
})

describe('outputs of commands', () => {
  const silent = () => [process.stdout, process.stderr].map((stream) => vi.spyOn(stream, 'write').mockReturnValue(true))
  const saved = async () => {
    using model = await EnergyModel.create(
      { network: residualMLP(2, { hidden: 8, layers: 1 }), kind: 'dot' },
      { seed: 1 },
    )
    const path = join(folder, 'energy.safetensors')
    await model.save(path)
    return path
  }

  it('convert replaces nothing unless it is told to', async () => {
    const model = await saved()
    const spies = silent()
    try {
      const output = join(folder, 'other.safetensors')
      await writeFile(output, 'mine')
      expect(await main(['convert', model, output])).toBe(2)
      expect(String(spies[1].mock.lastCall)).toMatch(/other\.safetensors would be overwritten: .* --overwrite/)
      expect(await readFile(output, 'utf8')).toBe('mine')
      expect(await main(['convert', model, output, '--overwrite'])).toBe(0)
      expect(await readFile(output)).toEqual(await readFile(model))
    } finally {
      for (const spy of spies) spy.mockRestore()
    }
  })

  it('convert never leaves weights beside the description of others', async () => {
    const files: Record<string, string[]> = {
      edm: ['edm.pt', 'edm.pt.json'],
      diffusers: ['pipeline/unet/diffusion_pytorch_model.safetensors', 'pipeline/unet/config.json', 'pipeline/model_index.json'], // biome-ignore format: one line
    }
    const args = { block_out_channels: [8], down_block_types: ['DownBlock2D' as const], up_block_types: ['UpBlock2D' as const], layers_per_block: 1, norm_num_groups: 1 } // biome-ignore format: one line
    const spies = silent()
    try {
      for (const [format, names] of Object.entries(files)) {
        const network = format === 'edm' ? songUNet([1, 8, 8], { model_channels: 4, channel_mult: [1], num_blocks: 1 }) : unet2d([1, 8, 8], args) // biome-ignore format: one line
        const model = join(folder, `${format}.safetensors`)
        {
          using made = await Denoiser.create({ network }, { seed: 1 })
          await made.save(model)
        }
        const output = join(folder, names[0].split('/')[0])
        const read = () => Promise.all(names.map((name) => readFile(join(folder, name)).catch(() => null)))
        // an end between the files, as by SIGKILL: what describes is there alone, or nothing, and the next conversion goes on
        expect(await main(['convert', model, output, '--to', format])).toBe(0)
        const whole = await read()
        expect(await main(['convert', model, output, '--to', format])).toBe(2)
        await rm(join(folder, format === 'edm' ? names[0] : names[2]))
        expect(await main(['convert', model, output, '--to', format])).toBe(0)
        expect(await read()).toEqual(whole)
        // where the weights cannot be written, all stays as it was
        const seen: unknown[] = []
        const path = join(folder, names[0])
        const ready = () => read().then((found) => void seen.push(...found))
        const tensors = [['w', { shape: [1], data: Float32Array.of(1) }]] as const
        await (format === 'edm' ? writeTorchStateDict(path, tensors, ready) : writeSafetensors(path, tensors, {}, ready)) // biome-ignore format: one line
        expect(seen).toEqual(whole)
        const failed = writeSafetensors(path, tensors, {}, () => Promise.reject(new Error('no')))
        await expect(failed).rejects.toThrow('no')
      }
      expect((await readdir(join(folder, 'pipeline/unet'))).sort()).toEqual(['config.json', 'diffusion_pytorch_model.safetensors']) // biome-ignore format: one line
    } finally {
      for (const spy of spies) spy.mockRestore()
    }
  })

  it('a folder of samples is of one run at a time, and what a killed one was writing is removed', async () => {
    const model = await saved()
    const output = join(folder, 'samples')
    await mkdir(output)
    await writeFile(join(output, '.samples.npy.0123456789ab.tmp'), 'half')
    const argv = [
      'sample',
      model,
      '--output',
      output,
      '--particles',
      '8',
      '--steps',
      '3',
      '--allow-collapse',
      '--threads',
      '1',
    ]
    const free = await holdFolder(output)
    const spies = silent()
    try {
      expect(await main(argv)).toBe(1)
      expect(String(spies[1].mock.lastCall)).toMatch(/in use by another run/)
      await free()
      expect(await main(argv)).toBe(0)
    } finally {
      for (const spy of spies) spy.mockRestore()
    }
    expect((await readdir(output)).filter((name) => name.startsWith('.'))).toEqual([])
  })
})
