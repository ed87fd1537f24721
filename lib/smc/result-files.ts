import { join } from 'node:path'
import { formatFailure, MissingPackageError } from '../base/errors.js'
import { prepareFolder, readFileChecked, refuseOverwriting, removeFiles, writeFileAtomic } from '../base/files.js'
import { parseJsonObject } from '../base/json.js'
import { parseNpyArray } from '../data/npy.js'
import { writeNpy } from '../data/npy-write.js'
import { encoded } from './result-json.js'

/** A result in a folder: samples.npy, weights.npy (of smc), samples.png, and all the rest in result.json. */

/** What is written of a WeightedSamples. */
interface Saved {
  samples: Float32Array
  weights: Float64Array
  shape: readonly number[]
  particles: number
  kind: string
  resampled(n: number): Float32Array
}

/** Samples of samples.png, drawn by their weights. */
const SHOWN = 1024

const names = ['samples.npy', 'weights.npy', 'samples.png', 'result.json']

export async function saveResult(folder: string, result: Saved, overwrite: boolean): Promise<string[]> {
  await prepareFolder(folder)
  const path = (name: string) => join(folder, name)
  await refuseOverwriting(names.map(path), overwrite)
  await removeFiles(names.map(path)) // what is left of a result before does not belong to this one
  const { samples, weights, shape, particles } = result
  const files = ['samples.npy']
  await writeNpy(path('samples.npy'), samples, [particles, ...shape])
  if (result.kind === 'smc') {
    files.push('weights.npy')
    await writeNpy(path('weights.npy'), weights, [particles])
  }
  if (shape.length === 3) {
    const { gridPng } = await import('../data/grid.js')
    try {
      await writeFileAtomic(path('samples.png'), [await gridPng(result.resampled(Math.min(particles, SHOWN)), shape)])
      files.push('samples.png')
    } catch (error) {
      if (!(error instanceof MissingPackageError)) throw error
    }
  }
  // last: a folder with this file is whole
  const { samples: _, ...rest } = { ...result }
  const json = { kind: result.kind, ...(encoded(rest) as object) }
  await writeFileAtomic(path('result.json'), `${JSON.stringify(json)}\n`)
  return [...files, 'result.json'].map(path)
}

/** What saveResult has written. Throws FileError, FormatError. */
export async function readResult(folder: string): Promise<{ json: unknown; samples: unknown; path: string }> {
  const [path, file] = [join(folder, 'result.json'), join(folder, 'samples.npy')]
  const json = parseJsonObject(await readFileChecked(path), path)
  const { data } = parseNpyArray(await readFileChecked(file), file)
  if (!(data instanceof Float32Array)) return formatFailure(file)('expected numbers of float32')
  return { json, samples: data, path }
}
