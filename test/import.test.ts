import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import os from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { FormatError } from '../lib/base/errors.js'
import { main } from '../lib/cli/index.js'
import { Autoencoder, autoencoderKL } from '../lib/models/autoencoder.js'
import { Denoiser } from '../lib/models/denoiser.js'
import { exportAutoencoder, exportModel } from '../lib/models/export.js'
import { importAutoencoder, importModel } from '../lib/models/import.js'
import { unflatten } from '../lib/models/model-file.js'
import { run } from '../lib/native/addon.js'
import { dhariwalUNet, type NetworkConfig, residualMLP, songUNet, unet2d } from '../lib/networks/config.js'
import type { UNet2DModelArgs } from '../lib/networks/diffusers.js'
import type { NoiseConditioning } from '../lib/networks/noise-conditioning.js'
import type { Preconditioning } from '../lib/networks/preconditioning.js'
import { sample } from '../lib/smc/samplers.js'
import { sigmaGrid } from '../lib/smc/schedule.js'
import { distill } from '../lib/training/objectives/distill.js'
import { readSource } from '../lib/weights/source.js'
import { bareModel, type SourceModel } from '../lib/weights/source-model.js'

const small = { model_channels: 8, channel_mult: [1, 2], channel_mult_emb: 2, num_blocks: 1, attn_resolutions: [4] }
const song = songUNet([2, 8, 8], { ...small, label_dim: 3, dropout: 0.1 })
const ncsnpp = songUNet([2, 8, 8], {
  ...small,
  ...{ embedding_type: 'fourier', channel_mult_noise: 2, resample_filter: [1, 3, 3, 1] },
  ...{ encoder_type: 'skip', decoder_type: 'skip' },
})
const adm = dhariwalUNet([2, 8, 8], small)
const diffusers = unet2d([2, 8, 8], {
  ...{ block_out_channels: [8, 16], layers_per_block: 1, norm_num_groups: 4, attention_head_dim: 8 },
  down_block_types: ['DownBlock2D', 'AttnDownBlock2D'],
  up_block_types: ['AttnUpBlock2D', 'UpBlock2D'],
})

let folder = ''
beforeAll(async () => {
  folder = await mkdtemp(join(os.tmpdir(), 'feynkac-import-'))
})
afterAll(() => rm(folder, { recursive: true }))

/** A denoiser whose every weight is random: ADM and the outputs of the others start at zero. */
async function random(network: NetworkConfig, preconditioning?: Preconditioning): Promise<Denoiser> {
  const model = await Denoiser.create({ network, preconditioning }, { seed: 3, device: 'cpu' })
  const weights = Float32Array.from(
    { length: model.network.parameterCount() },
    (_, i) => 0.3 * Math.sin(1 + 7.3 * i + (i % 11)),
  )
  await run(() => model.network.write('params', weights))
  return model
}

async function outputs(model: Denoiser): Promise<Float32Array> {
  const x = Float32Array.from({ length: 3 * 128 }, (_, i) => Math.sin(i * i))
  const labels = model.labelDim ? Float32Array.from([0, 1, 0]) : undefined
  return model.denoise(x, Float64Array.of(0.05, 0.7, 9), labels && { labels })
}

/** What a file of another framework would say of the model. */
async function sourceOf(model: Denoiser, said: Partial<SourceModel>): Promise<SourceModel> {
  const flat = new Float32Array(model.network.parameterCount())
  await run(() => model.network.read('params', flat))
  const tensors = [...unflatten(model.network, flat)].map(
    ([name, { shape, data }]) => [name, { dtype: 'F32', shape, data }] as const,
  )
  return { ...bareModel('memory', 'safetensors', new Map(tensors)), ...said }
}

