import type { Lab } from './cli/lab.js'
import { runDemo } from './demo/run.js'
import { runExperiment } from './experiments/run.js'
import { genealogyPng } from './report/genealogy.js'

/** The demo, the experiments, and plots of runs. */

export type { DemoOptions, DemoResult } from './demo/run.js'
export type { ExperimentOptions, ExperimentResult } from './experiments/run.js'
export { genealogyPng, runDemo, runExperiment }

/** What the command line takes. */
export const lab: Lab = { runDemo, runExperiment, genealogyPng }
