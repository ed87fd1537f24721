import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { FormatError } from '../lib/base/errors.js'
import { readSource } from '../lib/weights/source.js'
import { floats, legacy, p, tensor } from './crafted.js'
import { expectTensors, vector } from './expected-tensors.js'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'feynkac-edm-'))
})
afterAll(() => rm(folder, { recursive: true }))

const FILES = ['edm-protocol2.pkl', 'edm-protocol4.pkl', 'edm-protocol5.pkl', 'edm-state.pt', 'edm-state-legacy.pt']

const MODEL = {
  img_resolution: 4,
  in_channels: 2,
  out_channels: 2,
  label_dim: 5,
  augment_dim: 0,
  model_channels: 3,
  channel_mult: [1, 2],
  channel_mult_emb: 4,
  num_blocks: 4,
  attn_resolutions: [],
  dropout: 0.13,
  label_dropout: 0,
  embedding_type: 'positional',
  channel_mult_noise: 1,
  encoder_type: 'standard',
  decoder_type: 'standard',
  resample_filter: [1, 1],
}

describe('networks of NVlabs/edm', () => {
  it.each(FILES)('reads class, arguments and weights of %s', async (name) => {
    const model = await readSource(vector(name))
    expectTensors(model.tensors, name)
    expect(model.className).toBe('SongUNet')
    expect({ ...model.args }).toEqual(MODEL)
    expect(model.preconditioning!.className).toBe('EDMPrecond')
    expect({ ...model.preconditioning!.args }).toMatchObject({
      img_resolution: 4,
      img_channels: 2,
      label_dim: 5,
      use_fp16: false,
      sigma_min: 0,
      sigma_max: Infinity,
      sigma_data: 0.25,
      model_type: 'SongUNet',
      channel_mult: [1, 2],
      dropout: 0.13,
    })
    expect(model.network).toBe(name.endsWith('.pkl') ? 'ema' : 'net')
    expect(model.networks).toEqual([model.network])
  })

  it('returns nothing of the source in the file', async () => {
    for (const name of FILES) {
      const { tensors, ...rest } = await readSource(vector(name))
      expect(tensors.size).toBe(9)
      expect(JSON.stringify(rest)).not.toContain('SystemExit')
    }
  })

  it('keeps no second copy of the weights of a plain pickle', async () => {
    const { tensors } = await readSource(vector('edm-protocol4.pkl'))
    const { size } = { size: (await readFile(vector('edm-protocol4.pkl'))).length }
    const views = [...tensors.values()].filter(({ data }) => data.buffer.byteLength === size)
    expect(views.length).toBe(8) // but the one that does not lie row by row
  })
})

