import { plotPng } from '../report/plots.js'
import { calibrate } from '../smc/calibrate.js'
import { sigmaGrid } from '../smc/schedule.js'
import { type AverageRow, averageOf } from './average.js'
import { type LearntRow, learnt, learntTable } from './dimension-learnt.js'
import { type Energies, energiesOf, exactProblems, pair } from './exact-problems.js'
import {
  byBudget,
  cell,
  type Experiment,
  type ExperimentContext,
  type Finding,
  groupBy,
  type Outcome,
  type Table,
} from './experiment.js'
import type { Method } from './methods.js'

/** How the weights degenerate with the dimension, and what keeps them from it; the answers are exact. */

export interface DimensionRow extends AverageRow {
  target: string
  d: number
  particles: number
  steps: number
}

const SIGMA = { min: 0.02, max: 80 }

/** The published choices and the remedies. */
const remedies: Method[] = [
  { name: 'tilt', smc: { weights: 'tilt' } },
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
/** Those whose need of particles and levels is looked for. */
const guided = remedies.filter(({ name }) => ['analytic', 'per coordinate', 'calibrated'].includes(name))

const targets = ['low temperature', 'AND']

export const dimension: Experiment = {
  title: 'Dimension: how weights degenerate, and remedies',
  question: 'How many particles, how many levels and which remedy does a dimension need?',
  async run(context) {
    const dimensions = byBudget(context, [2, 16], [2, 8, 32, 128, 512, 3072], [2, 8, 32, 128, 512, 3072], [2, 8, 32, 128, 512, 3072, 12_288]) // biome-ignore format: one line
    const base = { particles: byBudget(context, 32, 128, 256, 512), steps: byBudget(context, 16, 64, 128, 256) }
    const seeds = byBudget(context, 1, 2, 4, 8)
    const grid = byBudget(context, [base], sizes([64, 256], [32, 128]), sizes([64, 256, 1024], [32, 128, 512]), sizes([64, 256, 1024], [32, 128, 512])) // biome-ignore format: one line
    const rows: DimensionRow[] = []
    const sweep: DimensionRow[] = []
    for (const [i, d] of dimensions.entries()) {
      context.stage(`${d} dimensions`, i, dimensions.length)
      const energies = await calibratedEnergies(d, byBudget(context, 256, 2000, 4000, 8000), context)
      rows.push(...(await measure(d, energies, remedies, base, seeds, context)))
      for (const size of grid) sweep.push(...(await measure(d, energies, guided, size, seeds, context)))
    }
    const pictures = await learnt(context)
    context.stage('done', dimensions.length, dimensions.length)
    return {
      findings: findings(rows, pictures),
      tables: [guide(sweep), ...tables(rows, seeds), learntTable(pictures)],
      figures: [
        { name: 'dimension', caption: `${base.particles} particles, ${base.steps} levels.`, png: await plot(rows) },
      ],
      data: { ...base, seeds, rows, sweep, pictures },
    } satisfies Outcome
  },
}

interface Size {
  particles: number
  steps: number
}

const sizes = (particles: number[], steps: number[]): Size[] =>
  particles.flatMap((n) => steps.map((k) => ({ particles: n, steps: k })))

/** Exact energies with tables of precisions, measured from draws; neighbours in the spectrum are pooled, as bands of frequency are. */
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

async function measure(
  d: number,
  energies: Energies,
  methods: readonly Method[],
  { particles, steps }: Size,
  seeds: number,
  context: ExperimentContext,
): Promise<DimensionRow[]> {
  const rows: DimensionRow[] = []
  const options = { particles, sigmas: sigmaGrid({ steps, ...SIGMA }), seeds }
  for (const problem of exactProblems(d, SIGMA.min, energies).filter(({ name }) => targets.includes(name)))
    for (const method of methods)
      rows.push({ target: problem.name, d, particles, steps, ...(await averageOf(problem, method, options, context)) })
  return rows
}

/** Good enough to use: log Z to half a nat, the modes' shares to a tenth, and more than a few independent particles. */
const good = (r: DimensionRow) => r.logZ < 0.5 && r.modes < 0.1 && r.distinctRoots >= 16

function guide(sweep: readonly DimensionRow[]): Table {
  const groups = groupBy(sweep, (r) => `${r.d}/${r.target}`)
  return {
    title: 'What a dimension needs',
    note: 'The least work that gives log Z to half a nat, the shares of the modes to a tenth and 16 distinct roots; systematic resampling below half the particles.',
    header: ['dimension', 'target', ...guided.map((m) => m.name)],
    rows: [...groups.values()].map((group) => [
      String(group[0].d),
      group[0].target,
      ...guided.map(({ name }) => {
        const fit = group.filter((r) => r.method === name && good(r)).sort((a, b) => a.evaluations - b.evaluations)
        return fit.length ? `${fit[0].particles} particles, ${fit[0].steps} levels` : 'none tried'
      }),
    ]),
  }
}

function findings(rows: readonly DimensionRow[], pictures: readonly LearntRow[]): Finding[] {
  const top = Math.max(...rows.map((r) => r.d))
  const at = (method: string) => rows.filter((r) => r.method === method && r.d === top)
  const uncalibrated = remedies.map((m) => m.name).filter((name) => !name.startsWith('calibrated'))
  const roots = (method: string, target: string) => at(method).find((r) => r.target === target)!.distinctRoots
  const worst = (method: string) => Math.max(...at(method).map((r) => r.logZ))
  const largest = Math.max(...pictures.map((r) => r.particles))
  const learntRoots = (proposal: string) =>
    pictures.filter((r) => r.proposal === proposal && r.particles === largest).map((r) => r.distinctRoots)
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
    {
      claim: 'On a learnt energy of pictures it keeps a quarter more roots than the analytic variance.',
      holds: learntRoots('calibrated').every((v, i) => v > 1.25 * learntRoots('analytic')[i]),
      evidence: `${largest} particles: calibrated ${list(learntRoots('calibrated'))}, analytic ${list(learntRoots('analytic'))}, per coordinate ${list(learntRoots('analytic-diagonal'))}`,
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
        scale: { scheme: 'tableau10' },
      },
      row: { field: 'measure', title: null },
      column: { field: 'target', title: null },
    },
    resolve: { scale: { y: 'independent' } },
    config: { legend: { labelLimit: 300 } },
  })
}