describe('networks of NVlabs/edm', () => {
  it.each([
    ['EDMPrecond', { sigma_data: 0.4, sigma_min: 0, sigma_max: Number.POSITIVE_INFINITY }, 'edm', 'log', 0.002, 80],
    ['VPPrecond', {}, 'epsilon', 'vp', 1e-3, 80],
    ['VEPrecond', {}, 've', 'log', 0.02, 100],
    ['iDDPMPrecond', {}, 'epsilon', 'table', 6.4e-3, 80],
  ])('in %s', async (className, args, form, kind, sigmaMin, sigmaMax) => {
    using model = await random(song)
    const source = await sourceOf(model, {
      className: 'SongUNet',
      args: song.args as unknown as Record<string, unknown>,
      preconditioning: { className, args: { img_resolution: 8, img_channels: 2, ...args } },
    })
    const { info, notes, tensors } = importModel(source)
    expect(info.network).toEqual(song)
    expect(info.preconditioning.form).toBe(form)
    expect(info.preconditioning.noise.kind).toBe(kind)
    expect(info.sigmaMin).toBeCloseTo(sigmaMin, 4)
    expect(info.sigmaMax).toBeCloseTo(sigmaMax, 4)
    expect(notes).toEqual([])
    expect(tensors.size).toBe(source.tensors.size)
  })

  it('keeps the half of the output that is not a variance', async () => {
    using model = await random(adm)
    const source = await sourceOf(model, {
      className: 'DhariwalUNet',
      args: { ...adm.args, out_channels: 4 },
      preconditioning: { className: 'iDDPMPrecond', args: {} },
    })
    for (const name of ['out_conv.weight', 'out_conv.bias']) {
      const { dtype, shape, data } = source.tensors.get(name)!
      const doubled = new Float32Array(2 * data.length)
      doubled.set(data as Float32Array)
      source.tensors.set(name, { dtype, shape: [4, ...shape.slice(1)], data: doubled })
    }
    const { info, tensors } = importModel(source)
    expect(info.network).toEqual(adm)
    expect(tensors.get('out_conv.bias')!.shape).toEqual([2])
    expect(tensors.get('out_conv.weight')!.data).toHaveLength(2 * 8 * 9)
    expect(() => importModel({ ...source, preconditioning: null })).toThrow('2 channels at its input but 4')
  })
})

describe('networks of diffusers', () => {
  const config = { _class_name: 'UNet2DModel', _diffusers_version: '0.21.4', ...diffusers.args }
  const scheduler = {
    _class_name: 'DDPMScheduler',
    beta_schedule: 'squaredcos_cap_v2',
    prediction_type: 'v_prediction',
  }

  it('reads old names of attention, and its layers as 1x1 convolutions', async () => {
    using model = await random(diffusers)
    const source = await sourceOf(model, { format: 'diffusers', className: 'UNet2DModel', args: config, scheduler })
    const old = [...source.tensors].map(([name, tensor]) => {
      const before = name
        .replace(/\.to_out\.0\./, '.proj_attn.')
        .replace(/\.to_([qkv])\./, (_, part: 'q' | 'k' | 'v') => `.${{ q: 'query', k: 'key', v: 'value' }[part]}.`)
      const conv = before !== name && tensor.shape.length === 2
      return [before, conv ? { ...tensor, shape: [...tensor.shape, 1, 1] } : tensor] as const
    })
    const { info, tensors } = importModel({ ...source, tensors: new Map(old) })
    expect(tensors).toEqual(source.tensors)
    expect(info.network).toEqual(diffusers)
    expect(info.preconditioning.form).toBe('v')
  })

  it.each([
    ['an unknown block', { down_block_types: ['DownBlock2D', 'SkipDownBlock2D'] }, /down_block_types.*SkipDownBlock2D/],
    ['another activation', { act_fn: 'gelu' }, /act_fn.*gelu/],
    ['no size', { sample_size: null }, /sample_size/],
    ['another time embedding', { time_embedding_type: 'sine' }, /time_embedding_type/],
    ['an argument of later versions', { rope: 3 }, /unknown argument 'rope'/],
  ])('refuses %s by its name', async (_, changed, message) => {
    using model = await random(diffusers)
    const source = await sourceOf(model, { className: 'UNet2DModel', args: { ...config, ...changed }, scheduler })
    expect(() => importModel(source)).toThrow(FormatError)
    expect(() => importModel(source)).toThrow(message)
  })

  it('says what it assumes where there is no scheduler', async () => {
    using model = await random(diffusers)
    const source = await sourceOf(model, { className: 'UNet2DModel', args: config })
    expect(importModel(source).notes.join()).toContain('DDPMScheduler')
    const given = importModel(source, { scheduler: { ...scheduler, prediction_type: 'sample' } })
    expect(given.info.preconditioning.form).toBe('sample')
    expect(given.notes).toEqual([])
  })
})

