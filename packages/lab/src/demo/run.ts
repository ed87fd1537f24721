import { join } from 'node:path'
import {
  finiteNumber,
  integer,
  knownOptions,
  loadPlotting,
  prepareFolder,
  removeCheckpoints,
  writeReport,
  writeResults,
} from 'feynkac/internal'
import type { DemoContext } from './context.js'
import { type DemoResult, figures, reportBlocks } from './figures.js'
import { planarDemo } from './planar.js'
import { shapesDemo } from './shapes.js'

export interface DemoOptions {
  /** Folder of the report; made if it is not there. */
  output: string
  seed?: number
  /** Share of the training to do, up to 1. */
  shorter?: number
  signal?: AbortSignal
  onStage?: DemoContext['stage']
}

/** The main job on synthetic data: writes report.html, results.json and figures into `output`. Throws ArgumentError, FileError, MissingPackageError. */
export async function runDemo(options: DemoOptions): Promise<{ result: DemoResult; files: string[] }> {
  knownOptions('runDemo', options, ['output', 'seed', 'shorter', 'signal', 'onStage'])
  const began = performance.now()
  const { output, signal } = options
  const context: DemoContext = {
    seed: integer('seed', options.seed ?? 0, 0),
    shorter: finiteNumber('shorter', options.shorter ?? 1, { above: 0, max: 1 }),
    signal,
    runs: join(output, 'runs'),
    trained: [],
    stage: options.onStage ?? (() => {}),
  }
  await loadPlotting() // what the report needs had better be missed now than after the training
  await prepareFolder(output)
  const plane = await planarDemo(context)
  const pictures = await shapesDemo(context)
  signal?.throwIfAborted()
  const result: DemoResult = {
    seed: context.seed,
    seconds: Math.round((performance.now() - began) / 1000),
    plane: { particles: plane.particles, seeds: plane.seeds, rows: plane.rows },
    pictures: { side: pictures.side, particles: pictures.particles, rows: pictures.rows },
  }
  const results = await writeResults(output, result)
  const drawn = await figures(plane, pictures)
  const report = await writeReport(output, {
    title: 'feynkac: compositions of learnt energies',
    blocks: reportBlocks(result, drawn),
    figures: drawn,
  })
  for (const folder of context.trained) await removeCheckpoints(folder) // the next demo here starts from the beginning
  return { result, files: [results, ...report] }
}
