import { mkdtemp, readFile, rm } from 'node:fs/promises'
import os from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ArgumentError, FormatError } from '../lib/base/errors.js'
import { MemoryDataset } from '../lib/data/dataset.js'
import { Denoiser } from '../lib/models/denoiser.js'
import { EnergyModel } from '../lib/models/energy.js'
import { logNormaliserAt, parseLogNormaliser } from '../lib/models/log-normaliser.js'
import { native, run } from '../lib/native/addon.js'
import { residualMLP } from '../lib/networks/config.js'
import { gaussianMixture } from '../lib/smc/mixtures.js'
import type { LogLine } from '../lib/training/events.js'
import { Levels } from '../lib/training/levels.js'
import { distill } from '../lib/training/objectives/distill.js'
import { trainEnergy } from '../lib/training/objectives/dsm.js'
import { labelledImages } from './training-data.js'

// one thread: the network is too small for more, and the machine may be busy
beforeAll(() => native.setThreads(1))

const means = [
  [-1, 0],
  [1, 0],
]
const variance = [0.04, 0.04]
const exact = gaussianMixture({ weights: [0.8, 0.2], means, covariances: [variance, variance] })
const data = new MemoryDataset({ name: 'modes', shape: [2], data: exact.sample(10_000, { seed: 1 }), labels: null })
const options = { data, network: { width: 32, blocks: 1 }, batchSize: 128, lr: 5e-3, seed: 3 } as const

let folder = ''
beforeAll(async () => {
  folder = await mkdtemp(join(os.tmpdir(), 'feynkac-levels-'))
})
afterAll(() => rm(folder, { recursive: true }))

const average = (values: Float64Array) => values.reduce((a, b) => a + b, 0) / values.length

/** E - exact at points of each mode noised to a level, averaged. */
async function offsets(model: EnergyModel, sigma: number): Promise<number[]> {
  const found = []
  for (const [k, mean] of means.entries()) {
    const mode = gaussianMixture({ weights: [1], means: [mean], covariances: [variance] })
    const noise = new Float32Array(512)
    native.normals(noise, 1, 0, 11, k)
    const x = mode.sample(256, { seed: 9 }).map((v, i) => v + sigma * noise[i]!)
    const { energy } = await exact.energyGrad(x, sigma)
    found.push(average((await model.energy(x, sigma)).map((e, i) => e - energy[i]!)))
  }
  return found
}

describe('levelled energies', () => {
  it('weigh modes far apart, and have a normaliser at every level', async () => {
    const output = join(folder, 'run')
    const run = { ...options, images: 128 * 800, levelWeight: 0.5, levelBatch: 64, output, logEvery: 128 * 200 }
    using model = (await trainEnergy(run)).model
    for (const sigma of [0.05, 0.3, 1]) {
      const [first, second] = await offsets(model, sigma)
      expect(Math.abs(second! - first!)).toBeLessThan(0.6)
      expect(Math.abs(first! + model.logNormaliser(sigma))).toBeLessThan(0.6)
    }
    const log = (await readFile(join(output, 'log.jsonl'), 'utf8')).trim().split('\n')
    const { levelLoss } = JSON.parse(log.at(-1)!) as LogLine
    expect(levelLoss).toBeGreaterThan(0.2)
    expect(levelLoss).toBeLessThan(Math.log(3) + 0.1)
    using loaded = await EnergyModel.load(join(output, 'model.safetensors'))
    expect(loaded.logNormaliser(0.3)).toBe(model.logNormaliser(0.3))
    expect(() => loaded.logNormaliser(1000)).toThrow(ArgumentError)
  }, 60_000)

  it('resume bit by bit, with their free energies', async () => {
    const trained = async (extra: object) => {
      const { model } = await trainEnergy({
        ...options,
        warmUp: 0,
        decay: 0,
        emaHalfLife: 500,
        levelWeight: 0.5,
        ...extra,
      })
      const values = new Float32Array(model.network.parameterCount())
      await run(() => model.network.read('params', values))
      model.dispose()
      return { values, normaliser: model.info.logNormaliser! }
    }
    const output = join(folder, 'resumed')
    const whole = await trained({ images: 128 * 6 })
    await trained({ images: 128 * 3, output })
    expect(await trained({ images: 128 * 6, output, resume: true })).toEqual(whole)
    await expect(trained({ images: 128 * 7, output, resume: true, levelWeight: 1 })).rejects.toThrow(/levelWeight/)
    await expect(trained({ images: 128 * 7, output, resume: true, levels: 4 })).rejects.toThrow(/levels/)
    expect((await trained({ images: 128 * 6, microBatch: 50 })).normaliser.values[0]).toBeCloseTo(
      whole.normaliser.values[0]!,
      4,
    )
    expect((await trained({ images: 128 * 6, levelWeight: 1 })).values).not.toEqual(whole.values)
  })

  it('are trained with every head, and distilled', async () => {
    const few = { ...options, images: 128 * 2, levelWeight: 0.5, levels: 2 }
    for (const head of ['l2', 'norm', 'joint'] as const) {
      using model = (await trainEnergy({ ...few, head })).model
      expect(model.logNormaliser(1)).toBeGreaterThan(0)
    }
    using teacher = await Denoiser.create({ network: residualMLP(2, { hidden: 32, layers: 1 }), sigmaData: 0.8 })
    using model = (await distill({ ...few, network: undefined, teacher })).model
    expect(model.info.logNormaliser).toBeDefined()
  })

  it('reject what cannot be', async () => {
    const few = { ...options, images: 128 }
    const rejects = (extra: object, message: RegExp) =>
      expect(trainEnergy({ ...few, ...extra })).rejects.toThrow(message)
    await rejects({ levelWeight: -1 }, /levelWeight/)
    await rejects({ levels: 3 }, /levels/)
    await rejects({ levelWeight: 0, levelBatch: 3 }, /levelBatch/)
    await rejects({ levelWeight: 1, levels: 1 }, /levels/)
    await rejects({ levelWeight: 1, levelBatch: 129 }, /levelBatch/)
    await rejects({ levelWeight: 1, pStd: 40 }, /pMean and pStd/)
    const network = { width: 8, channelMult: [1], blocks: 1, attention: [] }
    await rejects({ data: labelledImages(8), network, levelWeight: 1 }, /labels.*levelWeight/)
    using plain = (await trainEnergy(few)).model
    expect(() => plain.logNormaliser(1)).toThrow(/levelWeight/)
  })
})

