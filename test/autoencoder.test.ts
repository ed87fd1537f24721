import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import os from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import sharp from 'sharp'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { ArgumentError, FormatError } from '../lib/base/errors.js'
import { main } from '../lib/cli/index.js'
import type { Dataset } from '../lib/data/dataset.js'
import { loadDataset } from '../lib/data/load.js'
import { Autoencoder, autoencoderKL, givenAutoencoder } from '../lib/models/autoencoder.js'
import { Denoiser } from '../lib/models/denoiser.js'
import { EnergyModel } from '../lib/models/energy.js'
import { latentDataset } from '../lib/models/latents.js'
import { flatten } from '../lib/models/model-file.js'
import { run } from '../lib/native/addon.js'
import type { AutoencoderConfig, AutoencoderKLArgs } from '../lib/networks/autoencoder.js'
import { residualMLP } from '../lib/networks/config.js'
import { autoencoderFor, trainAutoencoder } from '../lib/training/objectives/autoencoder.js'
import { distill } from '../lib/training/objectives/distill.js'
import { trainDenoiser } from '../lib/training/objectives/dsm.js'
import { readSafetensors, toFloat32 } from '../lib/weights/safetensors.js'

let folder = ''
beforeEach(async () => {
  folder = await mkdtemp(join(os.tmpdir(), 'feynkac-autoencoder-'))
})
afterEach(() => rm(folder, { recursive: true }))

function relativeError(got: Float32Array, want: Float32Array): number {
  let [error, norm] = [0, 0]
  got.forEach((value, i) => {
    error += (value - want[i]!) ** 2
    norm += want[i]! ** 2
  })
  return Math.sqrt(error / norm)
}

const noise = (n: number, k = 7) => Float32Array.from({ length: n }, (_, i) => Math.sin(k * i + 1))

const small = (shape: readonly number[], args: Partial<AutoencoderKLArgs> = {}) =>
  autoencoderKL(shape, { block_out_channels: [8, 12], latent_channels: 3, norm_num_groups: 4, ...args })

async function readImages(data: Dataset): Promise<Float32Array> {
  const width = data.shape.reduce((a, b) => a * b, 1)
  const x = new Float32Array(data.size * width)
  for (let i = 0; i < data.size; i++) data.read(i, x, i * width)
  return x
}

/** The upper half of a picture's pixels, and the lower, without the line between. */
async function halves(file: string): Promise<[Float32Array, Float32Array]> {
  const { data, info } = await sharp(file).greyscale().raw().toBuffer({ resolveWithObject: true })
  const half = Math.floor((info.height * 8) / 17) * info.width
  return [Float32Array.from(data.subarray(0, half)), Float32Array.from(data.subarray(data.length - half))]
}

const mse = (a: Float32Array, b: Float32Array) => a.reduce((sum, v, i) => sum + (v - b[i]!) ** 2, 0) / a.length

