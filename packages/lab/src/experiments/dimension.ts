import { plotPng } from 'feynkac/internal'
import { calibratedProblems, type DimensionRow, measure, sizes, targets } from './dimension-exact.js'
import { guide, resamplingFinding, resamplingTable, sweepOf } from './dimension-guide.js'
import { learnt, learntFindings, learntTable } from './dimension-learnt.js'
import { byBudget, cell, type Experiment, type Finding, type Outcome, type Table } from './experiment.js'
import type { Method } from './methods.js'

/** How the weights degenerate with the dimension, and what keeps them from it; the answers are exact. */

/** The published choices and the remedies. */
const remedies: Method[] = [
  { name: 'tilt', smc: { weights: 'tilt', kernel: 'plain' } },
  { name: 'plain bridge', smc: { kernel: 'plain', proposal: 'sde' } },
  { name: 'scaled', smc: { proposal: 'sde' } },
  { name: 'analytic', smc: { proposal: 'analytic' } },
  { name: 'per coordinate', smc: { proposal: 'analytic-diagonal' } },
  { name: 'analytic, adapted levels', smc: { proposal: 'analytic' }, adapt: true },
  { name: 'calibrated', smc: { proposal: 'calibrated' } },
  { name: 'calibrated, MALA', smc: { proposal: 'calibrated', moves: { kernel: 'mala' } } },
  { name: 'calibrated, adapted levels', smc: { proposal: 'calibrated' }, adapt: true },
  { name: 'analytic, partial', smc: { proposal: 'analytic', essAfter: 0.75 } },
  { name: 'analytic, SSP', smc: { proposal: 'analytic', resampling: 'ssp' } },
  { name: 'plain bridge, control drift', smc: { kernel: 'plain', proposal: 'sde', controlDrift: true } },
  { name: 'analytic, control drift', smc: { proposal: 'analytic', controlDrift: true } },
  { name: 'calibrated, control drift', smc: { proposal: 'calibrated', controlDrift: true } },
  { name: 'analytic, MALA', smc: { proposal: 'analytic', moves: { kernel: 'mala' } } },
]
const named = (...names: string[]) => remedies.filter(({ name }) => names.includes(name))
/** Those whose need of particles and levels is looked for. */
const guided = named('analytic', 'per coordinate', 'calibrated')
/** Those on learnt energies: moves at half the levels, for as many evaluations. */
const onPictures: Method[] = [
  ...named('analytic', 'per coordinate', 'calibrated'),
  ...named('calibrated, MALA').map((m) => ({ ...m, name: 'calibrated, MALA, half the levels', thin: 2 })),
]

export const dimension: Experiment = {
  title: 'Dimension: how weights degenerate, and remedies',
  question: 'How many particles, how many levels and which remedy does a dimension need?',
  async run(context) {
    const usual = [2, 8, 32, 128, 512, 3072]
    const dimensions = byBudget(context, [2, 16], usual, usual, [...usual, 12_288])
    const base = { particles: byBudget(context, 32, 128, 256, 512), steps: byBudget(context, 16, 64, 128, 256) }
    const seeds = byBudget(context, 1, 2, 4, 8)
    const grid = byBudget(context, [base], sizes([64, 256], [32, 128]), sizes([64, 256, 1024], [32, 128, 512]), sizes([64, 256, 1024], [32, 128, 512])) // biome-ignore format: one line
    // of the sweep: larger sizes in many dimensions cost minutes where smaller ones suffice or none do
    const most = byBudget(context, Infinity, 512 * 256 * 128, Infinity, Infinity)
    const rows: DimensionRow[] = []
    const sweep: DimensionRow[] = []
    for (const [i, d] of dimensions.entries()) {
      context.stage(`${d} dimensions`, i, dimensions.length)
      const problems = await calibratedProblems(d, byBudget(context, 256, 2000, 4000, 8000), context)
      rows.push(...(await measure(problems, remedies, base, seeds, context)))
      const affordable = grid.filter(({ particles, steps }) => d * particles * steps <= most)
      sweep.push(...(await sweepOf(problems, guided, affordable, seeds, context)))
    }
    const adapted = byBudget(context, [], [], named('calibrated, adapted levels'), named('calibrated, adapted levels'))
    const pictures = await learnt([...onPictures, ...adapted], context)
    context.stage('done', dimensions.length, dimensions.length)
    return {
      findings: [...findings(rows), resamplingFinding(sweep), ...learntFindings(pictures)],
      tables: [guide(sweep, guided, rows), resamplingTable(sweep), ...tables(rows, seeds), learntTable(pictures)],
      figures: [
        { name: 'dimension', caption: `${base.particles} particles, ${base.steps} levels.`, png: await plot(rows) },
      ],
      data: { ...base, seeds, rows, sweep, pictures },
    } satisfies Outcome
  },
}

