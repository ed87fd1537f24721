import { mkdtemp, readFile, rm } from 'node:fs/promises'
import os from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { ArgumentError, FormatError } from '../lib/base/errors.js'
import { describePlan } from '../lib/cli/train-options.js'
import { Denoiser } from '../lib/models/denoiser.js'
import { parseTrainingRecord } from '../lib/models/training-record.js'
import { native, run } from '../lib/native/addon.js'
import { type NetworkConfig, residualMLP, songUNet, unet2d } from '../lib/networks/config.js'
import { networkFor } from '../lib/training/architecture.js'
import type { TrainingProgress } from '../lib/training/events.js'
import { holdOut } from '../lib/training/hold-out.js'
import { distill } from '../lib/training/objectives/distill.js'
import { trainDenoiser } from '../lib/training/objectives/dsm.js'
import { holdOutFor, mostImages, recipeFor, type Situation } from '../lib/training/recipe.js'
import { imagesOf, imagesWithin } from '../lib/training/speed.js'
import type { TrainingPlan } from '../lib/training/types.js'
import { readSafetensors, writeSafetensors } from '../lib/weights/safetensors.js'
import { gaussian, gaussianPoints, labelledImages } from './training-data.js'

// one thread: these networks are too small for more, and the machine may be busy
beforeAll(() => native.setThreads(1))

let folder = ''
beforeEach(async () => {
  folder = await mkdtemp(join(os.tmpdir(), 'feynkac-recipe-'))
})
afterEach(() => rm(folder, { recursive: true }))

const points = gaussianPoints(1000)
const network = { width: 8, blocks: 1 }

async function weights(model: { network: Denoiser['network'] }): Promise<Float32Array> {
  const values = new Float32Array(model.network.parameterCount())
  await run(() => model.network.read('params', values))
  return values
}

describe('a plan', () => {
  it('is told before the first step, and kept in the log, the model and the result', async () => {
    const told: (TrainingPlan | TrainingProgress)[] = []
    const note = (what: TrainingPlan | TrainingProgress) => void told.push(what)
    const options = { data: labelledImages(120), network, images: 320, output: folder }
    const { model, heldOutLoss, averagedAt } = await trainDenoiser({ ...options, onPlan: note, onProgress: note })
    const plan = told[0] as TrainingPlan
    expect(plan).toMatchObject({ images: 320, imagesPerSecond: null, samples: { training: 108, heldOut: 12 } })
    expect(plan.text).toMatch(
      /^320 images, 3 times 108 samples \(12 held out\): batch \d+, lr .*label dropout 0\.25, targets averaged over up to 1024 samples, 50 % sharpened$/,
    )
    const [first] = (await readFile(join(folder, 'log.jsonl'), 'utf8')).split('\n')
    expect(JSON.parse(first!)).toMatchObject({ step: 0, time: expect.any(String), ...plan })
    const saved = { images: 320, ...plan.recipe, heldOut: heldOutLoss, averagedAt }
    expect(model.info.training).toEqual(saved)
    const loaded = await Denoiser.load(join(folder, 'model.safetensors'))
    expect(loaded.info.training).toEqual(saved)
    for (const each of [model, loaded]) each.dispose()
  })

  it('takes every part that is given, and chooses the others', async () => {
    const rate = { batchSize: 24, lr: 3e-4, muon: 0.9, warmUp: 7, decay: 0.3 }
    const given = {
      ...rate,
      emaHalfLife: 11,
      labelDropout: 0.2,
      references: 8,
      sharpened: 0.25,
      smallFirst: 0,
      augment: 0,
      pMean: -1,
      pStd: 1,
    }
    let plan: TrainingPlan | undefined
    const onPlan = (found: TrainingPlan) => {
      plan = found
    }
    const { model } = await trainDenoiser({ data: labelledImages(12), network, images: 24, ...given, onPlan })
    expect(plan!.recipe).toEqual(given)
    expect(plan!.samples).toEqual({ training: 12, heldOut: 0 })
    model.dispose()
  })

  it('in a damaged file is refused', () => {
    const fail = (what: string): never => {
      throw new FormatError(what, 'file')
    }
    for (const json of [5, {}, { images: 'many' }]) expect(() => parseTrainingRecord(json, fail)).toThrow(FormatError)
  })
})

