import { runFolder } from '../run-log.js'
import type { ExactProblem } from './exact-problems.js'
import { errorsOf } from './exact-problems.js'
import { type ExperimentContext, mean, rms } from './experiment.js'
import { type Method, runMethod } from './methods.js'

/** A method on an exact problem, over seeds. */

export interface AverageRow {
  method: string
  /** Total variation between the shares of the modes. */
  modes: number
  /** Found / exact variance in the coordinates without modes; NaN in the plane. */
  variance: number
  /** Root mean square error of log Z; NaN without weights. */
  logZ: number
  smallestEss: number
  distinctRoots: number
  resamplings: number
  evaluations: number
  seconds: number
}

export interface AverageOptions {
  particles: number
  sigmas: Float64Array
  seeds: number
}

export async function averageOf(
  problem: ExactProblem,
  method: Method,
  { seeds, ...options }: AverageOptions,
  { seed, signal, runs: folder }: Pick<ExperimentContext, 'seed' | 'signal' | 'runs'>,
): Promise<AverageRow> {
  const runs: Omit<AverageRow, 'method'>[] = []
  for (let s = 0; s < seeds; s++) {
    const { particles, sigmas } = options
    const about = [problem.name, problem.d, method.name, `${particles} by ${sigmas.length - 1}`]
    const log = s === 0 ? runFolder({ runs: folder }, ...about) : undefined
    const run = await runMethod(problem.target, method, { ...options, seed: seed + s, signal, log })
    const { smallestEss, distinctRoots, evaluations, seconds, result } = run
    const resamplings = result?.diagnostics.resamplings ?? 0
    const errors = errorsOf(problem, run.samples, run.weights, run.logZ)
    runs.push({ ...errors, smallestEss, distinctRoots, resamplings, evaluations, seconds })
  }
  const average = (key: keyof (typeof runs)[0]) => mean(runs.map((r) => r[key]))
  return {
    method: method.name,
    modes: average('modes'),
    variance: average('variance'),
    logZ: rms(runs.map((r) => r.logZ)),
    smallestEss: average('smallestEss'),
    distinctRoots: average('distinctRoots'),
    resamplings: average('resamplings'),
    evaluations: average('evaluations'),
    seconds: average('seconds'),
  }
}
