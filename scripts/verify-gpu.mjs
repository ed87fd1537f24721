#!/usr/bin/env node
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { Command, Option } from 'commander'
import { STAGES } from './gpu/stages.mjs'
import { root } from './native.mjs'

/**
 * Checks the CUDA backend on a machine that has a GPU, and measures it: `npm run verify:gpu` in a clone, or run.sh of what
 * `npm run pack:gpu` makes. Stages go on after one that fails. Ends with a table, and writes one JSON with everything after each stage.
 * Exit status 1 if a check failed or there is no GPU.
 */

const number = (text) => Number(text)
const list = (text) => text.split(',')
const options = new Command('verify-gpu')
  .description('Check and measure the CUDA backend on the GPU of this machine.')
  .addOption(
    new Option('--stages <names>', 'which of them to run, with commas between')
      .argParser(list)
      .default(Object.keys(STAGES)),
  )
  .option('--out <file>', 'the record', 'gpu-check.json')
  .option('--budget <s>', 'total time, most of it for the benchmark', number, 540)
  .option('--build <folder>', 'a build to check, instead of one made here')
  .option('--fixtures <folder>', 'reference files')
  .option('--seed <n>', 'of the random shapes', number, 1)
  .option('--emulated', 'let the kernels of a build with FEYNKAC_CUDA=EMULATED stand for a GPU, on a small selection')
  .argument('[bench...]', 'options of bench/gpu/run.mjs, after --')
  .parse()
const { stages, out, budget, build, fixtures, seed, emulated = false } = options.opts()
for (const name of stages)
  if (!(name in STAGES)) options.error(`error: there is no stage '${name}': ${Object.keys(STAGES).join(', ')}`)

// what pack-gpu.mjs says of a packed folder
const packedFile = path.join(root, 'packed.json')
const packed = fs.existsSync(packedFile) ? JSON.parse(fs.readFileSync(packedFile, 'utf8')) : undefined

const given = build ?? (packed && path.join(root, packed.build))
const shared = {
  build: path.resolve(given ?? path.join(root, 'build-gpu-native')),
  mayBuild: given === undefined,
  fixtures: path.resolve(fixtures ?? path.join(root, packed ? packed.fixtures : '../shared/fixtures/unet')),
  seed,
  emulated,
  benchFolder: path.resolve(out.replace(/\.json$/, '-bench')),
  benchOptions: options.args,
}

// what was started is killed at exit, which a signal alone would not bring about
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(130))

const record = {
  date: new Date().toISOString(),
  version: JSON.parse(fs.readFileSync(path.join(root, 'package.json'), 'utf8')).version,
  commit:
    packed?.commit ?? (spawnSync('git', ['rev-parse', 'HEAD'], { cwd: root, encoding: 'utf8' }).stdout?.trim() || null),
  packed: packed ?? null,
  machine: {
    cpu: os.cpus()[0]?.model.trim() ?? 'unknown',
    cores: os.availableParallelism(),
    memory: os.totalmem(),
    system: os.release(),
  },
  options: { stages, budget, seed, emulated },
  stages: {},
}
let began = performance.now()
const left = () => budget - (performance.now() - began) / 1000

function save() {
  fs.mkdirSync(path.dirname(path.resolve(out)), { recursive: true })
  fs.writeFileSync(out, `${JSON.stringify(record, null, 1)}\n`)
}

async function runStage(name) {
  const { run, seconds } = STAGES[name]
  if (shared.blocked) return { status: 'skipped', summary: shared.blocked }
  const limit = Math.min(seconds, left())
  if (limit < 1) return { status: 'failed', summary: 'the time was up' }
  try {
    return await run(shared, limit)
  } catch (error) {
    return { status: 'failed', summary: error.message }
  }
}

for (const name of Object.keys(STAGES).filter((stage) => stages.includes(stage))) {
  console.log(`=== ${name}`)
  const start = performance.now()
  const result = await runStage(name)
  if (name === 'build') began = performance.now() // which the budget is not for
  record.stages[name] = { ...result, seconds: (performance.now() - start) / 1000 }
  console.log(`${result.status}: ${result.summary}`)
  save()
}

const bench = path.join(shared.benchFolder, 'results.md')
if (record.stages.bench && fs.existsSync(bench)) console.log(`\n${fs.readFileSync(bench, 'utf8')}`)
console.log(`\n${'stage'.padEnd(10)} ${'result'.padEnd(8)} ${'time'.padStart(7)}  what was found`)
for (const [name, { status, seconds, summary }] of Object.entries(record.stages))
  console.log(`${name.padEnd(10)} ${status.padEnd(8)} ${`${seconds.toFixed(1)} s`.padStart(7)}  ${summary}`)
console.log(`\nwritten: ${out}`)
process.exitCode = Object.values(record.stages).some(({ status }) => status === 'failed') ? 1 : 0
