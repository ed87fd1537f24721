import { mkdtemp, readFile, rm } from 'node:fs/promises'
import os from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { ArgumentError, FormatError } from '../lib/base/errors.js'
import { main } from '../lib/cli/index.js'
import { Denoiser } from '../lib/models/denoiser.js'
import { EnergyModel } from '../lib/models/energy.js'
import type { Labels } from '../lib/models/labels.js'
import { readTables, storeTables } from '../lib/models/tables.js'
import { run } from '../lib/native/addon.js'
import { residualMLP, songUNet } from '../lib/networks/config.js'
import { gaussianMixture } from '../lib/smc/mixtures.js'
import { calibrate } from '../lib/smc/precision/calibrate.js'
import { smc } from '../lib/smc/smc.js'
import { distill } from '../lib/training/objectives/distill.js'
import { trainDenoiser } from '../lib/training/objectives/dsm.js'
import { readSafetensors } from '../lib/weights/safetensors.js'
import { gaussian, gaussianPoints, labelledImages } from './training-data.js'

/** Tables of precisions in models and their files, and the commands that make and use them. */

let folder = ''
let out = ''
let err = ''
beforeEach(async () => {
  folder = await mkdtemp(join(os.tmpdir(), 'feynkac-tables-'))
  out = ''
  err = ''
  vi.spyOn(console, 'log').mockImplementation((text) => {
    out += `${text}\n`
  })
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
    err += text
    return true
  })
})
afterEach(async () => {
  vi.restoreAllMocks()
  await rm(folder, { recursive: true })
})

/** An energy of labelled 8x8 images with weights that show the labels. */
async function labelledEnergy() {
  const images = labelledImages(12)
  const network = songUNet([1, 8, 8], { label_dim: 5, model_channels: 8, channel_mult: [1], num_blocks: 1, attn_resolutions: [] }) // biome-ignore format: one line
  const model = await EnergyModel.create({ kind: 'dot', network, labels: images.labels })
  const weights = Float32Array.from({ length: model.network.parameterCount() }, (_, i) => Math.sin(7 * i) / 8)
  await run(() => model.network.write('params', weights))
  return { model, images }
}

describe('an energy model', () => {
  it('has a table with labels and one without, and its file keeps them', async () => {
    const { model, images } = await labelledEnergy()
    expect(model.calibration).toBeUndefined()
    expect(model.conditioned([1, 2]).calibration).toBeUndefined()
    const progress: number[] = []
    const options = { data: images, levels: 5, count: 30, seed: 2 }
    await model.calibrate({ ...options, onProgress: ({ done, total }) => progress.push(done / total) })
    expect(progress.at(-1)).toBe(1)
    expect(progress).toEqual(progress.toSorted((a, b) => a - b))
    const plain = model.calibration!
    expect([plain.basis, plain.count, plain.sigmas.length]).toEqual(['dct', 30, 5])
    expect([plain.sigmas[0], plain.sigmas[4]]).toEqual([80, 0.002])
    const known = model.conditioned({ first: 1 }).calibration!
    expect(known.precisionAt(1)).not.toEqual(plain.precisionAt(1))
    expect(model.conditioned(Float32Array.of(0, 1, 0, 0, 0)).calibration).toBe(known)
    const nothing: (Labels | undefined)[] = [undefined, [null, null], {}, { first: null }, new Float32Array(5)]
    for (const none of nothing) expect(model.conditioned(none).calibration).toBe(plain)
    // the same by hand: without labels
    const own = await calibrate(model.conditioned(), { data: images, sigmas: plain.sigmas, count: 30, seed: 2 })
    expect(own.precisionAt(0.3).map((h, i) => h / plain.precisionAt(0.3)[i]).every((r) => Math.abs(r - 1) < 1e-4)).toBe(true) // biome-ignore format: one line

    const file = join(folder, 'energy.safetensors')
    await model.save(file)
    using again = await EnergyModel.load(file)
    for (const sigma of [0.01, 1, 30]) {
      expect(again.calibration!.precisionAt(sigma)).toEqual(plain.precisionAt(sigma))
      expect(again.conditioned([0, 0]).calibration!.precisionAt(sigma)).toEqual(known.precisionAt(sigma))
    }
    model.dispose()
  })

  it('says what does not fit', async () => {
    const { model, images } = await labelledEnergy()
    // biome-ignore lint/suspicious/noExplicitAny: wrong types on purpose
    const wrong = (options: any) => expect(model.calibrate(options)).rejects.toThrow(ArgumentError)
    await wrong({ data: images, draws: 2 })
    await wrong({ data: images, levels: 1 })
    await wrong({ data: gaussianPoints(4) })
    await wrong({})
    await wrong({ data: new Float32Array(64) })
    await expect(model.calibrate({ data: { ...images, labels: null, read: images.read } as never })).rejects.toThrow(
      /takes 5 label entries but the data have none/,
    )
    expect(model.calibration).toBeUndefined()
    model.dispose()
    await expect(
      EnergyModel.create({ kind: 'dot', network: residualMLP(2), calibration: {} } as never),
    ).rejects.toThrow(ArgumentError)
  })

  it('has no damaged table', async () => {
    const energy = gaussianMixture({ weights: [1], means: [[0, 0, 0]], covariances: [1] })
    const data = energy.sample(10)
    const unconditional = await calibrate(energy, { data, count: 10, sigmas: [2, 1], pool: [0, 1, 1] })
    const stored = storeTables({ unconditional })
    const fail = (what: string): never => {
      throw new FormatError(what, 'file')
    }
    const json = (change: object) => ({
      unconditional: { ...JSON.parse(JSON.stringify(stored.unconditional)), ...change },
    })
    expect(readTables(json({}), [3], fail).unconditional.precisionAt(1.5)).toHaveLength(3)
    const changes = [
      ...[{ sigmas: [1, 2] }, { sigmas: [] }, { sigmas: undefined }, { sigmas: [2, 0] }, { variances: [[1, 1]] }],
      ...[
        { variances: [[1, 1], [1]] },
        {
          variances: [
            [1, -1],
            [1, 1],
          ],
        },
        {
          variances: [
            [1, null],
            [1, 1],
          ],
        },
      ],
      ...[{ pool: [0, 1] }, { pool: [0, 1, 7] }, { pool: 'all' }, { count: 1.5 }, { seed: null }],
    ]
    for (const change of changes) expect(() => readTables(json(change), [3], fail), JSON.stringify(change)).toThrow(FormatError) // biome-ignore format: one line
    for (const other of [null, [], { unconditional: 3 }, {}]) expect(() => readTables(other, [3], fail)).toThrow(FormatError) // biome-ignore format: one line
    expect(() => readTables(json({}), [1, 3, 1], fail)).toThrow(/bands of frequencies/)
  })
})

