import { type Figure, sizeOf } from 'feynkac/internal'
import { runFolder } from '../run-log.js'
import { imagesSubject } from './composition-images.js'
import { type Classes, type Problem, problemOf } from './composition-problems.js'
import { shapesSubject } from './composition-shapes.js'
import type { Subject } from './composition-subject.js'
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
import { drawPictures, type Pictures, rowsPng } from './pictures.js'

/**
 * AND, OR and NOT of the attributes of pictures beside the other ways at as many evaluations: of procedural ones, read by a rule, or of the
 * user's own, read by a classifier.
 */

/** guided: of AND alone, p(x) (p(A|x) p(B|x))^2, as `--divide-prior --guidance 2` asks for. */
interface Way extends Method {
  guided?: true
}

/**
 * Each evaluates its models about as often: where there are moves, there are fewer levels. The step sizes of plain MCMC, in units of the noise,
 * are the best of those tried on the first composition. What smc does with learnt pictures where it is told nothing is `no weights`.
 */
const methods: Way[] = [
  { name: 'summed scores' },
  { name: 'annealed ULA', thin: 2, mcmc: { kernel: 'ula', steps: 1, stepSize: (sigma) => sigma } },
  { name: 'annealed MALA', thin: 4, mcmc: { kernel: 'mala', steps: 3, tune: true } },
  { name: 'annealed HMC', thin: 4, mcmc: { kernel: 'hmc', steps: 1, leapfrog: 3, stepSize: (sigma) => 0.5 * sigma } },
  { name: 'FKC', smc: { weights: 'fkc' } },
  { name: 'RNE', smc: { weights: 'rne', proposal: 'analytic' } },
  { name: 'SMC, analytic', smc: { proposal: 'analytic' } },
  { name: 'SMC', smc: { proposal: 'calibrated' } },
  { name: 'SMC, MALA', thin: 2, smc: { proposal: 'calibrated', moves: { kernel: 'mala' } } },
  { name: 'no weights', smc: { weights: 'none' } },
  { name: 'no weights, guided', smc: { weights: 'none' }, guided: true },
]
const energies = ['SMC, analytic', 'SMC', 'SMC, MALA']

export interface CompositionRow extends Omit<Pictures, 'images'> {
  operation: Problem['operation']
  wanted: string
  method: string
  /** Share of the pictures that show what was asked for and are recognised, that show it whatever they are, and that are recognised. */
  right: number
  verdict: number
  recognised: number
  /** Difference between the shares of the groups that should be equal, among the right ones; NaN where there are none. */
  imbalance: number
  /** To real pictures of what was asked for; NaN where there are none. */
  distance: number
}

export const composition: Experiment = {
  title: 'Composition: AND, OR, NOT',
  question:
    'Does weighing by energies give pictures that show what a composition asks for, more often than the other ways at as many evaluations?',
  takesData: true,
  async run(context) {
    // networks of larger images, and the classifier, take longer
    const [few, short] = context.images ? [24, 24] : [48, 40]
    const particles = byBudget(context, 8, few, 128, 256)
    const steps = byBudget(context, 6, short, 80, 160)
    const seeds = byBudget(context, 1, 1, 3, 6)
    using subject = await (context.images ? imagesSubject(context.images, context) : shapesSubject(context))
    const { energy, labels, wishes, tables } = subject
    const { shape } = energy
    const rows: CompositionRow[] = []
    const figures: Figure[] = []
    for (const [i, wish] of wishes.entries()) {
      const problem = problemOf(wish, labels, energy)
      const shown: Float32Array[] = []
      const fitting = methods.filter((m) => applies(m, problem.target) && !(m.guided && !problem.guided))
      for (const method of fitting) {
        context.stage('compositions', i, wishes.length)
        for (let s = 0; s < seeds; s++) {
          const log = s === 0 ? runFolder(context, problem.operation, problem.wanted, method.name) : undefined
          const options = { particles, steps, seed: context.seed + s, signal: context.signal, log }
          const target = (method.guided && problem.guided) || problem.target
          const { images, ...run } = await drawPictures(target, method, options)
          rows.push({ ...names(problem, method), ...(await scores(images, problem, subject)), ...run })
          if (s === 0) shown.push(images.subarray(0, SHOWN * sizeOf(shape)))
        }
      }
      figures.push({
        name: `${problem.operation}-${problem.wanted}`.toLowerCase().replaceAll(/\W+/g, '-'),
        caption: `${problem.operation}: ${problem.wanted}. Rows: ${fitting.map((m) => m.name).join('; ')}.`,
        png: await rowsPng(shown, shape),
      })
    }
    context.stage('compositions', wishes.length, wishes.length)
    const averages = average(rows)
    const note = `${particles} pictures of ${shape[1]} x ${shape[2]}, ${seeds} seeds. ${subject.reader} Imbalance: between what should be equally frequent among the right ones. Evaluations of a model per picture.`
    return {
      findings: findings(averages, seeds),
      tables: [{ title: 'Shares of the pictures', note, ...table(averages, subject) }, ...tables],
      figures,
      data: { particles, steps, seeds, rows, tables },
    } satisfies Outcome
  },
}

const names = ({ operation, wanted }: Problem, { name }: Method) => ({ operation, wanted, method: name })

async function scores(images: Float32Array, problem: Problem, subject: Subject) {
  const readings = await subject.read(images)
  const share = (count: number) => count / readings.length
  const shown = readings.filter(({ classes }) => problem.right(classes))
  const right = shown.filter(({ recognised }) => recognised)
  return {
    right: share(right.length),
    verdict: share(shown.length),
    recognised: share(readings.filter(({ recognised }) => recognised).length),
    imbalance: imbalance(
      right.map(({ classes }) => classes),
      problem,
    ),
    distance: (await subject.distance?.(images, problem)) ?? Number.NaN,
  }
}

function imbalance(right: readonly Classes[], { even }: Problem): number {
  if (!even) return Number.NaN
  const shares = even.values.map((v) => right.filter((seen) => seen[even.attribute] === v).length / right.length)
  return Math.max(...shares) - Math.min(...shares)
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

/** With the verdict by itself and the distance where there are real pictures to compare with. */
function table(rows: readonly CompositionRow[], { distance }: Subject): Pick<Table, 'header' | 'rows'> {
  const own = distance !== undefined
  return {
    header: [
      ...['asked for', 'method', 'right', ...(own ? ['verdict'] : []), 'recognised', ...(own ? ['distance'] : [])],
      ...['imbalance', 'smallest ESS', 'roots', 'evaluations', 'seconds'],
    ],
    rows: rows.map((r) => [
      `${r.operation}: ${r.wanted}`,
      r.method,
      ...[r.right, ...(own ? [r.verdict] : []), r.recognised].map((v) => cell(v)),
      ...(own ? [cell(r.distance, 3)] : []),
      cell(r.imbalance),
      ...[r.smallestEss, r.distinctRoots, r.evaluations].map((v) => cell(v, 0)),
      cell(r.seconds, 1),
    ]),
  }
}

const SHOWN = 24
