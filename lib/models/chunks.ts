import { float32Array } from '../base/args.js'
import { invalid } from '../base/errors.js'
import { freeMemory } from '../native/devices.js'

/** Calls on batches of any size: what is too much for the working memory is done a chunk after the other. */

/**
 * Working memory that one call on the CPU may take, and the share of a GPU's free memory. Of the former a call takes more than what caches
 * hold only for few samples: a batch is faster in pieces that they do, and slower in fewer samples than that (bench/cpu.md).
 */
const WORKING_BYTES = 256 * 2 ** 20
const CACHED_BYTES = 24 * 2 ** 20
const FEW = 8
const WORKING_SHARE = 1 / 4
const LARGEST = 8192

interface Resident {
  device(): string
}

const known = new WeakMap<Resident, Map<string, number>>()

/**
 * Largest batch of a network's job whose activations stay within the working memory, found at the first use. bytesOfOne: those of one
 * sample; they grow linearly with the batch.
 */
export function chunkSize(network: Resident, job: string, bytesOfOne: () => number): number {
  const sizes = known.get(network) ?? new Map<string, number>()
  known.set(network, sizes)
  let size = sizes.get(job)
  if (size === undefined) {
    const free = freeMemory(network.device())
    const one = bytesOfOne()
    const fits =
      free === undefined
        ? Math.max(CACHED_BYTES / one, Math.min(FEW, WORKING_BYTES / one))
        : (WORKING_SHARE * free) / one
    size = Math.max(1, Math.min(LARGEST, Math.floor(fits)))
    sizes.set(job, size)
  }
  return size
}

/** First and last + 1 of each chunk of a batch, about equal ones. */
export function* chunksOf(batch: number, chunk: number): Generator<[first: number, last: number]> {
  const chunks = Math.ceil(batch / chunk)
  for (let i = 0; i < chunks; i++) yield [Math.floor((batch * i) / chunks), Math.floor((batch * (i + 1)) / chunks)]
}

/** Samples in an array of whole ones of `width` numbers, at least one. Throws ArgumentError. */
export function batchOf(name: string, values: unknown, width: number): number {
  const array = float32Array(name, values)
  if (array.length === 0 || array.length % width !== 0)
    throw invalid(name, `a Float32Array whose length is a multiple of ${width}`, values)
  return array.length / width
}
