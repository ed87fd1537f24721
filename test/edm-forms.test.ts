import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Denoiser, dhariwalUNet, songUNet } from '../lib/index.js'
import { edmSchedule } from '../lib/models/edm-schedule.js'
import { native } from '../lib/native/addon.js'
import type { NetworkConfig } from '../lib/networks/config.js'
import { readSafetensors, writeSafetensors } from '../lib/weights/safetensors.js'
import { archive, legacy, p } from './crafted.js'

/**
 * Each class of NVlabs/edm as its own writer has pickled it: torch_utils.persistence around PyTorch's modules, whose attributes and tensors
 * look different from version to version. Each form must give the numbers of the same network as this package saves it.
 */

let folder: string
beforeAll(async () => {
  native.setThreads(1)
  folder = await mkdtemp(join(tmpdir(), 'feynkac-edm-forms-'))
})
afterAll(() => rm(folder, { recursive: true }))

type Json = number | string | boolean | null | Json[] | { [name: string]: Json }
interface Network {
  precond: string
  /** What the preconditioner was called with, beside the network's. */
  options: Record<string, number>
  type: string
  network: NetworkConfig
}

const small = { model_channels: 8, channel_mult: [1, 1], num_blocks: 1, attn_resolutions: [4] }
const shape = [1, 8, 8]
/** Configurations of EDM's train.py and of its converted baselines, in small. */
const networks: Record<string, Network> = {
  'DDPM++ of EDM, classes, augmented': {
    precond: 'EDMPrecond',
    options: {},
    type: 'SongUNet',
    network: songUNet(shape, { ...small, label_dim: 2, augment_dim: 3 }),
  },
  'NCSN++ of VE': {
    precond: 'VEPrecond',
    options: {},
    type: 'SongUNet',
    network: songUNet(shape, { ...small, embedding_type: 'fourier', channel_mult_noise: 2, encoder_type: 'residual', resample_filter: [1, 3, 3, 1] }), // biome-ignore format: one line
  },
  'DDPM++ of VP': { precond: 'VPPrecond', options: { M: 500 }, type: 'SongUNet', network: songUNet(shape, small) },
  'ADM of EDM, classes': {
    precond: 'EDMPrecond',
    options: { sigma_data: 0.25 },
    type: 'DhariwalUNet',
    network: dhariwalUNet(shape, { ...small, label_dim: 2 }),
  },
  'ADM of iDDPM': { precond: 'iDDPMPrecond', options: {}, type: 'DhariwalUNet', network: dhariwalUNet(shape, small) },
}

/** How one version writes. */
interface Version {
  /** The dicts of a module are OrderedDicts, or since PyTorch 2.5 plain ones. */
  ordered: boolean
  /** Attributes of every torch.nn.Module beside its dicts. */
  attributes: string[]
  device: string
  /** Numbers of 16 bits: networks that were saved by .half(). */
  half?: boolean
  /** All arguments by position, as some trainers call the class. */
  positional?: boolean
  file: 'pickle' | 'archive' | 'legacy'
  /** What is around the network. */
  snapshot(network: Buffer): Buffer
}

const dict = (entries: Record<string, Buffer>) =>
  p.dict(...Object.entries(entries).map(([name, value]): [Buffer, Buffer] => [p.text(name), value]))
const yes = p.raw(0x88)
const no = p.raw(0x89)
const object = (module: string, name: string, state: Buffer) => p.raw(p.global(module, name), ')', 0x81, state, 'b')
const persistent = (name: string, state: Record<string, Buffer>) =>
  p.call(
    p.global('torch_utils.persistence', '_reconstruct_persistent_obj'),
    dict({
      type: p.text('class'),
      version: p.int(6),
      module_src: p.text('raise SystemExit("the source of a pickle was run")'),
      class_name: p.text(name),
      state: dict(state),
    }),
  )
const loss = persistent('EDMLoss', { P_mean: p.int(-1), _init_args: p.tuple(), _init_kwargs: dict({}) })
const easy = (entries: Record<string, Buffer>) =>
  p.raw(p.global('dnnlib.util', 'EasyDict'), ')', 0x81, '(', ...Object.entries(entries).flatMap(([name, value]) => [p.text(name), value]), 'u') // biome-ignore format: one line

