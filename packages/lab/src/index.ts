import type { Lab } from 'feynkac/internal'
import { planarTable, shapesTable } from './demo/figures.js'
import { runDemo } from './demo/run.js'
import { runExperiment } from './experiments/run.js'

/** The demo and the experiments. */

export type { DemoResult } from './demo/figures.js'
export type { DemoOptions } from './demo/run.js'
export type { ExperimentOptions, ExperimentResult } from './experiments/run.js'
export { runDemo, runExperiment }

/** What the command line takes. */
export const lab: Lab = {
  async runDemo(options) {
    const { result, files } = await runDemo(options)
    return { result, tables: [planarTable(result.plane.rows), shapesTable(result.pictures.rows)], files }
  },
  runExperiment,
}
