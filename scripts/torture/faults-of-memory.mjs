import { faulty } from './faulty.mjs'
import { trial } from './trial.mjs'

/** Every allocation of the addon fails, some of them in each round. */
await trial((random) => faulty('memory', random, 10))
