import {
  bounded,
  gaussianMixture,
  guided,
  lowTemperature,
  mixture,
  negation,
  product,
  rewardTilt,
  sigmaGrid,
  type Target,
} from 'feynkac'
import { runFolder } from '../run-log.js'
import { byBudget, cell, type ExperimentContext, mean, type Table } from './experiment.js'
import { applies, type Method, runMethod, weightings } from './methods.js'

/** All targets on the line, where every answer is a sum over a fine grid. */

const p = gaussianMixture({ weights: [0.65, 0.35], means: [[1.5], [-1]], covariances: [0.36, 0.16] }) // biome-ignore format: one line
const q = gaussianMixture({ weights: [0.3, 0.7], means: [[2], [-1.5]], covariances: [0.5, 0.4] }) // biome-ignore format: one line

const targets: [string, Target][] = [
  ['p²', lowTemperature(p, { gamma: 2 })],
  ['p q', product([p, q])],
  ['p or q', mixture([p, q])],
  ['p² / q', product([p, q], { weights: [2, -1] })],
  ['p / q^0.5', negation(p, q, { strength: 0.5 })],
  ['p^-0.5 q^1.5', guided(p, q, { scale: 1.5 })],
  ['p in [-0.5, 3]', bounded(p, { lower: -0.5, upper: 3 })],
  [
    'p exp(-x²)',
    rewardTilt(p, (x) => ({ value: Float64Array.from(x, (v) => -v * v), grad: x.map((v) => -2 * v) }), {
      strength: 1,
      sigmaData: 1,
    }),
  ],
]

export interface LineRow {
  target: string
  method: string
  /** P(x > 0), exact and found, and the rms error of both P and log Z over the seeds. */
  exact: number
  found: number
  error: number
  logZError: number
}

interface Answer {
  above: number
  logZ: number
}

const SIGMA = { min: 0.02, max: 80 }
const REACH = 14
const CELLS = 28_000

/** P(x > 0) and log of the integral of exp(-U), by the midpoint rule. */
async function quadrature(target: Target): Promise<Answer> {
  const step = (2 * REACH) / CELLS
  const x = Float32Array.from({ length: CELLS }, (_, i) => (i + 0.5) * step - REACH)
  const { energy } = await target.energyGrad(x, SIGMA.min)
  const lowest = energy.reduce((a, b) => Math.min(a, b))
  let [all, above] = [0, 0]
  for (let i = 0; i < CELLS; i++) {
    const mass = Math.exp(lowest - energy[i])
    all += mass
    if (x[i] > 0) above += mass
  }
  return { above: above / all, logZ: Math.log(all * step) - lowest }
}

function methodsFor(target: Target): Method[] {
  return weightings.filter((m) => applies(m, target) && !m.name.includes('per coordinate'))
}

export async function line(context: ExperimentContext): Promise<LineRow[]> {
  const seeds = byBudget(context, 1, 3, 6, 20)
  const particles = byBudget(context, 500, 2000, 5000, 20_000)
  const sigmas = sigmaGrid({ steps: byBudget(context, 50, 100, 200, 200), ...SIGMA })
  const runs = targets.flatMap(([name, target]) => methodsFor(target).map((method) => ({ name, target, method })))
  const answers = new Map<Target, Promise<Answer>>()
  const answerOf = (target: Target) => {
    if (!answers.has(target)) answers.set(target, quadrature(target))
    return answers.get(target)!
  }
  return context.division.share(runs, async ({ name, target, method }, i) => {
    context.stage('on the line', i, runs.length)
    const answer = await answerOf(target)
    const [above, logZ] = [[] as number[], [] as number[]]
    for (let s = 0; s < seeds; s++) {
      const log = s === 0 ? runFolder(context, 'line', name, method.name) : undefined
      const options = { particles, sigmas, seed: context.seed + s, signal: context.signal, log }
      const run = await runMethod(target, method, options)
      above.push(run.weights.reduce((sum, w, i) => sum + (run.samples[i] > 0 ? w : 0), 0))
      logZ.push(run.logZ)
    }
    return {
      target: name,
      method: method.name,
      exact: answer.above,
      found: mean(above),
      error: Math.sqrt(mean(above.map((v) => (v - answer.above) ** 2))),
      logZError: Math.sqrt(mean(logZ.map((v) => (v - answer.logZ) ** 2))),
    }
  })
}

export function lineTable(rows: readonly LineRow[]): Table {
  return {
    title: 'On the line, by quadrature',
    note: 'P(x > 0) found and exact, root mean square errors over the seeds. p and q are mixtures of two Gaussians.',
    header: ['target', 'method', 'exact', 'found', 'error', 'log Z error'],
    rows: rows.map((r) => [
      r.target,
      r.method,
      cell(r.exact, 3),
      cell(r.found, 3),
      cell(r.error, 3),
      cell(r.logZError),
    ]),
  }
}
