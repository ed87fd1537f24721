import { spawn } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { Random } from '../fuzz/random.mjs'

/** What the programs of this folder share. Each is one trial: it is repeated with other random choices until the time is up. */

const [seed = 1, seconds = 10] = process.argv.slice(2).map(Number)
export const root = fileURLToPath(new URL('../..', import.meta.url))

/**
 * Repeats `once(random, folder)`, whose folder is empty; it throws where something is wrong, and may give the number of runs that it made. The last line on
 * the standard output is for scripts/torture.mjs.
 */
export async function trial(once) {
  const began = performance.now()
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'feynkac-torture-'))
  let runs = 0
  const failures = []
  for (let round = 0; round === 0 || performance.now() - began < 1000 * seconds; round++) {
    const own = path.join(folder, String(round))
    fs.mkdirSync(own)
    try {
      runs += (await once(new Random(seed, round), own, seconds)) ?? 1
    } catch (error) {
      runs++
      failures.push(`round ${round}: ${error.stack}`)
    }
    fs.rmSync(own, { recursive: true, force: true })
  }
  fs.rmSync(folder, { recursive: true, force: true })
  console.log(JSON.stringify({ runs, failures }))
}

/** Starts a command of the package in a process of its own. */
export function feynkac(argv, options = {}) {
  return started([path.join(root, 'bin/feynkac.js'), ...argv, '--threads', '1'], options)
}

/** Starts node; `ended`: how it ended, and what it said. */
export function started(argv, options = {}) {
  const child = spawn(process.execPath, argv, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'], ...options })
  let said = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (data) => (said += data))
  const ended = new Promise((resolve) => child.on('close', (status, signal) => resolve({ status, signal, said })))
  return { child, ended }
}

export function must(condition, what) {
  if (!condition) throw new Error(what)
}
