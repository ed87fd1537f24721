import type { Division } from '../ranks/division.js'

/** What the command line asks of the lab: the demo and the experiments, which need more than the engine does. */

export const experimentNames = [
  'bounds',
  'composition',
  'consistency',
  'dimension',
  'diversity',
  'exact',
  'initialisation',
  'teacher-quality',
  'temperature',
] as const
export type ExperimentName = (typeof experimentNames)[number]

/** Those of many runs, each by itself, on no model that is trained first: ranks and parts of an array of jobs can share them. */
export const dividedExperiments = ['exact', 'diversity'] as const satisfies ExperimentName[]

export interface LabTable {
  title?: string
  header: readonly string[]
  rows: readonly (readonly string[])[]
}

/** What the lab's runs have in common. */
interface LabRun {
  output: string
  seed?: number
  signal?: AbortSignal
  onStage?: (name: string, done: number, total: number) => void
}

export interface Lab {
  /** shorter: share of the training to do. */
  runDemo(
    options: LabRun & { shorter?: number },
  ): Promise<{ result: { seconds: number }; tables: readonly LabTable[]; files: string[] }>
  runExperiment(
    name: ExperimentName,
    options: LabRun & {
      budget?: 'quick' | 'small' | 'medium' | 'large'
      device?: string
      models?: string
      data?: string
      size?: number
      division?: Division
    },
  ): Promise<{
    result: { seconds: number; findings: readonly { claim: string; holds: boolean; evidence: string }[] }
    tables: readonly LabTable[]
    files: string[]
  }>
}
