import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  ArgumentError,
  BusyError,
  createEngine,
  DeadlineError,
  Denoiser,
  EnergyModel,
  type Engine,
  guidedDenoiser,
  lowTemperature,
  product,
  residualMLP,
  sample,
  sigmaGrid,
  smc,
} from '../lib/index.js'

const labels = { attributes: [{ name: 'side', size: 2, values: ['left', 'right'] }] }
const network = residualMLP(2, { hidden: 16, layers: 1, label_dim: 2 })
let energy: EnergyModel
let denoiser: Denoiser
const engines: Engine[] = []
beforeAll(async () => {
  energy = await EnergyModel.create({ network, kind: 'dot', labels, sigmaMin: 0.05, sigmaMax: 10 }, { seed: 1 })
  denoiser = await Denoiser.create({ network, labels, sigmaMin: 0.05, sigmaMax: 10 }, { seed: 2 })
})
afterAll(async () => {
  for (const engine of engines) await engine.close()
  for (const model of [energy, denoiser]) model.dispose()
})

async function engineOf(options: object = {}): Promise<Engine> {
  const engine = await createEngine({ models: { energy, denoiser }, ...options })
  engines.push(engine)
  return engine
}

/** The value of a metric. */
const metric = (engine: Engine, name: string) =>
  Number(engine.metrics().split('\n').find((line) => line.startsWith(`${name} `))?.split(' ')[1]) // biome-ignore format: one line

const sigmas = sigmaGrid({ steps: 8, min: 0.05, max: 10 })
const request = { model: 'energy', particles: 6, steps: 8 }

