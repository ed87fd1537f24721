import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { zipSync } from 'fflate'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Autoencoder, autoencoderKL, Denoiser, unet2d } from '../lib/index.js'
import { diffusersSchedule } from '../lib/models/diffusers-schedule.js'
import { exportAutoencoder, exportModel } from '../lib/models/export.js'
import { native } from '../lib/native/addon.js'
import { readSafetensors, writeSafetensors } from '../lib/weights/safetensors.js'
import { readSource } from '../lib/weights/source.js'
import { floats, legacy, p, state, tensor } from './crafted.js'

/** Models in the forms that their own writers have given them, version by version: all of them say the same. */

let folder: string
beforeAll(async () => {
  native.setThreads(1)
  folder = await mkdtemp(join(tmpdir(), 'feynkac-forms-'))
})
afterAll(() => rm(folder, { recursive: true }))

type Json = Record<string, unknown>
/** Versions, oldest first: each has the keys of the one before and its own; null takes one away. */
type Versions = [version: string, changes: Json][]

function* forms(versions: Versions): Generator<[string, Json]> {
  let keys: Json = {}
  for (const [version, changes] of versions) {
    keys = { ...keys, ...changes }
    const left = Object.entries(keys).filter(([, value]) => value !== undefined)
    yield [version, { ...Object.fromEntries(left), _diffusers_version: version }]
  }
}

const unet: Versions = [
  [
    '0.1.1',
    {
      _class_name: 'UNet2DModel',
      act_fn: 'silu',
      attention_head_dim: null,
      block_out_channels: [8, 8],
      center_input_sample: false,
      down_block_types: ['DownBlock2D', 'AttnDownBlock2D'],
      downsample_padding: 0,
      flip_sin_to_cos: false,
      freq_shift: 1,
      in_channels: 1,
      layers_per_block: 1,
      mid_block_scale_factor: 1,
      norm_eps: 1e-6,
      norm_num_groups: 4,
      out_channels: 1,
      sample_size: 8,
      time_embedding_type: 'positional',
      up_block_types: ['AttnUpBlock2D', 'UpBlock2D'],
    },
  ],
  ['0.9.0', { add_attention: true, _name_or_path: '/home/someone/model' }],
  ['0.12.0', { class_embed_type: null, num_class_embeds: null, resnet_time_scale_shift: 'default' }],
  ['0.18.0', { downsample_type: 'conv', upsample_type: 'conv', dropout: 0.0 }],
  ['0.21.0', { attn_norm_num_groups: null }],
  ['0.26.0', { num_train_timesteps: null }],
  ['0.32.0', { mid_block_type: 'UNetMidBlock2D' }],
]

const ddpm: Versions = [
  [
    '0.1.1',
    {
      _class_name: 'DDPMScheduler',
      beta_end: 0.02,
      beta_schedule: 'linear',
      beta_start: 0.0001,
      clip_sample: true,
      num_train_timesteps: 1000,
      trained_betas: null,
      variance_type: 'fixed_large',
      timestep_values: null,
      tensor_format: 'pt',
    },
  ],
  ['0.4.0', { timestep_values: undefined, tensor_format: undefined }],
  ['0.9.0', { prediction_type: 'epsilon' }],
  ['0.15.0', { clip_sample_range: 1.0, thresholding: false, dynamic_thresholding_ratio: 0.995, sample_max_value: 1.0 }],
  ['0.19.0', { timestep_spacing: 'leading', steps_offset: 0 }],
  ['0.28.0', { rescale_betas_zero_snr: false }],
]

const vae: Versions = [
  [
    '0.2.4',
    {
      _class_name: 'AutoencoderKL',
      act_fn: 'silu',
      block_out_channels: [4, 8],
      down_block_types: ['DownEncoderBlock2D', 'DownEncoderBlock2D'],
      in_channels: 3,
      latent_channels: 2,
      layers_per_block: 1,
      norm_num_groups: 2,
      out_channels: 3,
      sample_size: 8,
      up_block_types: ['UpDecoderBlock2D', 'UpDecoderBlock2D'],
    },
  ],
  ['0.12.0', { scaling_factor: 0.18215 }],
  ['0.18.0', { force_upcast: true }],
  ['0.26.0', { latents_mean: null, latents_std: null, shift_factor: null }],
  ['0.30.0', { mid_block_add_attention: true, use_quant_conv: true, use_post_quant_conv: true }],
]

