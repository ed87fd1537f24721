import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { Command } from 'commander'
import * as files from './faulty-files.mjs'
import * as memory from './faulty-memory.mjs'

/**
 * Lets each operation on files, or each allocation of the addon, fail once in turn, in short runs of the commands: `node scripts/torture/faults.mjs files`
 * or `memory`. Each time the command must end with a typed error or have done its work; what is on the disk must be
 * whole; the next run must go on and give what it would have given. Of `memory` so must calls of the library (retries.mjs). Prints a line for each job, and ends with status 1 where something was wrong.
 */

const integer = (text) => Number.parseInt(text, 10)
const program = new Command('faults')
  .argument('<kind>', 'files or memory')
  .option('--jobs <names>', 'of jobs.mjs, and retries (all)', (text) => text.split(','))
  .option('--most <n>', 'as many in each job, from end to end (all)', integer, Number.MAX_SAFE_INTEGER)
  .option('--seed <n>', 'which, where not all', integer, 0)
  .option('--from <n>', 'the first of each job', integer, 1)
  .parse()
const [kind] = program.args
const { jobs: names, most, seed, from } = program.opts()

const CODES = ['EIO', 'ENOSPC', 'EMFILE', 'EACCES']
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'feynkac-faults-'))
if (kind === 'memory' && !memory.ready) {
  const { env, reason } = memory.environment(folder)
  if (reason) console.log(`skipped: ${reason}`)
  const { status } = env ? spawnSync(process.execPath, process.argv.slice(1), { env, stdio: 'inherit' }) : { status: 0 }
  fs.rmSync(folder, { recursive: true, force: true })
  process.exit(status ?? 1)
}
const { command, jobs, made, prepare, remove } = await import('./jobs.mjs')
const { retries } = await import('./retries.mjs')
await prepare(folder)
const at = (name) => path.join(folder, name)

/** Runs a job with the fault number k, 0: none. What it said, what it has made, and how many places for a fault there were. */
async function run(job, k, code) {
  if (kind === 'files') files.arm(folder, { failing: k, code })
  else memory.arm({ failing: k })
  const said = await command(job.argv(at))
  const seen = kind === 'files' ? files.disarm() : memory.disarm()
  return { ...said, failed: [], open: [], ...seen, files: made(folder, job) }
}

const TEMPORARY = /(^|\/)\.[^/]*\.tmp$|\/\.writable-/

/** What is wrong with a run in which something failed, or null. */
function judge(result, whole, answers) {
  const { status, err, out, open, files: found } = result
  if (![0, 1, 2].includes(status) || /unexpected:/.test(err)) return `status ${status}: ${err.trim()}`
  if (status !== 0 && !/^feynkac: /m.test(err)) return `status ${status} without a word`
  if (open.length > 0) return `left open: ${open.join(', ')}`
  if (status === 0) return different(found, whole.files) ?? (out === whole.out || !answers ? null : 'another answer')
  for (const [name, bytes] of Object.entries(found)) {
    const right = whole.files[name]
    if (TEMPORARY.test(name) || /\.jsonl$|\.lock$|fit\.json$/.test(name)) continue // what has another content before the end
    if (right && !right.equals(bytes)) return `torn: ${name} (${bytes.length} bytes of ${right.length})`
  }
  return null
}

function different(found, right) {
  const names = (files) => Object.keys(files).filter((name) => !name.endsWith('.lock'))
  const extra = names(found).filter((name) => !(name in right))
  if (extra.length > 0) return `left over: ${extra.join(', ')}`
  for (const name of names(right)) {
    if (!found[name]) return `missing: ${name}`
    if (!found[name].equals(right[name])) return `different: ${name}`
  }
  return null
}

let bad = 0
for (const name of (names ?? Object.keys(jobs)).filter((name) => name !== 'retries')) {
  if (kind === 'memory' && jobs[name].native === false) continue // it computes in JavaScript alone
  const job = jobs[name]
  remove(folder, job)
  await run(job, 0) // what is allocated once for ever
  remove(folder, job)
  const whole = await run(job, 0)
  if (whole.status !== 0 || whole.count === 0) throw new Error(`${name}: ${whole.err || 'nothing is counted'}`)
  const stride = Math.ceil(whole.count / most)
  const ends = { refused: 0, done: 0 }
  for (let k = from + (seed % stride); k <= whole.count; k += stride) {
    const code = CODES[k % CODES.length]
    remove(folder, job)
    const hurt = await run(job, k, code)
    let wrong = null
    // the one thing that a run may leave out, and says so: a model without a table is better than none
    const without = kind === 'memory' && /FeynkacWarning: the energy is not calibrated: out of memory/.test(hurt.err)
    if (!without) wrong = judge(hurt, whole, job.answers)
    if (wrong === null && !without && !(job.once && hurt.status === 0)) {
      const next = await run(job, 0)
      if (next.status !== 0) wrong = `the next run: ${next.err.trim()}`
      else wrong = different(next.files, whole.files)
      if (wrong !== null) wrong = `after it, ${wrong}`
    }
    ends[hurt.status === 0 ? 'done' : 'refused']++
    if (wrong === null) continue
    bad++
    console.log(
      `${name}, fault ${k} of ${whole.count}${kind === 'files' ? ` (${code}: ${hurt.failed})` : ''}: ${wrong}`,
    )
  }
  const { refused, done } = ends
  console.log(
    `${name.padEnd(10)} ${whole.count} places, ${refused + done} faults: ${refused} refused, ${done} done in spite of them`,
  )
}
if (kind === 'memory' && (names ?? ['retries']).includes('retries')) bad += await retries(memory, most, seed)
fs.rmSync(folder, { recursive: true, force: true })
console.log(`${bad} wrong`)
process.exitCode = bad > 0 ? 1 : 0
