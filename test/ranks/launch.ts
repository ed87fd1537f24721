import { spawn, spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, readdir, readFile } from 'node:fs/promises'
import os from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { expect } from 'vitest'

/** Several processes under a launcher of MPI, and what their runs leave. FEYNKAC_REQUIRE_MPI=1 makes a missing launcher an error. */

/** Whether there must be launchers. */
export const wanted = process.env.FEYNKAC_REQUIRE_MPI === '1'
const there = (program: string) => spawnSync(program, ['--version']).status === 0
const launchers = { openmpi: 'mpirun.openmpi', mpich: 'mpirun.mpich' } as const
export type Mpi = keyof typeof launchers
export const all = Object.keys(launchers) as Mpi[]
const missing = wanted ? all.filter((mpi) => !there(launchers[mpi])) : []
if (missing.length > 0 && wanted)
  throw new Error(`${missing.map((mpi) => launchers[mpi])} missing, and FEYNKAC_REQUIRE_MPI=1 makes that an error`)

/** A file by its path in test/. */
export const path = (name: string) => fileURLToPath(new URL(`../${name}`, import.meta.url))
export const cli = path('../bin/feynkac.js')

/** A folder for what runs leave; they are those of dist/. */
export async function outputFolder(): Promise<string> {
  if (!existsSync(path('../dist/cli/index.js'))) throw new Error('dist/ is missing: npm run build:ts')
  return mkdtemp(join(os.tmpdir(), 'feynkac-ranks-'))
}

interface Ended {
  code: number | null
  out: string
  err: string
}

export function start(mpi: Mpi, ranks: number, words: string[], env: NodeJS.ProcessEnv = {}) {
  const free = mpi === 'openmpi' ? ['--allow-run-as-root', '--oversubscribe', '--bind-to', 'none'] : []
  const child = spawn(launchers[mpi], [...free, '-n', String(ranks), process.execPath, ...words], {
    env: { ...process.env, OMPI_ALLOW_RUN_AS_ROOT: '1', OMPI_ALLOW_RUN_AS_ROOT_CONFIRM: '1', ...env },
  })
  const ended: Ended = { code: null, out: '', err: '' }
  child.stdout.on('data', (data) => (ended.out += data))
  child.stderr.on('data', (data) => (ended.err += data))
  return { child, ended: new Promise<Ended>((done) => child.on('close', (code) => done({ ...ended, code }))) }
}

export async function succeeds(mpi: Mpi, ranks: number, ...words: string[]): Promise<Ended> {
  const ended = await start(mpi, ranks, words).ended
  expect(ended.code, ended.err).toBe(0)
  return ended
}

/** Waits until a run has written a checkpoint after its first. */
export async function begun(output: string, ended: Promise<Ended>): Promise<void> {
  let over = false
  void ended.then(() => (over = true))
  const later = (name: string) => name.startsWith('checkpoint-') && name > 'checkpoint-000000001'
  while (!over && !(await readdir(output).catch(() => [])).some(later)) await sleep(10)
}

/** The files of a run, but the pictures in folders, without what its clock says. */
export async function written(output: string): Promise<Record<string, string>> {
  const files: Record<string, string> = {}
  const entries = await readdir(output, { withFileTypes: true })
  for (const { name } of entries.filter((entry) => entry.isFile()).sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const text = await readFile(join(output, name), 'latin1')
    files[name] = name === 'log.jsonl' ? text.replace(/,"(imagesPerSecond|time)":[^,}]*/g, '') : text
  }
  return files
}

/** Names of the files that are not the same. */
export const differing = (a: Record<string, string>, b: Record<string, string>) =>
  Object.keys({ ...a, ...b }).filter((name) => a[name] !== b[name])

export const network = ['--width', '8', '--channel-mult', '1', '--blocks', '1']
export const training = [
  ...['--data', 'synthetic:shapes:count=24,size=8,seed=1', '--images', '72', '--batch', '12', '--micro-batch', '2'],
  ...['--checkpoint-every', '24', '--log-every', '24', '--seed', '4', '--threads', '1', '--json'],
]

/** Arguments of Node for a small training run. */
export const train = (...more: string[]) => [
  cli,
  'train',
  ...training,
  ...network,
  '--flips',
  '--dropout',
  '0.1',
  ...more,
]