/** Gives every tensor of a file numbers, as those of a trained network are. */
async function trained(file: string): Promise<void> {
  const { tensors } = await readSafetensors(file)
  for (const { data } of tensors.values()) for (let i = 0; i < data.length; i++) data[i] = 0.3 * Math.sin(i * i + 1)
  await writeSafetensors(file, tensors as never)
}

const write = (path: string, json: Json) => writeFile(path, `${JSON.stringify(json, null, 2)}\n`)

describe('UNet2DModel with its scheduler', () => {
  const x = Float32Array.from({ length: 64 }, (_, i) => Math.sin(i))
  const path = () => join(folder, 'unet')
  let expected: Float32Array
  beforeAll(async () => {
    const args = { block_out_channels: [8, 8], down_block_types: ['DownBlock2D', 'AttnDownBlock2D'], up_block_types: ['AttnUpBlock2D', 'UpBlock2D'], layers_per_block: 1, norm_num_groups: 4, norm_eps: 1e-6, attention_head_dim: null, downsample_padding: 0, flip_sin_to_cos: false, freq_shift: 1 } // biome-ignore format: one line
    using model = await Denoiser.create({ network: unet2d([1, 8, 8], args as never) }, { device: 'cpu' })
    await exportModel(path(), 'diffusers', model)
    await trained(join(path(), 'unet/diffusion_pytorch_model.safetensors'))
    await write(join(path(), 'scheduler/scheduler_config.json'), [...forms(ddpm)].at(-1)![1])
    expected = await denoised()
  })
  const denoised = async () => {
    using model = await Denoiser.load(path(), { device: 'cpu' })
    return model.denoise(x, 1)
  }

  it.each([...forms(unet)])('config.json of %s', async (_, json) => {
    await write(join(path(), 'unet/config.json'), json)
    expect(await denoised()).toEqual(expected)
  })

  it.each([...forms(ddpm)])('scheduler_config.json of %s', async (_, json) => {
    await write(join(path(), 'scheduler/scheduler_config.json'), json)
    expect(await denoised()).toEqual(expected)
  })

  it.each([
    ['0.15.0', { decay: 0.9999, min_decay: 0.0, optimization_step: 100, update_after_step: 0, use_ema_warmup: false, inv_gamma: 1.0, power: 0.6667 }], // biome-ignore format: one line
    ['0.30.0', { decay: 0.9999, min_decay: 0.0, optimization_step: 100, update_after_step: 0, use_ema_warmup: true, inv_gamma: 1.0, power: 0.75 }], // biome-ignore format: one line
  ])('config.json of EMAModel of %s', async (version, averaging) => {
    await write(join(path(), 'unet/config.json'), { ...[...forms(unet)].at(-1)![1], ...averaging, _diffusers_version: version }) // biome-ignore format: one line
    expect(await denoised()).toEqual(expected)
  })
})

describe('AutoencoderKL', () => {
  const path = () => join(folder, 'vae')
  const x = Float32Array.from({ length: 192 }, (_, i) => Math.sin(i))
  let expected: Float32Array
  beforeAll(async () => {
    const args = { block_out_channels: [4, 8], latent_channels: 2, layers_per_block: 1, norm_num_groups: 2 }
    using model = await Autoencoder.create({ network: autoencoderKL([3, 8, 8], args) }, { device: 'cpu' })
    await exportAutoencoder(path(), 'diffusers', model)
    await trained(join(path(), 'diffusion_pytorch_model.safetensors'))
    await write(join(path(), 'config.json'), [...forms(vae)].at(-1)![1])
    expected = await encoded()
  })
  const encoded = async () => {
    using model = await Autoencoder.load(path(), { device: 'cpu' })
    return model.encode(x)
  }

  it.each([...forms(vae)])('config.json of %s', async (_, json) => {
    await write(join(path(), 'config.json'), json)
    expect(await encoded()).toEqual(expected)
  })
})

