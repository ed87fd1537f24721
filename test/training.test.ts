import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import os from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { ArgumentError, FileError, NumericsError } from '../lib/base/errors.js'
import { MemoryDataset } from '../lib/data/dataset.js'
import { Denoiser } from '../lib/models/denoiser.js'
import { EnergyModel } from '../lib/models/energy.js'
import { native, run } from '../lib/native/addon.js'
import { readCheckpoint } from '../lib/training/checkpoint.js'
import type { LogLine, TrainingProgress } from '../lib/training/events.js'
import { distill } from '../lib/training/objectives/distill.js'
import { trainDenoiser, trainEnergy } from '../lib/training/objectives/dsm.js'
import { gaussian, gaussianPoints, labelledImages } from './training-data.js'

// one thread: these networks are too small for more, and the machine may be busy
beforeAll(() => native.setThreads(1))

let folder = ''
beforeEach(async () => {
  folder = await mkdtemp(join(os.tmpdir(), 'feynkac-training-'))
})
afterEach(() => rm(folder, { recursive: true }))

const mlp = { width: 32, blocks: 2 }
const points = gaussianPoints(4096)
const quick = { data: points, network: mlp, images: 128 * 400, batchSize: 128, lr: 5e-3, seed: 3 }

/** Noisy points and the Gaussian's exact denoiser, mean + (s^2 / (s^2 + sigma^2)) (x - mean) per coordinate. */
function exactDenoiser(sigma: number) {
  const n = 256
  const x = new Float32Array(2 * n)
  const exact = new Float32Array(2 * n)
  for (let i = 0; i < n; i++)
    for (let c = 0; c < 2; c++) {
      const spread = Math.sqrt(gaussian.deviation[c]! ** 2 + sigma ** 2)
      const at = 2 * i + c
      x[at] = gaussian.mean[c]! + spread * 1.7 * Math.sin(12.9898 * at + 3 * c)
      exact[at] = gaussian.mean[c]! + (gaussian.deviation[c]! ** 2 / spread ** 2) * (x[at]! - gaussian.mean[c]!)
    }
  return { x, exact }
}

/** Error of a denoiser in units of c_out, as the loss weighs it; root mean square. */
async function error(model: Denoiser | EnergyModel, sigma: number): Promise<number> {
  const { x, exact } = exactDenoiser(sigma)
  const found = await model.denoise(x, sigma)
  const sd = model.info.sigmaData
  const cOut = (sigma * sd) / Math.sqrt(sigma ** 2 + sd ** 2)
  return Math.sqrt(found.reduce((sum, value, i) => sum + ((value - exact[i]!) / cOut) ** 2, 0) / found.length)
}

