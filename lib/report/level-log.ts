import { appendFile, readFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { fileError, makeFolder, prepareFolder, removeTrees, writeFileAtomic } from '../base/files.js'
import { sizeOf } from '../base/shape.js'
import type { Decoder } from '../data/dataset.js'
import { EventFile } from '../data/event-file.js'
import { gridPng } from '../data/grid.js'
import { pointsOf } from '../data/points.js'
import type { Target } from '../smc/energy-function.js'
import type { ChainLevel, Level, LevelReport, Step } from '../smc/events.js'

/**
 * levels.jsonl of `sample`, and of what the demo and the experiments draw, written while it goes (docs/reference/files.md): what is drawn and how, then a
 * line for each level, with ancestors and now and then a preview, then the summary, or what the run failed by.
 */

const FILE = 'levels.jsonl'
/** The folder of the previews' pictures, within that of the samples. */
const PICTURES = 'levels'
/** Most previews of a run of pictures. */
const PREVIEWS = 16
/** Most pictures in a preview. */
const SHOWN = 16
/** Ancestors of more particles would be most of the file. */
const MOST_ANCESTORS = 1024

type Told = LevelReport | Level | Step | ChainLevel | Pick<Step, 'level' | 'lastLevel' | 'sigma'>

/** What is drawn, for the first line. */
export interface Drawing {
  model: string
  particles: number
  options: object
}

export class LevelLog {
  #lastLevel = 1
  #drawn = 0
  #shape: readonly number[] = []
  #begun = false
  #events: EventFile | undefined
  #previews: boolean
  #decoder: Decoder | undefined
  readonly #folder: string | null
  readonly #about: Drawing
  /** Whether TensorBoard is told too. */
  readonly #tensorboard: boolean

  /** folder: null writes nothing, as ranks but the first do. tensorboard: whether that is told too. */
  constructor(folder: string | null, about: Drawing, options: { previews?: boolean; tensorboard?: boolean } = {}) {
    this.#folder = folder
    this.#about = about
    this.#tensorboard = options.tensorboard ?? false
    this.#previews = options.previews ?? true
  }

  /** What is drawn are latents: previews are of the pictures that they stand for. */
  decodeBy(decoder: Decoder): void {
    this.#decoder = decoder
  }

  /** Once it is known what is run; what a run before has left goes. */
  async begin(plan: { method: string; target: object; shape: readonly number[]; lastLevel: number }): Promise<void> {
    if (this.#folder === null) return
    this.#lastLevel = plan.lastLevel
    this.#shape = plan.shape
    this.#begun = true
    await prepareFolder(this.#folder)
    await removeTrees([FILE, PICTURES].map((name) => join(this.#folder!, name)))
    if (this.#tensorboard) this.#events = await EventFile.open(this.#folder)
    await this.#line({ ...this.#about, ...plan, process: process.pid, host: hostname() })
  }

  async level(told: Told): Promise<void> {
    if (this.#folder === null) return
    const preview = 'samples' in told && this.#previews ? await this.#preview(told) : undefined
    const { weights: _, ancestors, samples: __, denoised: ___, energy, ...rest } = told as Partial<Level & ChainLevel>
    const report = energy ? { ...rest, meanEnergy: energy.reduce((sum, e) => sum + e, 0) / energy.length } : rest
    const kept = ancestors && ancestors.length <= MOST_ANCESTORS && [...ancestors]
    await this.#line({ ...report, ...(kept && { ancestors: kept }), ...(preview && { preview }) })
    if (!this.#events) return
    const images = typeof preview === 'string' ? { particles: await readFile(join(this.#folder, preview)) } : undefined
    const { sigma, ess, conditionalEss, logZ, meanEnergy, distinctRoots } = report
    await this.#events.add(told.level, { scalars: { sigma, ess, conditionalEss, logZ, meanEnergy, distinctRoots }, ...(images && { images }) }) // biome-ignore format: one line
  }

  async end(found: { summary: object } | { failed: string }): Promise<void> {
    if (this.#begun) await this.#line(found)
  }

  /** Points at every level, pictures at some: evenly, and at the last. */
  async #preview(level: Level | Step | ChainLevel): Promise<string | [number, number][] | undefined> {
    const shape = this.#shape
    const pictures = shape.length === 3
    const due = Math.floor((level.level * PREVIEWS) / this.#lastLevel)
    if (pictures && due <= this.#drawn && level.level > 0) return undefined
    // a step without weights would need an evaluation for it
    const all = 'ess' in level ? await level.denoised() : await level.samples()
    if (!pictures) return pointsOf(all, sizeOf(shape))
    this.#drawn = due
    const name = `${PICTURES}/${String(level.level).padStart(6, '0')}.png`
    try {
      await makeFolder(join(this.#folder!, PICTURES))
      const few = all.subarray(0, Math.min(all.length, SHOWN * sizeOf(shape)))
      const decoder = this.#decoder
      const png = await gridPng(decoder ? await decoder.decode(few) : few, decoder?.shape ?? shape, { size: 512 })
      await writeFileAtomic(join(this.#folder!, name), [png])
      return name
    } catch (error) {
      this.#previews = false
      process.emitWarning(`the run goes on without previews: ${(error as Error).message}`, 'FeynkacWarning')
    }
  }

  async #line(line: object): Promise<void> {
    const file = join(this.#folder!, FILE)
    try {
      await appendFile(file, `${JSON.stringify({ time: new Date().toISOString(), ...line })}\n`)
    } catch (error) {
      throw fileError(error, file, 'write')
    }
  }
}

/** The density, in words and exponents. */
export function describeTarget(target: object): object {
  const nameOf = (model: object) => ('name' in model ? model.name : 'energyGrad' in model ? 'an energy' : 'a denoiser')
  const { models, exponents } = target as Partial<Target>
  return { name: nameOf(target), ...(models && { models: models.map(nameOf) }), ...(exponents && { exponents }) }
}
