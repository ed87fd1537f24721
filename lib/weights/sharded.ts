import { dirname, join } from 'node:path'
import { describe, formatFailure } from '../base/errors.js'
import { isObject } from '../base/json.js'
import type { Tensor } from './safetensors.js'

/**
 * Weights in several files, with an index that says which tensor is in which: `{ "weight_map": { name: file } }`, the files
 * relative to the index.
 */

const MAX_SHARDS = 10_000

/**
 * Reads all shards of an index and checks that each holds exactly the tensors that the index says. read: the tensors of one file.
 * Throws FormatError, and what read throws.
 */
export async function readShards<T extends { tensors: Map<string, Tensor> }>(
  path: string,
  index: unknown,
  read: (path: string) => Promise<T>,
): Promise<{ tensors: Map<string, Tensor>; shards: T[] }> {
  const fail: (what: string) => never = formatFailure(path)
  const map = isObject(index) ? index.weight_map : undefined
  if (!isObject(map)) return fail('it has no weight_map of names and files: it is no index of weights')
  const expected = new Map<string, Set<string>>()
  for (const [name, file] of Object.entries(map)) {
    if (typeof file !== 'string' || !isInside(file))
      return fail(`the file of tensor '${name}' is no name beside the index: ${describe(file).slice(0, 200)}`)
    const names = expected.get(file) ?? new Set()
    expected.set(file, names.add(name))
  }
  if (expected.size > MAX_SHARDS) fail(`it names ${expected.size} files, more than ${MAX_SHARDS}`)
  const tensors = new Map<string, Tensor>()
  const shards: T[] = []
  for (const [file, names] of expected) {
    const shard = await read(join(dirname(path), file))
    for (const name of names) if (!shard.tensors.has(name)) fail(`tensor '${name}' is missing in ${file}`)
    for (const [name, tensor] of shard.tensors) {
      const other = Object.hasOwn(map, name) ? map[name] : undefined
      if (other === undefined) fail(`${file} holds tensor '${name}', which the index does not name`)
      if (other !== file) fail(`tensor '${name}' is in ${file} and, as the index says, in ${other}`)
      tensors.set(name, tensor)
    }
    shards.push(shard)
  }
  return { tensors, shards }
}

/** Whether a relative path with '/' stays in its folder. */
function isInside(file: string): boolean {
  return (
    file.length > 0 &&
    file.length < 1000 &&
    !/[\\:\0]/.test(file) &&
    file.split('/').every((part) => part !== '' && part !== '.' && part !== '..')
  )
}
