import { mkdtemp, readFile, rm } from 'node:fs/promises'
import os from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ArgumentError } from '../lib/base/errors.js'
import { MemoryDataset } from '../lib/data/dataset.js'
import { Denoiser } from '../lib/models/denoiser.js'
import { EnergyModel } from '../lib/models/energy.js'
import { native, run } from '../lib/native/addon.js'
import { residualMLP } from '../lib/networks/config.js'
import { mcmc } from '../lib/smc/mcmc.js'
import { gaussianMixture } from '../lib/smc/mixtures.js'
import { sample } from '../lib/smc/samplers.js'
import { sigmaGrid } from '../lib/smc/schedule.js'
import { smc } from '../lib/smc/smc.js'
import { lowTemperature } from '../lib/smc/targets/linear.js'
import type { LogLine } from '../lib/training/events.js'
import { distill } from '../lib/training/objectives/distill.js'
import { trainEnergy } from '../lib/training/objectives/dsm.js'

// one thread: the network is too small for more, and the machine may be busy
beforeAll(() => native.setThreads(1))

const exact = gaussianMixture({
  weights: [2, 1],
  means: [
    [-0.8, 0],
    [0.7, 0.3],
  ],
  covariances: [
    [0.06, 0.1],
    [0.1, 0.05],
  ],
})
const data = new MemoryDataset({ name: 'mixture', shape: [2], data: exact.sample(20_000, { seed: 1 }), labels: null })
const options = { data, head: 'joint', network: { width: 64, blocks: 2 }, batchSize: 256, lr: 3e-3, seed: 5 } as const

let folder = ''
let model: EnergyModel
beforeAll(async () => {
  folder = await mkdtemp(join(os.tmpdir(), 'feynkac-joint-'))
  const output = join(folder, 'run')
  model = (await trainEnergy({ ...options, images: 256 * 2500, output, logEvery: 256 * 500 })).model
}, 300_000)
afterAll(async () => {
  model?.dispose()
  await rm(folder, { recursive: true })
})

const rms = (a: ArrayLike<number>, b: ArrayLike<number>) =>
  Math.sqrt(Array.from(a, (v, i) => (v - b[i]!) ** 2).reduce((x, y) => x + y, 0) / a.length)

/** x ~ p_sigma. */
function noised(sigma: number, n = 512): Float32Array {
  const x = exact.sample(n, { seed: 9 })
  const noise = new Float32Array(x.length)
  native.normals(noise, 1, 0, 11, 1)
  return x.map((value, i) => value + sigma * noise[i]!)
}

/** log of the integral of exp(-gamma E) at a noise level, by quadrature. */
async function logIntegral(energy: EnergyModel, sigma: number, gamma: number): Promise<number> {
  const [points, side] = [301, 6]
  const x = new Float32Array(2 * points * points)
  for (let i = 0; i < points * points; i++) {
    x[2 * i] = ((i % points) / (points - 1) - 0.5) * side
    x[2 * i + 1] = (Math.floor(i / points) / (points - 1) - 0.5) * side
  }
  const energies = await energy.energy(x, sigma)
  const least = energies.reduce((a, b) => Math.min(a, b))
  const sum = energies.reduce((total, e) => total + Math.exp(-gamma * (e - least)), 0)
  return Math.log(sum) - gamma * least + 2 * Math.log(side / (points - 1))
}

