import { readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { ArgumentError, formatFailure } from '../base/errors.js'
import { found, prepareFolder, refuseOverwriting, writeFileAtomic } from '../base/files.js'
import { isObject, parseJsonObject } from '../base/json.js'
import { removeCheckpoints } from '../training/folder.js'

/** The folder of a fit: fit.json says from the beginning what it is of, so that the same call goes on with it. */

/** The trainings, each with its checkpoints and log in `runs/`, and the file of its model at the end. */
export const models = { teacher: 'teacher', energy: 'model', classifier: 'classifier' } as const
export type Stage = keyof typeof models

const RECORD = 'fit.json'

export class FitFolder {
  private constructor(readonly path: string) {}

  /**
   * Makes the folder, or opens that of the same fit before; `asked`: what defines it. Throws ArgumentError where another fit, or a finished
   * one, is there and may not be overwritten.
   */
  static async open(path: string, asked: object, outputs: readonly string[], overwrite: boolean): Promise<FitFolder> {
    await prepareFolder(path)
    const folder = new FitFolder(path)
    const before = await folder.#record()
    if (before && !overwrite) {
      if (before.finished)
        throw new ArgumentError(`${path} holds a fit that is finished: give another --output, or --overwrite`)
      const names = Object.keys(asked) as (keyof typeof asked)[]
      const others = names.filter((name) => !isDeepStrictEqual(asked[name], (before.asked as typeof asked)[name]))
      if (others.length > 0)
        throw new ArgumentError(
          `${path} holds a fit with other options (${others.join(', ')}): give those to go on with it, another --output, or --overwrite`,
        )
      return folder
    }
    if (!before && (await found(folder.#runs)))
      throw new ArgumentError(`${folder.#runs} is there, and not of a fit: give another --output`)
    const files = outputs.map((name) => join(path, name))
    await refuseOverwriting(files, overwrite)
    for (const file of [...files, folder.#runs]) await rm(file, { force: true, recursive: true })
    await folder.write({ asked, finished: false })
    return folder
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
    for (const stage of stages) await rename(join(this.run(stage), 'model.safetensors'), this.model(stage))
    return stages.map((stage) => this.model(stage))
  }

  /** A fit that is finished needs nothing of its runs but the logs. */
  async removeCheckpoints(stages: readonly Stage[]): Promise<void> {
    for (const stage of stages) await removeCheckpoints(this.run(stage))
  }

  /** As if there had been no fit: of one that was refused before its first step. */
  async forget(): Promise<void> {
    for (const path of [join(this.path, RECORD), this.#runs]) await rm(path, { force: true, recursive: true })
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
