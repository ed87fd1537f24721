import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { batchIndices } from '../lib/base/order.js'
import { MemoryDataset } from '../lib/data/dataset.js'
import { readSamples } from '../lib/data/samples.js'
import { type Denoiser, distill, trainDenoiser, trainEnergy } from '../lib/index.js'
import { run } from '../lib/native/addon.js'
import { NoisyStates } from '../lib/training/noisy-states.js'
import { labelledImages } from './training-data.js'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'feynkac-noisy-states-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

const everywhere = { sigmaMin: Number.MIN_VALUE, sigmaMax: Number.MAX_VALUE }
const noise = { seed: 3, flips: false, pMean: 0, pStd: 1 }

/** 1500 draws of N(0, 1), of label 0, and as many of N(5, 0.1^2), of label 1. */
function twoNormals(): MemoryDataset {
  const rows = 3000
  const classes = Int32Array.from({ length: rows }, (_, i) => i % 2)
  // normal quantiles, in an order that has nothing to do with them
  const quantile = (u: number) => Math.log(u / (1 - u)) / 1.702
  const data = Float32Array.from({ length: rows }, (_, i) => {
    const z = quantile(((((i >> 1) * 733) % 1500) + 0.5) / 1500)
    return i % 2 ? 5 + 0.1 * z : z
  })
  return new MemoryDataset({
    name: 'two',
    shape: [1],
    data,
    labels: { attributes: [{ name: 'which', size: 2 }] },
    classes,
  })
}

describe('states of training', () => {
  const data = twoNormals()
  const batchSize = 64
  const made = async (settings: { references: number; sharpened: number }, step: number) => {
    const batch = await readSamples(data, data.labels, batchIndices(noise.seed, step, batchSize, data.size))
    const clean = batch.x0.slice()
    const states = new NoisyStates(data, data.labels, { ...noise, batchSize, ...settings }, everywhere)
    return { clean, ...(await states.of(batch, step, [{ first: 0, last: batchSize }])) }
  }

  it('have targets that are means of the posterior under their labels, at sharpened rows too', async () => {
    const variance = data.shape && 1.06 // of the logistic quantiles
    let [error, plain, rows] = [0, 0, 0]
    for (let step = 1; step <= 40; step++) {
      const { x0, labels, states, targets, clean } = await made({ references: 3000, sharpened: 0.5 }, step)
      for (let row = 0; row < batchSize; row++) {
        if (labels![2 * row] !== 1) {
          expect(targets![row]).toBeGreaterThan(4) // of its own label
          continue
        }
        const exact = (x0[row]! * variance) / (variance + states![row]! ** 2)
        error += (targets![row]! - exact) ** 2
        plain += (clean[row]! - exact) ** 2
        rows++
      }
    }
    expect(rows).toBeGreaterThan(1000)
    expect(error).toBeLessThan(0.03 * plain)
  })

  it('are less noisy than they say in a share of the rows, and else as noisy', async () => {
    const ratios = (of: Awaited<ReturnType<typeof made>>) =>
      Array.from(of.x0, (x, i) => ((x - of.clean[i]!) / of.states![i]!) ** 2).filter(Number.isFinite)
    const mean = (values: number[]) => values.reduce((a, b) => a + b, 0) / values.length
    const all = async (sharpened: number) => {
      const out: number[] = []
      for (let step = 1; step <= 60; step++) out.push(...ratios(await made({ references: 8, sharpened }, step)))
      return mean(out)
    }
    expect(await all(0)).toBeCloseTo(1, 1)
    expect(await all(1)).toBeCloseTo(2 / 3 / Math.log(3), 1) // mean of 1 / gamma
    const some = await made({ references: 0, sharpened: 0.5 }, 1)
    expect(some.targets).toBeUndefined()
    const untouched = some.states!.reduce(
      (n, sigma, row) => n + Number(sigma === 0 && some.x0[row] === some.clean[row]),
      0,
    )
    expect(untouched).toBeGreaterThan(batchSize / 4)
    expect(untouched).toBeLessThan((3 * batchSize) / 4)
  })
})

describe('training on them', () => {
  const network = { width: 8, channelMult: [1], blocks: 1, attention: [] }
  const data = labelledImages(24)
  const weights = async ({ network: own }: Denoiser) => {
    const values = new Float32Array(own.parameterCount())
    await run(() => own.read('params', values))
    return values
  }

  it('goes on to the bit, whatever the threads and micro-batches are', async () => {
    const options = { data, network, batchSize: 8, images: 64, flips: true, references: 16, sharpened: 0.5 }
    const whole = await trainDenoiser(options)
    const output = join(folder, 'run')
    const stop = new AbortController()
    const onProgress = ({ step }: { step: number }) => step === 4 && stop.abort()
    await expect(trainDenoiser({ ...options, output, signal: stop.signal, onProgress })).rejects.toThrow()
    const resumed = await trainDenoiser({ data, output, resume: true })
    expect(await weights(resumed.model)).toEqual(await weights(whole.model))
    expect(resumed.model.info.training).toMatchObject({ references: 16, sharpened: 0.5 })
    await expect(trainDenoiser({ data, output, resume: true, references: 0 })).rejects.toThrow(/references/)
    for (const { model } of [whole, resumed]) model.dispose()
  })

  it('is refused where there is no target, or there must be noised data', async () => {
    const few = { data, network, images: 8 }
    await expect(trainDenoiser({ ...few, references: 0, sharpened: 0.5 })).rejects.toThrow(
      /without references.* for sharpened/,
    )
    await expect(trainDenoiser({ ...few, references: -1 })).rejects.toThrow(/references/)
    await expect(trainDenoiser({ ...few, sharpened: 1.5 })).rejects.toThrow(/sharpened/)
    const unlabelled = new MemoryDataset({
      name: 'plain',
      shape: [1, 8, 8],
      data: new Uint8Array(64 * 8).fill(9),
      labels: null,
    })
    const classified = { ...few, data: unlabelled, levelWeight: 0.5 }
    await expect(trainEnergy({ ...classified, references: 8 })).rejects.toThrow(/levelWeight/)
    ;(await trainEnergy(classified)).model.dispose() // without either by default
    using teacher = (await trainDenoiser(few)).model
    await expect(distill({ data, teacher, images: 8, references: 8 })).rejects.toThrow(/for references/)
    ;(await distill({ data, teacher, images: 8, sharpened: 1, calibrate: false })).model.dispose()
  })
})
