import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, beforeEach, describe, expect, it } from 'vitest'
import { FormatError } from '../lib/base/errors.js'
import { writeSafetensors } from '../lib/weights/safetensors.js'
import { readSource, type SourceOptions } from '../lib/weights/source.js'
import { archive, floats, state, tensor } from './crafted.js'
import { vector } from './expected-tensors.js'

const base = mkdtemp(join(tmpdir(), 'feynkac-diffusers-'))
afterAll(async () => rm(await base, { recursive: true }))

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(await base, 'x-'))
})

async function put(name: string, content: string | Uint8Array | object): Promise<void> {
  const path = join(folder, name)
  await mkdir(dirname(path), { recursive: true })
  await writeFile(
    path,
    typeof content === 'string' || content instanceof Uint8Array ? content : JSON.stringify(content),
  )
}

/** Safetensors with one number for each name. */
async function weights(name: string, numbers: Record<string, number>): Promise<void> {
  const path = join(folder, name)
  await mkdir(dirname(path), { recursive: true })
  const tensors = Object.entries(numbers).map(
    ([key, value]) => [key, { shape: [1], data: Float32Array.of(value) }] as const,
  )
  await writeSafetensors(path, tensors, { format: 'pt' })
}

async function rejected(path: string, pattern: RegExp, options?: SourceOptions): Promise<void> {
  const error = await readSource(path, options).then(
    () => expect.fail(`it was read, not refused with ${pattern}`),
    (e) => e,
  )
  expect(error).toBeInstanceOf(FormatError)
  expect(error.message).toMatch(pattern)
}

const numbers = ({ tensors }: { tensors: Map<string, { data: Iterable<number | bigint> }> }) =>
  Object.fromEntries([...tensors].map(([name, { data }]) => [name, ...Array.from(data, Number)]))

const UNET = { _class_name: 'UNet2DModel', sample_size: 8, in_channels: 1 }
const STEM = 'diffusion_pytorch_model'

describe('a model', () => {
  it('is its configuration and its weights', async () => {
    await put('config.json', UNET)
    await weights(`${STEM}.safetensors`, { 'conv_in.bias': 1 })
    const model = await readSource(folder)
    expect(model).toMatchObject({
      format: 'diffusers',
      path: folder,
      className: 'UNet2DModel',
      args: UNET,
      scheduler: null,
      preconditioning: null,
      metadata: { format: 'pt' },
      network: '',
    })
    expect(numbers(model)).toEqual({ 'conv_in.bias': 1 })
  })

  it('takes safetensors before pickles, full precision before variants, and the one variant there is', async () => {
    await put('config.json', UNET)
    const bin = (value: number) => archive(state(['w', tensor()]), { 0: floats(value, value) })
    await weights(`${STEM}.fp16.safetensors`, { w: 16 })
    expect(numbers(await readSource(folder))).toEqual({ w: 16 })
    await put(`${STEM}.fp16.bin`, bin(17))
    expect(numbers(await readSource(folder))).toEqual({ w: 16 })
    await weights(`${STEM}.non_ema.safetensors`, { w: 3 })
    await rejected(folder, /several variants only, fp16, non_ema: leave one/)
    await put(`${STEM}.bin`, bin(32))
    expect(numbers(await readSource(folder))).toEqual({ w: 32 })
    await weights('part-1.safetensors', { w: 5 })
    await put(`${STEM}.safetensors.index.json`, { weight_map: { w: 'part-1.safetensors' } })
    expect(numbers(await readSource(folder))).toEqual({ w: 5 })
    await weights(`${STEM}.safetensors`, { w: 1 })
    expect(numbers(await readSource(folder))).toEqual({ w: 1 })
  })

  it.each([`${STEM}.fp16.safetensors.index.json`, `${STEM}.safetensors.index.fp16.json`])(
    'reads shards of %s',
    async (name) => {
      await put('config.json', UNET)
      await weights(`${STEM}.fp16-00001-of-00001.safetensors`, { w: 5 })
      await put(name, { weight_map: { w: `${STEM}.fp16-00001-of-00001.safetensors` } })
      expect(numbers(await readSource(folder))).toEqual({ w: 5 })
    },
  )

  it('is rejected with what is missing', async () => {
    await rejected(folder, /folder without config\.json or model_index\.json/)
    await put('config.json', UNET)
    await rejected(folder, /has no weights: expected diffusion_pytorch_model\.safetensors/)
    await rejected(folder, /no network "vae": it is one model/, { network: 'vae' })
    await put('config.json', {})
    await rejected(folder, /no _class_name/)
    for (const bad of ['', 'x', '[]', '{"a":1,"a":2}', '['.repeat(1e5), Buffer.from([0x7b, 0xff, 0x7d])]) {
      await put('config.json', bad)
      await rejected(folder, /config\.json: (not JSON|it is empty|not a JSON object|it has the key "a" twice)/)
    }
  })

  it('may be links, as in a cache', async () => {
    await put('blobs/config', UNET)
    await weights('blobs/weights', { w: 1 })
    await mkdir(join(folder, 'snapshot'))
    await symlink('../blobs/config', join(folder, 'snapshot/config.json'))
    await symlink('../blobs/weights', join(folder, `snapshot/${STEM}.safetensors`))
    expect(numbers(await readSource(join(folder, 'snapshot')))).toEqual({ w: 1 })
  })
})