describe('archives of torch.save', () => {
  const data = { '0': floats(1, 2) }
  const pickle = state(['weight', tensor()])
  /** What stands beside the pickle and the storages. */
  const beside: [version: string, files: Record<string, string>][] = [
    ['1.6', { version: '3\n' }],
    ['2.1', { version: '3\n', byteorder: 'little' }],
    ['2.3', { version: '3\n', byteorder: 'little', '.data/serialization_id': '0123456789' }],
    ['2.7', { version: '3\n', byteorder: 'little', '.data/serialization_id': '0123456789', '.format_version': '1', '.storage_alignment': '64' }], // biome-ignore format: one line
  ]

  it.each(beside)('of PyTorch %s', async (version, files) => {
    const path = join(folder, `${version}.pt`)
    const entries: Record<string, Uint8Array> = { 'archive/data.pkl': pickle, 'archive/data/0': data['0'] }
    for (const [name, text] of Object.entries(files)) entries[`archive/${name}`] = Buffer.from(text)
    await writeFile(path, zipSync(entries, { level: 0 }))
    const { tensors } = await readSource(path)
    expect([...tensors.get('weight')!.data]).toEqual([1, 2])
  })

  it('of trainers, who put the weights beside other things', async () => {
    const inner = p.dict([p.text('weight'), tensor()])
    for (const key of ['state_dict', 'model', 'ema', 'model_state_dict']) {
      const path = join(folder, `${key}.pt`)
      const run = p.pickle(p.dict([p.text('epoch'), p.int(3)], [p.text(key), inner]))
      await writeFile(path, zipSync({ 'x/data.pkl': run, 'x/version': Buffer.from('3\n'), 'x/data/0': data['0'] }))
      expect([...(await readSource(path)).tensors.keys()], key).toEqual(['weight'])
    }
  })
})

describe('tensors as PyTorch has pickled them', () => {
  const torch = (name: string) => p.global('torch', name)
  const utils = (name: string) => p.global('torch._utils', name)
  const hooks = p.call(p.global('collections', 'OrderedDict'))
  const no = p.raw(0x89)
  const storage = (where: string, ...more: Buffer[]) => p.persistent(p.tuple(p.text('storage'), torch(where.startsWith('cuda') && more.length > 0 ? 'cuda.FloatStorage' : 'FloatStorage'), p.text('0'), p.text(where), p.int(4), ...more)) // biome-ignore format: one line
  const at = [p.int(0), p.tuple(p.int(2), p.int(2)), p.tuple(p.int(2), p.int(1))]
  const v2 = (where = 'cpu', ...more: Buffer[]) => p.call(utils('_rebuild_tensor_v2'), storage(where, ...more), ...at, no, hooks) // biome-ignore format: one line
  const numbers = [1, 2, 3, 4]

  /** A version, a tensor of its form, and whether it comes in one of the files before the archives. */
  const written: [version: string, tensor: Buffer, old: boolean][] = [
    ['0.3', p.call(utils('_rebuild_tensor'), storage('cpu', p.none), ...at), true],
    ['0.3 of a GPU', p.call(utils('_rebuild_tensor'), storage('cuda:0', p.none), ...at), true],
    ['0.4', v2('cpu', p.none), true],
    ['1.0, a parameter', p.call(utils('_rebuild_parameter'), v2('cpu', p.none), p.raw(0x88), hooks), true],
    ['1.5 of a GPU', v2('cuda:1', p.none), true],
    ['1.6', v2(), false],
    ['1.8, a parameter of a GPU', p.call(utils('_rebuild_parameter'), v2('cuda:0'), p.raw(0x88), hooks), false],
    ['1.13 of a Mac', v2('mps'), false],
    ['2.0 with the state of a parameter', p.call(utils('_rebuild_parameter_with_state'), v2(), no, hooks, p.dict()), false], // biome-ignore format: one line
    ['2.1, a subclass', p.call(p.global('torch._tensor', '_rebuild_from_type_v2'), utils('_rebuild_tensor_v2'), torch('Tensor'), p.tuple(storage('cpu'), ...at, no, hooks), p.dict()), false], // biome-ignore format: one line
    ['2.3 with a type of its own', p.call(utils('_rebuild_tensor_v3'), p.persistent(p.tuple(p.text('storage'), p.global('torch.storage', 'UntypedStorage'), p.text('0'), p.text('cpu'), p.int(16))), ...at, no, hooks, torch('float32')), false], // biome-ignore format: one line
    ['2.6 with what a wrapper knows of it', p.call(utils('_rebuild_tensor_v2'), storage('cpu'), ...at, no, hooks, p.dict([p.text('conj'), no])), false], // biome-ignore format: one line
  ]

  it.each(written)('%s', async (version, weight, old) => {
    const path = join(folder, `${version}.pth`)
    const pickle = state(['weight', weight])
    const files = { 'x/data.pkl': pickle, 'x/version': Buffer.from('3\n'), 'x/data/0': floats(...numbers) }
    await writeFile(path, old ? legacy(pickle, ['0'], [[4n, floats(...numbers)]]) : zipSync(files, { level: 0 }))
    const { tensors, format } = await readSource(path)
    expect(format).toBe(old ? 'torch-legacy' : 'torch-zip')
    expect(tensors.get('weight')).toMatchObject({ shape: [2, 2], dtype: 'F32' })
    expect([...tensors.get('weight')!.data]).toEqual(numbers)
  })

  it('a state dict with the versions of its modules beside the tensors', async () => {
    // OrderedDict with the attribute _metadata, as every state_dict() has
    const versions = p.dict([p.text(''), p.dict([p.text('version'), p.int(1)])])
    const made = p.raw(
      p.call(p.global('collections', 'OrderedDict')),
      ...['(', p.text('weight'), v2('cpu', p.none), 'u', p.dict([p.text('_metadata'), versions]), 'b'],
    )
    const path = join(folder, 'metadata.pth')
    await writeFile(path, legacy(p.pickle(made), ['0'], [[4n, floats(...numbers)]]))
    expect([...(await readSource(path)).tensors.keys()]).toEqual(['weight'])
  })
})