it('distil, sample, calibrate again and inspect', async () => {
  const data = gaussianPoints(2000)
  const network = residualMLP(2, { hidden: 32, layers: 2 })
  const { model: teacher } = await trainDenoiser({ data, network, images: 128 * 300, lr: 5e-3, seed: 5, output: join(folder, 'teacher') }) // biome-ignore format: one line
  const output = join(folder, 'energy')
  const steps: number[] = []
  const options = { teacher, data, images: 128 * 200, lr: 5e-3, seed: 5 }
  const { model } = await distill({ ...options, output, onCalibration: ({ done }) => steps.push(done) })
  const { model: bare } = await distill({ ...options, images: 128, calibrate: false })
  expect(bare.calibration).toBeUndefined()
  expect(model.calibration!.count).toBe(256)
  expect(steps.at(-1)).toBe(256 * 16)
  // the data's Gaussian
  for (const sigma of [0.5, 2])
    model.calibration!.precisionAt(sigma).forEach((h, i) => {
      expect(Math.abs(h * (gaussian.deviation[i] ** 2 + sigma ** 2) - 1)).toBeLessThan(0.25)
    })
  const { diagnostics } = await smc(model, { particles: 64, sigmas: [5, 1, 0.3] })
  expect(diagnostics.meanPrecisions[0]).toEqual(model.calibration!.precisionAt(5))
  await expect(distill({ ...options, calibrate: 0 })).rejects.toThrow(/calibrate/)
  await expect(distill({ ...options, onCalibration: 3 as never })).rejects.toThrow(/onCalibration/)

  const file = join(output, 'model.safetensors')
  const before = await readSafetensors(file)
  const plain = join(folder, 'plain.safetensors')
  await bare.save(plain)
  for (const m of [teacher, model, bare]) m.dispose()
  expect(await main(['sample', plain, '--proposal', 'calibrated', '--output', folder, '--particles', '4'])).toBe(2)
  expect(err).toMatch(/the energy has none: measure it with 'feynkac calibrate'/)
  const spec = 'synthetic:moons:count=300'
  out = ''
  expect(await main(['calibrate', file, '--data', spec, '--count', '50', '--levels', '6', '--json'])).toBe(0)
  expect(JSON.parse(out)).toMatchObject({ model: file, groups: 2, levels: 6, draws: 50 })
  const after = await readSafetensors(file)
  expect(after.tensors).toEqual(before.tensors)
  expect(JSON.parse(after.metadata.feynkac!).calibration.unconditional.sigmas).toHaveLength(6)
  out = ''
  expect(await main(['inspect', file])).toBe(0)
  expect(out).toContain('calibrated  2 precisions at 6 noise levels, from 50 draws of data\n')
  expect(out).toMatch(/trained {5}\d+ images: batch .*\nheld out {4}loss \d/)
  const sample = ['sample', file, '--proposal', 'calibrated', '--output', folder, '--particles', '8', '--steps', '8', '--allow-collapse'] // biome-ignore format: one line
  expect(await main(sample)).toBe(0)
  const bytes = await readFile(file)
  expect(await main(['calibrate', file, '--data', 'synthetic:shapes:count=4,size=8'])).toBe(2)
  expect(await main(['calibrate', join(folder, 'teacher', 'model.safetensors'), '--data', spec])).toBe(2)
  expect(await readFile(file)).toEqual(bytes)
  using denoiser = await Denoiser.load(join(folder, 'teacher', 'model.safetensors'))
  expect('calibration' in denoiser.info).toBe(false)
})