const hooks = ['_backward_hooks', '_forward_hooks', '_forward_pre_hooks', '_state_dict_hooks', '_load_state_dict_pre_hooks'] // biome-ignore format: one line
const later = [...hooks, '_is_full_backward_hook', '_load_state_dict_post_hooks']
const latest = [...later, '_backward_pre_hooks', '_forward_hooks_with_kwargs', '_forward_hooks_always_called', '_forward_pre_hooks_with_kwargs', '_state_dict_pre_hooks'] // biome-ignore format: one line
const snapshot = (ema: Buffer) =>
  dict({ ema, loss_fn: loss, augment_pipe: p.none, dataset_kwargs: dict({ path: p.text('a.zip') }) })

const versions: Record<string, Version> = {
  'PyTorch 1.7, StyleGAN2-ADA’s persistence': {
    ordered: true,
    attributes: hooks,
    device: 'cpu',
    file: 'pickle',
    snapshot: (net) => dict({ ema: net }),
  },
  'PyTorch 1.12, as EDM was published': { ordered: true, attributes: later, device: 'cpu', file: 'pickle', snapshot },
  'PyTorch 2.0, from a GPU': { ordered: true, attributes: latest, device: 'cuda:0', file: 'pickle', snapshot },
  'PyTorch 2.6, dicts and EasyDicts': {
    ordered: false,
    attributes: latest,
    device: 'cpu',
    file: 'pickle',
    snapshot: (ema) => easy({ ema, loss_fn: loss, dataset_kwargs: easy({ use_labels: yes }) }),
  },
  'half precision': { ordered: true, attributes: later, device: 'cuda:0', half: true, file: 'pickle', snapshot },
  'arguments by position': {
    ordered: true,
    attributes: later,
    device: 'cpu',
    positional: true,
    file: 'pickle',
    snapshot,
  },
  'training-state of torch.save': {
    ordered: true,
    attributes: later,
    device: 'cuda:0',
    file: 'archive',
    snapshot: (net) => dict({ net, optimizer_state: dict({ state: dict({}), param_groups: p.list() }) }),
  },
  'training-state of PyTorch 1.5': {
    ordered: true,
    attributes: hooks,
    device: 'cpu',
    file: 'legacy',
    snapshot: (net) => dict({ net, optimizer_state: dict({}) }),
  },
  'the network alone': { ordered: false, attributes: latest, device: 'cpu', file: 'pickle', snapshot: (net) => net },
}

const value = (json: Json): Buffer => {
  if (json === null) return p.none
  if (typeof json === 'string') return p.text(json)
  if (typeof json === 'boolean') return json ? yes : no
  if (Array.isArray(json)) return p.list(...json.map(value))
  if (typeof json === 'object') return dict(Object.fromEntries(Object.entries(json).map(([k, v]) => [k, value(v)])))
  if (Number.isSafeInteger(json)) return p.int(json)
  const bytes = Buffer.alloc(8)
  bytes.writeDoubleBE(json)
  return p.raw('G', bytes)
}

/** The order of the arguments in EDM's classes, SongUNet's own last. */
const ORDER = ['img_resolution', 'in_channels', 'out_channels', 'label_dim', 'augment_dim', 'model_channels', 'channel_mult', 'channel_mult_emb', 'num_blocks', 'attn_resolutions', 'dropout', 'label_dropout', 'embedding_type', 'channel_mult_noise', 'encoder_type', 'decoder_type', 'resample_filter'] // biome-ignore format: one line

interface Part {
  tensors: Record<string, Buffer>
  parts: Record<string, Part>
}

