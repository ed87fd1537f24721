import { readFile, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { ArgumentError, formatFailure } from '../base/errors.js'
import { fileError, found, prepareFolder, refuseOverwriting, removeTrees, writeFileAtomic } from '../base/files.js'
import { isObject, parseJsonObject } from '../base/json.js'
import { holdFolder, removeCheckpoints } from '../training/folder.js'

/** The folder of a fit: fit.json says from the beginning what it is of, so that the same call goes on with it. */

/** The trainings, each with its checkpoints and log in `runs/`, and the file of its model at the end. */
export const models = { teacher: 'teacher', energy: 'model', classifier: 'classifier' } as const
export type Stage = keyof typeof models

const RECORD = 'fit.json'

export class FitFolder {
  /** Whether something of the fit has been done before. */
  resumed = false

  private constructor(
    readonly path: string,
    /** Lets other processes have the folder. */
    readonly close: () => Promise<void>,
  ) {}

  /**
   * Makes the folder, or opens that of the same fit before, for this process alone: close it. `asked`: what defines the fit. Throws ArgumentError where
   * another fit, or a finished one, is there and may not be overwritten; FileError where another process has the folder.
   */
  static async open(path: string, asked: object, outputs: readonly string[], overwrite: boolean): Promise<FitFolder> {
    await prepareFolder(path)
    const folder = new FitFolder(path, await holdFolder(path))
    try {
      await folder.#begin(asked, outputs, overwrite)
      return folder
    } catch (error) {
      await folder.close()
      throw error
    }
  }

  async #begin(asked: object, outputs: readonly string[], overwrite: boolean): Promise<void> {
    const { path } = this
    const before = await this.#record()
    if (before) {
      const names = Object.keys(asked) as (keyof typeof asked)[]
      const others = names.filter(
        (name) => !isDeepStrictEqual(asked[name], (before.asked as typeof asked)[name] ?? null),
      )
      if (!before.finished && others.length === 0) {
        this.resumed = true
        return
      }
      if (before.finished && !overwrite)
        throw new ArgumentError(`${path} holds a fit that is finished: give another --output, or --overwrite`)
      if (!overwrite)
        throw new ArgumentError(
          `${path} holds a fit with other options (${others.join(', ')}): give those to go on with it, another --output, or --overwrite`,
        )
    }
    if (!before && (await found(this.#runs)))
      throw new ArgumentError(`${this.#runs} is there, and not of a fit: give another --output`)
    const files = outputs.map((name) => join(path, name))
    await refuseOverwriting(files, overwrite)
    await removeTrees([this.#runs, ...files]) // the record may outlive them, as it can be gone on with, but they not the record
    await this.write({ asked, finished: false })
  }

  /** Where a training has its checkpoints and its log. */
  run(stage: Stage): string {
    return join(this.#runs, stage)
  }

  model(stage: Stage): string {
    return join(this.path, `${models[stage]}.safetensors`)
  }

  /** Writes fit.json; its name. */
  async write(record: { asked: object; finished: boolean }): Promise<string> {
    const path = join(this.path, RECORD)
    await writeFileAtomic(path, `${JSON.stringify(record, null, 1)}\n`)
    return path
  }

  /** Moves the models of the runs to the top; their names. */
  async takeModels(stages: readonly Stage[]): Promise<string[]> {
    for (const stage of stages)
      try {
        await rename(join(this.run(stage), 'model.safetensors'), this.model(stage))
      } catch (error) {
        throw fileError(error, this.model(stage), 'write')
      }
    return stages.map((stage) => this.model(stage))
  }

  /** A fit that is finished needs nothing of its runs but the logs. */
  async removeCheckpoints(stages: readonly Stage[]): Promise<void> {
    for (const stage of stages) await removeCheckpoints(this.run(stage))
  }

  /** As if there had been no fit: of one that was refused before its first step. */
  async forget(): Promise<void> {
    await removeTrees([this.#runs, join(this.path, RECORD)]) // the record last: what it explains must not outlive it
  }

  get #runs(): string {
    return join(this.path, 'runs')
  }

  async #record(): Promise<{ asked: object; finished: boolean } | null> {
    const path = join(this.path, RECORD)
    const bytes = await readFile(path).catch(() => null)
    if (!bytes) return null
    const { asked, finished } = parseJsonObject(bytes, path)
    if (!isObject(asked) || typeof finished !== 'boolean') return formatFailure(path)('it is not of a fit')
    return { asked, finished }
  }
}
