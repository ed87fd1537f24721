import { access, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { streamOf } from '../lib/base/stream.js'
import {
  type ChainLevel,
  type FeynmanKacModel,
  gaussianMixture,
  type Level,
  lowTemperature,
  mcmc,
  product,
  rewardTilt,
  type SmcOptions,
  sample,
  sigmaGrid,
  smc,
  type Target,
  trainDenoiser,
} from '../lib/index.js'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'feynkac-streams-'))
})
afterAll(() => rm(folder, { recursive: true }))

describe('streamOf', () => {
  /** Counts to three, and says how far it came. */
  const counting = (seen: number[], signal?: AbortSignal) =>
    streamOf<number, string>(async (emit, whole) => {
      for (let i = 0; i < 3; i++) {
        whole.throwIfAborted()
        await emit(i)
        seen.push(i)
      }
      return 'done'
    }, signal)

  it('gives every event in order, waits for the loop, and has the result', async () => {
    const seen: number[] = []
    const stream = counting(seen)
    const got: number[] = []
    for await (const i of stream) {
      await new Promise((resolve) => setTimeout(resolve, 1))
      expect(seen).toEqual(got)
      got.push(i)
    }
    expect([got, await stream.result]).toEqual([[0, 1, 2], 'done'])
  })

  it('runs without a loop where the result is asked for', async () => {
    const seen: number[] = []
    const stream = counting(seen)
    expect(await stream.result).toBe('done')
    expect(await stream.result).toBe('done')
    expect(seen).toEqual([0, 1, 2])
  })

  it('ends where the loop is left, and then has no result', async () => {
    const seen: number[] = []
    const stream = counting(seen)
    for await (const i of stream) if (i === 1) break
    expect(seen).toEqual([0, 1])
    await expect(stream.result).rejects.toThrow(/left before the run had ended/)
  })

  it('fails with what the run fails by, and with the reason of the signal', async () => {
    const broken = streamOf<number, void>(async (emit) => {
      await emit(1)
      throw new Error('broken')
    })
    await expect(async () => {
      for await (const _ of broken);
    }).rejects.toThrow('broken')
    await expect(broken.result).rejects.toThrow('broken')
    const stop = new AbortController()
    await expect(async () => {
      for await (const i of counting([], stop.signal)) if (i === 0) stop.abort(new Error('enough'))
    }).rejects.toThrow('enough')
  })

  it('passes on what the loop throws', async () => {
    await expect(async () => {
      for await (const _ of counting([])) throw new Error('from the body')
    }).rejects.toThrow('from the body')
  })
})

describe('training as a loop', () => {
  const options = { data: 'synthetic:ring:count=64', images: 96, network: { width: 8 }, batchSize: 16, seed: 1 }

  it('has the steps of onProgress and the same weights', async () => {
    const steps: number[] = []
    const stream = trainDenoiser.stream(options)
    for await (const { step, lr } of stream) {
      expect(lr).toBeGreaterThan(0)
      steps.push(step)
    }
    expect(steps).toEqual([1, 2, 3, 4, 5, 6])
    const [{ model: a }, { model: b }] = [await stream.result, await trainDenoiser(options)]
    const x = Float32Array.of(0.5, -0.3)
    expect(await a.denoise(x, 0.7)).toEqual(await b.denoise(x, 0.7))
    for (const model of [a, b]) model.dispose()
  })

  it('leaves a checkpoint where the loop is left, and goes on from it', async () => {
    const output = join(folder, 'run')
    for await (const { step } of trainDenoiser.stream({ ...options, output })) if (step === 2) break
    expect(await readdir(output)).toContain('checkpoint-000000002.safetensors')
    const { steps, model } = await trainDenoiser.stream({ ...options, output, resume: true }).result
    expect(steps).toBe(6)
    const lines = (await readFile(join(output, 'log.jsonl'), 'utf8')).trim().split('\n')
    expect(JSON.parse(lines.at(-1)!)).toMatchObject({ step: 6, lr: expect.any(Number), time: expect.stringMatching(/^\d{4}-.*Z$/) }) // biome-ignore format: one line
    model.dispose()
  })
})

const left = gaussianMixture({ weights: [1, 2], means: [[-1, 0], [1, 0]], covariances: [0.1, 0.2] }) // biome-ignore format: two points
const right = gaussianMixture({ weights: [1], means: [[0.5, 0.5]], covariances: [0.3] })
const sigmas = sigmaGrid({ steps: 10, min: 0.1, max: 8 })
const options: SmcOptions = { particles: 48, sigmas, seed: 5 }

