import { mkdtemp, readFile, rm } from 'node:fs/promises'
import os from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { main } from '../lib/cli/index.js'
import type { LabelSpec } from '../lib/data/dataset.js'
import { Denoiser } from '../lib/models/denoiser.js'
import { EnergyModel } from '../lib/models/energy.js'
import { guidedDenoiser } from '../lib/models/guidance.js'
import { run } from '../lib/native/addon.js'
import { residualMLP, songUNet } from '../lib/networks/config.js'
import { sample } from '../lib/smc/samplers.js'
import { sigmaGrid } from '../lib/smc/schedule.js'
import { smc } from '../lib/smc/smc.js'
import { guided } from '../lib/smc/targets/linear.js'

/** `feynkac sample` with labels and guidance, against the library on the same files. */

let folder = ''
let out = ''
let err = ''

const attributes: LabelSpec = { attributes: [{ name: 'shape', size: 2, values: ['ring', 'bar'] }, { name: 'place', size: 3 }] } // biome-ignore format: a table
const file = (name: string) => join(folder, `${name}.safetensors`)

/** Writes a small model whose labels show: a new network's last layer is zero. */
async function write(
  name: string,
  labelDim: number,
  labels: LabelSpec | null,
  kind: 'denoiser' | 'dot',
): Promise<void> {
  const network = residualMLP(2, { hidden: 8, layers: 1, label_dim: labelDim })
  const options = { network, labels, sigmaMin: 0.1, sigmaMax: 10 }
  using model =
    kind === 'dot' ? await EnergyModel.create({ ...options, kind }) : await Denoiser.create({ ...options, kind })
  const weights = Float32Array.from({ length: model.network.parameterCount() }, (_, i) => Math.sin(7 * i) / 4)
  await run(() => model.network.write('params', weights))
  await model.save(file(name))
}

beforeAll(async () => {
  folder = await mkdtemp(join(os.tmpdir(), 'feynkac-guidance-'))
  await write('denoiser', 5, attributes, 'denoiser')
  await write('energy', 5, attributes, 'dot')
  await write('unnamed', 3, null, 'denoiser')
  await write('plain', 0, null, 'denoiser')
  await write('plain-energy', 0, null, 'dot')
  const network = songUNet([1, 8, 8], { model_channels: 4, channel_mult: [1], num_blocks: 1, attn_resolutions: [] })
  using picture = await EnergyModel.create({ network, kind: 'dot', sigmaMin: 0.1, sigmaMax: 10 })
  await picture.save(file('picture'))
})
afterAll(() => rm(folder, { recursive: true }))

beforeEach(() => {
  out = err = ''
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
    err += text
    return true
  })
  vi.spyOn(console, 'log').mockImplementation((text) => {
    out += `${text}\n`
  })
})
afterEach(() => vi.restoreAllMocks())

const options = { particles: 12, sigmas: sigmaGrid({ steps: 5, min: 0.1, max: 10 }), seed: 3 }
const command = (name: string, ...args: string[]) =>
  main(['sample', file(name), '--output', join(folder, 'out'), '--overwrite', '--particles', '12', '--steps', '5', '--seed', '3', '--json', ...args]) // biome-ignore format: a list

/** The samples of a command that succeeds, and its summary. */
async function drawn(name: string, ...args: string[]) {
  out = ''
  expect(await command(name, ...args), err).toBe(0)
  const bytes = await readFile(join(folder, 'out', 'samples.npy'))
  const samples = new Float32Array(bytes.buffer.slice(bytes.byteOffset + bytes.length - 4 * 24, bytes.byteOffset + bytes.length)) // biome-ignore format: one line
  return { samples, summary: JSON.parse(out) }
}