/** The bytes of a file of the version that holds the network. */
function written(
  { precond, options, type, network }: Network,
  version: Version,
  weights: Map<string, Float32Array>,
  shapes: Map<string, readonly number[]>,
) {
  // biome-ignore format: one line
  const storages: [bigint, Uint8Array][] = []
  const collections = (entries: Record<string, Buffer>) =>
    version.ordered
      ? p.raw(p.call(p.global('collections', 'OrderedDict')), '(', ...Object.entries(entries).flatMap(([k, v]) => [p.text(k), v]), 'u') // biome-ignore format: one line
      : dict(entries)
  const tensor = (numbers: Float32Array, extents: readonly number[], parameter: boolean) => {
    const bytes = version.half ? halves(numbers) : new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength) // biome-ignore format: one line
    const kind = p.global('torch', version.half ? 'HalfStorage' : 'FloatStorage')
    const key = version.file === 'pickle' ? '94001' : String(storages.length)
    const id = p.persistent(p.tuple(p.text('storage'), kind, p.text(key), p.text(version.device), p.int(numbers.length), ...(version.ordered ? [p.none] : []))) // biome-ignore format: one line
    storages.push([BigInt(numbers.length), bytes])
    const stream = () => p.bytes(legacy(p.pickle(id), [key], [[BigInt(numbers.length), bytes]]))
    const storage = version.file === 'pickle' ? p.call(p.global('torch.storage', '_load_from_bytes'), stream()) : id
    const strides = extents.map((_, i) => extents.slice(i + 1).reduce((a, b) => a * b, 1))
    const none = p.call(p.global('collections', 'OrderedDict'))
    const made = p.call(p.global('torch._utils', '_rebuild_tensor_v2'), storage, p.int(0), p.tuple(...extents.map(p.int)), p.tuple(...strides.map(p.int)), no, none) // biome-ignore format: one line
    return parameter ? p.call(p.global('torch._utils', '_rebuild_parameter'), made, no, none) : made
  }
  const root: Part = { tensors: {}, parts: {} }
  for (const [name, numbers] of weights) {
    // ModuleDicts hold blocks by names without dots
    const path = name.split('.')
    let part = root
    for (const step of path.slice(0, -1)) {
      part.parts[step] ??= { tensors: {}, parts: {} }
      part = part.parts[step]
    }
    part.tensors[path.at(-1)!] = tensor(numbers, shapes.get(name)!, path.at(-1) !== 'freqs')
  }
  const state = (part: Part, own: Record<string, Buffer>) => {
    const buffers = ['freqs', 'resample_filter']
    const of = (buffer: boolean) =>
      Object.fromEntries(Object.entries(part.tensors).filter(([name]) => buffers.includes(name) === buffer))
    return {
      training: no,
      _parameters: collections(of(false)),
      _buffers: collections({ ...of(true), ...(own.up && { resample_filter: tensor(Float32Array.of(0.25), [1, 1, 1, 1], false) }) }), // biome-ignore format: one line
      ...(version.attributes.length > hooks.length && {
        _non_persistent_buffers_set: p.call(p.global('builtins', 'set'), p.list()),
      }),
      ...Object.fromEntries(version.attributes.map((name) => [name, /^_is/.test(name) ? p.none : collections({})])),
      _modules: collections(Object.fromEntries(Object.entries(part.parts).map(([name, inner]) => [name, module(name, inner)]))), // biome-ignore format: one line
      ...own,
    }
  }
  const args = (positional: Buffer[], named: Record<string, Buffer>) => ({
    _init_args: p.tuple(...positional),
    _init_kwargs: dict(named),
  })
  const module = (name: string, part: Part): Buffer => {
    if (name === 'enc' || name === 'dec')
      return object('torch.nn.modules.container', 'ModuleDict', dict(state(part, {})))
    const leaf = Object.keys(part.tensors).length > 0
    const own = { ...args([p.int(8), p.int(8)], { init_mode: p.text('xavier_uniform') }), ...(/down|up/.test(name) && { up: yes }) } // biome-ignore format: one line
    return persistent(leaf ? (/norm/.test(name) ? 'GroupNorm' : 'Conv2d') : 'UNetBlock', state(part, own))
  }
  const all = network.args as unknown as Record<string, Json>
  const names = ORDER.filter((name) => name in all)
  const values = (json: Record<string, Json>) =>
    Object.fromEntries(Object.entries(json).map(([name, v]) => [name, value(v)]))
  const given = values(Object.fromEntries(names.map((name) => [name, all[name]])))
  const inner = persistent(type, state(root, version.positional ? args(Object.values(given), {}) : args([], given)))
  const common = { img_resolution: all.img_resolution, img_channels: all.in_channels, label_dim: all.label_dim }
  const rest = Object.fromEntries(names.slice(4).map((name) => [name, all[name]]))
  const outer = persistent(precond, {
    ...state({ tensors: {}, parts: {} }, args([], values({ ...common, use_fp16: false, model_type: type, ...options, ...rest }))), // biome-ignore format: one line
    ...values({ ...common, use_fp16: false, ...options }),
    _modules: collections({ model: inner }),
  })
  const pickle = p.pickle(version.snapshot(outer))
  if (version.file === 'pickle') return pickle
  if (version.file === 'legacy')
    return legacy(
      pickle,
      storages.map((_, i) => String(i)),
      storages,
    )
  return archive(pickle, Object.fromEntries(storages.map(([, bytes], i) => [String(i), bytes])))
}

