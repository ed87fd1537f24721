import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import os from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { ArgumentError } from '../lib/base/errors.js'
import { MemoryDataset } from '../lib/data/dataset.js'
import type { Denoiser } from '../lib/models/denoiser.js'
import { native, run } from '../lib/native/addon.js'
import { residualMLP, songUNet, unet2d } from '../lib/networks/config.js'
import { halfNetwork } from '../lib/networks/half.js'
import type { TrainingProgress } from '../lib/training/events.js'
import { distill } from '../lib/training/objectives/distill.js'
import { trainDenoiser, trainEnergy } from '../lib/training/objectives/dsm.js'
import { recipeFor } from '../lib/training/recipe.js'
import { beginFromHalf, halfPictures } from '../lib/training/small-first.js'
import type { TrainingPlan } from '../lib/training/types.js'
import { gaussianPoints } from './training-data.js'

beforeAll(() => native.setThreads(1))

let folder = ''
beforeEach(async () => {
  folder = await mkdtemp(join(os.tmpdir(), 'feynkac-small-first-'))
})
afterEach(() => rm(folder, { recursive: true }))

/** n grey pictures of a side, of two classes. */
function pictures(n: number, side = 16): MemoryDataset {
  const data = Uint8Array.from({ length: n * side * side }, (_, k) => (k * 7919 + (k >> 8) * 31) % 256)
  const classes = Int32Array.from({ length: n }, (_, i) => i % 2)
  const labels = { attributes: [{ name: 'which', size: 2 }] }
  return new MemoryDataset({ name: 'pictures', shape: [1, side, side], data, labels, classes })
}

const data = pictures(110)
const network = { width: 8, blocks: 1 }
const options = { data, network, images: 96, batchSize: 8, seed: 3 }

async function weights(model: { network: Denoiser['network'] }): Promise<Float32Array> {
  const values = new Float32Array(model.network.parameterCount())
  await run(() => model.network.read('params', values))
  model.network.dispose()
  return values
}

const logOf = async (path: string) => (await readFile(join(path, 'log.jsonl'), 'utf8')).trim().split('\n').map((line) => JSON.parse(line)) // biome-ignore format: one line
const checkpoints = async (path: string) => (await readdir(path)).filter((name) => name.startsWith('checkpoint'))

describe('the half of a size', () => {
  it('is that of a network all of whose levels halve once more', () => {
    const sizes = (...sides: number[]) => {
      const [height, width = height] = sides as [number, number?]
      const half = halfNetwork(songUNet([3, height, width], { channel_mult: [1, 2], attn_resolutions: [height] }))
      return half && [...half.shape, half.args]
    }
    const found = (side: number) => ({ img_resolution: side, attn_resolutions: [side], channel_mult: [1, 2] })
    expect(sizes(16)).toEqual([3, 8, 8, expect.objectContaining(found(8))])
    expect(sizes(12)).toEqual([3, 6, 6, expect.objectContaining(found(6))])
    expect([sizes(14), sizes(16, 18), sizes(18)]).toEqual([undefined, undefined, undefined])
    expect([residualMLP(2), unet2d([3, 32, 32])].map(halfNetwork)).toEqual([undefined, undefined])
  })

  it('of pictures has the means of 2 x 2 pixels, and the labels', () => {
    const values = Float32Array.from({ length: 2 * 2 * 4 * 6 }, (_, i) => i)
    const labels = { attributes: [{ name: 'a', size: 2 }] }
    const parts = { name: 'd', shape: [2, 4, 6], data: values, labels, classes: Int32Array.of(1, 0) }
    const half = halfPictures(new MemoryDataset(parts), 'd')
    const out = new Float32Array(13)
    half.read(1, out, 1)
    expect(half).toMatchObject({ size: 2, shape: [2, 2, 3], labels })
    expect(Array.from(out)).toEqual([0, ...[0, 12, 24, 36].flatMap((row) => [0, 2, 4].map((x) => 48 + row + x + 3.5))])
    expect(half.label(0)).toEqual([1])
  })

  it('begins a network with its weights, each pixel of its label maps for four', async () => {
    const at = { images: 8, batchSize: 8, smallFirst: 0, holdOut: 0, network: { ...network, channelMult: [1, 2] } }
    const [half, full] = [pictures(8, 8), pictures(8)].map((small) => trainDenoiser({ ...at, data: small }))
    const [small, large] = [(await half!).model.network, (await full!).model.network]
    await beginFromHalf(large, small, [1, 16, 16])
    const [from, begun, average] = [small, large, large].map((of) => new Float32Array(of.parameterCount()))
    await run(() => small.read('params', from!))
    await run(() => large.read('params', begun!))
    await run(() => large.read('ema', average!))
    expect(average).toEqual(begun)
    const found = small.parameters()
    for (const [i, { name, shape, offset, size }] of large.parameters().entries()) {
      const own = from!.subarray(found[i]!.offset, found[i]!.offset + found[i]!.size)
      if (!name.startsWith('label_maps')) {
        expect(begun!.subarray(offset, offset + size)).toEqual(own)
        continue
      }
      const pixel = (8 * size) / shape[0]! // 8 channels, of each label
      for (const [y, x] of [
        [0, 0],
        [5, 6],
        [15, 15],
      ] as const) {
        // biome-ignore format: one line
        const [to, at] = [offset + (16 * y + x) * pixel, (8 * (y >> 1) + (x >> 1)) * pixel]
        expect(begun!.subarray(to, to + pixel)).toEqual(own.subarray(at, at + pixel))
      }
    }
    for (const each of [small, large]) each.dispose()
  })
})