describe('a pipeline', () => {
  const scheduler = { _class_name: 'DDPMScheduler', num_train_timesteps: 1000, beta_schedule: 'linear' }

  it('is its network, its scheduler and its autoencoder', async () => {
    await put('model_index.json', {
      _class_name: 'LDMPipeline',
      scheduler: ['diffusers', 'DDIMScheduler'],
      unet: ['diffusers', 'UNet2DModel'],
      vqvae: ['diffusers', 'AutoencoderKL'],
    })
    await put('unet/config.json', UNET)
    await weights(`unet/${STEM}.safetensors`, { w: 1 })
    await put('vqvae/config.json', { _class_name: 'AutoencoderKL' })
    await weights(`vqvae/${STEM}.safetensors`, { w: 2 })
    await put('scheduler/scheduler_config.json', scheduler)
    const model = await readSource(folder)
    expect(numbers(model)).toEqual({ w: 1 })
    expect(model).toMatchObject({
      className: 'UNet2DModel',
      scheduler,
      path: folder,
      network: 'unet',
      networks: ['unet', 'vqvae'],
      extra: { vae: join(folder, 'vqvae') },
    })
    const vae = await readSource(folder, { network: 'vqvae' })
    expect(vae.className).toBe('AutoencoderKL')
    expect(numbers(vae)).toEqual({ w: 2 })
    await rejected(folder, /no network "text": it holds unet, vqvae/, { network: 'text' })
    await rejected(folder, /no network "\.\.\/x"/, { network: '../x' })
    expect(numbers(await readSource(join(folder, 'unet')))).toEqual({ w: 1 })
  })

  it('may lie in one folder', async () => {
    await put('model_index.json', { _class_name: 'DDPMPipeline', unet: ['diffusers', 'UNet2DModel'] })
    await put('config.json', UNET)
    await put('scheduler_config.json', scheduler)
    await weights(`${STEM}.safetensors`, { w: 1 })
    expect(await readSource(folder)).toMatchObject({ className: 'UNet2DModel', scheduler })
  })

  it('is rejected without a network', async () => {
    await put('model_index.json', { _class_name: 'DDPMPipeline', '../unet': [], unet: [] })
    await rejected(folder, /without a folder unet: it holds no models/)
    await put('scheduler/scheduler_config.json', 'x')
    await rejected(folder, /scheduler_config\.json: not JSON/)
  })
})

