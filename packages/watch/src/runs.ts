import { readdir, readFile, realpath, stat } from 'node:fs/promises'
import { hostname } from 'node:os'
import { basename, join, relative, sep } from 'node:path'
import { LogTail } from './log-tail.js'

/** Runs in folders: what they are, how far they are, and which of their files may be looked at. */

export type RunState = 'running' | 'done' | 'stopped'

export interface Run {
  /** Stable while the server runs: the number of the watched folder, and the path within it. */
  id: string
  name: string
  /** report: of a fit, the demo or an experiment, which is written at the end. */
  kind: 'training' | 'sampling' | 'report'
  state: RunState
  /** Times in milliseconds since 1970. */
  started: number
  updated: number
  /** Changes with every line of the log; another `epoch` where the log was started again. */
  lines: number
  epoch: number
  /** Share that is done, and the words of the list. */
  done: number
  said: string
  /** A few values of the loss, or of the ESS as a share, for the list. */
  spark: number[]
}

/** Where a run keeps its log; a report has none, and is known by its text. */
const LOGS = { training: 'log.jsonl', sampling: 'levels.jsonl', report: 'report.md' } as const
const kinds = ['training', 'sampling', 'report'] as const
/** Folders below a watched one that are looked into. */
const DEPTH = 5
const MOST_RUNS = 500
/** Milliseconds between searches: folders may be large. */
const SEARCH = 3000
/** A run that nothing else tells about is taken for stopped after this silence. */
const SILENCE = 120_000
/** Pictures of a run, and those of its previews. */
const PICTURE = /^(?:(?:previews|levels)\/)?[\w][\w.-]*\.png$/

type Line = Record<string, unknown>

class Watched {
  readonly tail: LogTail
  constructor(
    readonly id: string,
    readonly path: string,
    readonly name: string,
    readonly kind: Run['kind'],
  ) {
    this.tail = new LogTail(join(path, LOGS[kind]))
  }
}

export class Runs {
  readonly #runs = new Map<string, Watched>()
  readonly #folders: readonly string[]

  constructor(folders: readonly string[]) {
    this.#folders = folders
  }

  #looking: Promise<Run[]> | undefined

  #searched = Number.NEGATIVE_INFINITY

  /** Reads what is new of the runs, and looks for new ones: now, or now and then. Once for all who ask meanwhile. */
  look({ search }: { search: boolean }): Promise<Run[]> {
    this.#looking ??= this.#look(search).finally(() => {
      this.#looking = undefined
    })
    return this.#looking
  }

  async #look(search: boolean): Promise<Run[]> {
    if (search || performance.now() - this.#searched > SEARCH) await this.#search()
    const runs: Run[] = []
    for (const run of this.#runs.values()) {
      await run.tail.read()
      runs.push(await described(run, run.kind === 'report' ? await this.pictures(run.id) : []))
    }
    return runs.sort((a, b) => Number(b.state === 'running') - Number(a.state === 'running') || b.started - a.started)
  }

  async #search(): Promise<void> {
    const found = new Set<string>()
    for (const [i, folder] of this.#folders.entries()) await this.#find(String(i), folder, folder, DEPTH, found)
    for (const id of this.#runs.keys()) if (!found.has(id)) this.#runs.delete(id)
    this.#searched = performance.now()
  }

  /** The lines of a run from one on; undefined where there is no such run. */
  lines(id: string, from: number): { epoch: number; lines: Line[] } | undefined {
    const run = this.#runs.get(id)
    return run && { epoch: run.tail.epoch, lines: run.tail.lines.slice(from) }
  }

  /** The pictures of a run that its log does not name: of its result. */
  async pictures(id: string): Promise<string[]> {
    const run = this.#runs.get(id)
    const names = run ? await readdir(run.path).catch(() => []) : []
    return names.filter((name) => PICTURE.test(name)).sort()
  }

  /** A picture of a run; undefined where there is none, or where it is not within the run's folder. */
  async picture(id: string, name: string): Promise<Buffer | undefined> {
    const run = this.#runs.get(id)
    if (!run || !PICTURE.test(name)) return undefined
    try {
      const [folder, file] = await Promise.all([realpath(run.path), realpath(join(run.path, name))])
      if (!file.startsWith(folder + sep)) return undefined
      return await readFile(file)
    } catch {
      return undefined
    }
  }

  async #find(root: string, top: string, folder: string, depth: number, found: Set<string>): Promise<void> {
    if (found.size >= MOST_RUNS) return
    const entries = await readdir(folder, { withFileTypes: true }).catch(() => [])
    for (const kind of kinds) {
      if (!entries.some((entry) => entry.isFile() && entry.name === LOGS[kind])) continue
      const within = relative(top, folder)
      const id = [root, within.split(sep).join('/'), kind].filter(Boolean).join('/')
      found.add(id)
      const name = within === '' ? basename(top) : this.#folders.length > 1 ? join(basename(top), within) : within
      // a fit, the demo and experiments have theirs in a folder `runs`, which tells nothing
      const words = name.split(sep).filter((word, i, all) => word !== 'runs' || i === all.length - 1)
      if (!this.#runs.has(id)) this.#runs.set(id, new Watched(id, folder, words.join('/'), kind))
    }
    if (depth === 0) return
    // links are not followed: they may lead anywhere
    for (const entry of entries)
      if (entry.isDirectory() && !entry.name.startsWith('.') && entry.name !== 'node_modules')
        await this.#find(root, top, join(folder, entry.name), depth - 1, found)
  }
}