function findings(rows: readonly DimensionRow[]): Finding[] {
  const top = Math.max(...rows.map((r) => r.d))
  const at = (method: string) => rows.filter((r) => r.method === method && r.d === top)
  const uncalibrated = remedies.map((m) => m.name).filter((name) => !name.startsWith('calibrated'))
  const roots = (method: string, target: string) => at(method).find((r) => r.target === target)!.distinctRoots
  const worst = (method: string) => Math.max(...at(method).map((r) => r.logZ))
  const list = (values: number[]) => values.map((v) => cell(v, 0)).join(', ')
  return [
    {
      claim: `In ${top} dimensions the calibrated bridge keeps four times the roots of every uncalibrated choice, on both targets.`,
      holds: targets.every((target) => uncalibrated.every((m) => roots('calibrated', target) > 4 * roots(m, target))),
      evidence: ['calibrated', ...uncalibrated].map((m) => `${m} ${list(targets.map((t) => roots(m, t)))}`).join('; '),
    },
    {
      claim: 'There its log Z is right to half a nat, and four times nearer than theirs.',
      holds: worst('calibrated') < 0.5 && uncalibrated.every((m) => worst(m) > 4 * worst('calibrated')),
      evidence: `worst rms error: ${['calibrated', ...uncalibrated].map((m) => `${m} ${cell(worst(m))}`).join(', ')}`,
    },
  ]
}

function tables(rows: readonly DimensionRow[], seeds: number): Table[] {
  return targets.map((target) => ({
    title: `${target}: methods by dimension`,
    note: `${seeds} seeds. Modes: total variation between the modes' shares.`,
    header: [
      'dimension',
      'method',
      'modes',
      'variance',
      'log Z error',
      'smallest ESS',
      'roots',
      'evaluations',
      'seconds',
    ],
    rows: rows
      .filter((r) => r.target === target)
      .map((r) => [
        String(r.d),
        r.method,
        ...[r.modes, r.variance, r.logZ].map((v) => cell(v)),
        ...[r.smallestEss, r.distinctRoots, r.evaluations].map((v) => cell(v, 0)),
        cell(r.seconds),
      ]),
  }))
}

function plot(rows: readonly DimensionRow[]): Promise<Buffer> {
  const measures = { distinctRoots: 'distinct roots', logZ: 'error of log Z' }
  const values = rows.flatMap((r) =>
    Object.entries(measures).map(([key, measure]) => ({
      ...r,
      measure,
      value: Math.max(r[key as keyof typeof measures], 0.01),
    })),
  )
  return plotPng({
    data: { values },
    mark: { type: 'line', point: true },
    width: 340,
    height: 240,
    encoding: {
      x: { field: 'd', type: 'quantitative', scale: { type: 'log' }, title: 'dimension' },
      y: { field: 'value', type: 'quantitative', scale: { type: 'log' }, title: null },
      color: {
        field: 'method',
        type: 'nominal',
        title: null,
        sort: remedies.map((m) => m.name),
        scale: { scheme: 'tableau20' },
      },
      row: { field: 'measure', title: null },
      column: { field: 'target', title: null },
    },
    resolve: { scale: { y: 'independent' } },
    config: { legend: { labelLimit: 300 } },
  })
}