describe('embeddings of diffusers', () => {
  it.each([
    ['a learned table of times', { time_embedding_type: 'learned', num_train_timesteps: 4 }, 0],
    ['a class table', { num_class_embeds: 3 }, 3],
    ['a class that is a number', { class_embed_type: 'timestep' }, 1],
    ['a class that is an embedding', { class_embed_type: 'identity' }, 32],
  ] as const)('%s', async (_, args, labelDim) => {
    const network = unet2d([2, 8, 8], { ...(diffusers.args as UNet2DModelArgs), ...args } as Partial<UNet2DModelArgs>)
    const noise: NoiseConditioning = { kind: 'table', sigmas: [0.1, 1, 10], times: [0, 1, 2], rounding: 'nearest' }
    using model = await random(network, { form: 'epsilon', sigmaData: 1, noise })
    expect(model.labelDim).toBe(labelDim)
    const x = Float32Array.from({ length: 128 }, (_, i) => Math.cos(i))
    const denoise = (sigma: number, value = 0) =>
      model.denoise(x, sigma, labelDim ? { labels: new Float32Array(labelDim).fill(value) } : {})
    const raw = async (sigma: number, value?: number) => (await denoise(sigma, value)).map((d, i) => (x[i] - d) / sigma)
    if (labelDim) expect(await raw(1, 1)).not.toEqual(await raw(1, 0))
    // the same level's row of the table, another one's
    const near = await raw(1.0001)
    ;(await raw(1)).forEach((h, i) => {
      expect(near[i]).toBeCloseTo(h, 2)
    })
    expect(Math.hypot(...(await raw(0.2)).map((h, i) => h - near[i]))).toBeGreaterThan(0.05)
  })
})

describe('a configuration given for a state dict', () => {
  it('has all of the description, and nothing that is not known', async () => {
    using model = await random(song, { form: 'v', sigmaData: 1, noise: { kind: 'log', scale: 1, offset: 0 } })
    const source = await sourceOf(model, {})
    const { preconditioning } = model.info
    const { info } = importModel(source, { config: { ...song, preconditioning, sigmaMin: 0.5, sigmaMax: 1348 } })
    expect(info).toMatchObject({ preconditioning, sigmaMin: 0.5, sigmaMax: 1348 })
    expect(() => importModel(source, { config: { ...song, precondtioning: preconditioning } })).toThrow(
      'precondtioning',
    )
    const inspected = { file: 'x', notes: [], ...model.info, parameters: 1, memory: [] }
    expect(importModel(source, { config: inspected }).info).toEqual(model.info)
  })
})

describe('files that cannot be', () => {
  it('are refused by FormatError with their name', async () => {
    using model = await random(song)
    const path = join(folder, 'impossible.safetensors')
    await model.save(path)
    const bytes = await readFile(path)
    // as long as before
    bytes.write('[0,2]', bytes.indexOf('[1,2]', bytes.indexOf('channel_mult')))
    await writeFile(path, bytes)
    await expect(Denoiser.load(path)).rejects.toThrow(FormatError)
  })

  it('say which weights have 8 bits', async () => {
    const header = JSON.stringify({ 'enc.8x8_conv.weight': { dtype: 'F8_E5M2', shape: [1], data_offsets: [0, 1] } })
    const length = Buffer.alloc(8)
    length.writeBigUInt64LE(BigInt(header.length))
    const path = join(folder, 'f8.safetensors')
    await writeFile(path, Buffer.concat([length, Buffer.from(header), Buffer.of(0)]))
    await expect(Denoiser.load(path, { config: { ...song } })).rejects.toThrow(FormatError)
  })
})

describe('autoencoders', () => {
  it('are read from a folder of diffusers, a pipeline and back, and refused as models of noise', async () => {
    const network = autoencoderKL([3, 8, 12], { block_out_channels: [8, 8], norm_num_groups: 4, latent_channels: 2 })
    using model = await Autoencoder.create({ network }, { seed: 2, device: 'cpu' })
    const vae = join(folder, 'pipeline-with-vae', 'vae')
    await exportAutoencoder(vae, 'diffusers', model)
    using again = await Autoencoder.load(vae, { device: 'cpu' })
    expect(again.info).toEqual(model.info)
    const x = Float32Array.from({ length: 2 * 288 }, (_, i) => Math.cos(i))
    expect(await again.decode(await again.encode(x))).toEqual(await model.decode(await model.encode(x)))
    await expect(Denoiser.load(vae)).rejects.toThrow('Autoencoder.load')
    await writeFile(join(folder, 'pipeline-with-vae', 'model_index.json'), '{"vae": ["diffusers", "AutoencoderKL"]}')
    const vaeOf = await readSource(join(folder, 'pipeline-with-vae'), { network: 'vae' })
    expect(importAutoencoder(vaeOf).network).toEqual(network)
    const file = join(folder, 'vae.safetensors')
    vi.spyOn(console, 'log').mockReturnValue()
    try {
      expect(await main(['convert', vae, file])).toBe(0)
      expect(await main(['inspect', file])).toBe(0)
    } finally {
      vi.restoreAllMocks()
    }
    using converted = await Autoencoder.load(file, { device: 'cpu' })
    expect(converted.info).toEqual(model.info)
  })
})

