import { type ShapeScore, shapeLabels } from '../data/shapes.js'
import type { EnergyModel } from '../models/energy.js'
import type { Figure } from '../report/folder.js'
import { mixture, product, type Target } from '../smc/targets.js'
import {
  byBudget,
  cell,
  clearlyAbove,
  type Experiment,
  type Finding,
  groupBy,
  mean,
  type Outcome,
  type Table,
} from './experiment.js'
import { applies, type Method } from './methods.js'
import { drawPictures, type Pictures, rowsPng, seenIn, share } from './pictures.js'
import { SIDE, shapesEnergy } from './trained.js'

/** AND, OR and NOT of the attributes of procedural pictures, read by a rule, beside the other ways at as many evaluations. */

interface Problem {
  operation: 'AND' | 'OR' | 'NOT'
  wanted: string
  target: Target
  /** Whether a picture shows what was asked for. */
  right(seen: ShapeScore): boolean
  /** Groups that should be equally frequent among the right ones. */
  group(seen: ShapeScore): number | null
  groups: number
}

const named = (attribute: 0 | 1, value: number) => shapeLabels.attributes[attribute].values![value]

function problems(energy: EnergyModel): Problem[] {
  const prior = energy.conditioned([null, null])
  const shape = (value: number) => energy.conditioned([value, null])
  const place = (value: number) => energy.conditioned([null, value])
  const and = (s: number, p: number): Problem => ({
    operation: 'AND',
    wanted: `${named(0, s)}, ${named(1, p)}`,
    target: product([shape(s), place(p), prior], { weights: [1, 1, -1] }),
    right: (seen) => seen.shape === s && seen.place === p,
    group: () => null,
    groups: 0,
  })
  return [
    and(2, 1),
    and(0, 2),
    and(1, 3),
    {
      operation: 'OR',
      wanted: `${named(0, 0)} or ${named(0, 2)}`,
      target: mixture([shape(0), shape(2)]),
      right: (seen) => seen.shape === 0 || seen.shape === 2,
      group: (seen) => (seen.shape === 0 ? 0 : 1),
      groups: 2,
    },
    {
      operation: 'NOT',
      wanted: `${named(1, 0)}, not ${named(0, 2)}`,
      // p(x|place) p(x) / p(x|shape): what the shape makes likelier than it is anyway is divided out, and nothing else
      target: product([place(0), prior, shape(2)], { weights: [1, 1, -1] }),
      right: (seen) => seen.place === 0 && seen.shape !== null && seen.shape !== 2,
      group: (seen) => seen.shape,
      groups: 2,
    },
  ]
}

/**
 * Each evaluates its models about as often: where there are moves, there are fewer levels. The step sizes of plain MCMC, in units of the noise,
 * are the best of those tried on the first composition.
 */
const methods: Method[] = [
  { name: 'summed scores' },
  { name: 'annealed ULA', thin: 2, mcmc: { kernel: 'ula', steps: 1, stepSize: (sigma) => sigma } },
  { name: 'annealed MALA', thin: 4, mcmc: { kernel: 'mala', steps: 3, tune: true } },
  { name: 'annealed HMC', thin: 4, mcmc: { kernel: 'hmc', steps: 1, leapfrog: 3, stepSize: (sigma) => 0.5 * sigma } },
  { name: 'FKC', smc: { weights: 'fkc' } },
  { name: 'RNE', smc: { weights: 'rne', proposal: 'analytic' } },
  { name: 'SMC, analytic', smc: { proposal: 'analytic' } },
  { name: 'SMC', smc: { proposal: 'calibrated' } },
  { name: 'SMC, MALA', thin: 2, smc: { proposal: 'calibrated', moves: { kernel: 'mala' } } },
]
const energies = ['SMC, analytic', 'SMC', 'SMC, MALA']

export interface CompositionRow extends Omit<Pictures, 'images'> {
  operation: Problem['operation']
  wanted: string
  method: string
  /** Share of the pictures that show what was asked for, and that show any of the shapes. */
  right: number
  recognised: number
  /** Difference between the shares of the groups that should be equal, among the right ones; NaN where there are none. */
  imbalance: number
}

