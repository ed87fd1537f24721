import fs from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { jobs, made, prepare } from './jobs.mjs'
import { interruptedTraining } from './runs.mjs'
import { must, root, started, trial } from './trial.mjs'

const LOCK = /(^|\/)\.lock$/
/** What has another content before the end, and what is no output. */
const PASSING = /\.tmp$|\.lock$|\.jsonl$|fit\.json$|checkpoint-|runs\/\w+\/model\.safetensors$/

/** One command, ended again and again: what it leaves is whole each time, and in the end it has made what it makes. */
async function killedCommand(random, folder) {
  await prepare(folder)
  const name = random.pick(['fit', 'fit', 'edm', 'diffusers', 'sample', 'distill'])
  const job = jobs[name]
  const place = path.join(folder, 'place') // one for all, as its name is in what is made
  const at = (file) => path.join(job.makes.includes(file) ? place : folder, file)
  const run = (k) => started([path.join(root, 'scripts/torture/killed.mjs'), folder, String(k), ...job.argv(at)]).ended
  fs.mkdirSync(place)
  const whole = await run(0)
  must(whole.status === 0, `${name}: ${whole.said}`)
  const right = made(place, job)
  fs.rmSync(place, { recursive: true })
  fs.mkdirSync(place)
  const count = Number(/operations: (\d+)/.exec(whole.said)[1])
  let kills = 0
  for (; kills < 4; kills++) {
    const k = 1 + random.below(count)
    const { status, signal, said } = await run(k)
    const where = `${name}, killed at ${k} of ${count}, number ${kills}`
    if (signal !== 'SIGKILL') {
      must(status === 0 || /finished/.test(said), `${where}: ${status} ${said}`)
      break
    }
    for (const [file, bytes] of Object.entries(made(place, job)))
      if (!PASSING.test(file)) must(right[file]?.equals(bytes), `${where}: torn ${file}`)
  }
  const last = await run(0)
  must(last.status === 0 || /finished/.test(last.said), `${name}, after ${kills}: ${last.status} ${last.said}`)
  const found = made(place, job)
  for (const file of Object.keys(right))
    if (!LOCK.test(file)) must(found[file]?.equals(right[file]), `${name}, after ${kills}: another ${file}`)
  // a folder of diffusers is nobody's own: what another process may be writing there stays
  const torn = Object.keys(found).filter((file) => /\.tmp$/.test(file) && name !== 'diffusers')
  must(torn.length === 0, `${name}, after ${kills}: left over: ${torn}`)
  return kills + 2
}

/** Training is ended by SIGKILL at random times; resumed, it gives the same bits. Commands of several stages are, at random operations on files. */
await trial((random, folder) =>
  random.below(3) > 0
    ? killedCommand(random, folder)
    : interruptedTraining(random, folder, async ({ child, ended }, milliseconds) => {
        await Promise.race([sleep(milliseconds), ended])
        child.kill('SIGKILL')
      }),
)