describe('a run of minutes', () => {
  it('has the bits of a run of as many images', async () => {
    let plan: TrainingPlan | undefined
    const onPlan = (found: TrainingPlan) => {
      plan = found
    }
    const options = { data: points, network, seed: 3 }
    const timed = await trainDenoiser({ ...options, minutes: 0.002, onPlan })
    expect(plan!.imagesPerSecond).toBeGreaterThan(0)
    const counted = await trainDenoiser({ ...options, images: plan!.images })
    expect(await weights(timed.model)).toEqual(await weights(counted.model))
    for (const { model } of [timed, counted]) model.dispose()
  })

  it('keeps its images when resumed', async () => {
    const options = { data: points, network, output: folder, minutes: 0.002 }
    const begun = await trainDenoiser(options)
    const resumed = await trainDenoiser({ ...options, resume: true })
    expect(resumed.images).toBe(begun.images)
    for (const { model } of [begun, resumed]) model.dispose()
  })

  it('is refused beside images, and where it is none', async () => {
    await expect(trainDenoiser({ data: points, images: 10, minutes: 1 })).rejects.toThrow(/minutes/)
    await expect(trainDenoiser({ data: points, minutes: 0 })).rejects.toThrow(ArgumentError)
  })

  it('measures its speed with the batch that it will have', async () => {
    const batchOf = (images: number) => (images < 20_000 ? 16 : images < 90_000 ? 32 : 64)
    const tried = async (minutes: number, speeds: Record<number, number>) => {
      const batches: number[] = []
      const found = await imagesOf(
        () => minutes,
        batchOf,
        async (images) => {
          batches.push(batchOf(images))
          return speeds[batchOf(images)]!
        },
      )
      return { batches, ...found }
    }
    expect(await tried(1, { 16: 100 })).toEqual({ batches: [16], images: 5700, rate: 100, bounded: false })
    expect(await tried(10, { 16: 100, 32: 150 })).toEqual({
      batches: [16, 32],
      images: 85_500,
      rate: 150,
      bounded: false,
    })
    // speeds that lead to and fro are an end too
    expect(await tried(5, { 16: 80, 32: 70 })).toEqual({
      batches: [16, 32, 16],
      images: 22_800,
      rate: 80,
      bounded: false,
    })
  })

  it('sees no picture so often that samples become copies', async () => {
    expect([54, 180, 450, 60_000].map((n) => mostImages(n))).toEqual([3000, 22_937, 119_348, 797_447_768])
    const found = await imagesOf(() => 60, () => 16, async () => 100, { bound: (count) => Math.min(count, mostImages(450)) }) // biome-ignore format: one line
    expect(found).toEqual({ images: 119_000, rate: 100, bounded: true })
  })

  it('counts in three digits, and leaves time for what comes after', () => {
    expect(imagesWithin(1, 50)).toBe(2850)
    expect(imagesWithin(10, 63.4)).toBe(36_100)
    expect(imagesWithin(0.001, 1)).toBe(1)
    expect(imagesWithin(-1, 1)).toBe(1)
    expect(imagesWithin(1, 100, { after: (images) => Math.max(480, images / 10) })).toBe(5180)
    expect(imagesWithin(1, 1, { after: () => 480 })).toBe(1)
    expect(imagesWithin(1, 1, { after: () => 480, least: 100 })).toBe(100)
    expect(imagesWithin(1, 100, { bound: () => 3000 })).toBe(3000)
  })

  it('is told as the command that repeats it', () => {
    const plan = { text: 'plan', images: 18_000, imagesPerSecond: 63.21 } as TrainingPlan
    for (const minutes of [['--minutes', '5'], ['--minutes=5']])
      expect(describePlan(plan, 5, ['train', '--data', 'my images', ...minutes, '--seed', '2'])).toBe(
        'plan\n5 minutes at 63.2 images/s; the same bits again, whatever the time: feynkac train --data "my images" --seed 2 --images 18000',
      )
    expect(describePlan({ ...plan, imagesPerSecond: null }, undefined, ['train'])).toBe('plan')
  })
})

