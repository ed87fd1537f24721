import { basename, join } from 'node:path'
import { ArgumentError } from 'feynkac'
import {
  alone,
  type Block,
  type Division,
  type ExperimentName,
  experimentNames,
  integer,
  invalid,
  knownOptions,
  loadPlotting,
  oneOf,
  pictureOf,
  prepareFolder,
  writeReport,
  writeResults,
} from 'feynkac/internal'
import { type Budget, budgets, type Experiment, type ExperimentContext, type Outcome } from './experiment.js'

/** The experiments by name; each is loaded only when it runs. */
const experiments = {
  bounds: async () => (await import('./bounds.js')).bounds,
  composition: async () => (await import('./composition.js')).composition,
  consistency: async () => (await import('./consistency.js')).consistency,
  dimension: async () => (await import('./dimension.js')).dimension,
  diversity: async () => (await import('./diversity.js')).diversity,
  exact: async () => (await import('./exact.js')).exact,
  initialisation: async () => (await import('./initialisation.js')).initialisation,
  'teacher-quality': async () => (await import('./teacher-quality.js')).teacherQuality,
  temperature: async () => (await import('./temperature.js')).temperature,
} satisfies Record<ExperimentName, () => Promise<Experiment>>

export interface ExperimentOptions {
  /** Folder of the report; made if it is not there. */
  output: string
  /** How much work to do; default 'small', which takes some ten minutes on two cores. */
  budget?: Budget
  /** Default 0. */
  seed?: number
  /** Where networks run; default 'auto'. */
  device?: string
  /** Folder of the models that experiments train and share; default `OUTPUT-models`. */
  models?: string
  /** Images with attribute vectors of the user's own, as of `loadDataset`, in place of procedural ones; of `composition` and `consistency`. */
  data?: string
  /** The side that they are scaled to, a multiple of 4 from 8 to 64; default 16. */
  size?: number
  /** Processes that share the runs of an experiment of `dividedExperiments`. Default: this one alone. */
  division?: Division
  signal?: AbortSignal
  onStage?: ExperimentContext['stage']
}

export interface ExperimentResult extends Pick<Outcome, 'findings' | 'data'> {
  name: ExperimentName
  budget: Budget
  seed: number
  /** Name of the file of images, without its folder, and their side. */
  images?: { data: string; size: number }
  /** Wall clock. */
  seconds: number
}

/**
 * Runs an experiment and writes report.html, report.md, results.json and its figures into `output`.
 * Throws ArgumentError, FileError, MissingPackageError; the signal's reason.
 */
export async function runExperiment(
  name: ExperimentName,
  options: ExperimentOptions,
): Promise<{ result: ExperimentResult; tables: Outcome['tables']; files: string[] }> {
  oneOf('experiment', name, experimentNames)
  const names = ['output', 'budget', 'seed', 'device', 'models', 'data', 'size', 'division', 'signal', 'onStage']
  knownOptions('runExperiment', options, names)
  const { output, signal, device = 'auto' } = options
  for (const [key, value] of Object.entries({ output, models: options.models ?? output }))
    if (typeof value !== 'string' || value === '') throw invalid(key, 'the name of a directory', value)
  const began = performance.now()
  const context: ExperimentContext = {
    budget: oneOf('budget', options.budget ?? 'small', budgets),
    seed: integer('seed', options.seed ?? 0, 0),
    device,
    models: options.models ?? `${output.replace(/\/+$/, '')}-models`,
    signal,
    division: options.division ?? alone,
    stage: options.onStage ?? (() => {}),
  }
  const experiment = await experiments[name]()
  const images = imagesOf(name, experiment, options)
  await loadPlotting() // what the report needs had better be missed now than after the work
  const { writes } = context.division
  if (writes) await prepareFolder(output)
  const runs = writes ? join(output, 'runs') : undefined
  const outcome = await experiment.run({ ...context, runs, ...(images && { images }) })
  signal?.throwIfAborted()
  const { budget, seed } = context
  const seconds = Math.round((performance.now() - began) / 1000)
  const shown = images && { images: { ...images, data: basename(images.data) } }
  const result = { name, budget, seed, ...shown, seconds, findings: outcome.findings, data: outcome.data }
  const { title } = experiment
  const blocks = reportBlocks(experiment, outcome, result)
  if (!writes) return { result, tables: outcome.tables, files: [] }
  const results = await writeResults(output, result)
  const report = await writeReport(output, { title, blocks, figures: outcome.figures })
  return { result, tables: outcome.tables, files: [results, ...report] }
}

const SIZE = 16

/** The images that an experiment is to run on. Throws ArgumentError where it takes none. */
function imagesOf(
  name: ExperimentName,
  { takesData }: Experiment,
  { data, size }: ExperimentOptions,
): ExperimentContext['images'] {
  if (data === undefined && size !== undefined) throw invalid('size', 'nothing without data', size)
  if (data === undefined) return undefined
  if (!takesData) throw new ArgumentError(`data: the experiment ${name} takes none`)
  if (typeof data !== 'string' || data === '') throw invalid('data', 'a file or a folder of images', data)
  const side = integer('size', size ?? SIZE, 8, 64)
  if (side % 4 !== 0) throw invalid('size', 'a multiple of 4', side)
  return { data, size: side }
}

function reportBlocks(
  { question }: Experiment,
  { findings, tables, figures }: Outcome,
  { budget, seed, seconds, name, images }: ExperimentResult,
): Block[] {
  const given = images ? ` --data ${images.data} --size ${images.size}` : ''
  return [
    { text: question },
    { text: `feynkac experiment ${name}${given} --budget ${budget} --seed ${seed}: ${seconds} seconds.` },
    { heading: 'What the numbers say' },
    {
      header: ['claim', '', 'figures'],
      rows: findings.map(({ claim, holds, evidence }) => [claim, holds ? 'holds' : 'does not hold', evidence]),
    },
    ...figures.map(pictureOf),
    ...tables.flatMap(({ title, note, header, rows }): Block[] => [
      { heading: title },
      ...(note ? [{ text: note }] : []),
      { header, rows },
    ]),
  ]
}
