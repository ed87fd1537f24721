import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ArgumentError, FormatError } from '../lib/base/errors.js'
import { parseBounded } from '../lib/base/json.js'
import { MemoryDataset } from '../lib/data/dataset.js'
import { labelledAs } from '../lib/data/relabel.js'
import { Denoiser, distill, guidedDenoiser, sample, trainDenoiser, unet2d } from '../lib/index.js'
import { exportModel } from '../lib/models/export.js'
import type { UNet2DModelArgs } from '../lib/networks/diffusers.js'
import type { Preconditioning } from '../lib/networks/preconditioning.js'
import { readSafetensors, writeSafetensors } from '../lib/weights/safetensors.js'

/** Pipelines of diffusers in the ways that its own versions and other people's trainers write them. */

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'feynkac-foreign-'))
})
afterAll(() => rm(folder, { recursive: true }))

const levels = { block_out_channels: [8], down_block_types: ['DownBlock2D' as const], up_block_types: ['UpBlock2D' as const], layers_per_block: 1, norm_num_groups: 4 } // biome-ignore format: one line
const ddpm = { _class_name: 'DDPMScheduler', num_train_timesteps: 1000, beta_start: 1e-4, beta_end: 0.02 }
const x = new Float32Array(192).fill(0.3)

/** A pipeline whose last layers give something, as those of a trained network do. */
async function pipeline(name: string, args: Partial<UNet2DModelArgs> = {}, preconditioning?: Preconditioning) {
  const network = unet2d([3, 8, 8], { ...levels, ...args })
  const noise = preconditioning && { preconditioning, sigmaMin: 0.05, sigmaMax: 80 }
  const model = await Denoiser.create({ network, ...noise }, { device: 'cpu' })
  const path = join(folder, name)
  await exportModel(path, 'diffusers', model)
  const file = join(path, 'unet/diffusion_pytorch_model.safetensors')
  const { tensors } = await readSafetensors(file)
  for (const [tensor, { data }] of tensors)
    if (/(conv_out|conv2|class_embedding|time_emb_proj).*weight$/.test(tensor))
      for (let i = 0; i < data.length; i++) data[i] = 0.3 * Math.sin(i * i)
  await writeSafetensors(file, tensors as never)
  return path
}

async function changed(path: string, name: string, file: string, change: (text: string) => string): Promise<string> {
  const copy = join(folder, name)
  await cp(path, copy, { recursive: true })
  await writeFile(join(copy, file), change(await readFile(join(copy, file), 'utf8')))
  return copy
}

const scheduler = 'scheduler/scheduler_config.json'
const denoised = async (path: string, options = {}) => (await Denoiser.load(path, options)).denoise(x, 1)