describe('writing for others', () => {
  it.each([
    ['song', song],
    ['ncsnpp', ncsnpp],
    ['adm', adm],
  ])('a state dict of NVlabs/edm: %s', async (name, network) => {
    using model = await random(network)
    const path = join(folder, `${name}.pt`)
    await exportModel(path, 'edm', model)
    await expect(Denoiser.load(path)).rejects.toThrow('--config')
    const config = JSON.parse(await readFile(`${path}.json`, 'utf8'))
    using again = await Denoiser.load(path, { config, device: 'cpu' })
    expect(again.info).toEqual(model.info)
    expect(await outputs(again)).toEqual(await outputs(model))
    const { tensors } = await readSource(path)
    const filters = [...tensors].filter(([key]) => key.endsWith('.resample_filter'))
    expect(filters.map(([key]) => key)).toEqual(
      expect.arrayContaining(['enc.4x4_down.conv0.resample_filter', 'dec.8x8_up.skip.resample_filter']),
    )
    const taps = network.class === 'SongUNet' ? network.args.resample_filter.length : 2
    for (const [, { shape, data }] of filters) {
      expect(shape).toEqual([1, 1, taps, taps])
      expect([...(data as Float32Array)].reduce((a, b) => a + b, 0)).toBeCloseTo(1, 6)
    }
    if (network === ncsnpp)
      expect(filters.map(([key]) => key)).toEqual(
        expect.arrayContaining(['enc.4x4_aux_down.resample_filter', 'dec.8x8_aux_up.resample_filter']),
      )
  })

  const sigmas = Array.from({ length: 40 }, (_, t) => 0.01 * 1.2 ** t)
  const table: NoiseConditioning = { kind: 'table', sigmas, times: sigmas.map((_, t) => t), rounding: 'linear' }
  it.each<[string, Partial<typeof diffusers.args>, Preconditioning]>([
    ['EDMEulerScheduler', {}, { form: 'edm', sigmaData: 0.4, noise: { kind: 'log', scale: 0.25, offset: 0 } }],
    ['DDPMScheduler', {}, { form: 'epsilon', sigmaData: 1, noise: table }],
    ['DDPMScheduler', {}, { form: 'v', sigmaData: 1, noise: table }],
    ['DDPMScheduler', {}, { form: 'sample', sigmaData: 1, noise: table }],
    [
      'ScoreSdeVeScheduler',
      { time_embedding_type: 'fourier' },
      { form: 've', sigmaData: 1, noise: { kind: 'log', scale: 1, offset: -Math.log(2) } },
    ],
  ])('a pipeline of diffusers with %s (%#)', async (className, args, preconditioning) => {
    using model = await random({ ...diffusers, args: { ...diffusers.args, ...args } } as NetworkConfig, preconditioning)
    const path = join(folder, `pipeline-${preconditioning.form}`)
    await exportModel(path, 'diffusers', model)
    const scheduler = JSON.parse(await readFile(join(path, 'scheduler', 'scheduler_config.json'), 'utf8'))
    expect(scheduler._class_name).toBe(className)
    using again = await Denoiser.load(path, { device: 'cpu' })
    expect(again.info.network).toEqual(model.info.network)
    expect(again.info.preconditioning.form).toBe(preconditioning.form)
    const [want, got] = [await outputs(model), await outputs(again)]
    for (let i = 0; i < want.length; i++)
      expect(Math.abs(got[i] - want[i])).toBeLessThan(1e-5 * (1 + Math.abs(want[i])))
  })

  it('refuses what the others do not have', async () => {
    using model = await random(song)
    using other = await random(diffusers)
    const path = join(folder, 'none')
    await expect(exportModel(path, 'diffusers', model)).rejects.toThrow('SongUNet')
    await expect(exportModel(path, 'edm', other)).rejects.toThrow('UNet2DModel')
    using mapped = await random(songUNet([2, 8, 8], { ...small, label_dim: 3, label_maps: true }))
    await expect(exportModel(path, 'edm', mapped)).rejects.toThrow('label_maps')
  })
})