describe('feynkac sample of a denoiser', () => {
  const ancestral = { ...options, sigmas: [...options.sigmas, 0], method: 'ancestral' } as const

  it('is guided as by the library', async () => {
    using model = await Denoiser.load(file('denoiser'))
    const labels = { shape: 'bar', place: 2 }
    const flags = ['--attributes', 'shape=bar,place=2']
    const plain = await drawn('denoiser', ...flags)
    expect(plain.samples).toEqual((await sample(model.conditioned(labels), ancestral)).samples)
    expect(plain.summary).toMatchObject({ method: 'ancestral', evaluations: 12 * 6 })
    expect((await drawn('denoiser', ...flags, '--guidance', '1')).samples).toEqual(plain.samples)

    for (const [scale, interval] of [
      [2, undefined],
      [0, undefined],
      [3, [0.2, 4]],
    ] as const) {
      const more = interval ? ['--guidance-interval', interval.join(',')] : []
      const { samples, summary } = await drawn('denoiser', ...flags, '--guidance', `${scale}`, ...more)
      const library = await sample(guidedDenoiser(model, { labels, scale, interval }), ancestral)
      expect(samples).toEqual(library.samples)
      expect(summary.evaluations).toBe(library.evaluations)
      expect(samples).not.toEqual(plain.samples)
    }
    const unguided = await drawn('denoiser')
    expect((await drawn('denoiser', ...flags, '--guidance', '0')).samples).toEqual(unguided.samples)
  })

  it('takes classes where the file does not name labels', async () => {
    using model = await Denoiser.load(file('unnamed'))
    const library = await sample(model.conditioned(Float32Array.of(0, 0, 1)), ancestral)
    expect((await drawn('unnamed', '--class', '2')).samples).toEqual(library.samples)
    expect((await drawn('unnamed', '--attributes', 'class=2')).samples).toEqual(library.samples)
    out = ''
    expect(await main(['inspect', file('unnamed')])).toBe(0)
    expect(out).toContain('labels      class: 3 values')
  })
})

it('feynkac sample --again draws the same samples, but for the options given', async () => {
  const { samples } = await drawn('denoiser', '--attributes', 'shape=bar', '--guidance', '2')
  const json = join(folder, 'out', 'samples.json')
  expect(JSON.parse(await readFile(json, 'utf8'))).toMatchObject({ model: file('denoiser'), options: { guidance: 2, seed: 3, particles: 12 } }) // biome-ignore format: one line
  const again = join(folder, 'again')
  const same = async (...args: string[]) => {
    expect(await main(['sample', '--again', json, '--output', again, '--overwrite', ...args]), err).toBe(0)
    return (await readFile(join(again, 'samples.npy'))).equals(await readFile(join(folder, 'out', 'samples.npy')))
  }
  expect(await same()).toBe(true)
  expect(await same('--seed', '4')).toBe(false)
  expect(samples.length).toBe(24)
  expect(await main(['sample', '--output', again]), err).toBe(2)
})

describe('feynkac sample of an energy', () => {
  it('is the target `guided`', async () => {
    using model = await EnergyModel.load(file('energy'))
    const target = guided(model.conditioned(), model.conditioned({ shape: 'bar' }), { scale: 2 })
    const library = await smc(target, options)
    const { samples, summary } = await drawn('energy', '--attributes', 'shape=bar', '--guidance', '2')
    expect(Math.max(...samples.map((v, i) => Math.abs(v - library.samples[i])))).toBeLessThan(1e-5)
    expect(summary).toMatchObject({ method: 'smc', evaluations: 12 * 2 * 6, logZ: expect.closeTo(library.logZ, 5) })
    const plain = await drawn('energy', '--attributes', 'shape=bar')
    expect(plain.samples).toEqual((await smc(model.conditioned({ shape: 1 }), options)).samples)
    expect((await drawn('energy', '--attributes', 'shape=bar', '--guidance', '1')).samples).toEqual(plain.samples)
    // guidance of a condition of --with, by a model without labels
    expect((await drawn('plain-energy', '--with', `${file('energy')}@shape=0`, '--guidance', '2')).summary).toMatchObject({ evaluations: 12 * 3 * 6 }) // biome-ignore format: one call
  })
})

