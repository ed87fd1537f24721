import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { turnAt, turnImage, turnsOf } from '../lib/base/order.js'
import { ArgumentError, type Denoiser, distill, loadDataset, residualMLP, sample, songUNet, type TrainingPlan, trainDenoiser, trainEnergy } from '../lib/index.js' // biome-ignore format: one line
import { run } from '../lib/native/addon.js'
import { Batches } from '../lib/training/batches.js'
import type { NoisyBatch } from '../lib/training/noisy-states.js'
import { NoisyStates } from '../lib/training/noisy-states.js'
import { augmentFor, mostImages } from '../lib/training/recipe.js'
import { imagesOf } from '../lib/training/speed.js'
import { labelledImages } from './training-data.js'

/** Pictures that are seen mirrored or turned, of which the network is told. */

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'feynkac-augment-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

const network = { width: 4, channelMult: [1], blocks: 1 }
const images = labelledImages(12)

async function weights({ network }: Denoiser): Promise<Float32Array> {
  const values = new Float32Array(network.parameterCount())
  await run(() => network.read('params', values))
  return values
}

describe('turns', () => {
  it('are all symmetries of a square, and the mirrors of what is none', () => {
    const turned = (shape: number[], turn: number) => {
      const image = Float32Array.from({ length: shape[0]! * shape[1]! * shape[2]! }, (_, i) => i)
      turnImage(image, shape, turn)
      return [...image]
    }
    const square = [0, 1, 2, 3, 4, 5, 6, 7].map((turn) => turned([1, 2, 2], turn).join(''))
    expect(square).toEqual(['0123', '1032', '2301', '3210', '0213', '2031', '1302', '3120'])
    expect(turned([2, 1, 3], 1)).toEqual([2, 1, 0, 5, 4, 3])
    expect(turned([1, 2, 3], 3)).toEqual([5, 4, 3, 2, 1, 0])
    expect([[3, 8, 8], [1, 4, 8], [5]].map(turnsOf)).toEqual([7, 3, 0])
  })

  it('come as often as they should, each as often as the others', () => {
    const counts = new Float64Array(8)
    const draws = 8000
    for (let row = 0; row < draws; row++) counts[turnAt(7, 0.7, 5, 1 + (row >> 6), row & 63)]! += 1
    const near = (count: number, p: number) => Math.abs(count - draws * p) < 5 * Math.sqrt(draws * p * (1 - p))
    expect([...counts].every((count, turn) => near(count, turn === 0 ? 0.3 : 0.1))).toBe(true)
    expect([0, 1].map((p) => turnAt(3, p, 5, 1, 0) > 0)).toEqual([false, true])
  })
})

describe('batches', () => {
  const settings = { seed: 3, batchSize: 8, flips: false, labelDropout: 0 }
  const noise = { ...settings, pMean: -0.6, pStd: 1.2, references: 64, sharpened: 0.5 }
  const range = { sigmaMin: Number.MIN_VALUE, sigmaMax: Number.MAX_VALUE }

  /** As it is read, and turned. */
  const both = async (noisy: boolean, own?: { first: number; last: number }[]) => {
    const data = await loadDataset('synthetic:shapes:count=64,size=8')
    const of = (augment: number) => {
      const states = noisy ? new NoisyStates(data, null, noise, range) : undefined
      return new Batches(data, null, { ...settings, augment }, undefined, states).prepare(5, own)
    }
    return { plain: await of(0), turned: await of(0.7), size: 64 }
  }
  /** The turn that a row is said to have. */
  const told = ({ augment }: NoisyBatch, row: number) => augment!.subarray(7 * row, 7 * row + 7).indexOf(1) + 1

  it('turn states and targets alike, and tell by what', async () => {
    for (const noisy of [false, true]) {
      const { plain, turned, size } = await both(noisy)
      expect(plain.augment).toBeUndefined()
      expect([turned.augment!.length, turned.states]).toEqual([7 * settings.batchSize, plain.states])
      const turns = Array.from({ length: settings.batchSize }, (_, row) => told(turned, row))
      expect([turns.includes(0), turns.some((turn) => turn > 3)]).toEqual([true, true])
      turns.forEach((turn, row) => {
        for (const name of noisy ? (['x0', 'targets'] as const) : (['x0'] as const)) {
          const expected = plain[name]!.slice(size * row, size * (row + 1))
          turnImage(expected, [1, 8, 8], turn)
          expect(turned[name]!.subarray(size * row, size * (row + 1))).toEqual(expected)
        }
      })
    }
  })

  it('are told of all rows, and turn those of their own rank', async () => {
    const { turned: whole, size } = await both(false)
    const { turned } = await both(false, [{ first: 2, last: 5 }])
    expect(turned.augment).toEqual(whole.augment)
    expect(turned.x0.subarray(2 * size, 5 * size)).toEqual(whole.x0.subarray(2 * size, 5 * size))
    expect(turned.x0.subarray(5 * size).every((v) => v === 0)).toBe(true) // as nothing was read
  })

  it('leave the labels of turned rows out', async () => {
    const turned = await new Batches(images, images.labels, { ...settings, augment: 0.5 }).prepare(2)
    const [turns, width] = [turnsOf(images.shape), turned.labels!.length / settings.batchSize]
    for (let row = 0; row < settings.batchSize; row++) {
      const isTold = turned.augment!.subarray(turns * row, turns * (row + 1)).some((v) => v > 0)
      expect(turned.labels!.subarray(width * row, width * (row + 1)).some((v) => v > 0)).toBe(!isTold)
    }
  })
})