describe('a joint model', () => {
  it.each([
    [0.1, 0.4, 0.08],
    [0.3, 0.15, 0.08],
    [1, 0.06, 0.05],
    [3, 0.03, 0.03],
  ])(
    'learns the energy of a mixture, up to a constant, and both gradients at sigma = %s',
    async (sigma, nats, slope) => {
      const x = noised(sigma)
      const truth = await exact.energyGrad(x, sigma)
      const score = await model.energyGrad(x, sigma)
      const own = await model.withGradient('energy').energyGrad(x, sigma)
      expect(own.energy).toEqual(score.energy)
      const difference = own.energy.map((e, i) => e - truth.energy[i]!)
      const mean = difference.reduce((a, b) => a + b, 0) / difference.length
      expect(rms(difference, new Float64Array(difference.length).fill(mean))).toBeLessThan(nats)
      // in units of 1 / sigma, the size of the noise's own
      expect(rms(own.grad, truth.grad) * sigma).toBeLessThan(slope)
      expect(rms(score.grad, truth.grad) * sigma).toBeLessThan(slope)
      expect(score.grad).not.toEqual(own.grad)
    },
  )

  it('denoises by its denoiser', async () => {
    const x = noised(0.5)
    const { grad } = await model.energyGrad(x, 0.5)
    const denoised = await model.denoise(x, 0.5)
    expect(rms(denoised, x.map((value, i) => value - 0.25 * grad[i]!))).toBeLessThan(1e-5) // biome-ignore format: one line
    const { samples } = await sample(model, { particles: 2000, sigmas: [...sigmaGrid({ steps: 24, max: 10 }), 0] })
    let left = 0
    for (let i = 0; i < 2000; i++) if (samples[2 * i]! < 0) left++
    expect(left / 2000).toBeGreaterThan(0.6)
    expect(left / 2000).toBeLessThan(0.73)
  })

  it('gives SMC the same log Z, that of its energy, with either gradient', async () => {
    const sigmas = sigmaGrid({ steps: 48, min: 0.1, max: 10 })
    const truth = await logIntegral(model, 0.1, 2)
    for (const gradient of ['score', 'energy'] as const) {
      const target = lowTemperature(model.withGradient(gradient), { gamma: 2 })
      const { logZ, ess } = await smc(target, { particles: 2000, sigmas, seed: 1 })
      expect(Math.abs(logZ - truth)).toBeLessThan(0.06)
      expect(Math.min(...ess)).toBeGreaterThan(1000)
    }
  })

  it('is sampled exactly by MALA, whichever the gradient', async () => {
    const [chains, sigma] = [1500, 0.6]
    const energies = []
    for (const gradient of ['score', 'energy'] as const) {
      const start = { chains, sigmas: [sigma], initial: noised(sigma, chains) }
      const result = await mcmc(model.withGradient(gradient), { ...start, steps: 30 })
      expect(result.acceptance.at(-1)).toBeGreaterThan(0.5)
      energies.push(result.energy.reduce((a, b) => a + b, 0) / chains)
    }
    expect(Math.abs(energies[0]! - energies[1]!)).toBeLessThan(0.15)
  })

  it('is logged with both parts of its loss, and saved and loaded', async () => {
    const lines = (await readFile(join(folder, 'run', 'log.jsonl'), 'utf8')).trim().split('\n')
    const [, ...log] = lines.map((line) => JSON.parse(line) as LogLine)
    for (const { loss, energyLoss } of log) {
      expect(energyLoss).toBeGreaterThan(0)
      expect(energyLoss).toBeLessThan(loss)
    }
    expect(log.at(-1)!.energyLoss).toBeLessThan(0.02)
    const path = join(folder, 'run', 'model.safetensors')
    using loaded = await EnergyModel.load(path)
    using other = await EnergyModel.load(path, { gradient: 'energy' })
    expect(loaded.info).toMatchObject({ kind: 'joint', headScale: 0.5 })
    expect([loaded.gradient, other.gradient]).toEqual(['score', 'energy'])
    const x = noised(0.2, 5)
    expect(await loaded.energyGrad(x, 0.2)).toEqual(await model.energyGrad(x, 0.2))
    expect(await other.energyGrad(x, 0.2)).toEqual(await model.withGradient('energy').energyGrad(x, 0.2))
    await expect(Denoiser.load(path)).rejects.toThrow(/EnergyModel.load, whose denoise is that of its denoiser/)
    await expect(distill({ teacher: path, data, images: 8 })).rejects.toThrow(ArgumentError)
  })

  it('resumes bit by bit', async () => {
    const weights = async (extra: object) => {
      const { model: end } = await trainEnergy({ ...options, warmUp: 0, decay: 0, emaHalfLife: 500, ...extra })
      const values = new Float32Array(end.network.parameterCount())
      await run(() => end.network.read('params', values))
      end.dispose()
      return values
    }
    const output = join(folder, 'resumed')
    const whole = await weights({ images: 256 * 6, energyWeight: 0.5 })
    await weights({ images: 256 * 3, energyWeight: 0.5, output })
    expect(await weights({ images: 256 * 6, output, resume: true })).toEqual(whole)
    await expect(weights({ images: 256 * 7, output, resume: true, energyWeight: 2 })).rejects.toThrow(/energyWeight/)
    expect(await weights({ images: 256 * 6, energyWeight: 1 })).not.toEqual(whole)
  })

  it('rejects what cannot be', async () => {
    const network = residualMLP(2, { hidden: 8, layers: 1 })
    await expect(EnergyModel.create({ kind: 'dot', network }, { gradient: 'score' })).rejects.toThrow(/gradient/)
    await expect(EnergyModel.create({ kind: 'joint', network }, { gradient: 'x' as never })).rejects.toThrow(/gradient/)
    const few = { data, images: 8, batchSize: 8 }
    await expect(trainEnergy({ ...few, head: 'dot', energyWeight: 1 })).rejects.toThrow(/energyWeight/)
    await expect(trainEnergy({ ...few, energyWeight: 1 })).rejects.toThrow(/energyWeight/)
    await expect(trainEnergy({ ...few, head: 'joint', energyWeight: 0 })).rejects.toThrow(/energyWeight/)
    using teacher = await Denoiser.create({ network })
    await expect(distill({ ...few, teacher, head: 'joint' as never })).rejects.toThrow(/head/)
    using joint = await EnergyModel.create({ kind: 'joint', network })
    const request = { kind: 'dot', headScale: 0.5, x: new Float32Array(2), sigma: new Float64Array([1]) } as const
    const energy = new Float64Array(1)
    await expect(run(() => joint.network.evaluate({ ...request, energy }))).rejects.toThrow(/joint/)
  })
})