describe('the command line', () => {
  it('converts there and back, and inspects', async () => {
    using model = await random(diffusers)
    const [file, pipeline, back] = ['model.safetensors', 'pipeline', 'back.safetensors'].map((n) => join(folder, n))
    await model.save(file)
    let out = ''
    vi.spyOn(console, 'log').mockImplementation((text) => {
      out += `${text}\n`
    })
    const errors = vi.spyOn(process.stderr, 'write').mockReturnValue(true)
    try {
      expect(await main(['convert', file, pipeline, '--to', 'diffusers'])).toBe(0)
      expect(await main(['convert', pipeline, back, '--json'])).toBe(0)
      expect(await readFile(back)).toEqual(await readFile(file))
      out = ''
      expect(await main(['inspect', pipeline])).toBe(0)
      expect(out).toContain('UNet2DModel')
      expect(out).toMatch(/distil into a dot energy \(student\): .* on cpu/)
      expect(await main(['convert', file, join(folder, 'x.pt'), '--to', 'edm'])).toBe(2)
      const broken = join(folder, 'broken.pkl')
      await writeFile(broken, 'cposix\nsystem\n(Vecho\ntR.')
      expect(await main(['convert', broken, join(folder, 'fresh.safetensors')])).toBe(1)
      expect(errors.mock.calls.join('')).toContain('posix.system')
    } finally {
      vi.restoreAllMocks()
    }
  })
})

describe('distillation of a teacher with another preconditioning', () => {
  it('gives an energy of the same preconditioning, nearer to the teacher', async () => {
    const sigmas = Array.from({ length: 60 }, (_, t) => 0.02 * 1.12 ** t)
    const noise: NoiseConditioning = { kind: 'table', sigmas, times: sigmas.map((_, t) => t / 10), rounding: 'linear' }
    const preconditioning: Preconditioning = { form: 'epsilon', sigmaData: 1, noise }
    const network = residualMLP(2, { hidden: 32, layers: 1 })
    using teacher = await Denoiser.create({ network, preconditioning, sigmaMin: 0.02, sigmaMax: 16 }, { seed: 5 })
    const weights = new Float32Array(teacher.network.parameterCount())
    await run(() => teacher.network.read('params', weights))
    // an output layer that does something
    for (let i = weights.length - 66; i < weights.length; i++) weights[i] = 0.3 * Math.sin(i)
    await run(() => teacher.network.write('params', weights))
    const losses: number[] = []
    const { model } = await distill({
      teacher,
      data: 'synthetic:moons:count=1000',
      images: 40_000,
      batchSize: 100,
      seed: 1,
      onProgress: ({ loss }) => losses.push(loss),
    })
    using energy = model
    expect(energy.info.preconditioning).toEqual(preconditioning)
    expect([energy.info.sigmaMin, energy.info.sigmaMax]).toEqual([0.02, 16])
    const mean = (values: number[]) => values.reduce((a, b) => a + b, 0) / values.length
    // what is left is what of the teacher is no gradient
    expect(mean(losses.slice(-20))).toBeLessThan(0.75 * mean(losses.slice(0, 3)))
    // the gradient is that of the energy's own denoiser: grad E = (x - D) / sigma^2
    const x = Float32Array.of(0.3, -0.8, 1.5, 2)
    const sigma = Float64Array.of(0.3, 2)
    const { grad } = await energy.energyGrad(x, sigma)
    const denoised = await energy.denoise(x, sigma)
    for (let i = 0; i < 4; i++) expect(grad[i]).toBeCloseTo((x[i] - denoised[i]) / sigma[i >> 1] ** 2, 4)
    const { samples } = await sample(energy, { particles: 20, sigmas: sigmaGrid({ steps: 8, min: 0.02, max: 16 }) })
    expect(samples.every(Number.isFinite)).toBe(true)
  })
})
