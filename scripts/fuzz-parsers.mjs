#!/usr/bin/env node
import { fork } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { Command } from 'commander'
import { root } from './native.mjs'

/**
 * Damages valid files of weights of every format and reads them: `node scripts/fuzz-parsers.mjs --seconds 600` (after
 * `npm run build:ts`). Whatever is not read must be refused with a FileError (FormatError) or an OutOfMemoryError, in less than 2 s of processor time and
 * without memory that the file does not account for. Anything else, also the end of the process or no end at all, fails: the
 * input is saved, and `--from N --count 1` makes it again.
 */

const integer = (text) => Number.parseInt(text, 10)
const options = new Command('fuzz-parsers')
  .description('Read damaged files of weights.')
  .option('--seconds <s>', 'time', Number, 60)
  .option('--seed <n>', 'of all choices', integer, 1)
  .option('--from <n>', 'number of the first input', integer, 0)
  .option('--count <n>', 'most inputs', integer, 1e9)
  .option('--save <folder>', 'where inputs that fail are put', path.join(os.tmpdir(), 'feynkac-fuzz-failures'))
  .option('--failures <n>', 'stop after so many', integer, 1)
  .parse()
  .opts()

/** Without a word from the child for so long it hangs; the machine may be busy. */
const SILENCE = 180_000
const work = fs.mkdtempSync(path.join(os.tmpdir(), 'feynkac-fuzz-'))
const folder = path.join(work, 'input')
const began = performance.now()

/** Runs a child from an input on. Its end, and the number of the last input. */
function run(from, seconds) {
  return new Promise((resolve) => {
    const args = [options.seed, from, options.from + options.count, seconds, folder].map(String)
    const child = fork(path.join(root, 'scripts/fuzz/child.mjs'), args, {
      execArgv: ['--max-old-space-size=1024'],
      stdio: ['ignore', 'inherit', 'pipe', 'ipc'],
    })
    let errors = ''
    let last = { number: from }
    let done = null
    let failed = null
    let timer
    const watch = () => {
      clearTimeout(timer)
      timer = setTimeout(() => {
        failed ??= `no answer for ${SILENCE / 1000} s`
        child.kill('SIGKILL')
      }, SILENCE)
    }
    watch()
    child.stderr.on('data', (data) => {
      errors = (errors + data).slice(-3000)
    })
    child.on('message', (message) => {
      watch()
      if (message.done) done = message
      else last = message
    })
    child.on('close', (code, signal) => {
      clearTimeout(timer)
      if (done && code === 0) resolve({ done, last })
      else resolve({ failed: failed ?? `the process ended: ${signal ?? code}\n${errors}`, last })
    })
  })
}

let from = options.from
let failures = 0
const total = {}
for (;;) {
  const seconds = options.seconds - (performance.now() - began) / 1000
  if (seconds <= 0 || from >= options.from + options.count || failures >= options.failures) break
  const { done, failed, last } = await run(from, seconds)
  if (done) {
    for (const [name, outcomes] of Object.entries(done.counts))
      for (const [outcome, count] of Object.entries(outcomes)) {
        total[name] ??= {}
        total[name][outcome] = (total[name][outcome] ?? 0) + count
      }
    from = done.number
    break
  }
  failures++
  const saved = path.join(options.save, `seed${options.seed}-input${last.number}`)
  fs.rmSync(saved, { recursive: true, force: true })
  fs.mkdirSync(options.save, { recursive: true })
  if (fs.existsSync(folder)) fs.cpSync(folder, saved, { recursive: true })
  console.error(`FAILED input ${last.number} (${last.name}, ${last.target}), saved in ${saved}:\n${failed}`)
  from = last.number + 1
}
fs.rmSync(work, { recursive: true, force: true })
for (const [name, outcomes] of Object.entries(total))
  console.log(
    `${name.padEnd(22)} ${Object.entries(outcomes)
      .map(([what, count]) => `${what} ${count}`)
      .join(', ')}`,
  )
console.log(`inputs ${options.from} to ${from - 1} of seed ${options.seed}: ${failures} failed`)
process.exit(failures > 0 ? 1 : 0)