describe('what samples are of', () => {
  it('is said first, and a collapse by the exit status', async () => {
    const summary = async (status: number, name: string, ...args: string[]) => {
      out = err = ''
      expect(await command(name, ...args), err).toBe(status)
      return JSON.parse(out)
    }
    const usual = await summary(0, 'picture', '--gamma', '2')
    expect(Object.keys(usual).slice(0, 2)).toEqual(['collapsed', 'note'])
    expect(usual).toMatchObject({ collapsed: false, weights: 'likelihood', note: expect.stringMatching(/^weighed by likelihoods/) }) // biome-ignore format: one line
    const plain = await summary(0, 'picture', '--gamma', '2', '--weights', 'none')
    expect(plain).toMatchObject({ collapsed: false, weights: 'none', note: expect.stringMatching(/^no weights: .*--weigh-above/) }) // biome-ignore format: one line
    expect(plain).not.toHaveProperty('logZ')
    const above = await summary(0, 'picture', '--weigh-above', '1', '--allow-collapse')
    expect(above).toMatchObject({ weights: 'bridge', logZ: expect.any(Number) })
    expect((await summary(0, 'picture', '--gamma', '2', '--method', 'heun')).note).toMatch(/^a baseline: the scores/)
    expect(await summary(0, 'picture', '--method', 'heun')).not.toHaveProperty('note')
    const cold = ['--gamma', '40', '--weights', 'tilt', '--kernel', 'plain']
    const lost = await summary(3, 'plain-energy', ...cold)
    expect(lost).toMatchObject({ collapsed: true, note: expect.stringMatching(/^collapsed: .*--weights none/) })
    expect(err).toMatch(/--allow-collapse/)
    expect(await summary(0, 'plain-energy', ...cold, '--allow-collapse')).toEqual(lost)
    const report = JSON.parse(await readFile(join(folder, 'out', 'samples.json'), 'utf8'))
    expect(report).toMatchObject({ collapsed: true, note: lost.note, families: lost.families })
  })
})

describe('wrong usage of labels and guidance', () => {
  const bar = ['--attributes', 'shape=bar']
  it.each([
    ['plain', ['--guidance', '2'], /unconditional: --guidance does not apply/],
    ['plain', ['--class', '1'], /unconditional: --class does not apply/],
    ['plain', bar, /unconditional: --attributes does not apply/],
    ['plain-energy', ['--guidance', '2'], /unconditional: --guidance does not apply/],
    ['plain-energy', ['--guidance', '2', '--with', 'x.safetensors'], /needs labels/],
    ['denoiser', ['--guidance', '2'], /--guidance needs labels.*--attributes/],
    ['energy', ['--guidance', '2'], /--guidance needs labels.*--attributes/],
    ['denoiser', ['--guidance', 'much', ...bar], /--guidance.*much.*Expected a number/s],
    ['denoiser', ['--guidance-interval', '0.1,2', ...bar], /--guidance-interval needs --guidance/],
    ['denoiser', ['--guidance-interval', '2,1', '--guidance', '2', ...bar], /two noise levels, lo < hi/],
    ['denoiser', ['--guidance-interval', '2', '--guidance', '2', ...bar], /two noise levels, lo < hi/],
    ['energy', ['--guidance-interval', '1,2', '--guidance', '2', ...bar], /goes with a denoiser/],
    ['denoiser', ['--class', '1'], /2 attributes \(shape, place\)/],
    ['denoiser', ['--class', '1', ...bar], /not both/],
    ['denoiser', ['--attributes', 'colour=red'], /unknown attribute 'colour'.*shape, place/],
    ['denoiser', ['--attributes', 'shape=star'], /one of ring, bar/],
    ['denoiser', ['--attributes', 'place=3'], /'place'/],
    ['unnamed', ['--class', '3'], /'class'/],
    ['unnamed', ['--class', 'cat'], /class index for attribute 'class'.*cat/],
  ])('%s %j', async (name, args, message) => {
    expect(await command(name, ...args)).toBe(2)
    expect(err).toMatch(message)
    expect(out).toBe('')
  })
})
