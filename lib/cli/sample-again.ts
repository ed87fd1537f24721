import { createHash } from 'node:crypto'
import { dirname, join, resolve } from 'node:path'
import type { Command } from 'commander'
import { ArgumentError, formatFailure } from '../base/errors.js'
import { found, openFile, readFileChecked, readFully, release } from '../base/files.js'
import { isObject, parseJsonObject } from '../base/json.js'
import type { TermSpec } from '../service/composition.js'
import { drawDefaults, type SampleFlags } from './sample-types.js'

/** What samples.json says of a run before: its options, and its models, which are found again where they were moved with it. */

/** Bytes that are read and hashed at once: half a millisecond. */
const PIECE = 2 ** 19

/** SHA-256 of a file of weights; null of a folder. */
export async function digestOf(path: string): Promise<string | null> {
  if ((await found(path))?.isDirectory()) return null
  const hash = createHash('sha256')
  const { handle, size } = await openFile(path)
  try {
    const piece = new Uint8Array(Math.min(PIECE, size))
    for (let at = 0; at < size; at += piece.length) {
      const part = piece.subarray(0, size - at)
      await readFully(handle, part, at, path)
      hash.update(part)
    }
  } finally {
    await release(handle)
  }
  return hash.digest('hex')
}

/** The model and the options: those of the run before where they are not given. Throws ArgumentError, FileError, FormatError. */
export async function settle(model: string | undefined, flags: SampleFlags, command: Command) {
  const { again } = flags
  if (again === undefined) {
    if (model === undefined)
      throw new ArgumentError('sample: expected a model, or --again with the samples.json of a run')
    return { model, flags: { ...drawDefaults, ...flags } }
  }
  const before = parseJsonObject(await readFileChecked(again), again)
  const { model: earlier, options, sha256 } = before
  if (typeof earlier !== 'string' || !isObject(options))
    return formatFailure(again)('it does not say how its samples were drawn: is it the samples.json of a run?')
  const chosen = Object.entries(flags).filter(([name]) => command.getOptionValueSource(name) !== 'default')
  const settled = { ...drawDefaults, ...flags, ...options, ...Object.fromEntries(chosen) } as SampleFlags
  if (model !== undefined) return { model, flags: settled }
  const places = await placesOf(sha256, again)
  const placed = (file: string) => places.get(file) ?? file
  const ofTerm = (term: TermSpec) => (term.file === null ? term : { ...term, file: placed(term.file) })
  if (settled.autoencoder) settled.autoencoder = placed(settled.autoencoder)
  if (settled.with) settled.with = settled.with.map(ofTerm)
  if (settled.not) settled.not = settled.not.map(ofTerm)
  return { model: placed(earlier), flags: settled }
}

/** Where the files of a run before are now. Throws ArgumentError where one is not what it was then, or nowhere. */
async function placesOf(digests: unknown, again: string): Promise<Map<string, string>> {
  const places = new Map<string, string>()
  if (digests === undefined) return places // of a version that did not record them
  if (!isObject(digests)) return formatFailure(again)('sha256: expected the digests of the models')
  for (const [file, digest] of Object.entries(digests)) {
    const there = await found(file)
    const place = there ? file : await movedTo(file, digest, again)
    if (place === null)
      throw new ArgumentError(`${file}, of which the samples of ${again} were drawn, is not there: give the model that it is now`) // biome-ignore format: one line
    if (there && digest !== (await digestOf(file)))
      throw new ArgumentError(`${file} has changed since the samples of ${again} were drawn: give a model to draw with another`) // biome-ignore format: one line
    places.set(file, place)
  }
  return places
}

const MOST_FOLDERS = 16

/** A file of the same bytes at the end of the path, below one of the folders that samples.json lies in: what was moved with it; null: none. */
async function movedTo(file: string, digest: unknown, again: string): Promise<string | null> {
  const parts = file.split(/[\\/]/).slice(-MOST_FOLDERS)
  const ends = parts.map((_, i) => parts.slice(i).join('/'))
  let folder = dirname(resolve(again))
  for (let depth = 0; depth < MOST_FOLDERS; depth++) {
    for (const end of ends) {
      const place = join(folder, end)
      if ((await found(place).catch(() => null))?.isFile() && digest === (await digestOf(place))) return place
    }
    folder = dirname(folder)
  }
  return null
}
