import { mkdtemp, readFile, rm } from 'node:fs/promises'
import os from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { MemoryDataset } from '../lib/data/dataset.js'
import { Denoiser } from '../lib/models/denoiser.js'
import { EnergyModel } from '../lib/models/energy.js'
import { native, run } from '../lib/native/addon.js'
import { residualMLP } from '../lib/networks/config.js'
import { gaussianMixture } from '../lib/smc/mixtures.js'
import type { LogLine } from '../lib/training/events.js'
import { distill } from '../lib/training/objectives/distill.js'
import { trainDenoiser, trainEnergy } from '../lib/training/objectives/dsm.js'
import { labelledImages } from './training-data.js'

// one thread: the network is too small for more, and the machine may be busy
beforeAll(() => native.setThreads(1))

const dims = 8
const means = [-1, 1].map((side) => Array.from({ length: dims }, (_, i) => (i % 2 ? side : -side) * 0.5))
const exact = gaussianMixture({ weights: [0.7, 0.3], means, covariances: [0.01, 0.01] })
const data = new MemoryDataset({ name: 'modes', shape: [dims], data: exact.sample(8000, { seed: 1 }), labels: null })
const network = { width: 32, blocks: 1 } as const

let folder = ''
let teacher: Denoiser
beforeAll(async () => {
  folder = await mkdtemp(join(os.tmpdir(), 'feynkac-path-'))
  teacher = (await trainDenoiser({ data, network, batchSize: 128, lr: 5e-3, images: 128 * 200, seed: 1 })).model
})
afterAll(async () => {
  teacher.dispose()
  await rm(folder, { recursive: true })
})

/** Variance over random walks of what E misses of the exact log-density's change from the lowest to the highest noise. */
async function inconsistency(model: EnergyModel): Promise<number> {
  const rows = 256
  const x0 = exact.sample(rows, { seed: 9 })
  const off: Float64Array[] = []
  for (const [k, sigma] of [0.05, 1].entries()) {
    const noise = new Float32Array(x0.length)
    native.normals(noise, rows, 5, 11, k)
    const x = x0.map((v, i) => v + sigma * noise[i]!)
    const truth = (await exact.energyGrad(x, sigma)).energy
    off.push((await model.energy(x, sigma)).map((e, i) => e - truth[i]!))
  }
  const change = off[0]!.map((e, i) => e - off[1]![i]!)
  const mean = change.reduce((a, b) => a + b, 0) / rows
  return change.reduce((sum, v) => sum + (v - mean) ** 2, 0) / (rows - 1)
}

