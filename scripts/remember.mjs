import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

/**
 * Checks that need not be repeated: what passed is kept outside of the clone, by a digest of all that the check reads.
 * FEYNKAC_CI_CACHE names the folder, which `.ci/run` sets; without it every check is run.
 */

const native = fileURLToPath(new URL('../native', import.meta.url))
const folder = process.env.FEYNKAC_CI_CACHE && path.join(process.env.FEYNKAC_CI_CACHE, 'passed')
const KEPT_DAYS = 30

/** The file and those of the project that it includes, at any depth, whatever conditions stand around. */
export function withIncludes(file, found = new Set()) {
  if (found.has(file)) return found
  found.add(file)
  for (const [, name] of fs.readFileSync(file, 'utf8').matchAll(/^\s*#\s*include\s+"([^"]+)"/gm)) {
    const places = [path.dirname(file), native, path.join(native, 'test')].map((place) => path.resolve(place, name))
    const included = places.find((place) => fs.existsSync(place))
    if (included) withIncludes(included, found)
  }
  return found
}

/** What a program says of its version: it stands for the program and the system's headers that come with it. */
export const versionOf = (program) => spawnSync(program, ['--version'], { encoding: 'utf8' }).stdout ?? ''

/**
 * The result of `check()`, or of the same check of the same `files` and `values` (strings) before: `{ known, result }`. A result that is
 * undefined, or thrown, is not kept.
 */
export async function remembered(files, values, check) {
  if (!folder) return { known: false, result: await check() }
  const hash = createHash('sha256').update(JSON.stringify(values))
  for (const file of files) hash.update(fs.readFileSync(file)).update('\0')
  const place = path.join(folder, hash.digest('hex'))
  try {
    const result = JSON.parse(fs.readFileSync(place, 'utf8'))
    fs.utimesSync(place, new Date(), new Date())
    return { known: true, result }
  } catch {
    // not known, or half of it was written: found out again
  }
  const result = await check()
  if (result !== undefined) {
    fs.mkdirSync(folder, { recursive: true })
    fs.writeFileSync(`${place}.${process.pid}`, JSON.stringify(result))
    fs.renameSync(`${place}.${process.pid}`, place)
  }
  return { known: false, result }
}

/** Drops what no check has asked for in a month. */
export function forgetOld() {
  if (!folder || !fs.existsSync(folder)) return
  for (const name of fs.readdirSync(folder)) {
    const place = path.join(folder, name)
    if (Date.now() - fs.statSync(place).mtimeMs > KEPT_DAYS * 86_400_000) fs.rmSync(place)
  }
}

/** A line for the table of `.ci/run`, beside the step. */
export function note(text) {
  if (process.env.FEYNKAC_CI_NOTE) fs.appendFileSync(process.env.FEYNKAC_CI_NOTE, `${text}\n`)
}