describe('schedulers', () => {
  const base = { beta_start: 0.0001, beta_end: 0.02, beta_schedule: 'linear', num_train_timesteps: 1000, prediction_type: 'epsilon', trained_betas: null } // biome-ignore format: one line
  const spaced = { timestep_spacing: 'linspace', steps_offset: 0 }
  const clipped = { clip_sample: true, clip_sample_range: 1.0, thresholding: false, dynamic_thresholding_ratio: 0.995, sample_max_value: 1.0, rescale_betas_zero_snr: false } // biome-ignore format: one line
  const thresholds = { thresholding: false, dynamic_thresholding_ratio: 0.995, sample_max_value: 1.0 }
  const karras = { use_karras_sigmas: false }
  const recent = { ...karras, use_exponential_sigmas: false, use_beta_sigmas: false }
  const solver = { ...thresholds, solver_order: 2, lower_order_final: true }
  const flow = { use_flow_sigmas: false, flow_shift: 1.0 }
  const shifts = { ...flow, use_dynamic_shifting: false, time_shift_type: 'exponential' }
  const lambdas = { lambda_min_clipped: Number.NEGATIVE_INFINITY, variance_type: null }
  const kdpm = { ...base, beta_start: 0.00085, beta_end: 0.012 }

  /** What each class has written, older and newer. */
  const written: Record<string, Json[]> = {
    DDPMParallelScheduler: [{ ...base, ...clipped, ...spaced, variance_type: 'fixed_small' }],
    DDIMScheduler: [
      { ...base, clip_sample: true, set_alpha_to_one: true, tensor_format: 'pt', timestep_values: null, prediction_type: undefined }, // biome-ignore format: one line
      { ...base, ...clipped, ...spaced, set_alpha_to_one: true },
    ],
    DDIMParallelScheduler: [{ ...base, ...clipped, ...spaced, set_alpha_to_one: true }],
    PNDMScheduler: [
      { ...base, skip_prk_steps: false, tensor_format: 'pt', prediction_type: undefined },
      { ...base, ...spaced, skip_prk_steps: false, set_alpha_to_one: false },
    ],
    DPMSolverMultistepScheduler: [
      { ...base, ...solver, algorithm_type: 'dpmsolver++', solver_type: 'midpoint', predict_x0: true, prediction_type: undefined, predict_epsilon: true }, // biome-ignore format: one line
      { ...base, ...solver, ...spaced, ...recent, ...lambdas, ...shifts, algorithm_type: 'dpmsolver++', solver_type: 'midpoint', euler_at_final: false, use_lu_lambdas: false, final_sigmas_type: 'zero', rescale_betas_zero_snr: false }, // biome-ignore format: one line
    ],
    DPMSolverSinglestepScheduler: [{ ...base, ...solver, ...recent, ...lambdas, ...shifts, algorithm_type: 'dpmsolver++', solver_type: 'midpoint', final_sigmas_type: 'zero' }], // biome-ignore format: one line
    DPMSolverSDEScheduler: [{ ...kdpm, ...spaced, ...karras, noise_sampler_seed: null }, { ...kdpm, ...spaced, ...recent, noise_sampler_seed: null }], // biome-ignore format: one line
    DEISMultistepScheduler: [{ ...base, ...solver, ...spaced, ...recent, ...shifts, algorithm_type: 'deis', solver_type: 'logrho' }], // biome-ignore format: one line
    UniPCMultistepScheduler: [{ ...base, ...solver, ...spaced, ...recent, ...shifts, predict_x0: true, solver_type: 'bh2', disable_corrector: [], solver_p: null, final_sigmas_type: 'zero', rescale_betas_zero_snr: false, shift_terminal: null, sigma_min: null, sigma_max: null }], // biome-ignore format: one line
    SASolverScheduler: [{ ...base, ...thresholds, ...spaced, ...recent, ...lambdas, ...flow, predictor_order: 2, corrector_order: 2, tau_func: null, algorithm_type: 'data_prediction', lower_order_final: true }], // biome-ignore format: one line
    EulerDiscreteScheduler: [
      { ...base, tensor_format: 'pt', prediction_type: undefined },
      { ...base, ...spaced, ...recent, interpolation_type: 'linear', sigma_min: null, sigma_max: null, timestep_type: 'discrete', rescale_betas_zero_snr: false, final_sigmas_type: 'zero' }, // biome-ignore format: one line
    ],
    EulerAncestralDiscreteScheduler: [{ ...base, ...spaced, rescale_betas_zero_snr: false }],
    HeunDiscreteScheduler: [{ ...kdpm, ...spaced, ...recent, clip_sample: false, clip_sample_range: 1.0 }],
    KDPM2DiscreteScheduler: [{ ...kdpm, ...spaced, ...recent }],
    KDPM2AncestralDiscreteScheduler: [{ ...kdpm, ...spaced, ...recent }],
    LMSDiscreteScheduler: [{ ...base, tensor_format: 'pt', prediction_type: undefined }, { ...base, ...spaced, ...recent }], // biome-ignore format: one line
  }

  it.each(Object.keys(written))('%s, older and newer, is the chain of its betas', (name) => {
    const refused = (what: string) => expect.fail(`${name}: ${what}`)
    for (const options of written[name]) {
      // undefined stands in no file
      const json = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined))
      const { beta_start, beta_end } = options as { beta_start: number; beta_end: number }
      const chain = { _class_name: 'DDPMScheduler', beta_start, beta_end, beta_schedule: 'linear' }
      const found = diffusersSchedule({ _class_name: name, _diffusers_version: '0.1', ...json }, {}, refused)
      expect(found).toEqual(diffusersSchedule(chain, {}, refused))
    }
  })

  it('those of Karras et al. and of Song et al.', () => {
    const refused = (what: string) => expect.fail(what)
    const edm = { sigma_min: 0.002, sigma_max: 80, sigma_data: 0.5, num_train_timesteps: 1000, prediction_type: 'epsilon', rho: 7.0, sigma_schedule: 'karras' } // biome-ignore format: one line
    const multistep = { ...edm, ...solver, algorithm_type: 'dpmsolver++', solver_type: 'midpoint', euler_at_final: false, final_sigmas_type: 'zero' } // biome-ignore format: one line
    const forms = [{ _class_name: 'EDMEulerScheduler', ...edm, final_sigmas_type: 'zero' }, { _class_name: 'EDMDPMSolverMultistepScheduler', ...multistep }] // biome-ignore format: one line
    for (const json of forms) {
      const found = diffusersSchedule(json, {}, refused)
      expect(found).toMatchObject({ sigmaMin: 0.002, sigmaMax: 80, preconditioning: { form: 'edm', sigmaData: 0.5 } })
    }
    const ve = { _class_name: 'ScoreSdeVeScheduler', num_train_timesteps: 2000, snr: 0.15, sigma_min: 0.01, sigma_max: 1348, sampling_eps: 1e-5, correct_steps: 1 } // biome-ignore format: one line
    for (const json of [ve, { ...ve, tensor_format: 'pt' }])
      expect(diffusersSchedule(json, { time_embedding_type: 'fourier' }, refused)).toMatchObject({ sigmaMax: 1348 })
  })
})
