import os from 'node:os'
import { glibcVersion } from '../native/glibc.js'
import { launcher, mpich, openMpi, standard } from '../ranks/launcher.js'
import type { CommonOptions } from './options.js'
import { openRanks } from './ranks.js'
import { version } from './version.js'

/** What `doctor` finds of several processes: those that a launcher started, or the MPI libraries that one could use. */

export type RanksFindings = { nccl: { version: string } | { reason: string } } & (
  | {
      startedBy: string
      library: string
      /** In the order of the ranks. */
      ranks: RankFindings[]
      /** Seconds of a sum over the ranks: of 5 million float32, and of one. */
      exchange: { large: number; small: number }
    }
  | { startedBy: null; libraries: { name: string; version?: string; reason?: string }[] }
)

interface RankFindings {
  host: string
  version: string
  isa: string
  glibc: string | null
  threads: number
  /** Cores that the rank may use, and those of its machine. */
  cores: number
  allCores: number
}

const LARGE = 5_000_000
const TIMES = 20

export async function examineRanks(options: CommonOptions): Promise<RanksFindings> {
  const by = launcher()
  if (!by || by.size === 1) return { startedBy: null, libraries: await librariesHere(), nccl: await ncclHere() }
  const ranks = await openRanks(options)
  const { native, run } = await import('../native/addon.js')
  const { fromFirst, gatherTexts } = await import('../ranks/share.js')
  const own: RankFindings = {
    host: ranks.host,
    version: await version(),
    glibc: glibcVersion(),
    ...native.cpu(),
    cores: os.availableParallelism(),
    allCores: os.cpus().length,
  }
  const all = (await gatherTexts(ranks, JSON.stringify(own))).map((text) => JSON.parse(text) as RankFindings)
  const seconds = async (values: Float32Array) => {
    let best = Number.POSITIVE_INFINITY
    for (let i = 0; i < TIMES && (i === 0 || best * i < 1); i++) {
      await ranks.barrier()
      const began = performance.now()
      await run(() => native.ranks.sum(values))
      best = await fromFirst(ranks, Math.min(best, (performance.now() - began) / 1000))
    }
    return best
  }
  const exchange = { large: await seconds(new Float32Array(LARGE)), small: await seconds(new Float32Array(1)) }
  return { startedBy: by.name, library: ranks.library!, ranks: all, exchange, nccl: await ncclHere() }
}

async function ncclHere() {
  const { native } = await import('../native/addon.js')
  try {
    return { version: native.ranks.describeNccl() }
  } catch (error) {
    return { reason: (error as Error).message }
  }
}

async function librariesHere() {
  const { native } = await import('../native/addon.js')
  const own = process.env.FEYNKAC_MPI
  return [...(own ? [own] : []), ...openMpi, ...mpich, ...standard].map((name) => {
    try {
      const { version, interface: form } = native.ranks.describe(name)
      return { name, version: `${version} (${form} interface)` }
    } catch (error) {
      return { name, reason: (error as Error).message }
    }
  })
}

export function ranksLines(found: RanksFindings): string[] {
  const { nccl } = found
  const gpus = 'version' in nccl ? `${nccl.version}, between the GPUs of a machine` : `not available: ${nccl.reason}`
  return [...mpiLines(found), `nccl      ${gpus}`]
}

function mpiLines(found: RanksFindings): string[] {
  if (found.startedBy === null) {
    const there = found.libraries.filter(({ version }) => version !== undefined)
    const libraries = there.map(({ name, version }) => `${name}: ${version}`)
    return [
      'ranks     1: not started by a launcher of several processes',
      ...(libraries.length > 0 ? libraries.map((text) => `mpi       ${text}`) : ['mpi       none is installed']),
    ]
  }
  const { ranks, exchange } = found
  const hosts = new Set(ranks.map(({ host }) => host))
  const first = ranks[0]!
  const kind = ({ isa, glibc, version }: RankFindings) => `${isa}${glibc ? `, glibc ${glibc}` : ''}, feynkac ${version}`
  const other = ranks.findIndex((rank) => kind(rank) !== kind(first))
  const bound = first.cores < first.allCores
  const text = (seconds: number) =>
    seconds < 1e-3 ? `${(seconds * 1e6).toFixed(0)} us` : `${(seconds * 1e3).toPrecision(3)} ms`
  return [
    `ranks     ${ranks.length} on ${hosts.size} ${hosts.size === 1 ? 'host' : 'hosts'}, started by ${found.startedBy}`,
    `mpi       ${found.library}`,
    other < 0
      ? `ranks run ${kind(first)}`
      : `ranks differ: rank 0 (${first.host}) ${kind(first)}; rank ${other} (${ranks[other]!.host}) ${kind(ranks[other]!)}`,
    bound
      ? `threads   ${first.threads} a rank, bound to ${first.cores} of ${first.allCores} cores: --bind-to none lets them have more`
      : `threads   ${first.threads} a rank (not bound, ${first.allCores} cores)`,
    `exchange  sum of ${(4 * LARGE) / 1e6} MB in ${text(exchange.large)}, of 4 bytes in ${text(exchange.small)}`,
  ]
}
