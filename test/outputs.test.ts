import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { ArgumentError, FileError, FormatError } from '../lib/base/errors.js'
import { prepareFile, prepareFolder, refuseOverwriting } from '../lib/base/files.js'
import { MemoryDataset } from '../lib/data/dataset.js'
import { fingerprintFirst } from '../lib/data/fingerprint.js'
import { trainDenoiser } from '../lib/index.js'
import { readSafetensors, writeSafetensors } from '../lib/weights/safetensors.js'

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