describe('dialects', () => {
  it('Python’s numbers that JSON lacks', () => {
    expect(parseBounded('{"a": [Infinity, -Infinity, NaN], "NaN": "Infinity, \\"NaN\\""}')).toEqual({
      a: [Infinity, -Infinity, Number.NaN],
      NaN: 'Infinity, "NaN"',
    })
    expect(() => parseBounded('[Inf]')).toThrow(SyntaxError)
  })

  it('options of samplers, and averages, do not concern the network', async () => {
    const plain = await changed(await pipeline('edm'), 'plain', scheduler, () => JSON.stringify(ddpm))
    const expected = await denoised(plain)
    const solver = JSON.stringify({ ...ddpm, _class_name: 'SASolverScheduler', lambda_min_clipped: 0 })
    const clipped = solver.replace(/(clipped":)0/, '$1-Infinity')
    expect(await denoised(await changed(plain, 'solver', scheduler, () => clipped))).toEqual(expected)
    const averaging = { decay: 0.9999, min_decay: 0, optimization_step: 5, update_after_step: 0, use_ema_warmup: true, inv_gamma: 1, power: 0.75 } // biome-ignore format: one line
    const ema = await changed(plain, 'ema', 'unet/config.json', (text) => JSON.stringify({ ...JSON.parse(text), ...averaging })) // biome-ignore format: one line
    expect(await denoised(ema)).toEqual(expected)
    for (const [name, option] of [
      ['FlowMatchEulerDiscrete', 'base_shift'],
      ['LCM', 'original_inference_steps'],
    ]) {
      // biome-ignore format: one line
      const config = JSON.stringify({ _class_name: `${name}Scheduler`, [option]: 0.5 })
      const error = await denoised(await changed(plain, name, scheduler, () => config)).catch((e) => e)
      expect(error).toBeInstanceOf(FormatError)
      expect(error.message).toMatch(new RegExp(`${name}Scheduler is not supported: one of DDPM`))
    }
  })

  it('Fourier frequencies under both of their names, or the old one', async () => {
    const noise = { kind: 'log', scale: 1, offset: 0 } as const
    const path = await pipeline('fourier', { time_embedding_type: 'fourier' }, { form: 've', sigmaData: 1, noise })
    const expected = await denoised(path)
    const file = 'unet/diffusion_pytorch_model.safetensors'
    const { tensors } = await readSafetensors(join(path, file))
    const frequencies = tensors.get('time_proj.weight')!
    tensors.set('time_proj.W', frequencies)
    for (const name of ['both', 'old']) {
      const copy = join(folder, name)
      await cp(path, copy, { recursive: true })
      if (name === 'old') tensors.delete('time_proj.weight')
      await writeSafetensors(join(copy, file), tensors as never)
      expect(await denoised(copy), name).toEqual(expected)
    }
  })

  it('names behind what wrapped the network, and one vector under two names', async () => {
    const path = await pipeline('bare')
    const expected = await denoised(path)
    const file = 'unet/diffusion_pytorch_model.safetensors'
    const { tensors } = await readSafetensors(join(path, file))
    const counter = { shape: [], data: Float32Array.of(5) }
    const behind = (prefix: string) => [...tensors].map(([name, tensor]) => [prefix + name, tensor] as const)
    const forms = {
      compiled: behind('_orig_mod.'),
      parallel: behind('module.'),
      attribute: behind('module.ema_model.unet.'),
      averaged: [['n_averaged', counter] as const, ...behind('module.')],
      twice: [...tensors, ['conv_in.copy', tensors.get('conv_in.weight')!] as const],
    }
    for (const [name, form] of Object.entries(forms)) {
      const copy = join(folder, name)
      await cp(path, copy, { recursive: true })
      await writeSafetensors(join(copy, file), form as never)
      expect(await denoised(copy), name).toEqual(expected)
    }
    const integers = join(folder, 'integers')
    await cp(path, integers, { recursive: true })
    const bytes = await readFile(join(integers, file), 'latin1')
    await writeFile(join(integers, file), bytes.replace('"dtype":"F32"', '"dtype":"I32"'), 'latin1')
    await expect(denoised(integers)).rejects.toThrow(/is I32: weights of 8 bits or of integers are not read/)
    const other = join(folder, 'other')
    await cp(path, other, { recursive: true })
    await writeSafetensors(join(other, file), [...tensors, ['conv_in.copy', tensors.get('conv_out.weight')!]].slice(1) as never) // biome-ignore format: one line
    await expect(denoised(other)).rejects.toThrow(FormatError)
  })

  it('what stands for a file of it is named, and where a model lies is said', async () => {
    const path = await pipeline('whole')
    const pointer = 'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4\n'
    for (const file of ['model_index.json', 'unet/config.json', scheduler, 'unet/diffusion_pytorch_model.safetensors'])
      await expect(denoised(await changed(path, 'lfs', file, () => pointer)), file).rejects.toThrow(/Git LFS pointer/)
    const outer = join(folder, 'checkpoint-500')
    await cp(join(path, 'unet'), join(outer, 'unet_ema'), { recursive: true })
    expect(await denoised(join(path, 'unet'))).toEqual(await denoised(path)) // with the scheduler of its pipeline
    await expect(denoised(outer)).rejects.toThrow(`give one of those in it, ${join(outer, 'unet_ema')}`)
  })

  it('a continuous EulerDiscrete is written back as it came', async () => {
    const noise = { kind: 'log', scale: 0.25, offset: 0 } as const
    const path = await pipeline('euler', {}, { form: 'v', sigmaData: 1, noise })
    expect(JSON.parse(await readFile(join(path, scheduler), 'utf8'))).toMatchObject({
      _class_name: 'EulerDiscreteScheduler',
      timestep_type: 'continuous',
      prediction_type: 'v_prediction',
    })
    const { info } = await Denoiser.load(path)
    expect(info).toMatchObject({ preconditioning: { form: 'v', sigmaData: 1, noise }, sigmaMin: 0.05, sigmaMax: 80 })
  })
})

describe('classes', () => {
  it('a table without a row for no class takes no sample without a class', async () => {
    const path = await pipeline('classes', { num_class_embeds: 4 })
    const model = await Denoiser.load(path)
    const refused = expect.objectContaining({
      code: 'FEYNKAC_ARGUMENT',
      message: expect.stringMatching(/--null-class/),
    })
    await expect(model.denoise(x, 1)).rejects.toThrow(refused)
    await expect(model.denoise(x, 1, { labels: [null] })).rejects.toThrow(refused)
    const guided = guidedDenoiser(model, { labels: [1], scale: 2 })
    await expect(sample(guided, { particles: 1, sigmas: [2, 1] })).rejects.toThrow(refused)
    const third = await model.denoise(x, 1, { labels: [3] })
    expect(await denoised(path, { nullClass: 3 })).toEqual(third)
    const named = await Denoiser.load(path, { nullClass: 3 })
    await named.save(join(folder, 'named.safetensors'))
    expect(await denoised(join(folder, 'named.safetensors'))).toEqual(third)
    await expect(Denoiser.load(path, { nullClass: 4 })).rejects.toThrow(ArgumentError)
    const few = { data: data(4), images: 4, batchSize: 4, calibrate: false as const }
    await expect(distill({ ...few, teacher: model, labelDropout: 0.5 })).rejects.toThrow(/labelDropout/)
    expect((await distill({ ...few, teacher: model })).model.info.nullClass).toBe(null)
    expect((await distill({ ...few, teacher: named, labelDropout: 0.5 })).model.info.nullClass).toBe(3)
  })

  const data = (classes: number, values?: string[]) =>
    new MemoryDataset({
      name: 'pictures',
      shape: [3, 8, 8],
      data: new Uint8Array(192 * 8).map((_, i) => (i * 7) % 255),
      labels: { attributes: [{ name: 'class', size: classes, ...(values && { values }) }] },
      classes: Int32Array.from({ length: 8 }, (_, i) => i % classes),
    })

  it('data that lack the last classes are told as the teacher tells them', async () => {
    const small = { images: 4, batchSize: 4, network: { width: 4, channelMult: [1], blocks: 1 } }
    const { model: teacher } = await trainDenoiser({ ...small, data: data(3) })
    const { model } = await distill({ teacher, data: data(2), images: 4, batchSize: 4, calibrate: 4 })
    expect(model.info.labels).toEqual(data(3).labels)
    await expect(distill({ teacher, data: data(4), images: 4 })).rejects.toThrow(
      /takes 3 label entries but the data have 4/,
    )
    const named = labelledAs(data(3, ['a', 'b', 'c']).labels!, data(2, ['c', 'a']))
    expect([named.label(0), named.label(1)]).toEqual([[2], [0]])
    expect(() => labelledAs(data(3, ['a', 'b', 'c']).labels!, data(2, ['c', 'd']))).toThrow(/does not know/)
  })
})
