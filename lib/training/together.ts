import { createHash } from 'node:crypto'
import { ArgumentError, DeviceError, FeynkacError } from '../base/errors.js'
import type { Rows } from '../data/samples.js'
import { native, run } from '../native/addon.js'
import { glibcVersion } from '../native/glibc.js'
import type { NetworkWeights } from '../native/types.js'
import type { Communicator } from '../ranks/communicator.js'
import { gatherTexts } from '../ranks/share.js'

/** What ranks that train one network have to agree on. */

/** Each rank takes a run of the micro-batches of a step. Throws ArgumentError where there are fewer than ranks. */
export function checkShared(
  { batchSize, microBatch }: { batchSize: number; microBatch: number },
  { size }: Communicator,
): void {
  const count = Math.ceil(batchSize / microBatch)
  if (count >= size) return
  throw new ArgumentError(
    `batchSize ${batchSize} in micro-batches of ${microBatch} is ${count} of them, too few for ${size} ranks: choose a smaller microBatch`,
  )
}

/**
 * The rows of a step's batch that a rank's micro-batches are made of: of each kind of samples, of which there are so many from the first row on, its
 * run of them, as the engine cuts them. Ascending and apart.
 */
export function ownRows(
  { batchSize, microBatch }: { batchSize: number; microBatch: number },
  kinds: readonly number[],
  { rank, size }: Communicator,
): Rows[] {
  const count = Math.ceil(batchSize / microBatch)
  const part = (n: number, p: number, parts: number) => Math.floor((n * p) / parts)
  const runs = kinds.map((n) => {
    const [first, last] = [rank, rank + 1].map((r) => part(n, part(count, r, size), count))
    return { first: first!, last: last! }
  })
  const rows: Rows[] = []
  for (const { first, last } of runs.filter((run) => run.last > run.first).sort((a, b) => a.first - b.first)) {
    const before = rows.at(-1)
    if (before && first <= before.last) before.last = Math.max(before.last, last)
    else rows.push({ first, last })
  }
  return rows
}

/**
 * Arithmetic differs between instruction sets, kinds of devices, and versions of libraries: ranks that are not alike would not get the bits
 * of one. Throws DeviceError.
 */
export async function checkAlike(ranks: Communicator, device: string): Promise<void> {
  if (ranks.size === 1) return
  const glibc = glibcVersion()
  const own = [
    device.startsWith('cuda') ? 'cuda' : `cpu (${native.cpu().isa})`,
    `${process.platform}-${process.arch}${glibc ? ` glibc ${glibc}` : ''}`,
    `V8 ${process.versions.v8}`,
  ].join(', ')
  const all = (await gatherTexts(ranks, JSON.stringify([own, ranks.host]))).map((text) => JSON.parse(text) as string[])
  const other = all.findIndex(([what]) => what !== all[0]![0])
  if (other < 0) return
  throw new DeviceError(
    `the ranks are not alike: ${all[0]![0]} on rank 0 (${all[0]![1]}), ${all[other]![0]} on rank ${other} (${all[other]![1]}). ` +
      'FEYNKAC_ISA makes the instruction sets of CPUs the same',
  )
}

/** After the first step: says on rank 0 why the gradients of GPUs go through the host, where they do. */
export function tellExchange({ rank }: Communicator): void {
  const way = native.ranks.exchange()
  if (rank === 0 && way && 'reason' in way)
    process.emitWarning(`gradients go through the host, not through NCCL: ${way.reason}`, 'FeynkacWarning')
}

/** Throws FeynkacError where the ranks' weights have drifted apart, which only a broken machine can do. */
export async function checkWeights(ranks: Communicator, network: NetworkWeights): Promise<void> {
  if (ranks.size === 1) return
  const values = new Float32Array(network.parameterCount())
  await run(() => network.read('params', values))
  const own = createHash('sha256').update(values).digest()
  const all = await ranks.allGather(new Uint8Array(own))
  for (let r = 1; r < ranks.size; r++)
    if (!own.equals(all.subarray(r * own.length, (r + 1) * own.length)) && r !== ranks.rank)
      throw new FeynkacError(
        `the weights of rank ${r} are not those of rank ${ranks.rank}: a machine among them computes wrongly`,
      )
}