describe('samples held out', () => {
  it('are measured ten times, by the averaged weights', async () => {
    const losses: number[] = []
    const onProgress = ({ heldOutLoss }: TrainingProgress) => {
      if (heldOutLoss !== undefined) losses.push(heldOutLoss)
    }
    const options = { data: points, network, batchSize: 50, lr: 5e-3, images: 20_000 }
    const { model, heldOutLoss } = await trainDenoiser({ ...options, onProgress })
    expect(losses).toHaveLength(10)
    // of the model that is returned, the best
    expect(Math.min(...losses)).toBe(heldOutLoss)
    // the best loss of a Gaussian: lambda times the mean variance of x0 given x; here at the noise levels of training
    expect(heldOutLoss).toBeGreaterThan(0.5 * bestLoss(model.info.sigmaData))
    expect(heldOutLoss).toBeLessThan(1.5 * bestLoss(model.info.sigmaData))
    model.dispose()
  })

  it('pick the averaged weights that are kept, also of a run that is resumed', async () => {
    // eleven points are learnt by heart
    const [data, losses] = [gaussianPoints(110), new Map<number, number>()]
    const options = { data, holdOut: 0.9, network: { width: 64, blocks: 2 }, batchSize: 16, lr: 1e-2, decay: 0, images: 16_000, seed: 1 } // biome-ignore format: one line
    const onProgress = ({ heldOutLoss, images }: TrainingProgress) => {
      if (heldOutLoss !== undefined) losses.set(images, heldOutLoss)
    }
    const { model, heldOutLoss, averagedAt, images } = await trainDenoiser({ ...options, onProgress })
    expect(averagedAt).toBeLessThan(images)
    expect(heldOutLoss).toBe(Math.min(...losses.values()))
    expect(losses.get(averagedAt)).toBe(heldOutLoss)
    expect(losses.get(images)).toBeGreaterThan(heldOutLoss!)
    expect(model.info.training).toMatchObject({ heldOut: heldOutLoss, averagedAt })

    const [output, stop] = [join(folder, 'run'), new AbortController()]
    const stopLate = (at: TrainingProgress) => at.images > averagedAt + 2000 && stop.abort(new Error('stopped'))
    await expect(trainDenoiser({ ...options, output, signal: stop.signal, onProgress: stopLate })).rejects.toThrow('stopped') // biome-ignore format: one line
    const resumed = await trainDenoiser({ data, output, resume: true })
    expect(resumed).toMatchObject({ heldOutLoss, averagedAt })
    expect(await weights(resumed.model)).toEqual(await weights(model))
    const again = await trainDenoiser({ data, output, resume: true })
    expect(await weights(again.model)).toEqual(await weights(model))
    for (const each of [model, resumed.model, again.model]) each.dispose()
  })

  it('leave the training as it is without them', async () => {
    const options = { network, batchSize: 50, images: 500, sigmaData: 0.5 }
    const { training } = holdOut(points, 0.1, 0)
    const measured = await trainDenoiser({ ...options, data: points })
    const alone = await trainDenoiser({ ...options, data: training, holdOut: 0 })
    expect(await weights(measured.model)).toEqual(await weights(alone.model))
    for (const { model } of [measured, alone]) model.dispose()
  })

  it('of distillation are measured against the teacher', async () => {
    const { model: teacher } = await trainDenoiser({ data: points, network, images: 2000 })
    const { model, heldOutLoss } = await distill({ teacher, data: points, images: 2000, calibrate: false })
    expect(heldOutLoss).toBeGreaterThan(0)
    // the student begins near its teacher; from data it would have the teacher's own loss at best
    expect(heldOutLoss).toBeLessThan(0.5 * teacher.info.training!.heldOut!)
    for (const each of [model, teacher]) each.dispose()
  })
})