describe('trainDenoiser', () => {
  it('learns the exact denoiser of a Gaussian', async () => {
    const seen: TrainingProgress[] = []
    const { model, steps, images, loss } = await trainDenoiser({ ...quick, onProgress: (at) => seen.push(at) })
    expect(steps).toBe(400)
    expect(images).toBe(128 * 400)
    expect(seen.map(({ step }) => step)).toEqual(Array.from({ length: 400 }, (_, i) => i + 1))
    expect(seen.at(-1)!.median).toBe(loss)
    expect(model.info).toMatchObject({ kind: 'denoiser', labels: null })
    // the untrained network (h = 0) errs by the scale of the target, about 1
    for (const sigma of [0.1, 0.4, 1.5]) expect(await error(model, sigma)).toBeLessThan(0.15)
    model.dispose()
  })

  it('learns a ring, which has the mean and covariance of a Gaussian', async () => {
    const options = { data: 'synthetic:ring', network: { width: 64, blocks: 2 }, images: 256 * 300, batchSize: 256 }
    const { model, loss } = await trainDenoiser({ ...options, lr: 3e-3 })
    model.dispose()
    // a network that stays with the Gaussian has loss 1
    expect(loss).toBeLessThan(0.9)
  })

  it.each([
    { data: 5 },
    { data: { size: 4, shape: [2], labels: null } },
    { dataOptions: { size: 3 } },
    { network: 'small' },
    { network: { class: 'ResidualMLP', args: {} } },
    { output: 5 },
    { conditional: 1 },
    { resume: 'yes' },
    { signal: {} },
    { onProgress: 'each' },
  ])('rejects %j', async (wrong) => {
    await expect(trainDenoiser({ ...quick, ...(wrong as object) })).rejects.toThrow(ArgumentError)
  })

  it('rejects a new model that cannot be', async () => {
    const network = { class: 'ResidualMLP', shape: [2], args: { dim: 2, hidden: 8 } } as never
    const wrong = [
      { network: { class: 'X' } },
      { network, sigmaData: -1 },
      { network, labels: 3 },
      { network, more: 1 },
    ]
    for (const model of [undefined, {}, ...wrong, { network, kind: 'dot' }])
      await expect(Denoiser.create(model as never)).rejects.toThrow(ArgumentError)
    await expect(Denoiser.create({ network }, { seed: -1 })).rejects.toThrow(ArgumentError)
    await expect(EnergyModel.create({ network, kind: 'cube' as never })).rejects.toThrow(ArgumentError)
  })

  it('repeats bit by bit, with and without checkpoints', async () => {
    const weights = async (extra: object) => {
      const { model } = await trainDenoiser({ ...quick, images: 128 * 5, ...extra })
      const values = new Float32Array(model.network.parameterCount())
      await run(() => model.network.read('params', values))
      model.dispose()
      return values
    }
    const reference = await weights({})
    expect(await weights({ output: folder, checkpointEvery: 128, logEvery: 1 })).toEqual(reference)
    expect(await weights({ seed: 4 })).not.toEqual(reference)
  })

  it('measures sigmaData of vectors, and takes it when given', async () => {
    const few = { ...quick, images: 128 }
    const mean = (gaussian.mean[0] + gaussian.mean[1]) / 2
    const variance = [0, 1].reduce(
      (sum, c) => sum + (gaussian.deviation[c]! ** 2 + (gaussian.mean[c]! - mean) ** 2) / 2,
      0,
    )
    const { model } = await trainDenoiser(few)
    expect(model.info.sigmaData).toBeCloseTo(Math.sqrt(variance), 1)
    const { model: other } = await trainDenoiser({ ...few, sigmaData: 0.7 })
    expect(other.info.sigmaData).toBe(0.7)
    model.dispose()
    other.dispose()
  })

  it('writes model.safetensors, the log and the last two checkpoints', async () => {
    const options = { ...quick, images: 128 * 20, holdOut: 0, output: folder, checkpointEvery: 640, logEvery: 512 }
    const { model, path } = await trainDenoiser(options)
    expect(path).toBe(join(folder, 'model.safetensors'))
    const names = (await readdir(folder)).sort()
    const kept = ['checkpoint-000000015.safetensors', 'checkpoint-000000020.safetensors']
    expect(names).toEqual([...kept, 'log.jsonl', 'model.safetensors'])
    const lines = (await readFile(join(folder, 'log.jsonl'), 'utf8')).trim().split('\n')
    const log = lines.map((line) => JSON.parse(line) as LogLine)
    expect(log.map(({ step }) => step)).toEqual([0, 4, 8, 12, 16, 20])
    expect(log[0]).toMatchObject({ recipe: { batchSize: 128, lr: 5e-3 }, samples: { training: 4096, heldOut: 0 } })
    expect(log[1]!.binLosses).toHaveLength(10)
    const loaded = await Denoiser.load(path!)
    const { x } = exactDenoiser(0.3)
    expect(await loaded.denoise(x, 0.3)).toEqual(await model.denoise(x, 0.3))
    loaded.dispose()
    model.dispose()
  })

  it.each(['synthetic:ring:count=64', 'synthetic:shapes:count=64,size=8'])(
    'draws previews of %s from its averaged weights, and ends with the bits of a run without',
    async (data) => {
      const options = { data, images: 640, batchSize: 16, network: { width: 8, blocks: 1 }, device: 'cpu' }
      const [shown, plain] = [join(folder, 'shown'), join(folder, 'plain')]
      for (const [output, previewEvery] of [[shown, 160], [plain, 0]] as const) // biome-ignore format: one line
        (await trainDenoiser({ ...options, output, previewEvery })).model.dispose()
      const weights = (run: string) => readFile(join(run, 'model.safetensors'))
      expect((await weights(shown)).equals(await weights(plain))).toBe(true)
      const lines = (await readFile(join(shown, 'log.jsonl'), 'utf8')).trim().split('\n')
      const [first, ...log] = lines.map((line) => JSON.parse(line))
      expect(first).toMatchObject({ step: 0, options: { batchSize: 16, images: 640, objective: 'dsm' }, sources: { data: { spec: data } } }) // biome-ignore format: one line
      const drawn = log.filter(({ preview }) => preview)
      expect(drawn.map(({ images }) => images)).toEqual([160, 320, 480, 640])
      if (data.includes('ring'))
        expect(drawn.at(-1).preview).toEqual(Array(64).fill([expect.any(Number), expect.any(Number)])) // biome-ignore format: one line
      else expect(await readdir(join(shown, 'previews'))).toEqual(drawn.map(({ preview }) => preview.slice(9)))
      expect(await readdir(plain)).not.toContain('previews')
    },
  )

  it('gives the network the labels of the data, unless told not to', async () => {
    const options = { data: labelledImages(12), images: 8, batchSize: 4, network: { width: 8, blocks: 1 } }
    const { model } = await trainDenoiser(options)
    expect(model.info.labels?.attributes.map(({ name }) => name)).toEqual(['first', 'second'])
    expect(model.labelDim).toBe(5)
    const { model: plain } = await trainDenoiser({ ...options, conditional: false })
    expect(plain.labelDim).toBe(0)
    expect(plain.info.labels).toBeNull()
    model.dispose()
    plain.dispose()
  })
})

