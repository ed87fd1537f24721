#!/usr/bin/env node
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { Command, Option } from 'commander'
import { native } from '../../dist/native/addon.js'
import { BOUNDS, disagreement } from './agreement.mjs'
import { writeInputs } from './inputs.mjs'
import { fullRows, NETWORKS, tinyRows } from './rows.mjs'
import { makeSides } from './sides.mjs'
import { duration, page } from './table.mjs'

/**
 * The benchmark on a GPU: feynkac and its peers in turns, row by row, in one run; their outputs compared. Writes results.json and
 * results.md into a folder after every row. Fails where feynkac fails or a peer disagrees; a row that is out of memory says so.
 */

const number = (text) => Number(text)
const command = new Command('node bench/gpu/run.mjs')
  .requiredOption('--program <file>', 'feynkac’s side: gpu_bench of a build with FEYNKAC_TESTS')
  .requiredOption('--out <folder>', 'where results.json and results.md go')
  .addOption(new Option('--device <name>', 'where to run').choices(['cuda', 'cpu']).default('cuda'))
  .addOption(new Option('--peer-device <name>', 'where peers run (default: the same)').choices(['cuda', 'cpu']))
  .option('--peers <names...>', 'sides beside feynkac; only the rows of these if given', [
    'torch',
    'torch-graphs',
    'torch-compile',
    'jax',
  ])
  .option('--no-peers', 'feynkac alone')
  .option('--python <file>', 'the Python of the peers (default: the first that has their modules)')
  .option('--only <text>', 'rows whose name contains this')
  .option('--tiny', 'a few rows of sizes for a CPU')
  .option('--seconds <n>', 'least time of measuring for each row and side', number, 0.5)
  .option('--least <n>', 'least number of measurements', number, 5)
  .option('--row-limit <s>', 'most time for one side of a row', number, 150)
  .option('--budget <s>', 'no row is begun after this', number, 3600)
  .parse()
const options = command.opts()

const began = performance.now()
const left = () => options.budget - (performance.now() - began) / 1000
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'feynkac-bench-'))
const rows = (options.tiny ? tinyRows() : fullRows()).filter((r) => r.name.includes(options.only ?? ''))
const { sides, missing } = makeSides({ ...options, peers: options.peers || [] })

const deviceOf = (name) => (name === 'feynkac' ? options.device : (options.peerDevice ?? options.device))
const inputs = new Map()
/** What a side is asked for a row. */
function jobOf(row, name) {
  const { sides: _, name: __, network, kind, ...rest } = row
  const seconds = kind === 'network' ? options.seconds : options.seconds / 4
  const job = { kind, ...rest, device: deviceOf(name), seconds, least: options.least, ...sides[name].options }
  if (kind !== 'network') return job
  if (!inputs.has(network)) {
    const largest = Math.max(...rows.filter((r) => r.network === network).map((r) => r.batch))
    inputs.set(network, writeInputs(folder, network, NETWORKS[network], largest))
  }
  return { ...job, ...NETWORKS[network], ...inputs.get(network), outputs: path.join(folder, `outputs-${name}`) }
}

async function measure(row) {
  const results = {}
  for (const name of row.sides.filter((side) => side in sides)) {
    const job = jobOf(row, name)
    fs.rmSync(job.outputs ?? '', { force: true })
    const result = await sides[name].side.ask(job, Math.max(5, Math.min(options.rowLimit, left())))
    const ours = results.feynkac
    if (row.kind === 'network' && name !== 'feynkac' && !result.error && ours && !ours.error) {
      const files = [path.join(folder, 'outputs-feynkac'), job.outputs]
      result.disagreement = disagreement(ours.outputs, result.outputs, ...files)
      result.agrees = result.disagreement < BOUNDS[row.precision]
    }
    results[name] = result
    console.log(`${row.name.padEnd(52)} ${name.padEnd(14)} ${textOf(result)}`)
  }
  const { sides: _, ...rest } = row
  return { ...rest, results }
}

function textOf({ error, seconds, disagreement, agrees }) {
  if (error) return `${error.kind}: ${error.message}`
  if (agrees === undefined) return duration(seconds)
  return `${duration(seconds)}, ${agrees ? 'agrees' : 'DISAGREES'}: ${disagreement.toExponential(1)}`
}

async function versions() {
  const found = { feynkac: JSON.parse(fs.readFileSync(new URL('../../package.json', import.meta.url), 'utf8')).version }
  for (const [name, { side }] of Object.entries(sides)) {
    if (name === 'feynkac') continue
    const answer = await side.ask({ kind: 'versions', device: deviceOf(name) }, Math.min(120, left()))
    if (answer.error) {
      missing[name] = answer.error.message
      delete sides[name]
    } else found[name] = answer
  }
  for (const [name, reason] of Object.entries(missing)) console.log(`${name} is missing: ${reason}`)
  return found
}

try {
  const record = {
    date: new Date().toISOString(),
    options: (({ program: _, out: __, python: ___, ...shaping }) => shaping)(options),
    device: options.device === 'cpu' ? 'cpu' : (native.cuda().devices[0]?.name ?? 'no CUDA device'),
    machine: { cpu: os.cpus()[0]?.model.trim() ?? 'unknown', cores: os.availableParallelism() },
    versions: await versions(),
    missing,
    rows: [],
    notRun: [],
  }
  fs.mkdirSync(options.out, { recursive: true })
  const onlyPeers = command.getOptionValueSource('peers') === 'cli' && options.peers
  for (const row of rows) {
    const able = row.sides.filter((side) => side in sides)
    const alone = able.every((side) => side === 'feynkac')
    const superfluous = alone && (onlyPeers || record.rows.some(({ name }) => name === row.name))
    if (able.length === 0 || (superfluous && row.kind !== 'ceiling')) continue
    if (left() < 5) record.notRun.push(row.name)
    else record.rows.push(await measure(row))
    fs.writeFileSync(path.join(options.out, 'results.json'), `${JSON.stringify(record, null, 1)}\n`)
    fs.writeFileSync(path.join(options.out, 'results.md'), page(record))
  }
  const wrong = record.rows.filter(({ results }) =>
    Object.entries(results).some(
      ([name, { error, agrees }]) => agrees === false || (name === 'feynkac' && error && error.kind !== 'memory'),
    ),
  )
  console.log(`${record.rows.length} rows, ${record.notRun.length} not run for want of time`)
  for (const { name } of wrong) console.error(`wrong: ${name}`)
  if (wrong.length || record.rows.length === 0) process.exitCode = 1
} finally {
  for (const { side } of Object.values(sides)) side.close()
  fs.rmSync(folder, { recursive: true, force: true })
}
