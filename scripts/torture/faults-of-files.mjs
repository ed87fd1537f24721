import { faulty } from './faulty.mjs'
import { trial } from './trial.mjs'

/** Every operation on files fails, some of them in each round. */
await trial((random) => faulty('files', random, 10))