describe('energies', () => {
  it.each(['dot', 'l2'] as const)('trainEnergy learns the Gaussian with the head %s', async (head) => {
    const { model } = await trainEnergy({ ...quick, head })
    expect(model).toBeInstanceOf(EnergyModel)
    expect(model.info.kind).toBe(head)
    for (const sigma of [0.1, 0.4, 1.5]) expect(await error(model, sigma)).toBeLessThan(0.25)
    model.dispose()
  })

  it('distill comes close to its teacher, from its weights or from new ones', async () => {
    const { model: teacher } = await trainDenoiser(quick)
    for (const init of ['teacher', 'random'] as const) {
      const { model } = await distill({ teacher, data: points, init, images: 128 * 250, lr: 5e-3, seed: 5 })
      expect(model.info).toMatchObject({ kind: 'dot', headScale: 0.5, sigmaData: teacher.info.sigmaData })
      for (const sigma of [0.1, 0.4, 1.5]) {
        const { x } = exactDenoiser(sigma)
        const [student, target] = [await model.denoise(x, sigma), await teacher.denoise(x, sigma)]
        const sd = teacher.info.sigmaData
        const cOut = (sigma * sd) / Math.sqrt(sigma ** 2 + sd ** 2)
        const gap = student.reduce((sum, value, i) => sum + ((value - target[i]!) / cOut) ** 2, 0) / x.length
        expect(Math.sqrt(gap)).toBeLessThan(0.2)
      }
      model.dispose()
    }
    teacher.dispose()
  })

  it('distill checks the data and the network against the teacher', async () => {
    const { model: teacher } = await trainDenoiser({ ...quick, images: 128 })
    const images = labelledImages(12)
    const attempt = (options: object) => distill({ teacher, data: points, images: 128, ...options })
    await expect(attempt({ data: images })).rejects.toThrow(/samples of \[2\].*\[1,8,8\]/)
    await expect(attempt({ init: 'teacher', network: { width: 32 } })).rejects.toThrow(/init/)
    await expect(attempt({ head: 'norm', headScale: 0.5 })).rejects.toThrow(/headScale/)
    await expect(attempt({ head: 'cross' })).rejects.toThrow(/dot.*l2.*norm/)
    await expect(distill({ data: points, images: 128 })).rejects.toThrow(/teacher/)
    await expect(distill({ data: points, images: 1, teacher: join(folder, 'none') })).rejects.toThrow(FileError)
    const conditional = await trainDenoiser({ data: images, images: 8, network: { width: 8, blocks: 1 }, batchSize: 4 })
    const bare = new MemoryDataset({ name: 'bare', shape: [1, 8, 8], data: new Uint8Array(128), labels: null })
    await expect(distill({ teacher: conditional.model, data: bare, images: 4 })).rejects.toThrow(/5 label entries/)
    conditional.model.dispose()
    teacher.dispose()
  })
})

