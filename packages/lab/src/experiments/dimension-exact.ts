import { calibrate, sigmaGrid } from 'feynkac'
import { type AverageRow, averageOf } from './average.js'
import { type Energies, type ExactProblem, energiesOf, exactProblems, pair } from './exact-problems.js'
import type { ExperimentContext } from './experiment.js'
import type { Method } from './methods.js'

/** Runs of methods on exact energies of any dimension. */

export interface DimensionRow extends AverageRow {
  target: string
  d: number
  particles: number
  steps: number
  /** Resampled where the ESS was below this share of the particles. */
  threshold: number
}

export const DEFAULT_THRESHOLD = 0.5
const SIGMA = { min: 0.02, max: 80 }
export const targets = ['low temperature', 'AND']

export interface Size {
  particles: number
  steps: number
}

export const sizes = (particles: number[], steps: number[]): Size[] =>
  particles.flatMap((n) => steps.map((k) => ({ particles: n, steps: k })))

/** Problems of the targets in d dimensions, with tables of precisions measured from as many draws. */
export async function calibratedProblems(
  d: number,
  count: number,
  context: ExperimentContext,
): Promise<ExactProblem[]> {
  const energies = await calibratedEnergies(d, count, context)
  return exactProblems(d, SIGMA.min, energies).filter(({ name }) => targets.includes(name))
}

/** Neighbours in the spectrum are pooled, as bands of frequency are. */
async function calibratedEnergies(d: number, count: number, { seed, signal }: ExperimentContext): Promise<Energies> {
  const { p, q } = energiesOf(pair(d))
  const bands = Math.min(d, 2 + Math.max(0, Math.min(d - 2, BANDS)))
  const pool = Int32Array.from({ length: d }, (_, k) => (k < 2 ? k : 2 + Math.floor(((k - 2) / (d - 2)) * (bands - 2))))
  const table = async (energy: typeof p) => {
    const data = energy.sample(count, { seed: seed + 1 })
    return { ...energy, calibration: await calibrate(energy, { data, count, pool, seed, signal }) }
  }
  return { p: await table(p), q: await table(q) }
}
const BANDS = 32

export async function measure(
  problems: readonly ExactProblem[],
  methods: readonly Method[],
  { particles, steps }: Size,
  seeds: number,
  context: ExperimentContext,
): Promise<DimensionRow[]> {
  const rows: DimensionRow[] = []
  const options = { particles, sigmas: sigmaGrid({ steps, ...SIGMA }), seeds }
  for (const problem of problems)
    for (const method of methods) {
      const threshold = method.smc?.essThreshold ?? DEFAULT_THRESHOLD
      const average = await averageOf(problem, method, options, context)
      rows.push({ target: problem.name, d: problem.d, particles, steps, threshold, ...average })
    }
  return rows
}