describe('an autoencoder', () => {
  it('computes what PyTorch computes with the weights', async () => {
    const path = fileURLToPath(new URL('vectors/autoencoder.safetensors', import.meta.url))
    const { metadata, tensors } = await readSafetensors(path)
    const expected = (name: string) => toFloat32(tensors.get(name)!)
    using model = await Autoencoder.create({ network: JSON.parse(metadata.config!) as AutoencoderConfig })
    const weights = new Map([...tensors].filter(([name]) => name.startsWith('model.')))
    const flat = await flatten(model.network, weights, path, 'model.')
    await run(() => model.network.write('params', flat))
    expect(model.latentShape).toEqual([4, 8, 4])

    const { mean, logVariance } = await model.moments(expected('x'))
    expect(relativeError(mean, expected('mean'))).toBeLessThan(2e-5)
    expect(relativeError(logVariance!, expected('log_variance'))).toBeLessThan(2e-5)
    expect(relativeError(await model.encode(expected('x')), expected('latents'))).toBeLessThan(2e-5)
    expect(relativeError(await model.decode(expected('z')), expected('decoded'))).toBeLessThan(2e-5)
  })

  it('keeps rows apart, whatever the batch and the shape', async () => {
    using model = await Autoencoder.create({ network: small([2, 4, 12]) }, { seed: 3 })
    const x = noise(3 * 96)
    const z = await model.encode(x)
    expect(z).toHaveLength(3 * 3 * 2 * 6)
    expect(relativeError(await model.encode(x.slice(96, 192)), z.slice(36, 72))).toBeLessThan(1e-5)
    const y = await model.decode(z)
    expect(y).toHaveLength(x.length)
    expect(relativeError(await model.decode(z.slice(36, 72)), y.slice(96, 192))).toBeLessThan(1e-5)
  })

  it('keeps everything in its file, and normalises latents as its configuration says', async () => {
    using model = await Autoencoder.create({ network: small([1, 8, 8], { double_z: false }) }, { seed: 1 })
    const x = noise(20 * 64)
    const before = await model.decode(await model.encode(x))
    await model.calibrate(x)
    const z = await model.encode(x)
    for (let channel = 0; channel < 3; channel++) {
      const values = z.filter((_, i) => Math.floor(i / 16) % 3 === channel)
      const mean = values.reduce((sum, v) => sum + v, 0) / values.length
      expect(mean).toBeCloseTo(0, 5)
      expect(Math.sqrt(values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / values.length)).toBeCloseTo(0.5, 4)
    }
    expect(relativeError(await model.decode(z), before)).toBeLessThan(1e-5)

    const path = join(folder, 'model.safetensors')
    await model.save(path)
    using loaded = await Autoencoder.load(path)
    expect(loaded.info).toEqual(model.info)
    expect(await loaded.encode(x)).toEqual(z)
    await expect(Denoiser.load(path)).rejects.toThrow(/holds an autoencoder/)
    using denoiser = await Denoiser.create({ network: residualMLP(2) })
    await denoiser.save(path)
    await expect(Autoencoder.load(path)).rejects.toThrow(FormatError)
  })

  it('refuses what cannot be, by name', async () => {
    const refused = (args: Record<string, unknown>) => {
      const config = { ...small([3, 8, 8]), args: { ...small([3, 8, 8]).args, ...args } }
      return expect(() => givenAutoencoder(config))
    }
    refused({ latent: 4 }).toThrow("unknown argument 'latent'")
    refused({ act_fn: 'relu' }).toThrow("'act_fn'")
    refused({ scaling_factor: 0 }).toThrow("'scaling_factor'")
    refused({ latents_mean: [0] }).toThrow('latents_mean must have as many entries')
    refused({ down_block_types: ['DownEncoderBlock2D'] }).toThrow('as many entries as block_out_channels')
    expect(() => givenAutoencoder(null)).toThrow(ArgumentError)
    await expect(Autoencoder.create({ network: small([1, 7, 8]) })).rejects.toThrow(/7x8 must halve evenly/)
    await expect(Autoencoder.create({ network: small([1, 8, 8], { norm_num_groups: 5 }) })).rejects.toThrow(/groups/)

    using model = await Autoencoder.create({ network: small([1, 8, 8]) })
    await expect(model.encode(new Float32Array(65))).rejects.toThrow(ArgumentError)
    await expect(model.decode(new Float32Array(0))).rejects.toThrow(ArgumentError)
    await expect(model.encode(noise(64), { signal: AbortSignal.abort(new Error('enough')) })).rejects.toThrow('enough')
    model.dispose()
    await expect(model.encode(noise(64))).rejects.toThrow(/disposed/)
  })
})