/** A state-space model: a walk that is seen with noise. */
const walk: FeynmanKacModel = {
  levels: 6,
  initial: (_, rng) => Float32Array.from(rng.normals(1)),
  propagate: (_, x, rng) => {
    const steps = rng.normals(1)
    return x.map((value, i) => value + steps[i]!)
  },
  logPotential: (k, _, x) => Float64Array.from(x, (value) => -2 * (value - k) ** 2),
}

describe('smc as a loop', () => {
  it('has the reports of onProgress, the particles, and the same result', async () => {
    const reports: unknown[] = []
    const whole = await smc(left, { ...options, finalResample: true, onProgress: (report) => reports.push(report) })
    const stream = smc.stream(left, { ...options, finalResample: true })
    const levels: Level[] = []
    for await (const level of stream) {
      const [samples, denoised] = [await level.samples(), await level.denoised()]
      expect(level.weights.reduce((a, b) => a + b)).toBeCloseTo(1, 12)
      const { grad } = await left.energyGrad(samples, level.sigma)
      for (const [i, value] of denoised.entries())
        expect(value).toBeCloseTo(samples[i]! - level.sigma ** 2 * grad[i]!, 3)
      levels.push(level)
      if (level.level === level.lastLevel) expect(samples).toEqual(whole.samples)
    }
    expect(levels.map(({ weights: _, samples: __, denoised: ___, ancestors: ____, ...report }) => report)).toEqual(
      reports,
    )
    expect(levels.map(({ ancestors }) => ancestors)).toEqual(whole.ancestors)
    expect(await stream.result).toEqual(whole)
    await expect(levels[0]!.samples()).rejects.toThrow(/level 0 has passed/)
  })

  it('stops where the loop is left, and by the signal', async () => {
    let evaluations = 0
    const counted = {
      shape: [2],
      energyGrad(x: Float32Array, sigma: number) {
        evaluations++
        return left.energyGrad(x, sigma)
      },
    }
    for await (const { level } of smc.stream(counted, options)) if (level === 2) break
    expect(evaluations).toBe(3)
    const stop = new AbortController()
    await expect(async () => {
      for await (const _ of smc.stream(left, { ...options, signal: stop.signal })) stop.abort(new Error('enough'))
    }).rejects.toThrow('enough')
  })

  it("runs models of one's own, which have no denoised samples", async () => {
    const stream = smc.stream(walk, { particles: 20 })
    for await (const level of stream) {
      expect((await level.samples()).length).toBe(20)
      await expect(level.denoised()).rejects.toThrow(/knows no noise levels/)
    }
    expect((await stream.result).shape).toEqual([1])
  })

  it.each(['mala', 'uhmc'] as const)('of chains has their levels and ends as they do: %s', async (kernel) => {
    const chains = { chains: 10, sigmas: [2, 1, 0.5], kernel, steps: 2, seed: 3 }
    const whole = await mcmc(left, chains)
    const stream = mcmc.stream(left, chains)
    const levels: ChainLevel[] = []
    for await (const level of stream) {
      const samples = await level.samples()
      const { energy } = await left.energyGrad(samples, level.sigma)
      expect(level.energy).toEqual(energy)
      levels.push(level)
      if (level.level === level.lastLevel) expect(samples).toEqual(whole.samples)
    }
    expect(levels.map(({ level, sigma }) => [level, sigma])).toEqual([[0, 2], [1, 1], [2, 0.5]]) // biome-ignore format: pairs
    expect(Float64Array.from(levels, ({ acceptance }) => acceptance)).toEqual(whole.acceptance)
    expect(Float64Array.from(levels, ({ stepSize }) => stepSize)).toEqual(whole.stepSizes)
    expect(await stream.result).toEqual(whole)
    await expect(levels[0]!.samples()).rejects.toThrow(/level 0 has passed/)
    expect(() => mcmc.stream(left, { ...chains, onProgress: () => {} })).toThrow(/onProgress/)
  })

  it('refuses onProgress beside the loop, and wrong options', async () => {
    expect(() => smc.stream(left, { ...options, onProgress: () => {} })).toThrow(/onProgress/)
    await expect(smc.stream(left, { ...options, particles: 0 }).result).rejects.toThrow(/particles/)
  })
})

