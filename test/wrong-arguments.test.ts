import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import * as feynkac from '../lib/index.js'
import { argumentsFor, type Callee, callees, chooser } from './wrong-arguments.js'

/** Calls of each function and method: enough for a few seconds of all of them. */
const CALLS = 120
const SEED = Number(process.env.FEYNKAC_FUZZ_SEED ?? 1)

let folder: string
const home = process.cwd()
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'feynkac-arguments-'))
  process.chdir(folder) // for what is written to a file named by chance
  vi.spyOn(process, 'emitWarning').mockImplementation(() => {})
})
afterAll(async () => {
  process.chdir(home)
  await rm(folder, { recursive: true })
})

async function outcome({ name: callee, call }: Callee, args: unknown[]): Promise<string | null> {
  let timer: NodeJS.Timeout | undefined
  const hangs = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error('it has not ended within ten seconds')), 10_000)
  })
  try {
    await Promise.race([(async () => call(args))(), hangs])
    return null
  } catch (error) {
    const { name, message, code, stack } = error as feynkac.FeynkacError
    const typed = error instanceof feynkac.FeynkacError && code.startsWith('FEYNKAC_') && message.length < 3000
    const isWorks =
      callee === 'engine.run' &&
      typeof args[1] === 'function' &&
      /^(thrown by a callback$|Class constructors? )/.test(message) // the work's own, as it is
    return typed || isWorks ? null : `${name}: ${message}\n${stack?.split('\n').slice(1, 4).join('\n')}`
  } finally {
    clearTimeout(timer)
  }
}

it('every function and method takes wrong arguments with a typed error, or succeeds', async () => {
  const list = await callees(feynkac, join(folder, 'model.safetensors'), folder)
  const below = chooser(SEED)
  const failures = new Map<string, string>()
  for (const callee of list)
    for (let n = 0; n < CALLS; n++) {
      const failure = await outcome(callee, argumentsFor(callee, below))
      if (failure !== null) failures.set(callee.name, failure)
    }
  expect(Object.fromEntries(failures)).toEqual({})
})

it('every function of the package is among them', async () => {
  const names = new Set((await callees(feynkac, join(folder, 'other.safetensors'), folder)).map(({ name }) => name))
  for (const [name, value] of Object.entries(feynkac))
    if (typeof value === 'function' && !/^class\b/.test(String(value))) expect(names, name).toContain(name)
})

describe('use after dispose', async () => {
  const network = feynkac.residualMLP(2, { hidden: 8, layers: 1 })
  const labels = { attributes: [{ name: 'class', size: 2 }] }
  const args = { in_channels: 1, block_out_channels: [4], layers_per_block: 1, norm_num_groups: 1, classes: [2] }
  const config = { class: 'ConvClassifier' as const, shape: [1, 8, 8] as [number, number, number], args }
  const small = { block_out_channels: [4], norm_num_groups: 1, latent_channels: 1 }
  const models: Record<string, object & { dispose(): void }> = {
    Denoiser: await feynkac.Denoiser.create({ network }),
    EnergyModel: await feynkac.EnergyModel.create({ network, kind: 'dot' }),
    Autoencoder: await feynkac.Autoencoder.create({ network: feynkac.autoencoderKL([1, 8, 8], small) }),
    Classifier: await feynkac.Classifier.create({ network: config, labels }),
  }
  const x = new Float32Array(64).fill(0.1)
  const data = await feynkac.loadDataset('synthetic:ring:count=8')
  const calls: [string, string, unknown[]][] = [
    ...['denoise', 'save'].map((m): [string, string, unknown[]] => ['Denoiser', m, m === 'save' ? ['m'] : [x, 1]]),
    ...['denoise', 'energy', 'energyGrad'].map((m): [string, string, unknown[]] => ['EnergyModel', m, [x, 1]]),
    ['EnergyModel', 'calibrate', [{ data, count: 4, levels: 2 }]],
    ['EnergyModel', 'save', ['m']],
    ...['encode', 'moments', 'decode', 'calibrate'].map((m): [string, string, unknown[]] => ['Autoencoder', m, [x]]),
    ['Autoencoder', 'save', ['m']],
    ...['features', 'classify'].map((m): [string, string, unknown[]] => ['Classifier', m, [x]]),
    ['Classifier', 'save', ['m']],
  ]
  it.each(calls)('%s.%s', async (name, method, given) => {
    const model = models[name] as Record<string, (...a: unknown[]) => unknown> & { dispose(): void }
    model.dispose()
    model.dispose()
    const error = (await (async () => model[method](...given))().catch((e) => e)) as Error
    expect(error).toBeInstanceOf(feynkac.ArgumentError)
    expect(error.message).toMatch(/disposed of/)
  })
})
