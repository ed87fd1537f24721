import { sigmaGrid } from 'feynkac'
import { plotPng } from 'feynkac/internal'
import { type AverageRow, averageOf } from './average.js'
import { type LineRow, line, lineTable } from './exact-line.js'
import { exactProblems } from './exact-problems.js'
import { byBudget, cell, type Experiment, type Finding, groupBy, mean, type Outcome, type Table } from './experiment.js'
import { applies, weightings } from './methods.js'

/** Every weighting against closed forms, from the plane to 512 dimensions. */

export interface ExactRow extends AverageRow {
  target: string
  d: number
}

const SIGMA = { min: 0.02, max: 80 }
const STEPS = 64

export const exact: Experiment = {
  title: 'Exact answers: all targets, all weightings',
  question: 'Do the weights give what the target says, at any number of steps, and up to what dimension?',
  async run(context) {
    const dimensions = byBudget(context, [2, 8], [2, 32, 512], [2, 8, 32, 128, 512], [2, 8, 32, 128, 512, 3072])
    const particles = byBudget(context, 128, 512, 1024, 4096)
    const seeds = byBudget(context, 1, 2, 4, 8)
    const sigmas = sigmaGrid({ steps: STEPS, ...SIGMA })
    const problems = dimensions.flatMap((d) => exactProblems(d, SIGMA.min))
    const runs = problems.flatMap((problem) =>
      weightings.filter((m) => applies(m, problem.target)).map((method) => ({ problem, method })),
    )
    const { division } = context
    const [lines, rows] = await division.all([
      () => line(context),
      () =>
        division.share(runs, async ({ problem, method }, i): Promise<ExactRow> => {
          context.stage(`${problem.name}, ${problem.d} dimensions`, i, runs.length)
          const average = await averageOf(problem, method, { particles, sigmas, seeds }, context)
          return { target: problem.name, d: problem.d, ...average }
        }),
    ] as const)
    context.stage('done', runs.length, runs.length)
    return {
      findings: findings(lines, rows),
      tables: [lineTable(lines), ...tables(rows, particles, seeds)],
      figures: [{ name: 'exact', caption: 'Errors and distinct roots by dimension.', png: await plot(rows) }],
      data: { particles, seeds, steps: STEPS, line: lines, rows },
    } satisfies Outcome
  },
}

function findings(lines: readonly LineRow[], rows: readonly ExactRow[]): Finding[] {
  const errorOf = (method: string) => mean(lines.filter((r) => r.method === method).map((r) => r.error))
  const [bridge, summed] = [errorOf('bridge, scaled, analytic'), errorOf('summed scores')]
  const top = Math.max(...rows.map((r) => r.d))
  const at = (method: string, target: string, d = top) =>
    rows.find((r) => r.method === method && r.target === target && r.d === d)!
  const scaled = at('bridge, per coordinate', 'low temperature')
  const plain = ['tilt', 'FKC', 'bridge, plain, sde'].map((m) => at(m, 'low temperature'))
  const none = rows.filter((r) => r.method === 'summed scores' && r.target === 'AND' && r.d > 2)
  return [
    {
      claim: 'On the line the bridge weights are right where summed scores are not.',
      holds: bridge < 0.02 && bridge < summed / 3,
      evidence: `mean error of P(x > 0) over the targets: bridge ${cell(bridge, 3)}, summed scores ${cell(summed, 3)}`,
    },
    {
      claim: `In ${top} dimensions plain kernels (tilt, FKC, plain bridge) have collapsed at low temperature; scaled ones with a variance per coordinate have not.`,
      holds: plain.every((r) => r.distinctRoots < scaled.distinctRoots / 4) && scaled.logZ < 1,
      evidence: `distinct roots ${plain.map((r) => cell(r.distinctRoots, 0)).join(', ')} against ${cell(scaled.distinctRoots, 0)}; log Z error ${cell(scaled.logZ)}`,
    },
    {
      claim: 'Without weights the variances of a product are wrong at every dimension.',
      holds: none.every((r) => Math.abs(r.variance - 1) > 0.1),
      evidence: `variance ratio of summed scores ${none.map((r) => `${cell(r.variance)} in ${r.d}`).join(', ')} dimensions`,
    },
  ]
}

function tables(rows: readonly ExactRow[], particles: number, seeds: number): Table[] {
  return [...groupBy(rows, (r) => r.d)].map(([d, group]) => ({
    title: `${d} dimensions`,
    note: `${particles} particles, ${STEPS} levels, ${seeds} seeds. Modes: total variation between the modes' shares. Variance: found / exact in the coordinates without modes.`,
    header: ['target', 'method', 'modes', 'variance', 'log Z error', 'smallest ESS', 'roots', 'evaluations', 'seconds'],
    rows: group.map((r) => [
      r.target,
      r.method,
      ...[r.modes, r.variance, r.logZ].map((v) => cell(v)),
      ...[r.smallestEss, r.distinctRoots, r.evaluations].map((v) => cell(v, 0)),
      cell(r.seconds),
    ]),
  }))
}

function plot(rows: readonly ExactRow[]): Promise<Buffer> {
  const measures = { modes: "error of the modes' shares", distinctRoots: 'distinct roots' }
  const values = rows.flatMap((r) =>
    Object.entries(measures).map(([key, measure]) => ({ ...r, measure, value: r[key as keyof typeof measures] })),
  )
  return plotPng({
    data: { values },
    mark: { type: 'line', point: true },
    width: 260,
    height: 200,
    encoding: {
      x: { field: 'd', type: 'quantitative', scale: { type: 'log' }, title: 'dimension' },
      y: { field: 'value', type: 'quantitative', title: null },
      color: {
        field: 'method',
        type: 'nominal',
        title: null,
        sort: weightings.map((m) => m.name),
        scale: { scheme: 'tableau20' },
      },
      row: { field: 'measure', title: null },
      column: { field: 'target', title: null },
    },
    config: { legend: { labelLimit: 300 } },
    resolve: { scale: { y: 'independent' } },
  })
}