export const composition: Experiment = {
  title: 'Composition: AND, OR, NOT',
  question:
    'Does weighing by energies give pictures that show what a composition asks for, more often than the other ways at as many evaluations?',
  async run(context) {
    const particles = byBudget(context, 16, 48, 128, 256)
    const steps = byBudget(context, 10, 40, 80, 160)
    const seeds = byBudget(context, 1, 1, 3, 6)
    using energy = await shapesEnergy(context)
    const asked = problems(energy)
    const rows: CompositionRow[] = []
    const figures: Figure[] = []
    for (const [i, problem] of asked.entries()) {
      const shown: Float32Array[] = []
      const fitting = methods.filter((m) => applies(m, problem.target))
      for (const method of fitting) {
        context.stage('compositions', i, asked.length)
        for (let s = 0; s < seeds; s++) {
          const options = { particles, steps, seed: context.seed + s, signal: context.signal }
          const { images, ...run } = await drawPictures(problem.target, method, options)
          rows.push({ ...names(problem, method), ...scores(images, problem), ...run })
          if (s === 0) shown.push(images.subarray(0, SHOWN * SIDE * SIDE))
        }
      }
      figures.push({
        name: `${problem.operation}-${problem.wanted}`.toLowerCase().replaceAll(/\W+/g, '-'),
        caption: `${problem.operation}: ${problem.wanted}. Rows: ${fitting.map((m) => m.name).join('; ')}.`,
        png: await rowsPng(shown, SIDE),
      })
    }
    context.stage('compositions', asked.length, asked.length)
    const averages = average(rows)
    return {
      findings: findings(averages, seeds),
      tables: [table(averages, particles, seeds)],
      figures,
      data: { particles, steps, seeds, rows },
    } satisfies Outcome
  },
}

const names = ({ operation, wanted }: Problem, { name }: Method) => ({ operation, wanted, method: name })

function scores(images: Float32Array, { right, group, groups }: Problem) {
  const seen = seenIn(images, SIDE)
  const good = seen.filter(right)
  const counts = Array.from({ length: groups }, (_, g) => good.filter((s) => group(s) === g).length / good.length)
  return {
    right: good.length / seen.length,
    recognised: share(seen, (s) => s.shape !== null),
    imbalance: groups > 0 ? Math.max(...counts) - Math.min(...counts) : Number.NaN,
  }
}

/** Means over the seeds. */
function average(rows: readonly CompositionRow[]): CompositionRow[] {
  return [...groupBy(rows, (r) => `${r.wanted}/${r.method}`).values()].map((group) => {
    const numbers = Object.keys(group[0]).filter((key) => typeof group[0][key as keyof CompositionRow] === 'number')
    const means = numbers.map((key) => [key, mean(group.map((r) => r[key as keyof CompositionRow] as number))])
    return { ...group[0], ...Object.fromEntries(means) }
  })
}

function findings(rows: readonly CompositionRow[], seeds: number): Finding[] {
  const of = (method: string, operation: string) => rows.filter((r) => r.method === method && r.operation === operation)
  const right = (group: readonly CompositionRow[]) => mean(group.map((r) => r.right))
  // pictures of one root are not independent
  const trials = (group: readonly CompositionRow[]) => seeds * group.reduce((sum, r) => sum + r.distinctRoots, 0)
  return (['AND', 'OR', 'NOT'] as const).map((operation) => {
    const tried = methods.map((m) => m.name).filter((name) => of(name, operation).length > 0)
    const own = of('SMC', operation)
    return {
      claim: `${operation}: SMC by energies shows what was asked for more often than each way without, by two standard errors.`,
      holds: tried
        .filter((name) => !energies.includes(name))
        .map((name) => of(name, operation))
        .every((group) => clearlyAbove(right(own), trials(own), right(group), trials(group))),
      evidence: tried.map((name) => `${name} ${cell(right(of(name, operation)))}`).join(', '),
    }
  })
}

const table = (rows: readonly CompositionRow[], particles: number, seeds: number): Table => ({
  title: 'Shares of the pictures',
  note: `${particles} pictures of ${SIDE} x ${SIDE}, ${seeds} seeds. Right: shows what was asked for, by template; recognised: shows any shape. Imbalance: between what should be equally frequent among the right ones. Evaluations of a model per picture.`,
  header: [
    'asked for',
    'method',
    'right',
    'recognised',
    'imbalance',
    'smallest ESS',
    'roots',
    'evaluations',
    'seconds',
  ],
  rows: rows.map((r) => [
    `${r.operation}: ${r.wanted}`,
    r.method,
    ...[r.right, r.recognised, r.imbalance].map((v) => cell(v)),
    ...[r.smallestEss, r.distinctRoots, r.evaluations].map((v) => cell(v, 0)),
    cell(r.seconds, 1),
  ]),
})

const SHOWN = 24
