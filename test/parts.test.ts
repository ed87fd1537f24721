import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import os from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { main } from '../lib/cli/index.js'
import { Denoiser, songUNet } from '../lib/index.js'
import { SharedWork } from '../lib/ranks/division.js'
import { JobPart } from '../lib/ranks/job-part.js'
import { PartDone, partOf } from '../lib/ranks/part.js'

/** Work that the parts of an array of jobs divide, one after the other: what comes of it is what one process gets, byte by byte. */

let folder = ''
beforeAll(async () => {
  folder = await mkdtemp(join(os.tmpdir(), 'feynkac-parts-'))
})
afterAll(() => rm(folder, { recursive: true }))

/** Runs a command; what it says on stdout. */
async function command(...words: string[]): Promise<string> {
  const out: string[] = []
  const write = vi.spyOn(process.stdout, 'write').mockImplementation((text) => out.push(String(text)) > 0)
  const log = vi.spyOn(console, 'log').mockImplementation((text) => void out.push(text))
  try {
    expect(await main(words)).toBe(0)
  } finally {
    write.mockRestore()
    log.mockRestore()
  }
  return out.join('')
}

/** The error that a command ends with, by its exit code 2. */
async function refused(...words: string[]): Promise<string> {
  const err: string[] = []
  const write = vi.spyOn(process.stderr, 'write').mockImplementation((text) => err.push(String(text)) > 0)
  try {
    expect(await main(words)).toBe(2)
  } finally {
    write.mockRestore()
  }
  return err.join('')
}

describe('partOf', () => {
  it('reads numbers, tasks of Slurm and pods of Kubernetes', () => {
    expect(partOf('3/8')).toEqual({ index: 2, count: 8 })
    const slurm = { SLURM_ARRAY_TASK_ID: '7', SLURM_ARRAY_TASK_MIN: '3', SLURM_ARRAY_TASK_COUNT: '5' }
    expect(partOf('auto', slurm)).toEqual({ index: 4, count: 5 })
    expect(partOf('auto', { ...slurm, SLURM_ARRAY_TASK_STEP: '2' })).toEqual({ index: 2, count: 5 })
    expect(partOf('auto/4', { JOB_COMPLETION_INDEX: '0' })).toEqual({ index: 0, count: 4 })
    for (const wrong of ['0/8', '9/8', '8', 'a/b', '1/0', '']) expect(() => partOf(wrong), wrong).toThrow(/--part/)
    expect(() => partOf('auto', {})).toThrow(/neither SLURM_ARRAY_TASK_ID nor JOB_COMPLETION_INDEX is set/)
    expect(() => partOf('auto', { JOB_COMPLETION_INDEX: '1' })).toThrow(/give auto\/<count>/)
  })
})

describe('JobPart', () => {
  const lists = (division: JobPart | SharedWork, done: number[] = []) => {
    const twice = async (x: number) => {
      done.push(x)
      return { x: 2 * x, values: Float64Array.of(x, Number.NaN) }
    }
    return division.all([() => division.share([1, 2, 3], twice), () => division.share([4, 5], twice)] as const)
  }

  it('does its share of all lists, and the last one has the whole, of any results', async () => {
    const path = join(folder, 'lists')
    const open = (index: number) => JobPart.open(path, { index, count: 2 }, 'a')
    const [first, second]: number[][] = [[], []]
    await expect(lists(await open(0), first)).rejects.toThrow(
      /part 1 of 2 is done; 2 results of other parts are not in/,
    )
    expect(first).toEqual([1, 3, 5])
    const part = await open(1)
    expect(await lists(part, second)).toEqual(await lists(new SharedWork({ rank: 0, size: 1 } as never)))
    expect(second).toEqual([2, 4])
    await expect(JobPart.open(path, { index: 0, count: 2 }, 'b')).rejects.toThrow(/parts of another run/)
    await part.close()
    expect(await readdir(folder)).not.toContain('lists')
  })

  it('does again what was cut off, alone', async () => {
    const path = join(folder, 'cut')
    const done: number[] = []
    await expect(lists(await JobPart.open(path, { index: 0, count: 2 }, 'a'))).rejects.toThrow(PartDone)
    await rm(join(path, '0-2.bin'))
    await expect(lists(await JobPart.open(path, { index: 0, count: 2 }, 'a'), done)).rejects.toThrow(PartDone)
    expect(done).toEqual([3])
  })
})

describe('commands', () => {
  it('sample: parts are the samples of one process', async () => {
    const model = join(folder, 'model.safetensors')
    using denoiser = await Denoiser.create({ network: songUNet([1, 8, 8], { model_channels: 8, num_blocks: 1, channel_mult: [1] }) }) // biome-ignore format: one line
    await denoiser.save(model)
    const words = (output: string, ...more: string[]) => [
      ...['sample', model, '--particles', '5', '--steps', '3', '--seed', '2', '--threads', '1', '--device', 'cpu'],
      ...['--method', 'stochastic-heun', '--json', '--output', join(folder, output), ...more],
    ]
    await command(...words('whole'))
    expect(JSON.parse(await command(...words('parts', '--part', '2/2')))).toEqual({ part: 2, of: 2, missing: 1 })
    expect(await refused(...words('parts', '--part', '1/2', '--particles', '6'))).toMatch(/parts of another run/)
    const { evaluations } = JSON.parse(await command(...words('parts', '--part', '1/2')))
    expect(evaluations).toBe(5 * 7)
    expect(await readdir(join(folder, 'parts'))).not.toContain('parts')
    for (const name of ['samples.npy', 'samples.png', 'samples.json'])
      expect(await readFile(join(folder, 'parts', name))).toEqual(await readFile(join(folder, 'whole', name)))
    expect(await refused(...words('parts', '--part', '1/2'))).toMatch(/would be overwritten/)
  })

  it('evaluate: parts give the numbers of one process', async () => {
    const words = (...more: string[]) => [
      ...[
        'evaluate',
        '--samples',
        'synthetic:shapes:count=60,size=8,seed=1',
        '--data',
        'synthetic:shapes:count=70,size=8',
      ],
      ...['--batch', '16', '--pairs', '40', '--json', '--threads', '1', '--parts', join(folder, 'features'), ...more],
    ]
    const whole = JSON.parse(await command(...words()))
    for (const part of ['3/3', '1/3'])
      expect(JSON.parse(await command(...words('--part', part)))).toHaveProperty('missing')
    expect(JSON.parse(await command(...words('--part', '2/3')))).toEqual(whole)
  })

  it('experiment: not those that train models for all their runs', async () => {
    const words = (...more: string[]) => ['experiment', 'bounds', '--budget', 'quick', '--output', join(folder, 'bounds'), ...more] // biome-ignore format: one line
    expect(await refused(...words('--part', '1/2'))).toMatch(/bounds is the work of one process: exact and diversity/)
  })
})