describe('what can go wrong', () => {
  it('rejects options by name', async () => {
    await expect(trainDenoiser({ ...quick, rate: 1 } as never)).rejects.toThrow(/rate/)
    await expect(trainDenoiser({ ...quick, lr: -1 })).rejects.toThrow(ArgumentError)
    await expect(trainDenoiser({ ...quick, images: 0 })).rejects.toThrow(/images/)
    await expect(trainDenoiser({ ...quick, flips: true })).rejects.toThrow(/flips/)
    await expect(trainDenoiser({ ...quick, labelDropout: 0.5 })).rejects.toThrow(/labelDropout/)
    await expect(trainDenoiser({ ...quick, conditional: true })).rejects.toThrow(/conditional/)
    await expect(trainDenoiser({ ...quick, resume: true })).rejects.toThrow(/output/)
    await expect(trainDenoiser({ ...quick, data: undefined })).rejects.toThrow(/data/)
    await expect(trainDenoiser({ ...quick, network: { class: 'Other' } as never })).rejects.toThrow(ArgumentError)
  })

  it('stops where the loss is not finite: step, noise level and last checkpoint', async () => {
    const data = new Float32Array(2 * 64)
    data[100] = Number.NaN
    const broken = new MemoryDataset({ name: 'broken', shape: [2], data, labels: null })
    const options = { ...quick, data: broken, sigmaData: 0.5, batchSize: 16, images: 640, output: folder }
    const attempt = trainDenoiser({ ...options, checkpointEvery: 16 })
    await expect(attempt).rejects.toThrow(NumericsError)
    await expect(attempt).rejects.toThrow(
      /step [1-4]: the loss is not finite.*sigma (from|above|below).*checkpoint-0{8}[0-3]/,
    )
  })

  it('goes on from average weights at half of the rate where the loss diverges once', async () => {
    let reads = 0
    // three batches in the middle are of far other points
    const spiked = {
      ...{ name: 'spiked', size: points.size, shape: [2], labels: null, origin: 'spiked', label: () => [] },
      read: (index: number, out: Float32Array, offset: number) => {
        points.read(index, out, offset)
        const at = Math.floor(reads++ / quick.batchSize)
        if (at >= 200 && at < 203) out.fill(8, offset, offset + 2)
      },
    }
    const warned = vi.spyOn(process, 'emitWarning').mockImplementation(() => {})
    const options = { ...quick, data: spiked, sigmaData: 0.5, holdOut: 0, output: folder }
    const { model, loss, steps } = await trainDenoiser(options)
    expect(warned).toHaveBeenCalledWith(
      expect.stringMatching(
        /^training diverged at step 203: the loss .* going on from average weights at 1\/2 of the rate$/,
      ),
      'FeynkacWarning',
    )
    warned.mockRestore()
    expect(steps).toBe(400)
    expect(loss).toBeLessThan(1)
    const lines = (await readFile(join(folder, 'log.jsonl'), 'utf8')).trim().split('\n')
    expect(lines.filter((line) => JSON.parse(line).diverged)).toHaveLength(1)
    const { loop } = await readCheckpoint(join(folder, 'checkpoint-000000400.safetensors'))
    expect(loop.slowed).toBe(1)
    model.dispose()
  })

  it('stops where the loss diverges', async () => {
    const attempt = trainDenoiser({ ...quick, lr: 30, clip: 0, warmUp: 128 * 60, emaHalfLife: 0, images: 128 * 400 })
    await expect(attempt).rejects.toThrow(/diverged at step \d+.*There is no checkpoint/)
  })

  it('ends within a step when aborted, with a checkpoint', async () => {
    const controller = new AbortController()
    const reason = new Error('enough')
    let last = 0
    const attempt = trainDenoiser({
      ...quick,
      output: folder,
      signal: controller.signal,
      onProgress: ({ step }) => {
        last = step
        if (step === 7) controller.abort(reason)
      },
    })
    await expect(attempt).rejects.toBe(reason)
    expect(last).toBe(7)
    expect(await readdir(folder)).toContain('checkpoint-000000007.safetensors')
  })

  it('needs a directory it can write to', async () => {
    const file = join(folder, 'file')
    await writeFile(file, '')
    await expect(trainDenoiser({ ...quick, output: join(file, 'run') })).rejects.toThrow(FileError)
    await expect(trainDenoiser({ ...quick, output: '/proc/feynkac' })).rejects.toThrow(FileError)
  })
})