describe('training an autoencoder', () => {
  const network = { width: 8, channelMult: [1, 2], latentChannels: 2 }
  const options = { data: 'synthetic:shapes:count=300,size=8', batchSize: 32, lr: 3e-3, network, seed: 2 }

  it('makes the error a small part of what it was, and latents that models can be trained on', async () => {
    const data = await loadDataset(options.data)
    const x = await readImages(data)
    using untrained = await Autoencoder.create({ network: autoencoderFor([1, 8, 8], network) }, { seed: 2 })
    const seen: number[] = []
    const output = join(folder, 'ae')
    const result = await trainAutoencoder({
      ...{ ...options, data, images: 9600, output, previewEvery: 4800 },
      onProgress: ({ images }) => seen.push(images),
    })
    using model = result.model
    expect(result).toMatchObject({ steps: 300, images: 9600, path: join(folder, 'ae', 'model.safetensors') })
    expect(seen).toHaveLength(300)
    const before = mse(await untrained.decode(await untrained.encode(x)), x)
    const error = mse(await model.decode(await model.encode(x)), x)
    expect(error).toBeLessThan(0.1 * before)
    expect(error).toBeLessThan(0.05)

    // eight images above what is made of them, ever more alike
    const previews = await readdir(join(output, 'previews'))
    expect(previews).toEqual(['000004800.png', '000009600.png'])
    const shown = await Promise.all(previews.map((name) => halves(join(output, 'previews', name))))
    expect(shown[1]![0]).toEqual(shown[0]![0])
    const [early, late] = shown.map(([above, below]) => mse(above, below))
    expect(late!).toBeLessThan(early!)
    expect(late!).toBeLessThan(127.5 ** 2 * 0.06)

    const latents = await latentDataset(data, model)
    expect(latents).toMatchObject({ size: 300, shape: [2, 4, 4], labels: data.labels, latent: true })
    expect(latents.label(17)).toEqual(data.label(17))
    const z = await readImages(latents)
    expect(relativeError(z, await model.encode(x))).toBeLessThan(1e-5)
    await expect(trainDenoiser({ data: latents, images: 32, flips: true })).rejects.toThrow(/flips/)
    const small = { images: 64, batchSize: 32, network: { width: 8, blocks: 1 } }
    const trained = await trainDenoiser({ ...small, data: latents, output: join(folder, 'latents'), previewEvery: 64 })
    // decoded: four by four images of eight pixels
    const picture = await sharp(join(folder, 'latents', 'previews', '000000064.png')).metadata()
    expect(picture).toMatchObject({ width: 16 * (4 * 8 + 3), height: 16 * (4 * 8 + 3) })
    using denoiser = trained.model
    expect(denoiser.shape).toEqual([2, 4, 4])
    expect(denoiser.info.sigmaData).toBeCloseTo(0.5, 2)
    // low temperatures of it are not weighed, nor was it trained for them: nobody has measured that
    expect(denoiser.info).toMatchObject({ latent: true, training: { references: 0, sharpened: 0 } })
    const path = join(folder, 'latents.safetensors')
    const energy = await distill({ teacher: denoiser, data: latents, images: 64, batchSize: 32, calibrate: false })
    await energy.model.save(path)
    energy.model.dispose()
    using loaded = await EnergyModel.load(path)
    expect([loaded.latent, loaded.conditioned().latent]).toEqual([true, true])
    expect(loaded.info.training).toMatchObject({ references: 0, sharpened: 0 })
    await expect(latentDataset(latents, model)).rejects.toThrow(/the autoencoder is for images of \[1,8,8\]/)
  })

  it('resumes and ends with the bits of an unbroken run', async () => {
    const settings = { ...options, images: 640, checkpointEvery: 64 }
    const whole = await trainAutoencoder({ ...settings, output: join(folder, 'whole') })
    whole.model.dispose()
    const output = join(folder, 'broken')
    const controller = new AbortController()
    const broken = trainAutoencoder({
      ...{ ...settings, output, signal: controller.signal },
      onProgress: ({ step }) => {
        if (step === 9) controller.abort(new Error('enough'))
      },
    })
    await expect(broken).rejects.toThrow('enough')
    await expect(trainAutoencoder({ resume: true, output, noise: 0.2 })).rejects.toThrow(/noise/)
    await expect(trainDenoiser({ resume: true, output })).rejects.toThrow(/it holds an autoencoder/)
    const resumed = await trainAutoencoder({ resume: true, output })
    resumed.model.dispose()
    expect(await readFile(resumed.path!)).toEqual(await readFile(whole.path!))
  })

  it('refuses options that do not belong to it', async () => {
    const wrong = [
      { dropout: 0.1 },
      { noise: -1 },
      { network: { width: 2 } },
      { network: { depth: 2 } },
      { network: { attention: 1 } },
      { network: small([1, 16, 16]) },
      { data: 'synthetic:moons' },
      { dataOptions: { autoencoder: 'x' } },
    ]
    for (const extra of wrong)
      await expect(trainAutoencoder({ ...options, images: 32, ...extra } as never)).rejects.toThrow(ArgumentError)
  })
})

