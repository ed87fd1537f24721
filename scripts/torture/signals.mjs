import { constants } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { interruptedTraining } from './runs.mjs'
import { must, trial } from './trial.mjs'

/** Training gets signals at random times, one or two, or is halted for a while; resumed, it gives the same bits. */
await trial((random, folder) =>
  interruptedTraining(random, folder, async ({ child, ended }, milliseconds) => {
    const signal = random.pick(['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGSTOP', 'SIGUSR2'])
    await Promise.race([sleep(milliseconds), ended])
    child.kill(signal)
    if (signal === 'SIGSTOP') {
      await sleep(random.below(100))
      child.kill('SIGCONT')
      return () => must(false, 'it ended because it was halted')
    }
    if (random.below(3) === 0) {
      await sleep(random.below(30))
      child.kill(signal)
    }
    return ({ status, signal: by, said }) => {
      const right = 128 + constants.signals[signal]
      must(by === signal || status === right, `${signal}: it ended by ${by ?? status}: ${said.slice(-2000)}`)
    }
  }),
)
