import { optional } from '../base/optional.js'
import type { Lab } from './lab.js'
import { version } from './version.js'

const NAME: string = 'feynkac-lab' // no literal, as it is compiled after this

/** The lab. Throws MissingPackageError where it is not installed. */
export async function loadLab(): Promise<Lab> {
  const wanted = `${NAME}@${await version()}`
  const { lab } = await optional<{ lab: Lab }>('what this command does', [wanted], () => import(NAME))
  return lab
}
