import { appendFile, readFile, rm } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { fileError, makeFolder, writeFileAtomic } from '../base/files.js'
import { sizeOf } from '../base/shape.js'
import { EventFile } from '../data/event-file.js'
import { gridPng } from '../data/grid.js'
import { pointsOf } from '../data/points.js'
import type { Level, LevelReport, Step } from '../smc/events.js'

/**
 * levels.jsonl of `sample`, written while it goes (docs/reference/files.md): what is drawn and how, then a line for each level, with ancestors and now and
 * then a preview, then the summary, or what the run failed by.
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

type Told = LevelReport | Level | Step | Pick<Step, 'level' | 'lastLevel' | 'sigma'>

export class SampleLog {
  #lastLevel = 1
  #drawn = 0
  #shape: readonly number[] = []
  #begun = false
  #events: EventFile | undefined
  #previews: boolean

  /** folder: null writes nothing, as ranks but the first do. */
  readonly #folder: string | null
  readonly #about: { command: { model: string; particles: number; options: object } }
  /** Whether TensorBoard is told too. */
  readonly #tensorboard: boolean

  constructor(
    folder: string | null,
    previews: boolean,
    about: { command: { model: string; particles: number; options: object } },
    tensorboard = false,
  ) {
    this.#folder = folder
    this.#about = about
    this.#tensorboard = tensorboard
    this.#previews = previews
  }

  /** Once it is known what is run; what a run before has left goes. */
  async begin(plan: { method: string; target: object; shape: readonly number[]; lastLevel: number }): Promise<void> {
    if (this.#folder === null) return
    this.#lastLevel = plan.lastLevel
    this.#shape = plan.shape
    this.#begun = true
    for (const name of [FILE, PICTURES]) await rm(join(this.#folder, name), { recursive: true, force: true })
    if (this.#tensorboard) this.#events = await EventFile.open(this.#folder)
    await this.#line({ ...this.#about.command, ...plan, process: process.pid, host: hostname() })
  }

  async level(told: Told): Promise<void> {
    if (this.#folder === null) return
    const preview = 'denoised' in told && this.#previews ? await this.#preview(told) : undefined
    const { weights: _, ancestors, samples: __, denoised: ___, ...report } = told as Partial<Level>
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
  async #preview(level: Level | Step): Promise<string | [number, number][] | undefined> {
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
      await writeFileAtomic(join(this.#folder!, name), [await gridPng(few, shape, { size: 512 })])
      return name
    } catch (error) {
      this.#previews = false
      process.stderr.write(`no previews: ${(error as Error).message}\n`)
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