describe('crafted networks', () => {
  const persistent = (name: string, ...attributes: [string, Buffer][]) =>
    p.call(
      p.global('torch_utils.persistence', '_reconstruct_persistent_obj'),
      p.dict(
        [p.text('type'), p.text('class')],
        [p.text('version'), p.int(6)],
        [p.text('module_src'), p.text('raise SystemExit')],
        [p.text('class_name'), p.text(name)],
        [p.text('state'), dict(...attributes)],
      ),
    )
  const dict = (...entries: [string, Buffer][]) =>
    p.dict(...entries.map(([name, value]): [Buffer, Buffer] => [p.text(name), value]))
  const module = (name: string, parts: [string, Buffer][], ...attributes: [string, Buffer][]) =>
    persistent(name, ['_parameters', dict()], ['_buffers', dict()], ['_modules', dict(...parts)], ...attributes)

  async function read(value: Buffer, network?: string) {
    const path = join(folder, 'crafted.pkl')
    await writeFile(path, p.pickle(value))
    return readSource(path, { network })
  }

  it('prefers the average of the weights, and takes the one that is asked for', async () => {
    const snapshot = dict(['net', module('DhariwalUNet', [])], ['ema', module('SongUNet', [])], ['G', module('G', [])])
    expect((await read(snapshot)).className).toBe('SongUNet')
    const net = await read(snapshot, 'net')
    expect(net.className).toBe('DhariwalUNet')
    expect(net.args).toMatchObject({ model_channels: 192, num_blocks: 3 })
    expect(net.networks).toEqual(['net', 'ema', 'G'])
    await expect(read(snapshot, 'loss_fn')).rejects.toThrow(/no network "loss_fn": it holds 'net', 'ema', 'G'/)
    await expect(read(dict(['A', module('A', [])], ['B', module('B', [])]))).rejects.toThrow(
      /several networks, 'A', 'B'/,
    )
    expect((await read(module('SongUNet', []))).network).toBe('')
  })

  it('names positional arguments, and refuses too many', async () => {
    const args = (count: number): [string, Buffer] => ['_init_args', p.tuple(...Array(count).fill(p.int(7)))]
    const { args: named } = await read(module('SongUNet', [], args(6)))
    expect(named).toMatchObject({ img_resolution: 7, in_channels: 7, model_channels: 7, num_blocks: 4 })
    await expect(read(module('SongUNet', [], args(18)))).rejects.toThrow(/18 positional arguments but has 17/)
    expect({ ...(await read(module('Other', [], args(2)))).args }).toEqual({ 0: 7, 1: 7 })
  })

  it('rejects what is no description of an object', async () => {
    const call = (...args: Buffer[]) =>
      p.call(p.global('torch_utils.persistence', '_reconstruct_persistent_obj'), ...args)
    for (const meta of [
      p.none,
      dict(),
      dict(['type', p.text('class')]),
      dict(['type', p.text('x')], ['class_name', p.text('y')]),
    ])
      await expect(read(call(meta))).rejects.toThrow(/no class name/)
    await expect(read(module('SongUNet', [], ['_init_args', p.int(1)]))).rejects.toThrow(/arguments of "SongUNet"/)
    await expect(read(module('SongUNet', [], ['_init_kwargs', p.list()]))).rejects.toThrow(/arguments of "SongUNet"/)
  })

  it('bounds networks that hold themselves or are shared without end', async () => {
    // each module holds the one before twice: 2^40 of them
    let value = p.raw(module('M', []), 'q', 0, '0')
    for (let i = 0; i < 40; i++) {
      const shared = p.raw('h', 0)
      value = p.raw(
        value,
        module('M', [
          ['a', shared],
          ['b', shared],
        ]),
        'q',
        0,
        '0',
      )
    }
    await expect(read(p.raw(value, 'h', 0))).rejects.toThrow(/more than 100000 parts/)
    const own = p.raw('}q', 0, p.text('_modules'), dict(), 'q', 1, 's0')
    const made = p.raw(p.global('torch.nn.modules.module', 'Module'), ')R', 'q', 2, 'h', 0, 'b0')
    const cycle = p.raw(own, made, 'h', 1, p.text('self'), 'h', 2, 's0', 'h', 2)
    await expect(read(cycle)).rejects.toThrow(/nested more than 64 deep/)
    const long = 'x'.repeat(3000)
    const stream = legacy(p.pickle(storage), ['0'], [[2n, floats(1, 2)]])
    const weight = p.call(
      p.global('torch._utils', '_rebuild_tensor_v2'),
      p.call(p.global('torch.storage', '_load_from_bytes'), p.bytes(stream)),
      p.int(0),
      p.tuple(p.int(2)),
      p.tuple(p.int(1)),
    )
    const named = persistent('M', ['_parameters', dict([long, weight])], ['_modules', dict()])
    await expect(read(named)).rejects.toThrow(/longer than 2000 characters/)
    const right = persistent('M', ['_parameters', dict(['w', weight])], ['_modules', dict()])
    expect((await read(right)).tensors.get('w')!.data).toEqual(Float32Array.of(1, 2))
  })

  const storage = p.persistent(
    p.tuple(p.text('storage'), p.global('torch', 'FloatStorage'), p.text('0'), p.text('cpu'), p.int(2), p.none),
  )

  it('refuses classes that are named instead of described', async () => {
    await expect(read(p.call(p.global('training.networks', 'EDMPrecond')))).rejects.toThrow(
      /asks for training\.networks\.EDMPrecond/,
    )
    await expect(read(dict(['ema', tensor()]))).rejects.toThrow(FormatError)
  })
})