it('the command line trains, distils and samples in latents', async () => {
  const [out, err]: string[][] = [[], []]
  vi.spyOn(console, 'log').mockImplementation((text) => void out.push(text))
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => void err.push(String(text)) === undefined)
  const data = ['--data', 'synthetic:shapes:count=60,size=8']
  const quick = ['--batch', '16', '--threads', '1', '--json']
  const path = (...names: string[]) => join(folder, ...names)
  const file = (name: string) => path(name, 'model.safetensors')
  const net = ['--width', '8', '--channel-mult', '1']
  const command = async (...argv: string[]) => expect(await main(argv), argv.join(' ')).toBe(0)
  await command(
    ...['train-autoencoder', ...data, ...quick, '--output', path('ae'), '--images', '160', '--latent-channels', '2'],
    ...['--width', '8', '--channel-mult', '1,2', '--no-mid-attention', '--noise', '0.05'],
  )
  const latents = [...data, '--autoencoder', file('ae'), ...quick]
  await command('train', ...latents, '--output', path('teacher'), '--images', '64', ...net, '--blocks', '1')
  await command('distill', ...latents, '--teacher', file('teacher'), '--output', path('energy'), '--images', '64')
  // the checkpoint knows the autoencoder
  await command('distill', '--resume', '--output', path('energy'), '--images', '96', '--threads', '1', '--json')
  const sampling = ['--particles', '6', '--steps', '4', '--threads', '1', '--json']
  for (const name of ['teacher', 'energy']) {
    const output = path(`samples-${name}`)
    await command('sample', file(name), '--autoencoder', file('ae'), '--output', output, ...sampling)
    const header = async (array: string) => (await readFile(join(output, array))).subarray(0, 128).toString('latin1')
    expect(await header('samples.npy')).toContain('(6, 1, 8, 8,)')
    expect(await header('latents.npy')).toContain('(6, 2, 4, 4,)')
    expect((await readFile(join(output, 'samples.png'))).subarray(1, 4).toString()).toBe('PNG')
    // previews are decoded too: three by two images of eight pixels
    const [preview] = await readdir(join(output, 'levels'))
    expect(await sharp(join(output, 'levels', preview!)).metadata()).toMatchObject({ width: 21 * 26, height: 21 * 17 })
  }
  await command('inspect', file('ae'), '--json')
  expect(JSON.parse(out.at(-1)!)).toMatchObject({ kind: 'autoencoder', latentShape: [2, 4, 4] })
  await command('inspect', file('ae'))
  expect(out.join('\n')).toMatch(/^latents {5}2 x 4 x 4$/m)

  const fails = async (code: number, message: string, ...argv: string[]) => {
    expect(await main(argv), argv.join(' ')).toBe(code)
    expect(err.at(-1)).toContain(message)
  }
  const output = ['--output', path('other')]
  await fails(2, 'holds an autoencoder', 'sample', file('ae'), ...output)
  const wrong = [...data, '--autoencoder', file('teacher'), '--images', '16']
  await fails(1, 'it holds no autoencoder', 'train', ...wrong, ...output)
  await command('train', ...data, ...quick, ...net, '--output', path('pixels'), '--images', '16')
  await fails(2, 'latents of [2,4,4]', 'sample', file('pixels'), '--autoencoder', file('ae'), ...output)
  vi.restoreAllMocks()
})
