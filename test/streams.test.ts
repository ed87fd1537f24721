import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { streamOf } from '../lib/base/stream.js'
import { trainDenoiser } from '../lib/index.js'

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