/** E over ln sigma ~ N(-1.2, 1.2^2) of lambda v / 2, v = sum of s^2 sigma^2 / (s^2 + sigma^2) over the two coordinates. */
function bestLoss(sd: number): number {
  const z = Array.from({ length: 801 }, (_, i) => i / 100 - 4)
  const density = z.map((v) => Math.exp((-v * v) / 2))
  const at = z.map((v) => {
    const s2 = Math.exp(2 * (-1.2 + 1.2 * v))
    const posterior = gaussian.deviation.reduce((sum, d) => sum + (d * d * s2) / (d * d + s2), 0) / 2
    return (posterior * (s2 + sd * sd)) / (s2 * sd * sd)
  })
  return at.reduce((sum, v, i) => sum + v * density[i]!, 0) / density.reduce((a, b) => a + b)
}

it('a run of before there was a recipe goes on as it was', async () => {
  const data = labelledImages(120)
  const rate = { batchSize: 8, lr: 1e-3, muon: 0, decay: 0, warmUp: 4 }
  const before = { ...rate, emaHalfLife: 4, labelDropout: 0.1, references: 0, sharpened: 0, holdOut: 0 }
  const [whole, old] = [join(folder, 'whole'), join(folder, 'old')]
  const options = { data, network: { ...network, labelMaps: false }, ...before, images: 48 }
  const reference = await trainDenoiser({ ...options, output: whole })
  const half = await trainDenoiser({ ...options, images: 24, output: old })
  // as it was written then
  const path = join(old, 'checkpoint-000000003.safetensors')
  const { metadata, tensors } = await readSafetensors(path)
  const training = JSON.parse(metadata.training!)
  for (const name of ['decay', 'holdOut', 'muon', 'references', 'sharpened', 'smallFirst', 'augment'])
    delete training.definition[name]
  delete training.definition.network.args.label_maps
  const written = [...tensors] as [string, { shape: number[]; data: Float32Array }][]
  await writeSafetensors(path, written, { ...metadata, training: JSON.stringify(training) })
  const resumed = await trainDenoiser({ data, images: 48, output: old, resume: true })
  expect(await weights(resumed.model)).toEqual(await weights(reference.model))
  for (const { model } of [reference, half, resumed]) model.dispose()
})

it('the record of a model of before there were some parts of the recipe says that there were none', () => {
  const fail = (what: string): never => {
    throw new FormatError(what, 'file')
  }
  const {
    muon: _,
    references: _r,
    sharpened: _s,
    smallFirst: _f,
    augment: _a,
    ...rest
  } = recipeFor({
    images: 1,
    samples: 1,
    latent: false,
    attributes: 0,
    objective: 'dsm',
    network: residualMLP(2),
  })
  const record = { images: 1, ...rest, heldOut: null }
  expect(parseTrainingRecord(record, fail)).toEqual({
    ...record,
    muon: 0,
    references: 0,
    sharpened: 0,
    smallFirst: 0,
    augment: 0,
  })
  expect(() => parseTrainingRecord({ ...record, muon: 'some' }, fail)).toThrow(FormatError)
})

describe('label maps', () => {
  const mapped = (shape: number[], labels: number, labelMaps?: boolean) => {
    const { class: name, args } = networkFor(shape, labels, labelMaps === undefined ? {} : { labelMaps })
    return name === 'SongUNet' && args.label_maps
  }

  it('are there for small labelled pictures, and where they are asked for', () => {
    expect([mapped([3, 32, 32], 4), mapped([3, 32, 32], 0), mapped([3, 32, 36], 4)]).toEqual([true, false, false])
    expect([mapped([3, 32, 32], 4, false), mapped([3, 32, 36], 4, true)]).toEqual([false, true])
    for (const [shape, labels] of [
      [[3, 8, 8], 0],
      [[5], 4],
    ] as const)
      expect(() => networkFor(shape, labels, { labelMaps: true })).toThrow(ArgumentError)
    expect(() => networkFor([3, 8, 8], 2, { labelMaps: 1 as unknown as boolean })).toThrow(ArgumentError)
  })

  it('begin as nothing, are learnt, and stay in the file', async () => {
    const { model } = await trainDenoiser({ data: labelledImages(12), network, images: 16, output: folder })
    const loaded = await Denoiser.load(join(folder, 'model.safetensors'))
    expect(loaded.info.network).toEqual(model.info.network)
    expect(model.info.network.args).toMatchObject({ label_maps: true })
    const fresh = await Denoiser.create({ network: model.info.network, sigmaData: 0.5, labels: model.info.labels })
    for (const name of ['label_maps.weight', 'label_maps.bias']) {
      const of = (each: Denoiser, all: Float32Array) => {
        const { offset, size } = each.network.parameters().find((parameter) => parameter.name === name)!
        return all.subarray(offset, offset + size)
      }
      expect(of(fresh, await weights(fresh)).every((v) => v === 0)).toBe(true)
      expect(of(loaded, await weights(loaded)).some((v) => v !== 0)).toBe(true)
    }
    for (const each of [model, loaded, fresh]) each.dispose()
  })
})

