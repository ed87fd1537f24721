import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import * as feynkac from '../lib/index.js'

/** Arrays that a caller takes away while a call works on them. */

type Floats = Float32Array<ArrayBuffer>
type Doubles = Float64Array<ArrayBuffer>
type Resizable = ArrayBuffer & { resize(bytes: number): void }

function resizable(bytes: number): Resizable {
  return new (ArrayBuffer as unknown as new (bytes: number, options: object) => Resizable)(bytes, {
    maxByteLength: bytes,
  })
}

const takenAway: Record<string, (buffer: ArrayBuffer) => void> = {
  resized: (buffer) => (buffer as Resizable).resize(0),
  transferred: (buffer) => void structuredClone(buffer, { transfer: [buffer] }),
}

const side = 8
const image = side * side
const unet = feynkac.songUNet([1, side, side], { model_channels: 4, channel_mult: [1], num_blocks: 1, label_dim: 2 })
const mixture = feynkac.gaussianMixture({ weights: [1, 1], means: [[0, 0], [1, 1]], covariances: [1, 0.5] }) // biome-ignore format: one line
const product = feynkac.product([mixture, mixture])
const denoiser = await feynkac.Denoiser.create({ network: unet })
const energy = await feynkac.EnergyModel.create({ network: unet, kind: 'dot' })
const autoencoder = await feynkac.Autoencoder.create({
  network: feynkac.autoencoderKL([1, side, side], { block_out_channels: [4], norm_num_groups: 1, latent_channels: 1 }),
})
const classifier = await feynkac.Classifier.create({
  network: {
    class: 'ConvClassifier',
    shape: [1, side, side],
    args: { in_channels: 1, block_out_channels: [4], layers_per_block: 1, norm_num_groups: 1, classes: [2] },
  },
  labels: { attributes: [{ name: 'class', size: 2 }] },
})
const own = { shape: [2], energyGrad: mixture.energyGrad }
const guided = feynkac.guidedDenoiser(denoiser, { labels: [1], scale: 2 })
const rows = 128
const sigmas = [2, 1, 0.5]

/** Each is given an array of 2 * rows numbers, which goes as soon as the call has begun; what it gives must be that of the whole array. */
const calls: Record<string, (x: Floats) => Promise<unknown>> = {
  'gaussianMixture.energyGrad': (x) => mixture.energyGrad(x, 0.5),
  'product.energyGrad': (x) => product.energyGrad(x, 0.5),
  'Denoiser.denoise': (x) => denoiser.denoise(x, 1),
  'EnergyModel.energyGrad': (x) => energy.energyGrad(x, 1),
  'EnergyModel.energy': (x) => energy.energy(x, 1),
  'EnergyModel.denoise': (x) => energy.denoise(x, 1),
  'conditioned.energyGrad': (x) => energy.conditioned([1]).energyGrad(x, 1),
  'guidedDenoiser.denoise': (x) => guided.denoise(x, 1),
  'labels of denoise': (x) => denoiser.denoise(new Float32Array((x.length / 2) * image).fill(0.1), 1, { labels: x }),
  'Autoencoder.encode': (x) => autoencoder.encode(x),
  'Autoencoder.decode': (x) => autoencoder.decode(x),
  'Autoencoder.moments': (x) => autoencoder.moments(x),
  'Classifier.classify': (x) => classifier.classify(x),
  'Classifier.features': (x) => classifier.features(x),
  'sample from initial': (x) => feynkac.sample(mixture, { particles: rows, sigmas, initial: x }),
  'mcmc from initial': (x) => feynkac.mcmc(product, { chains: rows, sigmas, initial: x }),
  calibrate: (x) => feynkac.calibrate(mixture, { data: x, count: 64, sigmas }),
  conservativity: (x) => feynkac.conservativity(denoiser, { x: x.subarray(0, 8 * image), sigma: 1, probes: 1 }),
  frechetDistance: (x) => feynkac.frechetDistance(x, x, { dim: 2 }),
  kernelDistance: (x) => feynkac.kernelDistance(x, x, { dim: 2 }),
  precisionRecall: (x) => feynkac.precisionRecall(x, x, { dim: 2 }),
  densityCoverage: (x) => feynkac.densityCoverage(x, x, { dim: 2 }),
  slicedWasserstein: (x) => feynkac.slicedWasserstein(x, x, { dim: 2 }),
  mmd: (x) => feynkac.mmd(x, x, { dim: 2 }),
  checkEnergy: (x) => feynkac.checkEnergy(mixture, { data: x, sigmas: [1] }),
  gridPng: (x) => feynkac.gridPng(x, [1, side, side]),
  scatterPng: (x) => feynkac.scatterPng(x),
  writeNpy: async (x) => {
    const path = join(tmpdir(), `feynkac-${process.pid}.npy`)
    try {
      await feynkac.writeNpy(path, x, [rows, 2])
      return await feynkac.readNpy(path)
    } finally {
      await rm(path, { force: true })
    }
  },
  'FeatureMoments.add': async (x) => {
    const moments = new feynkac.FeatureMoments(2)
    await moments.add(x)
    return moments.covariance()
  },
}

describe.each(Object.keys(takenAway))('an input that is %s during the call', (way) => {
  it.each(Object.keys(calls))('%s', async (name) => {
    const values = Float32Array.from({ length: 2 * rows }, (_, i) => Math.sin(i))
    const right = await calls[name](values.slice())
    for (const turns of [0, 2]) {
      const x = new Float32Array(resizable(values.byteLength))
      x.set(values)
      const call = calls[name](x)
      const settled = call.catch((error) => error)
      for (let t = 0; t < turns; t++) await turn()
      takenAway[way](x.buffer)
      const found = await settled
      if (found instanceof Error) expect(found).toBeInstanceOf(feynkac.FeynkacError)
      else expect(found).toEqual(right)
    }
  })
})

it('functions of a caller may give away what they get, and take back what they gave', async () => {
  const gone: ArrayBuffer[] = []
  const greedy = {
    shape: [2],
    async energyGrad(x: Float32Array, sigma: number) {
      const result = await own.energyGrad(x as Floats, sigma)
      for (const buffer of gone.splice(0)) structuredClone(buffer, { transfer: [buffer] })
      gone.push(x.buffer as ArrayBuffer, (result.grad as Floats).buffer, (result.energy as Doubles).buffer)
      return result
    },
  }
  const options = { particles: 64, sigmas, seed: 3, moves: {} }
  expect((await feynkac.smc(greedy, options)).samples).toEqual((await feynkac.smc(own, options)).samples)
})

it('a length that is not the array’s is refused', async () => {
  const x = Object.defineProperty(new Float32Array(4), 'length', { value: 2 ** 31 })
  await expect(mixture.energyGrad(x, 1)).rejects.toThrow(feynkac.ArgumentError)
  await expect(feynkac.mmd(x, x, { dim: 2 })).rejects.toThrow(feynkac.ArgumentError)
  const proxy = new Proxy(new Float32Array(4), {})
  await expect(denoiser.denoise(proxy, 1)).rejects.toThrow(feynkac.ArgumentError)
})
