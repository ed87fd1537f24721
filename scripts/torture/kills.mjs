import { setTimeout as sleep } from 'node:timers/promises'
import { interruptedTraining } from './runs.mjs'
import { trial } from './trial.mjs'

/** Training is ended by SIGKILL at random times; resumed, it gives the same bits. */
await trial((random, folder) =>
  interruptedTraining(random, folder, async ({ child, ended }, milliseconds) => {
    await Promise.race([sleep(milliseconds), ended])
    child.kill('SIGKILL')
  }),
)
