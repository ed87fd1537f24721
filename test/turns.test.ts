import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import os from 'node:os'
import { join } from 'node:path'
import { setImmediate } from 'node:timers'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { eachInTurns, sortInTurns } from '../lib/base/turns.js'
import { folderLabels } from '../lib/data/dataset-json.js'
import { folderSource } from '../lib/data/image-folder.js'
import { createNetwork, flatten } from '../lib/models/model-file.js'
import { native } from '../lib/native/addon.js'
import { residualMLP } from '../lib/networks/config.js'

/** The event loop has its turns in long work: counted, as how long a turn takes is the machine's matter. */

beforeAll(() => native.setThreads(1))

let folder = ''
beforeAll(async () => {
  folder = await mkdtemp(join(os.tmpdir(), 'feynkac-turns-'))
})
afterAll(() => rm(folder, { recursive: true }))

/** Turns of the event loop while something goes on. */
async function turnsOf(work: () => Promise<unknown>): Promise<number> {
  let turns = 0
  let over = false
  const count = () => {
    turns++
    if (!over) setImmediate(count)
  }
  setImmediate(count)
  await work().finally(() => {
    over = true
  })
  return turns
}

const names = Array.from({ length: 20_000 }, (_, i) => `top/${'abc'[i % 3]}/${(i * 7919) % 20_000}.png`)

describe('long lists', () => {
  let pieces = 0
  const turn = async () => void pieces++

  it('are sorted as by sort', async () => {
    pieces = 0
    expect(await sortInTurns(names, turn)).toEqual([...names].sort())
    expect(pieces).toBeGreaterThan(names.length / 1024)
    expect(await sortInTurns([], turn)).toEqual([])
    expect(await sortInTurns(['b', 'a'], turn)).toEqual(['a', 'b'])
    const numbers = names.map((_, i) => (i * 7919) % 10007)
    expect(await sortInTurns(numbers, turn)).toEqual([...numbers].sort((a, b) => a - b))
  })

  it('are gone through in pieces', async () => {
    pieces = 0
    const seen: number[] = []
    await eachInTurns(names, turn, (_, i) => seen.push(i))
    expect(seen.length).toBe(names.length)
    expect(seen.at(-1)).toBe(names.length - 1)
    expect(pieces).toBe(Math.floor(names.length / 1024))
  })

  it('give labels by their folders', async () => {
    pieces = 0
    const { labels, classes } = await folderLabels(names, 'letters', turn)
    expect(labels!.attributes).toEqual([{ name: 'class', size: 3, values: ['a', 'b', 'c'] }])
    expect([...classes.subarray(0, 4)]).toEqual([0, 1, 2, 0])
    expect(pieces).toBeGreaterThan((3 * names.length) / 2048 - 3)
  })
})

it('a folder is listed some at a time', async () => {
  await mkdir(join(folder, 'many'))
  const count = 3000
  await Promise.all(Array.from({ length: count }, (_, i) => writeFile(join(folder, 'many', `${i}.png`), '')))
  let found = 0
  const turns = await turnsOf(async () => {
    found = (await folderSource(join(folder, 'many'))).names.length
  })
  expect(found).toBe(count)
  expect(turns).toBeGreaterThanOrEqual(Math.floor(count / 1024))
})

it('one large tensor is copied in pieces', async () => {
  const network = createNetwork(
    { network: residualMLP(2, { hidden: 1500, layers: 1 }), preconditioning: { form: 'edm', sigmaData: 0.5, noise: { kind: 'log', scale: 0.25, offset: 0 } } }, // biome-ignore format: one line
    { device: 'cpu' },
  )
  const parameters = network.parameters()
  const tensors = new Map(parameters.map((p) => [p.name, { dtype: 'F32' as const, shape: p.shape, data: new Float32Array(p.size).fill(p.offset) }])) // biome-ignore format: one line
  const largest = parameters.reduce((a, b) => (a.size > b.size ? a : b))
  expect(largest.size).toBeGreaterThan(4 * 2 ** 19)
  let flat = new Float32Array()
  const turns = await turnsOf(async () => {
    flat = (await flatten(network, tensors, 'made')) as Float32Array<ArrayBuffer>
  })
  expect(flat.length).toBe(network.parameterCount())
  for (const p of parameters) expect(flat[p.offset + p.size - 1]).toBe(Math.fround(p.offset))
  expect(turns).toBeGreaterThanOrEqual(Math.floor(largest.size / 2 ** 19))
  network.dispose()
})
