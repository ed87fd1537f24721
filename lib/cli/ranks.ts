import os from 'node:os'
import { ArgumentError, DeviceError } from '../base/errors.js'
import type { Communicator } from '../ranks/communicator.js'
import type { Division } from '../ranks/division.js'
import { launcher } from '../ranks/launcher.js'
import type { Part } from '../ranks/part.js'
import type { CommonOptions } from './options.js'
import { version } from './version.js'

/** Commands that a launcher of several processes has started. */

const by = launcher()

/** Whether this process is to say what all would say alike. */
export const speaks = !by || by.rank === 0

/** Whether there are others, who may wait for this one. */
export const isTogether = by !== null && by.size > 1

/** What messages of this process begin with. */
export const speaker = by && by.rank > 0 ? `feynkac [rank ${by.rank} ${os.hostname()}]` : 'feynkac'

/** Throws ArgumentError where several processes would do the same work. */
export function requireOneProcess(command: string): void {
  if (isTogether)
    throw new ArgumentError(
      `${command} is the work of one process, but ${by!.name} started ${by!.size}: start it alone`,
    )
}

/** The ranks of this process; where there are several, its options become those of its share of the machine. */
export async function openRanks(options: CommonOptions): Promise<Communicator> {
  const { communicator } = await import('../ranks/communicator.js')
  const ranks = await communicator()
  if (ranks.size === 1) return ranks
  const { native } = await import('../native/addon.js')
  const cores = os.availableParallelism()
  // fewer than there are: the launcher has bound this process to its own
  if (options.threads === undefined && cores === os.cpus().length)
    native.setThreads(Math.max(1, Math.floor(cores / ranks.localSize)))
  if (options.device === 'auto') options.device = await ownDevice(ranks)
  return ranks
}

/**
 * Who does what of work whose items need no others: the ranks, or parts that meet in `folder` and must be of the same `work`. Throws ArgumentError
 * where both are asked for.
 */
export async function divisionOf(
  options: CommonOptions & { part?: Part },
  folder: string,
  work: unknown,
): Promise<Division> {
  const { part } = options
  if (part === undefined) {
    const { SharedWork } = await import('../ranks/division.js')
    return new SharedWork(await openRanks(options))
  }
  requireOneProcess('--part')
  const { JobPart } = await import('../ranks/job-part.js')
  return JobPart.open(folder, part, { ...(work as object), version: await version() })
}

/** All ranks have come to the same end. */
export async function endRanks(): Promise<void> {
  if (!isTogether) return
  const { communicator } = await import('../ranks/communicator.js')
  ;(await communicator()).end()
}

/** A GPU for each rank, or the CPU for all. */
async function ownDevice({ localRank, localSize, host }: Communicator): Promise<string> {
  const { devices } = await import('../native/devices.js')
  const names = devices().map(({ name }) => name)
  if (names[0] === 'cpu') return 'cpu'
  const gpus = names.filter((name) => name.startsWith('cuda'))
  if (localSize > gpus.length)
    throw new DeviceError(
      `${host} has ${localSize} ranks but ${gpus.length} GPUs: start as many, or give --device to let them share one`,
    )
  return gpus[localRank]!
}