describe('the path loss', () => {
  it('makes energies agree between noise levels, and is in the log', async () => {
    const output = join(folder, 'run')
    const options = { data, teacher, batchSize: 64, lr: 2e-3, images: 64 * 250, seed: 3, head: 'dot' } as const
    const { model: plain } = await distill({ ...options, calibrate: false })
    const { model } = await distill({ ...options, pathWeight: 0.5, output, logEvery: 64 * 50 })
    const [without, withIt] = [await inconsistency(plain), await inconsistency(model)]
    expect(withIt).toBeLessThan(without / 2)
    const log = (await readFile(join(output, 'log.jsonl'), 'utf8')).trim().split('\n').slice(1)
    const lines = log.map((line) => JSON.parse(line) as LogLine)
    expect(lines.at(-1)!.pathLoss).toBeGreaterThan(0)
    expect(lines.at(-1)!.pathResiduals).toHaveLength(3)
    expect(lines.at(-1)!.pathResiduals![0]).toBeLessThan(lines[0]!.pathResiduals![0]!)
    plain.dispose()
    model.dispose()
  })

  it('resumes bit by bit, with its constants, and does not depend on micro-batches', async () => {
    const trained = async (extra: object) => {
      const { model } = await distill({
        ...{ data, teacher, batchSize: 32, warmUp: 0, decay: 0, emaHalfLife: 500, calibrate: false, seed: 3 },
        ...{ head: 'residual', pathWeight: 0.5, pathBatch: 9, pathSteps: 2 },
        ...extra,
      })
      const values = new Float32Array(model.network.parameterCount())
      await run(() => model.network.read('params', values))
      model.dispose()
      return values
    }
    const output = join(folder, 'resumed')
    const whole = await trained({ images: 32 * 12 })
    await trained({ images: 32 * 6, output })
    expect(await trained({ images: 32 * 12, output, resume: true })).toEqual(whole)
    await expect(trained({ images: 32 * 13, output, resume: true, pathWeight: 1 })).rejects.toThrow(/pathWeight/)
    await expect(trained({ images: 32 * 13, output, resume: true, pathStep: 0.2 })).rejects.toThrow(/pathStep/)
    const pieces = await trained({ images: 32 * 12, microBatch: 5 })
    pieces.forEach((value, i) => {
      expect(Math.abs(value - whole[i]!)).toBeLessThan(1e-3)
    })
    expect(await trained({ images: 32 * 12, pathWeight: 0.4 })).not.toEqual(whole)
    expect(await trained({ images: 32 * 12, pathWeight: 0, pathBatch: undefined, pathSteps: undefined })).not.toEqual(
      whole,
    )
  })

  it('resumes bit by bit with the energy’s own states, with and without labels', async () => {
    const images = await labelledImages(64)
    const own = { network: { width: 8, channelMult: [1], blocks: 1, attention: [] }, batchSize: 8, images: 64 }
    using pictures = (await trainDenoiser({ data: images, ...own })).model
    const trained = async (extra: object) => {
      const { model } = await distill({
        ...{ data: images, teacher: pictures, batchSize: 8, warmUp: 0, decay: 0, emaHalfLife: 500, calibrate: false },
        ...{ pathWeight: 0.5, selfPlay: 1, images: 8 * 8 },
        ...extra,
      })
      const values = new Float32Array(model.network.parameterCount())
      await run(() => model.network.read('params', values))
      model.dispose()
      return values
    }
    const whole = await trained({})
    const output = join(folder, 'own')
    const stop = new AbortController()
    // after the first rounds
    const onProgress = ({ step }: { step: number }) => step === 6 && stop.abort()
    await expect(trained({ output, signal: stop.signal, onProgress })).rejects.toThrow()
    expect(await trained({ output, resume: true })).toEqual(whole)
    await expect(trained({ output, resume: true, selfPlay: 3, images: 8 * 9 })).rejects.toThrow(/selfPlay/)
    const plain = { data, teacher, images: 64 * 4, batchSize: 64, labelDropout: 0, selfPlay: 2, pathWeight: 0 }
    expect((await trained(plain)).every(Number.isFinite)).toBe(true)
    await expect(trained({ ...plain, levelWeight: 0.5 })).rejects.toThrow(/selfPlay/)
    await expect(trained({ selfPlay: -1 })).rejects.toThrow(/selfPlay/)
  })

  it('takes labels, and images', async () => {
    const images = await labelledImages(64)
    const own = { network: { width: 8, channelMult: [1], blocks: 1, attention: [] }, batchSize: 8, images: 64 }
    using pictures = (await trainDenoiser({ data: images, ...own })).model
    let last: number | undefined
    const onProgress = ({ pathLoss }: { pathLoss?: number }) => {
      last = pathLoss
    }
    using model = (
      await distill({ data: images, teacher: pictures, batchSize: 8, images: 256, pathWeight: 0.5, onProgress })
    ).model
    expect(model.labelDim).toBeGreaterThan(0)
    expect(last).toBeGreaterThanOrEqual(0)
  })

  it('rejects what cannot be', async () => {
    const few = { data, teacher, images: 128, batchSize: 32, calibrate: false } as const
    const rejects = (extra: object, message: RegExp) => expect(distill({ ...few, ...extra })).rejects.toThrow(message)
    await rejects({ pathWeight: -1 }, /pathWeight/)
    await rejects({ pathSteps: 3 }, /pathSteps/)
    await rejects({ pathWeight: 0, pathStep: 0.1 }, /pathStep/)
    await rejects({ pathWeight: 1, pathBatch: 33 }, /pathBatch/)
    await rejects({ pathWeight: 1, pathStep: 2 }, /pathStep/)
    await rejects({ pathWeight: 1, pStd: 400 }, /pMean and pStd/)
    await expect(trainEnergy({ data, images: 128, pathWeight: 1 } as never)).rejects.toThrow(/pathWeight/)
    using student = await EnergyModel.create({ kind: 'dot', network: residualMLP(dims) })
    using other = await Denoiser.create({ network: residualMLP(dims) })
    const walks = {
      ...{ steps: 1, groups: 1, weight: 1, sigma: Float64Array.of(1, 2), constant: new Float64Array(1) },
      ...{ share: new Float64Array(1), variances: new Float64Array(1), group: new Int32Array(dims), cosines: false },
      residual: new Float64Array(1),
    }
    const step = {
      kind: 'dot' as const,
      ...{ headScale: 0.5, x0: new Float32Array(dims), microBatch: 1, pMean: 0, pStd: 1, sigmaMin: 0.1 },
      ...{
        sigmaMax: 1,
        dropout: 0,
        seed: 1,
        step: 1,
        lr: 0,
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
        muon: 0,
        clip: 1,
        emaDecay: 0,
      },
      ...{ losses: new Float64Array(1), sigmas: new Float64Array(1), teacher: other.network },
    } as const
    const train = (extra: object, more: object = {}) =>
      run(() => student.network.train({ ...step, walks: { ...walks, ...extra }, ...more }))
    await train({})
    await expect(train({}, { teacher: undefined })).rejects.toThrow(/teacher/)
    await expect(train({ sigma: Float64Array.of(2, 1) })).rejects.toThrow(/increase/)
    await expect(train({ variances: Float64Array.of(-1) })).rejects.toThrow(/variances/)
    await expect(train({ group: new Int32Array(dims).fill(1) })).rejects.toThrow(/group/)
    await expect(train({ residual: new Float64Array(2) })).rejects.toThrow(/residual/)
  })
})
