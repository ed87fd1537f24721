// What `import 'feynkac'` costs beside the import of an empty module, each in processes of their own, alternating: processor time in
// milliseconds, memory (resident set) in MB, medians; and what is loaded.
//
//   node bench/import.mjs [--rounds N] [--entry FILE]
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'

const { values: options } = parseArgs({
  options: {
    rounds: { type: 'string', default: '15' },
    entry: { type: 'string', default: new URL('../dist/index.js', import.meta.url).pathname },
  },
})

const MEASURE = `
const before = [process.cpuUsage(), process.memoryUsage.rss()]
await import(process.argv[1])
const { user, system } = process.cpuUsage(before[0])
console.log(JSON.stringify({ ms: (user + system) / 1000, mb: (process.memoryUsage.rss() - before[1]) / 1e6 }))`

const measure = (url) =>
  JSON.parse(execFileSync(process.execPath, ['--input-type=module', '-e', MEASURE, url], { encoding: 'utf8' }))
const median = (values) => values.sort((a, b) => a - b)[values.length >> 1]

const folder = mkdtempSync(join(os.tmpdir(), 'feynkac-import-'))
try {
  const empty = join(folder, 'empty.mjs')
  writeFileSync(empty, '')
  const subjects = { empty: pathToFileURL(empty).href, feynkac: pathToFileURL(resolve(options.entry)).href }
  const found = { empty: [], feynkac: [] }
  for (let round = 0; round < Number(options.rounds); round++)
    for (const [name, url] of Object.entries(subjects)) found[name].push(measure(url))
  const row = (name) => [median(found[name].map(({ ms }) => ms)), median(found[name].map(({ mb }) => mb))]
  for (const name of Object.keys(subjects)) {
    const [ms, mb] = row(name)
    console.log(`${name.padEnd(8)} ${ms.toFixed(1).padStart(6)} ms ${mb.toFixed(1).padStart(5)} MB`)
  }
  console.log(`ratio    ${(row('feynkac')[0] / row('empty')[0]).toFixed(1)}`)
} finally {
  rmSync(folder, { recursive: true })
}