describe('the rule', () => {
  it('turns pictures that would be seen too often otherwise, and lets them be seen more', async () => {
    expect([149_184, 149_185, 1e7].map((count) => augmentFor(count, 450))).toEqual([0, 0.5, 0.5])
    expect([mostImages(450), mostImages(450, true)]).toEqual([119_348, 358_044])
    const bound = (count: number) => Math.min(count, mostImages(450, augmentFor(count, 450) > 0))
    const within = (minutes: number) => imagesOf(() => minutes, () => 16, async () => 100, { bound }) // biome-ignore format: one line
    expect(await within(10)).toEqual({ images: 57_000, rate: 100, bounded: false })
    expect(await within(25)).toEqual({ images: 119_000, rate: 100, bounded: true })
    expect(await within(40)).toEqual({ images: 228_000, rate: 100, bounded: false })
    expect(await within(200)).toEqual({ images: 358_000, rate: 100, bounded: true })
  })

  it('makes the network for it, says so, and leaves networks that are given', async () => {
    const plans: TrainingPlan[] = []
    const options = { data: images, images: 4500, onPlan: (plan: TrainingPlan) => void plans.push(plan), batchSize: 64 }
    const { model } = await trainDenoiser({ ...options, network })
    expect(model.info.network.args).toMatchObject({ augment_dim: turnsOf(images.shape) })
    expect([model.info.training!.augment, plans[0]!.recipe.augment]).toEqual([0.5, 0.5])
    expect(plans[0]!.text).toMatch(/50 % mirrored or turned, and told so/)
    const given = songUNet(images.shape, { model_channels: 4, channel_mult: [1], num_blocks: 1, label_dim: 5 })
    const own = await trainDenoiser({ ...options, network: given })
    const fewer = await trainDenoiser({ ...options, images: 64, network })
    for (const { info } of [own.model, fewer.model]) {
      expect(info.network.args).toMatchObject({ augment_dim: 0 })
      expect(info.training!.augment).toBe(0)
    }
    // what is learnt is asked for as of any other network, and distilled
    const energy = await distill({ data: images, teacher: model, images: 16, calibrate: false })
    for (const each of [model, energy.model]) {
      const { samples } = await sample(each, { particles: 2, sigmas: [1, 0.5, 0.1], seed: 0 })
      expect(samples.every(Number.isFinite)).toBe(true)
    }
    for (const each of [model, own.model, fewer.model, energy.model]) each.dispose()
  })
})

it('is learnt from: other weights than without, the same ones again, also after a stop', async () => {
  const constant = { batchSize: 8, warmUp: 8, emaHalfLife: 8, decay: 0 } // whatever the number of images
  const options = { data: images, network, images: 48, ...constant, augment: 0.5, seed: 1 }
  const whole = await trainDenoiser(options)
  const part = await trainDenoiser({ ...options, images: 24, output: join(folder, 'stopped') })
  const resumed = await trainDenoiser({ data: images, images: 48, output: join(folder, 'stopped'), resume: true })
  expect(resumed.model.info.training!.augment).toBe(0.5)
  expect(await weights(resumed.model)).toEqual(await weights(whole.model))
  const untold = await trainDenoiser({ ...options, images: 24 })
  expect(await weights(untold.model)).toEqual(await weights(part.model))
  const { offset, size } = whole.model.network.parameters().find(({ name }) => name === 'map_augment.weight')!
  const learnt = (await weights(whole.model)).subarray(offset, offset + size)
  expect(learnt.length).toBe(4 * turnsOf(images.shape))
  const fresh = await trainDenoiser({ ...options, images: 8, lr: 1e-12 })
  expect(learnt).not.toEqual((await weights(fresh.model)).subarray(offset, offset + size))
  await expect(trainDenoiser({ data: images, images: 48, augment: 0, output: join(folder, 'stopped'), resume: true })).rejects.toThrow(/augment \(0 .number., the checkpoint has 0.5/) // biome-ignore format: one line
  const energy = await trainEnergy({ ...options, head: 'dot', images: 8 }) // where it is asked for
  expect(energy.model.info.training!.augment).toBe(0.5)
  for (const { model } of [whole, part, resumed, untold, fresh, energy]) model.dispose()
})

it('is refused where it can be nothing', async () => {
  const of = { images: 8, augment: 0.5 }
  const vectors = await loadDataset('synthetic:ring:count=16')
  await expect(trainDenoiser({ ...of, data: vectors })).rejects.toThrow(/augment.*not images|not images.*augment/)
  const given = songUNet(images.shape, { model_channels: 4, channel_mult: [1], num_blocks: 1, label_dim: 5 })
  await expect(trainDenoiser({ ...of, data: images, network: given })).rejects.toThrow(/augment_dim: \d/)
  await expect(trainDenoiser({ ...of, data: images, network, augment: 2 })).rejects.toThrow(ArgumentError)
  await expect(trainDenoiser({ ...of, data: vectors, network: residualMLP(2) })).rejects.toThrow(ArgumentError)
  const { model: teacher } = await trainDenoiser({ data: images, network, images: 8 })
  await expect(distill({ ...of, data: images, teacher })).rejects.toThrow(/as they are/)
  teacher.dispose()
})
