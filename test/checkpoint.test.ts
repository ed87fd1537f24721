import { copyFile, mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import os from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { ArgumentError, FileError, FormatError } from '../lib/base/errors.js'
import { Denoiser } from '../lib/models/denoiser.js'
import { native, run } from '../lib/native/addon.js'
import type { ParameterSlot } from '../lib/native/types.js'
import { residualMLP } from '../lib/networks/config.js'
import { readCheckpoint, restore, writeCheckpoint } from '../lib/training/checkpoint.js'
import { distill } from '../lib/training/objectives/distill.js'
import { trainDenoiser } from '../lib/training/objectives/dsm.js'
import { gaussianPoints, labelledImages } from './training-data.js'

// one thread: these networks are too small for more, and the machine may be busy
beforeAll(() => native.setThreads(1))

let folder = ''
beforeEach(async () => {
  folder = await mkdtemp(join(os.tmpdir(), 'feynkac-checkpoint-'))
})
afterEach(() => rm(folder, { recursive: true }))

const slots: ParameterSlot[] = ['params', 'ema', 'm', 'v']

async function read(model: { network: Denoiser['network'] }, slot: ParameterSlot): Promise<Float32Array> {
  const values = new Float32Array(model.network.parameterCount())
  await run(() => model.network.read(slot, values))
  return values
}

describe('a checkpoint file', () => {
  const state = {
    loop: { step: 12, watch: { losses: [0.1, 1 / 3], means: [0.25] } },
    definition: { lr: 1e-3, clip: 1 },
    sources: { data: { spec: 'rings', options: { limit: 5 } }, teacher: null },
  }

  it('brings back every slot and the state bit by bit', async () => {
    const config = residualMLP(3, { hidden: 16, layers: 1 })
    const path = join(folder, 'c.safetensors')
    const model = await Denoiser.create({ network: config }, { seed: 1 })
    const written: Record<string, Float32Array> = {}
    for (const [k, slot] of slots.entries()) {
      written[slot] = Float32Array.from({ length: model.network.parameterCount() }, (_, i) => Math.sin(i * (k + 1)) / 3)
      await run(() => model.network.write(slot, written[slot]!))
    }
    await writeCheckpoint(path, { ...state, info: model.info }, model.network)
    const checkpoint = await readCheckpoint(path)
    expect(checkpoint).toMatchObject({ ...state, info: model.info })
    const other = await Denoiser.create({ network: config }, { seed: 2 })
    await restore(other.network, checkpoint)
    for (const slot of slots) expect(await read(other, slot)).toEqual(written[slot])

    const wider = await Denoiser.create({ network: residualMLP(3, { hidden: 32, layers: 1 }) })
    await expect(restore(wider.network, checkpoint)).rejects.toThrow(FormatError)
    for (const each of [model, other, wider]) each.dispose()
  })

  it('is told from a model file, where either is expected', async () => {
    const model = await Denoiser.create({ network: residualMLP(2, { hidden: 8, layers: 1 }) })
    const path = join(folder, 'model.safetensors')
    await model.save(path)
    await expect(readCheckpoint(path)).rejects.toThrow(/not a checkpoint/)
    const other = join(folder, 'checkpoint-000000012.safetensors')
    await writeCheckpoint(other, { ...state, info: model.info }, model.network)
    await expect(Denoiser.load(other)).rejects.toThrow(/it is a checkpoint.*give the model\.safetensors beside it/)
    await expect(Denoiser.load(folder)).rejects.toThrow(`give its file, ${path}`)
    model.dispose()
  })
})

// labels with dropout, flips, a batch that does not divide the data, micro-batches: everything a resumed run must repeat
const images = labelledImages(21)
const common = { batchSize: 8, microBatch: 3, seed: 9, flips: true, labelDropout: 0.3 }
const network = { width: 8, channelMult: [1, 2], blocks: 1 }
const steps = 9
const denoiser = { ...common, data: images, network, images: 8 * steps, checkpointEvery: 16 }

function stoppingAfter(step: number) {
  const controller = new AbortController()
  return {
    signal: controller.signal,
    onProgress: (at: { step: number }) => {
      if (at.step === step) controller.abort(new Error('stopped'))
    },
  }
}

describe('a resumed run', () => {
  it('ends with the bits of an unbroken one: score matching', async () => {
    const [whole, broken] = [join(folder, 'whole'), join(folder, 'broken')]
    const reference = await trainDenoiser({ ...denoiser, output: whole })
    await expect(trainDenoiser({ ...denoiser, output: broken, ...stoppingAfter(3) })).rejects.toThrow('stopped')
    const resume = { data: images, output: broken, resume: true }
    await expect(trainDenoiser({ ...resume, ...stoppingAfter(4) })).rejects.toThrow('stopped')
    const resumed = await trainDenoiser(resume)
    expect(resumed.steps).toBe(steps)
    expect(resumed.loss).toBe(reference.loss)
    for (const slot of slots) expect(await read(resumed.model, slot)).toEqual(await read(reference.model, slot))
    const last = `checkpoint-${String(steps).padStart(9, '0')}.safetensors`
    for (const name of ['model.safetensors', last])
      expect((await readFile(join(broken, name))).equals(await readFile(join(whole, name)))).toBe(true)
    const log = async (path: string) =>
      (await readFile(join(path, 'log.jsonl'), 'utf8'))
        .trim()
        .split('\n')
        .map((line) => {
          const { imagesPerSecond, ...rest } = JSON.parse(line)
          return rest
        })
    const lines = await log(broken)
    expect(lines.map(({ step }) => step)).toEqual((await log(whole)).map(({ step }) => step))
    reference.model.dispose()
    resumed.model.dispose()
  })

  it('ends with the bits of an unbroken one: distillation, and knows its teacher by name', async () => {
    const teacherFile = join(folder, 'teacher.safetensors')
    const { model: teacher } = await trainDenoiser(denoiser)
    await teacher.save(teacherFile)
    teacher.dispose()
    const options = { ...common, teacher: teacherFile, data: images, images: 8 * steps }
    const [whole, broken] = [join(folder, 'whole'), join(folder, 'broken')]
    const reference = await distill({ ...options, output: whole })
    await expect(distill({ ...options, output: broken, ...stoppingAfter(5) })).rejects.toThrow('stopped')
    const resumed = await distill({ data: images, output: broken, resume: true })
    for (const slot of slots) expect(await read(resumed.model, slot)).toEqual(await read(reference.model, slot))

    const other = await trainDenoiser({ ...denoiser, seed: 10 })
    const attempt = distill({ data: images, teacher: other.model, output: broken, resume: true })
    await expect(attempt).rejects.toThrow(/teacher/)
    for (const { model } of [reference, resumed, other]) model.dispose()
  })

  it('may be extended', async () => {
    const schedule = { emaHalfLife: 100, warmUp: 16, decay: 0 } // of which none depends on the end
    const short = await trainDenoiser({ ...denoiser, images: 24, output: folder, ...schedule })
    short.model.dispose()
    const longer = await trainDenoiser({ data: images, images: 40, output: folder, resume: true })
    const whole = await trainDenoiser({ ...denoiser, images: 40, ...schedule })
    expect(await read(longer.model, 'params')).toEqual(await read(whole.model, 'params'))
    longer.model.dispose()
    whole.model.dispose()
  })

  it('refuses other options and data than it began with, naming them', async () => {
    const begun = await trainDenoiser({ ...denoiser, output: folder })
    begun.model.dispose()
    const resume = (options: object) => trainDenoiser({ data: images, output: folder, resume: true, ...options })
    await expect(resume({ lr: 0.5, seed: 9, batchSize: 4 })).rejects.toThrow(ArgumentError)
    await expect(resume({ lr: 0.5, seed: 9, batchSize: 4 })).rejects.toThrow(/batchSize.*lr|lr.*batchSize/)
    await expect(resume({ lr: 0.5, seed: 9 })).rejects.not.toThrow(/seed/)
    await expect(resume({ network: { width: 16 } })).rejects.toThrow(/network/)
    await expect(resume({ data: labelledImages(22) })).rejects.toThrow(/data.*22.*21/)
    await expect(resume({ conditional: false })).rejects.toThrow(ArgumentError)
    await expect(trainDenoiser({ ...denoiser, output: folder })).rejects.toThrow(/resume/)
    const plain = gaussianPoints(10)
    await expect(distill({ data: plain, output: folder, resume: true })).rejects.toThrow(ArgumentError)
  })

  it('goes on from the checkpoint before when the newest is corrupt', async () => {
    const [whole, broken] = [join(folder, 'whole'), join(folder, 'broken')]
    const reference = await trainDenoiser({ ...denoiser, output: whole })
    reference.model.dispose()
    await expect(trainDenoiser({ ...denoiser, output: broken, ...stoppingAfter(5) })).rejects.toThrow('stopped')
    const names = (await readdir(broken)).filter((name) => name.startsWith('checkpoint')).sort()
    expect(names).toHaveLength(2)
    await truncate(join(broken, names[1]!), 5000)
    await writeFile(join(broken, '.checkpoint-000000006.safetensors.abc.tmp'), 'left by a killed run')
    const resumed = await trainDenoiser({ data: images, output: broken, resume: true })
    resumed.model.dispose()
    const model = (path: string) => readFile(join(path, 'model.safetensors'))
    expect((await model(broken)).equals(await model(whole))).toBe(true)
    expect((await readdir(broken)).filter((name) => name.endsWith('.tmp'))).toEqual([])
  })

  it('says so when there is nothing whole to resume from', async () => {
    const resume = () => trainDenoiser({ data: images, output: folder, resume: true })
    await expect(resume()).rejects.toThrow(FileError)
    await writeFile(join(folder, 'checkpoint-000000004.safetensors'), 'no')
    await expect(resume()).rejects.toThrow(FormatError)
    await copyFile(import.meta.filename, join(folder, 'checkpoint-000000008.safetensors'))
    await expect(resume()).rejects.toThrow(FormatError)
  })
})