describe('the rules', () => {
  const network = songUNet([3, 16, 16], { model_channels: 32 })
  const pictures = { images: 12_000, samples: 500, latent: false, attributes: 2, objective: 'dsm', network } as const

  it('choose the batch by the images, within the data', () => {
    const batch = (images: number, samples = 60_000) => recipeFor({ ...pictures, images, samples }).batchSize
    expect([100, 3000, 12_000, 40_000, 200_000, 1e8].map((images) => batch(images))).toEqual([8, 8, 16, 32, 64, 256])
    expect(batch(200_000, 20)).toBe(20)
  })

  it('choose the rate by the width, and a quarter of it to distil', () => {
    const rate = (config: NetworkConfig, objective: 'dsm' | 'distill' = 'dsm') =>
      recipeFor({ ...pictures, network: config, objective }).lr
    expect([16, 32, 64, 128].map((w) => rate(songUNet([3, 16, 16], { model_channels: w })))).toEqual([
      4e-3, 4e-3, 2e-3, 1e-3,
    ])
    expect(rate(unet2d([3, 32, 32], { block_out_channels: [128, 256, 256, 256] }), 'distill')).toBe(2.5e-4)
    expect([64, 128, 256].map((hidden) => rate(residualMLP(2, { hidden })))).toEqual([2e-3, 2e-3, 1e-3])
  })

  it('leave the weights of convolutions to Muon', () => {
    const muon = (config: NetworkConfig) => recipeFor({ ...pictures, network: config }).muon
    expect([network, unet2d([3, 32, 32]), residualMLP(2)].map(muon)).toEqual([0.95, 0.95, 0])
  })

  it('drop labels by the number of attributes', () => {
    const dropout = [0, 1, 2, 5].map((attributes) => recipeFor({ ...pictures, attributes }).labelDropout)
    expect(dropout).toEqual([0, 0.1, 0.25, 0.25])
  })

  it('average targets of pictures, and sharpen half of the rows; a teacher is its own target', () => {
    const smoothed = (of: Partial<Situation>) => {
      const { references, sharpened } = recipeFor({ ...pictures, ...of })
      return [references, sharpened]
    }
    expect([smoothed({}), smoothed({ objective: 'distill' })]).toEqual([[1024, 0.5], [0, 0.5]]) // biome-ignore format: one line
    expect([smoothed({ network: residualMLP(2) }), smoothed({ latent: true })]).toEqual([[0, 0], [0, 0]]) // biome-ignore format: one line
  })

  it('train labelled pictures on higher noise', () => {
    const mean = (situation: Partial<Situation>) => recipeFor({ ...pictures, ...situation }).pMean
    expect([mean({}), mean({ attributes: 0 }), mean({ network: residualMLP(2) })]).toEqual([-0.6, -1.2, -1.2])
  })

  it('hold samples out where there are enough', () => {
    expect([1, 99, 100, 1e6].map(holdOutFor)).toEqual([0, 0, 0.1, 0.1])
  })

  it('leave what is given', () => {
    expect(recipeFor(pictures, { lr: 1e-4 })).toEqual({ ...recipeFor(pictures), lr: 1e-4 })
  })
})
