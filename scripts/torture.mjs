#!/usr/bin/env node
import { spawn } from 'node:child_process'
import path from 'node:path'
import { Command } from 'commander'
import { root } from './native.mjs'

/**
 * Repeats the trials of scripts/torture, each in a process of its own, with other random numbers in each round: `node scripts/torture.mjs --minutes 30`
 * (after `npm run setup`). Prints each failure as it is found and a table at the end; `node scripts/torture/TRIAL.mjs SEED SECONDS` repeats one.
 */

const TRIALS = {
  'faults-of-files': 'each operation on files fails once',
  'faults-of-memory': "each of the addon's allocations fails once",
  kills: 'training killed and resumed',
  signals: 'training stopped by signals and resumed',
  disks: 'a disk that becomes full',
  hostile: 'damaged files of weights and data',
  arguments: 'wrong arguments of everything exported',
  workers: 'threads that end in the middle',
  aborts: 'calls aborted at random times',
  memory: 'growth of the process in cycles',
  environments: 'strange surroundings of commands',
  determinism: 'the same bits with other threads and beside others',
}

const options = new Command('torture')
  .description('Try to make the package fail.')
  .option('--minutes <n>', 'time; no trial is begun after it', Number, 10)
  .option('--seconds <n>', 'time for a trial in a round', Number, 20)
  .option('--seed <n>', 'of the first round', Number, Math.floor(Math.random() * 1e6))
  .option('--trials <names>', 'only these', (text) => text.split(','), Object.keys(TRIALS))
  .parse()
  .opts()

/** Seconds without an end, over what the trial was given: it hangs. The machine may be busy. */
const PATIENCE = 900

function run(name, seed) {
  return new Promise((resolve) => {
    const file = path.join(root, 'scripts/torture', `${name}.mjs`)
    const child = spawn(process.execPath, ['--expose-gc', file, String(seed), String(options.seconds)], {
      cwd: root,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let [out, err] = ['', '']
    child.stdout.on('data', (data) => (out += data))
    child.stderr.on('data', (data) => (err = (err + data).slice(-4000)))
    const timer = setTimeout(() => child.kill('SIGKILL'), 1000 * (options.seconds + PATIENCE))
    child.on('close', (status, signal) => {
      clearTimeout(timer)
      const last = out.trim().split('\n').at(-1)
      try {
        resolve(JSON.parse(last))
      } catch {
        resolve({ runs: 1, failures: [`the trial itself ended: ${signal ?? status}\n${err}`] })
      }
    })
  })
}

const table = Object.fromEntries(options.trials.map((name) => [name, { runs: 0, failures: 0, first: '' }]))
function show() {
  console.log(`\n${'trial'.padEnd(18)} ${'runs'.padStart(8)} ${'failures'.padStart(9)}  first failing seed`)
  for (const [name, { runs, failures, first }] of Object.entries(table))
    console.log(`${name.padEnd(18)} ${String(runs).padStart(8)} ${String(failures).padStart(9)}  ${first.padEnd(18)} ${TRIALS[name]}`) // biome-ignore format: one line
}

process.once('SIGINT', () => {
  show()
  process.exit(130)
})

const end = performance.now() + 60_000 * options.minutes
console.log(`seed ${options.seed}`)
for (let seed = options.seed; performance.now() < end; seed++)
  for (const name of options.trials) {
    if (performance.now() >= end) break
    const { runs, failures } = await run(name, seed)
    const row = table[name]
    row.runs += runs
    row.failures += failures.length
    if (failures.length > 0) row.first ||= String(seed)
    for (const failure of failures) console.log(`FAILED ${name}, seed ${seed}: ${failure}`)
  }

show()
process.exitCode = Object.values(table).some(({ failures }) => failures > 0) ? 1 : 0