/** Binary16 of numbers that it has: multiples of 1/256 below 1. */
function halves(numbers: Float32Array): Uint8Array {
  const out = new Uint16Array(numbers.length)
  for (const [i, v] of numbers.entries()) {
    const size = Math.abs(v)
    const exponent = size === 0 ? 0 : Math.floor(Math.log2(size))
    const bits = size === 0 ? 0 : ((exponent + 15) << 10) | Math.round((size / 2 ** exponent - 1) * 1024)
    out[i] = bits | (v < 0 ? 0x8000 : 0)
  }
  return new Uint8Array(out.buffer)
}

describe.each(Object.entries(networks))('%s', (name, one) => {
  const weights = new Map<string, Float32Array>()
  const shapes = new Map<string, readonly number[]>()
  const x = Float32Array.from({ length: 64 }, (_, i) => Math.sin(i))
  const labels = 'label_dim' in one.network.args && one.network.args.label_dim > 0 ? [1] : undefined
  const read = async (path: string) => {
    using model = await Denoiser.load(path, { device: 'cpu' })
    return { info: model.info, y: await model.denoise(x, 1.5, { labels }) }
  }
  let expected: Awaited<ReturnType<typeof read>>
  beforeAll(async () => {
    const { preconditioning, sigmaMin, sigmaMax } = edmSchedule(one.precond, one.options, expect.fail)
    using model = await Denoiser.create(
      { network: one.network, preconditioning, sigmaMin, sigmaMax },
      { device: 'cpu' },
    )
    const path = join(folder, `${name}.safetensors`)
    await model.save(path)
    const { tensors, metadata } = await readSafetensors(path)
    let seed = 0
    for (const [tensor, { data, shape }] of tensors) {
      for (let i = 0; i < data.length; i++) data[i] = Math.round(70 * Math.sin(++seed * seed)) / 256
      weights.set(tensor, data as Float32Array)
      shapes.set(tensor, shape)
    }
    await writeSafetensors(path, tensors as never, metadata)
    expected = await read(path)
    expect(Math.max(...expected.y.map(Math.abs))).toBeGreaterThan(0.01)
  })

  it.each(Object.entries(versions))('%s', async (version, form) => {
    const path = join(folder, `${name} ${version}.pkl`)
    await writeFile(path, written(one, form, weights, shapes))
    const { info, y } = await read(path)
    expect(y).toEqual(expected.y)
    expect(info.preconditioning).toEqual(expected.info.preconditioning)
    const { sigmaMin, sigmaMax } = expected.info
    // a chain goes beyond what anything is left of
    expect([info.sigmaMin, info.sigmaMax]).toEqual([
      sigmaMin,
      one.precond === 'VEPrecond' ? sigmaMax : Math.min(80, sigmaMax),
    ])
  })
})

it('the networks of later papers are refused by their names', async () => {
  for (const [type, inner] of [
    ['Precond', 'unet'],
    ['EDMPrecond', 'model'],
  ]) {
    const unet = persistent('UNet', { _modules: dict({}), _parameters: dict({}), _init_args: p.tuple(), _init_kwargs: dict({}) }) // biome-ignore format: one line
    const outer = persistent(type, { _modules: dict({ [inner]: unet }), _parameters: dict({}), _init_args: p.tuple(), _init_kwargs: dict({}) }) // biome-ignore format: one line
    const path = join(folder, `${type}.pkl`)
    await writeFile(path, p.pickle(dict({ ema: outer })))
    const named = type === 'Precond' ? 'Precond' : 'UNet'
    await expect(Denoiser.load(path)).rejects.toThrow(`the network ${named} is not supported: SongUNet, DhariwalUNet`)
  }
})
