import { calls } from './calls.mjs'
import { must, trial } from './trial.mjs'

/** Calls repeated, some of them aborted: after the first of them the process does not grow. */

/** Bytes that the process may grow by in a round: what V8 and malloc keep for later. */
const MOST = 48e6
const abortAtOnce = () => AbortSignal.timeout(1)

await trial(async (random) => {
  const name = random.pick(Object.keys(calls))
  const cycle = async (count) => {
    for (let n = 0; n < count; n++) {
      await calls[name]({ seed: n })
      await calls[name]({ seed: n, signal: abortAtOnce() }).catch(() => {})
    }
    globalThis.gc?.()
    return process.memoryUsage().rss
  }
  const before = await cycle(10)
  const after = await cycle(30)
  must(after - before < MOST, `${name}: it has grown by ${((after - before) / 1e6).toFixed(1)} MB in 30 cycles`)
  return 80
})
