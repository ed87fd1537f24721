import { mkdir, mkdtemp, readFile, rename, rm } from 'node:fs/promises'
import os from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { main } from '../lib/cli/index.js'
import { EnergyModel, residualMLP } from '../lib/index.js'

/** What samples.json records is enough to draw the samples again. */

let folder = ''
beforeEach(async () => {
  folder = await mkdtemp(join(os.tmpdir(), 'feynkac-again-'))
})
afterEach(() => rm(folder, { recursive: true }))

it('draws the same samples again from samples.json, and refuses models that have changed', async () => {
  const said: string[] = []
  vi.spyOn(console, 'log').mockImplementation(() => {})
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => said.push(String(text)) > 0)
  try {
    const at = (name: string) => join(folder, name)
    const save = async (seed: number, name: string) => {
      using model = await EnergyModel.create({ network: residualMLP(2, { hidden: 8, layers: 1 }), kind: 'dot' }, { seed }) // biome-ignore format: one line
      await model.save(at(name))
    }
    await save(1, 'one.safetensors')
    await save(2, 'two.safetensors')
    const sample = (...argv: string[]) =>
      main(['sample', ...argv, '--threads', '1', '--device', 'cpu', '--allow-collapse'])
    const options = ['--particles', '6', '--steps', '3', '--gamma', '2', '--seed', '5']
    const other = ['--with', at('two.safetensors')]
    expect(await sample(at('one.safetensors'), ...other, ...options, '--output', at('first'))).toBe(0)
    const record = JSON.parse(await readFile(join(at('first'), 'samples.json'), 'utf8'))
    expect(record).toMatchObject({
      version: expect.stringMatching(/^\d+\.\d+\.\d+/),
      model: at('one.safetensors'),
      sha256: { [at('one.safetensors')]: expect.stringMatching(/^[0-9a-f]{64}$/), [at('two.safetensors')]: expect.any(String) }, // biome-ignore format: one line
      options: { particles: 6, steps: 3, gamma: 2, seed: 5 },
      target: { exponents: [2, 2], models: ['the energy', expect.stringMatching(/two/)] },
    })
    expect('commit' in record).toBe(true)

    // what was told while it went
    const text = await readFile(join(at('first'), 'levels.jsonl'), 'utf8')
    const [begun, ...lines] = text.trim().split('\n').map((line) => JSON.parse(line)) // biome-ignore format: one line
    expect(begun).toMatchObject({ model: at('one.safetensors'), method: 'smc', particles: 6, lastLevel: 3, shape: [2] })
    expect(lines.map(({ level }) => level)).toEqual([0, 1, 2, 3, undefined])
    expect(lines.slice(0, 4).map(({ ess, conditionalEss }) => ({ ess, conditionalEss }))).toEqual(
      record.levels.map(({ ess, conditionalEss }: Record<string, number>) => ({ ess, conditionalEss })),
    )
    for (const { preview } of lines.slice(0, 4)) expect(preview).toHaveLength(6)
    expect(lines[4]).toMatchObject({
      time: expect.any(String),
      summary: { method: 'smc', collapsed: record.collapsed },
    })

    expect(await sample('--again', join(at('first'), 'samples.json'), '--output', at('second'))).toBe(0)
    const bytes = (name: string) => readFile(join(at(name), 'samples.npy'))
    expect((await bytes('second')).equals(await bytes('first'))).toBe(true)

    // moved with its models, and then without one
    await mkdir(at('moved/runs'), { recursive: true })
    for (const name of ['one.safetensors', 'two.safetensors']) await rename(at(name), at(`moved/${name}`))
    await rename(at('first'), at('moved/runs/first'))
    const moved = join(at('moved/runs/first'), 'samples.json')
    expect(await sample('--again', moved, '--output', at('fourth'))).toBe(0)
    expect((await bytes('fourth')).equals(await bytes('second'))).toBe(true)
    await rename(at('moved/two.safetensors'), at('elsewhere'))
    expect(await sample('--again', moved, '--output', at('fifth'))).toBe(2)
    expect(said.at(-1)).toMatch(/two\.safetensors, of which the samples .* is not there: give the model/)
    await rename(at('moved/one.safetensors'), at('one.safetensors'))
    await rename(at('moved/runs/first'), at('first'))

    await save(3, 'two.safetensors')
    expect(await sample('--again', join(at('first'), 'samples.json'), '--output', at('third'))).toBe(2)
    expect(said.at(-1)).toMatch(/two\.safetensors has changed since the samples/)
  } finally {
    vi.restoreAllMocks()
  }
})