describe('checkpoints of smc', () => {
  const reward = rewardTilt(left, (images, count) => Float64Array.from({ length: count }, (_, i) => images[2 * i]!), { strength: 1 }) // biome-ignore format: one line
  const cases: [string, Target | FeynmanKacModel, Partial<SmcOptions>][] = [
    ['bridge', lowTemperature(left, { gamma: 2 }), { essThreshold: 0.9 }],
    ['partial resampling', lowTemperature(left, { gamma: 2 }), { essThreshold: 0.8, essAfter: 0.9 }],
    ['moves', product([left, right]), { moves: { kernel: 'mala', steps: 2, tune: true }, essThreshold: 0.9 }],
    ['a control drift', product([left, right]), { controlDrift: true, essThreshold: 0.5 }],
    ['fkc', product([left, right]), { weights: 'fkc', essThreshold: 0.9 }],
    ['tilt', reward, { weights: 'tilt', essThreshold: 0.9 }],
    ['none', product([left, right]), { weights: 'none' }],
    ['own model', walk, {}],
  ]
  it.each(cases)('a run that was stopped goes on with the same bits: %s', async (name, target, extra) => {
    const file = join(folder, `${name}.safetensors`)
    const given = (target === walk ? { particles: 48, seed: 5 } : { ...options, ...extra }) as SmcOptions
    const run = (more: Partial<SmcOptions>) => smc(target as Target, { ...given, ...more })
    const whole = await run({})
    for (const at of [0, 3]) {
      const stop = { ...given, checkpoint: file, checkpointEvery: 1000 }
      for await (const { level } of smc.stream(target as Target, stop)) if (level === at) break
      const seen: number[] = []
      const again = await run({ checkpoint: file, onProgress: ({ level }) => seen.push(level) })
      expect(seen[0]).toBe(at + 1)
      expect(again).toEqual(whole)
      await expect(access(file)).rejects.toThrow()
    }
  })

  it('is written after every level where that is asked for, and refused where it is of another run', async () => {
    const file = join(folder, 'state.safetensors')
    const target = lowTemperature(left, { gamma: 2 })
    const run = { ...options, checkpoint: file, checkpointEvery: 0 }
    let killed = 0
    const kill = () => {
      if (++killed === 4) throw new Error('the power fails')
    }
    await expect(smc(target, { ...run, onProgress: kill })).rejects.toThrow('the power fails')
    await expect(smc(target, { ...run, seed: 6 })).rejects.toThrow(/other seed: give another file/)
    await expect(smc(lowTemperature(left, { gamma: 3 }), run)).rejects.toThrow(/other target/)
    await expect(smc(lowTemperature(right, { gamma: 2 }), run)).rejects.toThrow(/its models have changed/)
    const older = join(folder, 'older.safetensors')
    await writeFile(older, (await readFile(file, 'latin1')).replace(/feynkac-smc-\d/, 'feynkac-smc-0'), 'latin1')
    await expect(smc(target, { ...run, checkpoint: older })).rejects.toThrow(/of another version of smc/)
    const levels: number[] = []
    const again = await smc(target, { ...run, onProgress: ({ level }) => levels.push(level) })
    expect(levels).toEqual([4, 5, 6, 7, 8, 9, 10])
    expect(again).toEqual(await smc(target, options))
    await writeFile(file, 'x'.repeat(100))
    await expect(smc(target, run)).rejects.toThrow(/state.safetensors/)
    await expect(smc(target, { ...options, checkpointEvery: 1 })).rejects.toThrow(/nothing without checkpoint/)
  })
})

it('names of before are taken with a warning, once', async () => {
  const said = vi.spyOn(process, 'emitWarning').mockImplementation(() => {})
  const few = { ...options, batch: 7 }
  for (let i = 0; i < 2; i++) expect(await smc(left, few)).toEqual(await smc(left, options))
  const chains = { chains: 4, sigmas: [1] }
  expect(await mcmc(left, { ...chains, batch: 3 })).toEqual(await mcmc(left, chains))
  const plain = { particles: 4, sigmas: [1, 0] }
  expect(await sample(left, { ...plain, batch: 3 })).toEqual(await sample(left, plain))
  const texts = ['smc', 'mcmc', 'sample'].map((name) => `${name}: the option batch is called batchSize now; batch goes with the next version`) // biome-ignore format: one line
  expect(said.mock.calls.map(([text]) => text)).toEqual(texts)
  await expect(smc(left, { ...few, batchSize: 7 })).rejects.toThrow(/only one of batchSize and batch/)
  said.mockRestore()
})
