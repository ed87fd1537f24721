import fs from 'node:fs'
import path from 'node:path'
import { FileError, OutOfMemoryError } from '../../dist/base/errors.js'
import { readSource } from '../../dist/weights/source.js'
import { Random } from './random.mjs'
import { makeInput, makeSeeds } from './seeds.mjs'

/** Reads one damaged input after the other, in a process of its own that may be ended: fuzz-parsers.mjs watches it. */

const [seed, from, to, seconds, folder] = process.argv.slice(2)
/** Limits of processor time for one input, and of memory over what the process had after its first inputs. */
const MAX_SECONDS = 2
const MAX_GROWTH = 768e6
const WARM = 300

const seeds = await makeSeeds()
// an undamaged input must be read
for (const { name, files, entry } of seeds) {
  if (name === 'values-protocol0.pkl') continue
  write(files)
  await readSource(path.join(folder, entry))
}

const began = performance.now()
const counts = {}
let settled = Infinity
let number = Number(from)
for (; number < Number(to) && performance.now() - began < 1000 * Number(seconds); number++) {
  process.send({ number })
  const { name, files, entry, target } = makeInput(seeds, new Random(Number(seed), number))
  write(files)
  process.send({ number, name, target })
  const before = process.cpuUsage()
  let outcome = 'read'
  try {
    check(await readSource(path.join(folder, entry)))
  } catch (error) {
    if (!(error instanceof FileError || error instanceof OutOfMemoryError)) fail(error.stack ?? String(error))
    if (error.message.length > 5000) fail(`a message of ${error.message.length} characters`)
    outcome = error.name
  }
  const { user, system } = process.cpuUsage(before)
  if (user + system > 1e6 * MAX_SECONDS) fail(`it took ${((user + system) / 1e6).toFixed(1)} s`)
  const { rss } = process.memoryUsage()
  if (number - Number(from) === WARM) settled = rss
  if (rss - settled > MAX_GROWTH) fail(`memory grew by ${((rss - settled) / 1e6).toFixed()} MB`)
  counts[name] ??= {}
  counts[name][outcome] = (counts[name][outcome] ?? 0) + 1
}
process.send({ done: true, number, counts })

function write(files) {
  fs.rmSync(folder, { recursive: true, force: true })
  for (const [name, bytes] of Object.entries(files)) {
    const file = path.join(folder, name)
    fs.mkdirSync(path.dirname(file), { recursive: true })
    fs.writeFileSync(file, bytes)
  }
}

/** What was read must be whole: every tensor has the numbers that its shape says, in memory that is its own. */
function check({ tensors, args, format }) {
  if (typeof format !== 'string') fail('no format')
  for (const [name, { shape, data }] of tensors) {
    if (typeof name !== 'string' || shape.reduce((a, b) => a * b, 1) !== data.length) fail(`tensor ${name} of ${shape}`)
    let sum = 0
    for (let i = 0; i < data.length; i += 1 + (data.length >> 10)) sum += Number(data[i])
    if (typeof sum !== 'number') fail('no numbers')
  }
  if (args !== null && typeof args !== 'object') fail('arguments')
  if (Object.prototype.polluted !== undefined || Object.keys(Object.prototype).length > 0)
    fail('the prototype was changed')
}

/** Ends the process: the one that watches it shows the error. */
function fail(what) {
  throw new Error(what)
}