describe('shards', () => {
  const index = (map: unknown) => put('index.json', { metadata: {}, weight_map: map })
  const path = () => join(folder, 'index.json')

  it('are put together', async () => {
    await weights('a.safetensors', { x: 1, y: 2 })
    await put('b.bin', archive(state(['z', tensor()]), { 0: floats(3, 4) }))
    await index({ z: 'b.bin', x: 'a.safetensors', y: 'a.safetensors' })
    const model = await readSource(path())
    expect([...model.tensors.keys()].sort()).toEqual(['x', 'y', 'z'])
    expect(model.className).toBe(null)
    await weights('sub/c.safetensors', { 'module.w': 1 })
    await index({ 'module.w': 'sub/c.safetensors' })
    expect(numbers(await readSource(path()))).toEqual({ w: 1 })
  })

  it('hold exactly what the index says', async () => {
    await weights('a.safetensors', { x: 1, y: 2 })
    await weights('b.safetensors', { x: 1 })
    await index({ x: 'a.safetensors', y: 'a.safetensors', z: 'a.safetensors' })
    await rejected(path(), /tensor 'z' is missing in a\.safetensors/)
    await index({ x: 'a.safetensors' })
    await rejected(path(), /a\.safetensors holds tensor 'y', which the index does not name/)
    await index({ x: 'b.safetensors', y: 'a.safetensors' })
    await rejected(path(), /tensor 'x' is in a\.safetensors and, as the index says, in b\.safetensors/)
    await put('index.json', '{"weight_map":{"x":"a.safetensors","x":"b.safetensors"}}')
    await rejected(path(), /has the key "x" twice/)
    await index({ x: 'none.safetensors' })
    await expect(readSource(path())).rejects.toThrow(/no such file/)
  })

  it('lie beside the index', async () => {
    await put('inner/index.json', {})
    for (const file of [
      '../a.safetensors',
      '/etc/passwd',
      'a/../../b',
      'a\\b',
      'c:a',
      '.',
      '',
      'a//b',
      'a\0b',
      5,
      null,
      ['a'],
      {},
    ]) {
      await index({ x: file })
      await rejected(path(), /file of tensor 'x' is no name beside the index/)
    }
  })

  it('are no index themselves, and an index is one', async () => {
    await index({ x: 'index.json' })
    await rejected(path(), /an index of weights in the index/)
    for (const map of [undefined, null, [], 'x']) {
      await index(map)
      await rejected(path(), /no weight_map/)
    }
    await put('index.json', UNET)
    await rejected(path(), /configuration of a model of diffusers: give the folder/)
    await index(Object.fromEntries(Array.from({ length: 10001 }, (_, i) => [i, `${i}`])))
    await rejected(path(), /10001 files/)
    await put('index.json', `{"weight_map":{"x":${'['.repeat(50_000)}${']'.repeat(50_000)}}}`)
    await rejected(path(), /nested more than 64 deep/)
    await put('index.json', `{${' '.repeat(2 ** 24)}}`)
    await expect(readSource(path())).rejects.toThrow(/more than the limit/)
  })
})

describe('safetensors', () => {
  it('are told apart from models of this package', async () => {
    await weights('a.bin', { 'model.a': 1, 'model.b': 2 })
    const bare = await readSource(join(folder, 'a.bin'))
    expect(bare).toMatchObject({ format: 'safetensors', className: null, metadata: { format: 'pt' } })
    expect(numbers(bare)).toEqual({ a: 1, b: 2 })
    await writeSafetensors(join(folder, 'own'), [['model.w', { shape: [], data: Float32Array.of(1) }]], {
      feynkac: '{}',
    })
    const own = await readSource(join(folder, 'own'))
    expect(own.format).toBe('feynkac')
    expect(numbers(own)).toEqual({ 'model.w': 1 })
    await rejected(join(folder, 'own'), /no network "ema": it holds one/, { network: 'ema' })
  })

  it('are known by their content, whatever their name', async () => {
    await put('a.safetensors', await readFile(vector('kinds.pt')))
    expect((await readSource(join(folder, 'a.safetensors'))).format).toBe('torch-zip')
  })
})