async function described(run: Watched, pictures: readonly string[]): Promise<Run> {
  const { id, name, kind, tail } = run
  const { lines, epoch, modified } = tail
  const first = lines[0] ?? {}
  const last = lines.at(-1) ?? {}
  const started = Date.parse(String(first.time ?? lines[1]?.time)) || modified
  const common = { id, name, kind, started, updated: modified, lines: lines.length, epoch }
  if (kind === 'report')
    return {
      ...common,
      state: 'done',
      done: 1,
      said: `${pictures.length} picture${pictures.length === 1 ? '' : 's'}`,
      spark: [],
    }
  return kind === 'training'
    ? { ...common, ...(await training(run, lines, last)) }
    : { ...common, ...sampling(lines, first, last, modified) }
}

type Progress = Pick<Run, 'state' | 'done' | 'said' | 'spark'>

async function training({ path, tail }: Watched, lines: readonly Line[], last: Line): Promise<Progress> {
  const images = Number(last.images ?? 0)
  const total = Number(last.totalImages ?? last.images ?? 0)
  const ended = lines.length > 1 && images >= total
  const state = (await holds(path, tail.modified)) ? 'running' : ended ? 'done' : 'stopped'
  const losses = lines.flatMap(({ median }) => (typeof median === 'number' ? [median] : []))
  const said = losses.length > 0 ? `loss ${losses.at(-1)!.toPrecision(3)}` : 'begins'
  return { state, done: lines.length > 1 && total > 0 ? images / total : 0, said, spark: thinned(losses) }
}

function sampling(lines: readonly Line[], first: Line, last: Line, modified: number): Progress {
  const level = Number(lines.findLast((line) => 'level' in line)?.level ?? 0)
  const lastLevel = Number(first.lastLevel ?? 1)
  const ended = 'summary' in last
  const isLive = first.host === hostname() ? alive(first.process) : Date.now() - modified < SILENCE
  const state = ended ? 'done' : 'failed' in last || !isLive ? 'stopped' : 'running'
  const shares = lines.flatMap(({ ess }) => (typeof ess === 'number' ? [ess / Number(first.particles)] : []))
  const collapsed = (last.summary as Line | undefined)?.collapsed === true
  const ess = shares.length > 0 ? `ESS ${(100 * shares.at(-1)!).toFixed(0)} %` : String(first.method ?? 'begins')
  return { state, done: ended ? 1 : level / lastLevel, said: collapsed ? 'collapsed' : ess, spark: thinned(shares) }
}

/** Whether a run has its folder: the lock names its process. */
async function holds(path: string, modified: number): Promise<boolean> {
  const text = await readFile(join(path, '.lock'), 'utf8').catch(() => '')
  const [, pid, host] = /^process (\d+) on (\S+)/.exec(text) ?? []
  if (pid === undefined) return false
  return host === hostname() ? alive(Number(pid)) : Date.now() - modified < SILENCE
}

function alive(pid: unknown): boolean {
  try {
    process.kill(Number(pid), 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

function thinned(values: readonly number[], most = 40): number[] {
  const every = Math.max(1, Math.ceil(values.length / most))
  return values.filter((_, i) => i % every === 0 || i === values.length - 1).map((v) => Number(v.toPrecision(3)))
}

/** Whether a folder can be watched. */
export async function isFolder(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined))?.isDirectory() ?? false
}
