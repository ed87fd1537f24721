import { mkdtemp, rm } from 'node:fs/promises'
import os from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Denoiser } from '../lib/models/denoiser.js'
import { EnergyModel } from '../lib/models/energy.js'
import { native, run } from '../lib/native/addon.js'
import { residualMLP, songUNet } from '../lib/networks/config.js'
import { preconditioningAt } from '../lib/networks/preconditioning.js'
import { distill } from '../lib/training/objectives/distill.js'
import { trainDenoiser, trainEnergy } from '../lib/training/objectives/dsm.js'
import { labelledImages } from './training-data.js'

// one thread: the networks are too small for more, and the machine may be busy
beforeAll(() => native.setThreads(1))

let folder = ''
beforeAll(async () => {
  folder = await mkdtemp(join(os.tmpdir(), 'feynkac-residual-'))
})
afterAll(() => rm(folder, { recursive: true }))

const log = { kind: 'log', scale: 0.25, offset: 0 } as const
const images = labelledImages(96)
const small = { network: { width: 8, channelMult: [1], blocks: 1, attention: [] }, batchSize: 8, seed: 3 }

async function weightsOf(model: Pick<EnergyModel, 'network'>): Promise<Float32Array> {
  const values = new Float32Array(model.network.parameterCount())
  await run(() => model.network.read('params', values))
  return values
}

function normals(length: number, stream: number): Float32Array {
  const out = new Float32Array(length)
  native.normals(out, 1, 5, 11, stream)
  return out
}

describe('the head residual', () => {
  it.each(['edm', 'epsilon', 'v', 'sample', 've'] as const)(
    'is |x - D|^2 / (2 sigma^2) of the denoiser of its network, with the form %s',
    async (form) => {
      const preconditioning = { form, sigmaData: form === 'edm' ? 0.5 : 1, noise: log }
      const network = songUNet([1, 8, 8], { model_channels: 8, channel_mult: [1], num_blocks: 1, attn_resolutions: [] })
      using denoiser = await Denoiser.create({ network, preconditioning })
      using energy = await EnergyModel.create({ kind: 'residual', network, preconditioning })
      const weights = normals((await weightsOf(energy)).length, 1).map((v) => 0.2 * v)
      for (const model of [denoiser, energy]) await run(() => model.network.write('params', weights))
      const path = join(folder, `${form}.safetensors`)
      await energy.save(path)
      using loaded = await EnergyModel.load(path)
      expect(loaded.info).toMatchObject({ kind: 'residual', headScale: 1 })

      for (const sigma of [0.002, 0.3, 20]) {
        const x = normals(3 * 64, 2).map((v) => (0.5 + sigma) * v)
        // D and x cancel where the noise is small: their difference is made of the network's output
        const { cSkip, cOut } = preconditioningAt(preconditioning, sigma)
        const denoised = await denoiser.denoise(x, sigma)
        const raw = new Float32Array(x.length)
        const request = { kind: 'denoiser', headScale: 1, x, sigma: new Float64Array(3).fill(sigma), raw } as const
        await run(() => denoiser.network.evaluate(request))
        const { energy: found, grad } = await loaded.energyGrad(x, sigma)
        const own = await loaded.denoise(x, sigma)
        for (let b = 0; b < 3; b++) {
          let [want, off, size] = [0, 0, 0]
          for (let i = 64 * b; i < 64 * (b + 1); i++) {
            want += ((1 - cSkip) * x[i]! - cOut * raw[i]!) ** 2 / (2 * sigma ** 2)
            off += (x[i]! - sigma ** 2 * grad[i]! - own[i]!) ** 2
            size += own[i]! ** 2
          }
          expect(Math.abs(found[b]! / want - 1)).toBeLessThan(1e-5)
          expect(Math.sqrt(off / size)).toBeLessThan(1e-4)
        }
        expect(denoised).not.toEqual(own)
      }
    },
  )

  it('is distilled and trained', async () => {
    using teacher = (await trainDenoiser({ data: images, ...small, images: 8 * 20 })).model
    for (const head of ['dot', 'residual'] as const) {
      const options = { data: images, teacher, ...small, network: undefined, images: 64, head, calibrate: 2 }
      using model = (await distill(options)).model
      expect(model.info).toMatchObject({ kind: head, headScale: 1 })
      expect(model.calibration).toBeDefined()
      await expect(distill({ ...options, head: 'residual', headScale: 0.5 })).rejects.toThrow(/headScale/)
    }
    using direct = (await trainEnergy({ data: images, ...small, images: 64, head: 'residual' })).model
    expect(direct.info.kind).toBe('residual')
    using vector = await EnergyModel.create({ kind: 'residual', network: residualMLP(3) })
    expect((await vector.energy(new Float32Array(3).fill(0.1), 0.5))[0]).toBeGreaterThan(0)
  })
})