describe('an engine', () => {
  it('gives the bits that the same runs have alone, and merges their calls', async () => {
    const engine = await engineOf({ maxConcurrent: 8 })
    const sharp = lowTemperature(energy, { gamma: 2 })
    const both = product([energy.conditioned({ side: 'left' }), energy], { weights: [2, -1] })
    const run = { particles: 6, sigmas }
    const guided = guidedDenoiser(denoiser, { labels: { side: 1 }, scale: 2 })
    const pairs = [
      ...[1, 2, 3].map((seed) => [engine.sample({ ...request, seed }), () => smc(energy, { ...run, seed })] as const),
      [engine.sample({ ...request, gamma: 2 }), () => smc(sharp, run)] as const,
      [engine.sample({ ...request, attributes: { side: 'left' }, guidance: 2 }), () => smc(both, run)] as const,
      [
        engine.sample({ ...request, model: 'denoiser', attributes: { side: 1 }, guidance: 2, seed: 4 }),
        () => sample(guided, { particles: 6, sigmas: [...sigmas, 0], method: 'ancestral', seed: 4 }),
      ] as const,
    ]
    for (const [served, alone] of pairs) {
      const [a, b] = [await served, await alone()]
      expect(a.samples).toEqual(b.samples)
      expect(a.logWeights).toEqual(b.logWeights)
    }
    const [batches, calls] = [metric(engine, 'feynkac_batches_total{model="energy"}'), metric(engine, 'feynkac_batch_calls_total{model="energy"}')] // biome-ignore format: one line
    expect(calls).toBe(9 * 6) // the guided one asks for two energies a level
    expect(batches).toBeLessThan(calls) // how many at a time is chance
    expect(metric(engine, 'feynkac_requests_total{outcome="ok"}')).toBe(6)
  })

  it('streams levels with previews', async () => {
    const engine = await engineOf()
    for (const model of ['energy', 'denoiser']) {
      const seen: number[] = []
      const run = engine.stream({ ...request, model })
      for await (const { level, denoised } of run) {
        expect((await denoised()).every(Number.isFinite)).toBe(true)
        seen.push(level)
      }
      expect(seen.length).toBe(9)
      expect((await run.result).particles).toBe(6)
    }
    for await (const _ of engine.stream(request)) break
    expect(engine.health()).toMatchObject({ status: 'ok', queued: 0, running: 0, memory: 0 })
  })

  it('evaluates together what comes while the model works', async () => {
    const engine = await engineOf()
    const { energyGrad } = engine.energy('energy')
    await Promise.all([2, 1, 0.5, 0.2].map((sigma) => energyGrad(Float32Array.of(0.1, 0.2), sigma)))
    // the first alone, the three others as one
    expect(metric(engine, 'feynkac_batch_calls_total{model="energy"}')).toBe(4)
    expect(metric(engine, 'feynkac_batches_total{model="energy"}')).toBe(2)
  })

  it('counts those that wait for memory too', async () => {
    const engine = await engineOf({ maxConcurrent: 4, maxQueued: 1, memoryLimit: 10 })
    let done = () => {}
    const running = engine.run({ memory: 10 }, () => new Promise<void>((resolve) => (done = resolve))) // biome-ignore format: one line
    const waiting = engine.run({ memory: 10 }, async () => 1)
    await expect(engine.run({ memory: 10 }, async () => 2)).rejects.toThrow(BusyError)
    await expect(engine.run({ memory: 11 }, async () => 3)).rejects.toThrow(ArgumentError)
    done()
    expect(await Promise.all([running, waiting])).toEqual([undefined, 1])
  })

  it('takes clients in turn', async () => {
    const engine = await engineOf({ maxConcurrent: 1 })
    const order: string[] = []
    const ask = (client: string) => engine.run({ client }, async () => void order.push(client))
    const first = engine.run({ client: 'a' }, () => new Promise((resolve) => setTimeout(resolve, 20)))
    await Promise.all([first, ...['a', 'a', 'a', 'b', 'c', 'b'].map(ask)])
    expect(order.join('')).toBe('abcaba')
  })

  it('refuses what it has no room for, and what is wrong, at once', async () => {
    const engine = await engineOf({
      maxConcurrent: 1,
      maxQueued: 1,
      memoryLimit: 10_000,
      maxParticles: 50,
      maxSteps: 20,
    })
    let done = () => {}
    const running = engine.run({}, () => new Promise<void>((resolve) => (done = resolve))) // biome-ignore format: one line
    const waiting = engine.run({}, async () => 1)
    await expect(engine.run({}, async () => 2)).rejects.toThrow(BusyError)
    await expect(engine.sample({ ...request, particles: 40 })).rejects.toThrow(/more than the limit of 10.0 kB/)
    for (const [wrong, message] of [
      [{ particles: 51 }, /integer from 1 to 50 for particles/],
      [{ steps: 21 }, /for steps/],
      [{ model: 'other' }, /one of 'energy', 'denoiser'|one of energy, denoiser/],
      [{ particle: 3 }, /only model, particles/],
      [{ with: [{ model: 'other' }] }, /for model/],
      [{ box: [1, 0] }, /lo < hi/],
      [{ attributes: { side: null } }, /attributes/],
    ] as const)
      expect(() => engine.stream({ ...request, ...wrong } as never)).toThrow(message)
    done()
    expect(await Promise.all([running, waiting])).toEqual([undefined, 1])
    await expect(engine.sample({ ...request, attributes: { side: 'up' } })).rejects.toThrow(/left, right/)
    await expect(engine.sample({ ...request, model: 'denoiser', gamma: 2 })).rejects.toThrow(/no energy to compose/)
    expect(metric(engine, 'feynkac_requests_total{outcome="refused"}')).toBe(1)
  })

  it('gives up at a deadline and when it is cancelled, waiting or running', async () => {
    const engine = await engineOf({ maxConcurrent: 1 })
    const forever = (signal: AbortSignal) => new Promise<never>((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))) // biome-ignore format: one line
    const late = engine.run({ deadline: 30 }, forever)
    const lateInLine = engine.run({ deadline: 10 }, forever)
    await expect(lateInLine).rejects.toThrow(DeadlineError)
    await expect(late).rejects.toThrow(/not done within 30 ms/)
    const stop = new AbortController()
    const cancelled = [engine.run({ signal: stop.signal }, forever), engine.sample(request, { signal: stop.signal })]
    stop.abort(new Error('no longer wanted'))
    await Promise.all(cancelled.map((one) => expect(one).rejects.toThrow('no longer wanted')))
    const halfway = engine.stream(request)
    for await (const { level } of halfway) if (level === 3) break
    expect(engine.health()).toMatchObject({ queued: 0, running: 0 })
    expect(metric(engine, 'feynkac_requests_total{outcome="late"}')).toBe(2)
    expect((await engine.sample(request)).particles).toBe(6)
  })

  it('serves what it has taken before it closes, tells a log, and then takes no more', async () => {
    const said: string[] = []
    const log = (level: string) => (_: object, message: string) => said.push(`${level} ${message}`)
    const logger = { info: log('info'), warn: log('warn'), error: log('error') }
    const engine = await engineOf({ maxConcurrent: 1, logger })
    const taken = [1, 2, 3].map((seed) => engine.sample({ ...request, seed }))
    const closing = engine.close()
    await expect(engine.sample(request)).rejects.toThrow(/closing/)
    expect(engine.health().status).toBe('closing')
    expect((await Promise.all(taken)).map(({ particles }) => particles)).toEqual([6, 6, 6])
    await closing
    expect(said.sort()).toEqual(['info request done', 'info request done', 'info request done', 'warn request refused'])
  })

  it('says its metrics in the form of Prometheus', async () => {
    const engine = await engineOf()
    await engine.sample(request)
    const lines = engine.metrics().trimEnd().split('\n')
    for (const line of lines)
      expect(line).toMatch(/^(# (HELP|TYPE) [a-z_]+ .+|[a-z_]+(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? [-+\d.e]+)$/)
    expect(lines).toContain('# TYPE feynkac_request_seconds histogram')
    expect(lines).toContain('feynkac_request_seconds_bucket{outcome="ok",le="+Inf"} 1')
    expect(engine.models).toMatchObject([{ name: 'energy', kind: 'dot', shape: [2], attributes: [{ name: 'side' }] }, { name: 'denoiser' }]) // biome-ignore format: one line
  })
})
