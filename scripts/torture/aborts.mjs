import { isDeepStrictEqual } from 'node:util'
import { calls } from './calls.mjs'
import { must, trial } from './trial.mjs'

/** Calls are aborted at random times: each rejects with the reason or has come to its end, and the next gives the same bits as ever. */
await trial(async (random) => {
  const name = random.pick(Object.keys(calls))
  const seed = random.below(1000)
  const began = performance.now()
  const right = await calls[name]({ seed })
  const whole = performance.now() - began
  for (let n = 0; n < 4; n++) {
    const controller = new AbortController()
    const reason = new Error(`enough ${n}`)
    const timer = setTimeout(() => controller.abort(reason), (random.below(1000) / 900) * whole)
    const found = await calls[name]({ seed, signal: controller.signal }).catch((error) => error)
    clearTimeout(timer)
    if (found instanceof Error) must(found === reason, `${name}: ${found.stack}`)
    else must(isDeepStrictEqual(found, right), `${name}, not aborted in time: another result`)
  }
  must(isDeepStrictEqual(await calls[name]({ seed }), right), `${name}, after aborts: another result`)
  return 4
})