describe('a run with pictures of half the size first', () => {
  it('is the rule for denoisers of pictures, and says so', async () => {
    const situation = { images: 12_000, samples: 500, latent: false, attributes: 2, objective: 'dsm' } as const
    const smallFirst = (of: object) =>
      recipeFor({ ...situation, network: songUNet([3, 16, 16], { channel_mult: [1, 2, 2] }), ...of }).smallFirst
    expect([{}, { network: songUNet([3, 32, 64]) }].map(smallFirst)).toEqual([1, 1])
    expect(smallFirst({ network: songUNet([1, 12, 12], { channel_mult: [1, 2] }) })).toBe(0)
    expect([{ latent: true }, { objective: 'distill' }, { network: residualMLP(2) }].map(smallFirst)).toEqual([0, 0, 0])
    let plan: TrainingPlan | undefined
    const told: TrainingProgress[] = []
    const { model, images } = await trainDenoiser({
      ...options,
      output: folder,
      onPlan: (found) => {
        plan = found
      },
      onProgress: (at) => told.push(at),
    })
    expect(plan!.text).toMatch(/^96 images, .*: batch 8, .*, after 100 % as many at half the size$/)
    expect([images, model.info.training!.smallFirst]).toEqual([96, 1])
    expect(model.shape).toEqual([1, 16, 16])
    model.dispose()
    expect(told.map(({ step, size }) => [step, size?.join()])).toEqual([...Array.from({ length: 12 }, (_, i) => [i + 1, '8,8']), ...Array.from({ length: 12 }, (_, i) => [i + 1, undefined])]) // biome-ignore format: one line
    expect(told.every(({ images: seen, totalImages }, i) => seen === 8 * ((i % 12) + 1) && totalImages === 96)).toBe(
      true,
    )
    // the loss on pictures held out is that of the full size
    expect(told.filter(({ heldOutLoss }) => heldOutLoss !== undefined).every(({ size }) => size === undefined)).toBe(
      true,
    )
    const [whole, half] = [await logOf(folder), await logOf(join(folder, 'half-size'))]
    expect([whole.length, half.length]).toEqual([13, 13])
    expect(half[0].options).toMatchObject({ smallFirst: 0, decay: 0, images: 96, holdOut: 0 })
    expect(half.at(-1).lr).toBe(half.at(-2).lr)
    expect(await checkpoints(join(folder, 'half-size'))).toEqual([])
  })

  it('goes on to the bit from within each part, and from between them', async () => {
    const whole = await weights((await trainDenoiser(options)).model)
    const without = await weights((await trainDenoiser({ ...options, smallFirst: 0 })).model)
    expect(whole).not.toEqual(without)
    for (const [i, [last, size]] of (
      [
        [5, '8,8'],
        [12, '8,8'],
        [4, undefined],
      ] as const
    ).entries()) {
      // biome-ignore format: one line
      const output = join(folder, String(i))
      const stop = new AbortController()
      const onProgress = (at: TrainingProgress) => {
        if (at.step === last && at.size?.join() === size) stop.abort(new Error('stopped'))
      }
      const checkpointEvery = i === 0 ? 16 : undefined
      const stopped = trainDenoiser({ ...options, output, signal: stop.signal, onProgress, ...(checkpointEvery && { checkpointEvery }) }) // biome-ignore format: one line
      if (last !== 12) await expect(stopped).rejects.toThrow('stopped')
      else await stopped.then(({ model }) => model.dispose(), (error) => expect(error.message).toBe('stopped')) // biome-ignore format: one line
      const resumed = await trainDenoiser({ data, output, resume: true })
      expect(await weights(resumed.model)).toEqual(whole)
    }
  })

  it('is longer by another share, and begun anew where the folder is', async () => {
    const other = await trainDenoiser({ ...options, smallFirst: 0.25, output: folder })
    expect((await logOf(join(folder, 'half-size'))).at(-1)).toMatchObject({ images: 24, totalImages: 24 })
    const same = await trainDenoiser({ ...options, smallFirst: 0.25 })
    expect(await weights(other.model)).toEqual(await weights(same.model))
  })

  it('has the time of both parts', async () => {
    let plan: TrainingPlan | undefined
    const onPlan = (found: TrainingPlan) => {
      plan = found
    }
    const { model } = await trainDenoiser({ data, network, batchSize: 8, minutes: 0.005, onPlan })
    expect(plan!.imagesPerSecond).toBeGreaterThan(0)
    const again = await trainDenoiser({ data, network, batchSize: 8, images: plan!.images })
    expect(await weights(again.model)).toEqual(await weights(model))
  })

  it('is refused where there is no half, and where none is meant', async () => {
    const small = { images: 8, smallFirst: 1, network }
    await expect(trainDenoiser({ ...small, data: gaussianPoints(8) })).rejects.toThrow(
      /smallFirst.*not images|not images/,
    )
    await expect(trainDenoiser({ ...small, data: pictures(8, 14) })).rejects.toThrow(/not every level/)
    await expect(trainEnergy({ ...small, data, head: 'dot' })).rejects.toThrow(/only denoisers/)
    await expect(trainDenoiser({ ...options, smallFirst: -1 })).rejects.toThrow(ArgumentError)
    const { model: teacher } = await trainDenoiser({ ...options, images: 8, smallFirst: 0 })
    await expect(distill({ teacher, data, images: 8, smallFirst: 1 })).rejects.toThrow(/only denoisers/)
    teacher.dispose()
  })
})
