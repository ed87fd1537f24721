import { isDeepStrictEqual } from 'node:util'
import { calls, setThreads } from './calls.mjs'
import { must, trial } from './trial.mjs'

/** The same seed gives the same bits: with any number of threads, and whatever else runs at the same time. */
await trial(async (random) => {
  const name = random.pick(Object.keys(calls))
  const seed = random.below(1000)
  setThreads(1)
  const right = await calls[name]({ seed })
  const threads = 2 + random.below(6)
  setThreads(threads)
  must(
    isDeepStrictEqual(await calls[name]({ seed }), right),
    `${name}, seed ${seed}: other bits with ${threads} threads`,
  )
  const other = random.pick(Object.keys(calls))
  const [beside] = await Promise.all([calls[name]({ seed }), calls[other]({ seed: seed + 1 })])
  must(isDeepStrictEqual(beside, right), `${name}, seed ${seed}: other bits beside ${other}`)
  return 2
})
