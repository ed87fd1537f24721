import type { Division, Figure } from 'feynkac/internal'

/** What an experiment is: a claim, the numbers that bear on it, and what they say. */

/** How much work to do; small takes some ten minutes on two cores, quick shows that it runs, not how well. */
export const budgets = ['quick', 'small', 'medium', 'large'] as const
export type Budget = (typeof budgets)[number]

export interface ExperimentContext {
  budget: Budget
  seed: number
  device: string
  /** Folder of models that experiments train and share. */
  models: string
  /** Folder below which runs are written level by level, each in its own (runFolder). */
  runs?: string
  /** Images of the user's own, for `loadDataset`, and the side that they are scaled to. */
  images?: { data: string; size: number }
  signal?: AbortSignal
  /** Who does which of the runs of a divided experiment. */
  division: Division
  stage(name: string, done: number, total: number): void
}

export interface Table {
  title: string
  /** What the columns mean, and what to look at. */
  note?: string
  header: string[]
  rows: string[][]
}

/** A sentence that the numbers bear out or not. */
export interface Finding {
  claim: string
  holds: boolean
  /** The figures. */
  evidence: string
}

export interface Outcome {
  findings: Finding[]
  tables: Table[]
  figures: Figure[]
  /** Every number, for results.json. */
  data: unknown
}

export interface Experiment {
  title: string
  /** What it asks. */
  question: string
  /** Whether it can be run on images of the user's own. */
  takesData?: boolean
  run(context: ExperimentContext): Promise<Outcome>
}

/** One of four by the budget. */
export function byBudget<T>({ budget }: Pick<ExperimentContext, 'budget'>, quick: T, small: T, medium: T, large: T): T {
  return { quick, small, medium, large }[budget]
}

export const mean = (values: readonly number[]): number => values.reduce((sum, v) => sum + v, 0) / values.length

/** Root of the mean square. */
export const rms = (values: readonly number[]): number => Math.sqrt(mean(values.map((v) => v * v)))

/** Standard error of the mean; NaN for a single value. */
export function standardError(values: readonly number[]): number {
  const centre = mean(values)
  return Math.sqrt(values.reduce((sum, v) => sum + (v - centre) ** 2, 0) / (values.length - 1) / values.length)
}

/**
 * Whether a share of n independent trials is above another of m by two standard errors (Agresti & Caffo 2000: two trials more on either side,
 * one of which succeeded). Samples that descend from few particles are as many as those.
 */
export function clearlyAbove(share: number, n: number, other: number, m: number): boolean {
  const [p, q] = [(share * n + 1) / (n + 2), (other * m + 1) / (m + 2)]
  return p - q > 2 * Math.sqrt((p * (1 - p)) / (n + 2) + (q * (1 - q)) / (m + 2))
}

/** A number in a table: `digits` behind the point, '–' where there is none. */
export function cell(value: number | undefined, digits = 2): string {
  return value === undefined || Number.isNaN(value) ? '–' : value.toFixed(digits)
}

/** Items in groups of one key, in the order of their first. */
export function groupBy<T, K>(items: readonly T[], key: (item: T) => K): Map<K, T[]> {
  const groups = new Map<K, T[]>()
  for (const item of items) {
    const group = groups.get(key(item))
    if (group) group.push(item)
    else groups.set(key(item), [item])
  }
  return groups
}