describe('classifications', () => {
  const settings = { levelWeight: 1, levels: 3, levelBatch: 200, batchSize: 200, seed: 1, pMean: -1.2, pStd: 1.2 }
  const adam = { beta1: 0.9, beta2: 0.999, eps: 1e-8 }
  const make = (dims: number) => new Levels({ ...settings, ...adam }, dims, 0.5, { sigmaMin: 0.02, sigmaMax: 80 })

  it('are of no range without room, and of no other run', () => {
    const levels = (own: object, state?: object) =>
      new Levels({ ...settings, ...adam, ...own }, 2, 0.5, { sigmaMin: 0.02, sigmaMax: 80 }, state as never)
    expect(() => levels({ pMean: 20, pStd: 0.1 })).toThrow(ArgumentError)
    const short = { increments: [0], average: [0], m: [0], v: [0] }
    expect(() => levels({}, short)).toThrow(/checkpoint's levels/)
  })

  it('are of levels near each other, within the range, and the same for the same step', () => {
    const { sigma, truth } = structuredClone(make(50).prepare(4))
    for (let i = 0; i < 200; i++) {
      const logs = [0, 1, 2].map((j) => Math.log(sigma[j * 200 + i]!))
      expect(logs[0]).toBeGreaterThan(Math.log(0.02) - 1e-6)
      expect(logs[2]).toBeLessThan(2.4 + 1e-6)
      expect(logs[1]! - logs[0]!).toBeCloseTo(0.2, 5)
    }
    for (const level of [0, 1, 2]) expect(truth.filter((t) => t === level).length).toBeGreaterThan(40)
    expect(make(50).prepare(4).sigma).toEqual(sigma)
    expect(make(50).prepare(5).sigma).not.toEqual(sigma)
  })

  it('find the free energies of normal laws', () => {
    // energies of N(0, sigma^2 I) without its normaliser: F = -d ln sigma
    const dims = 4
    const levels = make(dims)
    const draws = new Float32Array(200 * dims)
    for (let step = 1; step <= 1500; step++) {
      const { sigma, truth, free, residual } = levels.prepare(step)
      native.normals(draws, 1, step, 11, 1)
      for (let i = 0; i < 200; i++) {
        let square = 0
        for (let k = 0; k < dims; k++) square += draws[i * dims + k]! ** 2
        square *= sigma[truth[i]! * 200 + i]! ** 2
        const at = [0, 1, 2].map((j) => j * 200 + i)
        const logits = at.map((a) => free[a]! - square / (2 * sigma[a]! ** 2))
        const most = Math.max(...logits)
        const sum = logits.reduce((total, z) => total + Math.exp(z - most), 0)
        logits.forEach((z, j) => {
          residual[at[j]!] = Math.exp(z - most) / sum - (j === truth[i] ? 1 : 0)
        })
      }
      levels.learn(step, 0.995)
    }
    const normaliser = levels.normaliser(dims, 0.5)
    const change = logNormaliserAt(normaliser, 2) - logNormaliserAt(normaliser, 0.1)
    expect(change / dims).toBeCloseTo(Math.log(20), 1)
  })

  it('have a normaliser that files may get wrong', () => {
    const fail = (what: string): never => {
      throw new FormatError(what, 'file')
    }
    const good = { sigmaMin: 0.1, sigmaMax: 1, values: [0, 1] }
    expect(logNormaliserAt(parseLogNormaliser(good, fail), Math.sqrt(0.1))).toBeCloseTo(0.5, 12)
    for (const bad of [null, 3, { ...good, sigmaMin: 0 }, { ...good, sigmaMax: 0.1 }, { ...good, values: [1] }])
      expect(() => parseLogNormaliser(bad, fail)).toThrow(FormatError)
    expect(() => parseLogNormaliser({ ...good, values: [0, 'x'] }, fail)).toThrow(FormatError)
  })
})
