import { type EnergyFunction, lowTemperature, product, type SmcOptions, sigmaGrid, smc, type Target } from 'feynkac'
import { shapeLabels } from 'feynkac/internal'
import { bootstrap, type Cloud, shareDistance, sharesOf, type Truth } from './consistency-shares.js'
import { ExactShapes, KINDS } from './exact-shapes.js'
import {
  byBudget,
  cell,
  type Experiment,
  type ExperimentContext,
  type Finding,
  groupBy,
  mean,
  type Outcome,
  type Table,
} from './experiment.js'
import { seenIn } from './pictures.js'
import { SIDE, shapesEnergy } from './trained.js'

/**
 * Are weights right? Shares of shapes against the exact ones for every form of weights, of exact and of learnt energies, and what the weights change
 * on the very particles that they weigh. Roots, effective sample size and the variance of the weights stand beside it: constant weights keep every
 * root and change nothing, so that they are no evidence.
 */

interface Form {
  name: string
  options: Pick<SmcOptions, 'weights' | 'kernel' | 'proposal' | 'weighAbove'>
}

const forms: Form[] = [
  { name: 'none', options: { weights: 'none' } },
  { name: 'bridge', options: { weights: 'bridge' } },
  { name: 'bridge above 0.5', options: { weights: 'bridge', weighAbove: 0.5 } },
  { name: 'tilt', options: { weights: 'tilt' } },
  { name: 'fkc', options: { weights: 'fkc' } },
  { name: 'rne', options: { weights: 'rne', proposal: 'analytic' } },
]

/** A target of the three energies that it may be made of, and the shares of shapes that it has; a picture that shows none counts as wrong. */
interface Problem {
  name: string
  target(energies: Energies): Target
  truth: Truth
  /** Kinds that are right; all where it asks for none. */
  right(kind: { shape: number | null; place: number | null }): boolean
}

interface Energies {
  all: EnergyFunction
  shape: EnergyFunction
  place: EnergyFunction
}

const [SHAPE, PLACE] = [2, 1]
const cold = (gamma: number, truth: Truth): Problem => ({
  name: `gamma = ${gamma}`,
  target: ({ all }) => lowTemperature(all, { gamma }),
  truth,
  right: ({ shape }) => shape !== null,
})
const both = (gamma: number): Problem => ({
  name: gamma === 1 ? 'AND' : `AND, gamma = ${gamma}`,
  target: ({ shape, place, all }) => product([shape, place, all], { weights: [gamma, gamma, -gamma] }),
  truth: [0, 0, 1],
  right: (kind) => kind.shape === SHAPE && kind.place === PLACE,
})

/**
 * Shares of ring, square and cross in p^gamma, by coldShares of 1000 pictures at sigma = 0.3 (test/consistency.test.ts recomputes them of fewer).
 * Standard errors are at most .01 and .02. Shapes with narrower neighbourhoods gain; places are alike.
 */
export const COLD_SHARES: Record<1 | 2 | 3, Truth> = {
  1: [1 / 3, 1 / 3, 1 / 3],
  2: [0.237, 0.368, 0.395],
  3: [0.159, 0.392, 0.449],
}
const problems = [cold(1, COLD_SHARES[1]), cold(2, COLD_SHARES[2]), cold(3, COLD_SHARES[3]), both(1), both(2)]

export interface ConsistencyRow {
  energies: 'exact' | 'learnt'
  target: string
  form: string
  /** Total variation between the weighted shares of shapes and the true ones, of particles that were never resampled. */
  distance: number
  /** The same of those particles without their weights, and the difference, with its standard error by a paired bootstrap. */
  unweighted: number
  change: number
  changeError: number
  /** Variance of those particles' log-weights. */
  variance: number
  /** Total variation of the run that resamples, as it would be used. */
  resampled: number
  roots: number
  right: number
  /** Kinds among the right pictures, of twelve or of one. */
  kinds: number
  /** Root mean square distance per pixel between right pictures of one kind. */
  spread: number
}

export const consistency: Experiment = {
  title: 'Are weights right?',
  question:
    'Does a form of weights bring the shares of shapes in low temperatures and products nearer to the exact ones than no weights on the same particles, of exact energies and of learnt ones?',
  async run(context) {
    const setting: Setting = {
      particles: byBudget(context, 8, 64, 128, 256),
      steps: byBudget(context, 4, 40, 56, 112),
      trainings: byBudget(context, 1, 1, 3, 3),
      seeds: byBudget(context, 1, 1, 3, 3),
      targets: byBudget(context, ['gamma = 2'], names, names, names),
    }
    const { particles, steps, trainings, seeds } = setting
    const rows = [...(await exactRows(context, setting)), ...(await learntRows(context, setting))]
    const note = `${particles} particles, ${steps} steps, ${trainings} trained energies, ${seeds} seeds of particles for each.`
    return { findings: findings(rows), tables: tables(rows, note), figures: [], data: { ...setting, rows } } satisfies Outcome // biome-ignore format: one line
  },
}

const names = problems.map(({ name }) => name)

export interface Setting {
  particles: number
  steps: number
  /** Energies trained from seeds of their own, and seeds of the particles for each. */
  trainings: number
  seeds: number
  /** Names of the targets. */
  targets: readonly string[]
}

/** Rows of energies in closed form. */
export async function exactRows(context: ExperimentContext, setting: Setting): Promise<ConsistencyRow[]> {
  using subject = exactSubject()
  return rowsOf([await cellsOf(subject, context, setting)], context.seed)
}

/** Rows of learnt ones, which are trained where they are not there. */
export async function learntRows(context: ExperimentContext, setting: Setting): Promise<ConsistencyRow[]> {
  const runs: Cell[][] = []
  for (let t = 0; t < setting.trainings; t++) {
    using subject = await learntSubject({ ...context, seed: context.seed + t })
    runs.push(await cellsOf(subject, context, setting))
  }
  return rowsOf(runs, context.seed)
}

interface Cell {
  energies: ConsistencyRow['energies']
  problem: Problem
  form: Form
  runs: Measured[]
}

async function cellsOf(subject: Subject, context: ExperimentContext, setting: Setting): Promise<Cell[]> {
  const { particles, steps, seeds, targets } = setting
  const { energies, min, max } = subject
  const tried = problems.filter(({ name }) => targets.includes(name))
  const cells: Cell[] = []
  for (const problem of tried)
    for (const form of forms) {
      context.stage(`${energies} energies, ${problem.name}, ${form.name}`, cells.length, tried.length * forms.length)
      const runs: Measured[] = []
      for (let s = 0; s < seeds; s++) {
        const run = {
          particles,
          sigmas: sigmaGrid({ steps, min, max }),
          seed: context.seed + s,
          signal: context.signal,
        }
        runs.push(await measured(subject, problem, form, run))
      }
      cells.push({ energies, problem, form, runs })
    }
  context.stage(`${energies} energies`, cells.length, cells.length)
  return cells
}

/** One row for the same cell of all trainings. */
function rowsOf(trainings: readonly Cell[][], seed: number): ConsistencyRow[] {
  return trainings[0].map(({ energies, problem, form }, c) => {
    const runs = trainings.flatMap((cells) => cells[c].runs)
    const { truth } = problem
    const { distance, unweighted, changeError } = bootstrap(
      runs.map(({ cloud }) => cloud),
      truth,
      seed,
    )
    const average = (of: (run: Measured) => number) => mean(runs.map(of))
    return {
      ...{ energies, target: problem.name, form: form.name },
      ...{ distance, unweighted, change: distance - unweighted, changeError },
      variance: average((r) => r.variance),
      resampled: shareDistance(sharesOf(runs.map((r) => r.resampled)), truth),
      roots: average((r) => r.roots),
      right: average((r) => r.right),
      kinds: average((r) => r.kinds),
      spread: average((r) => r.spread),
    }
  })
}

/** Energies to sample by, down to a noise level at which shapes are settled, and what the samples show there. */
interface Subject extends Disposable {
  energies: ConsistencyRow['energies']
  min: number
  max: number
  of: Energies
  clean(samples: Float32Array): Float32Array
}

function exactSubject(): Subject {
  const shapes = new ExactShapes(SIDE)
  const kinds = Array.from({ length: KINDS }, (_, k) => k)
  const min = 0.3
  return {
    energies: 'exact',
    ...{ min, max: 40 },
    of: {
      all: shapes.energy(),
      shape: shapes.energy(kinds.filter((k) => Math.floor(k / 4) === SHAPE)),
      place: shapes.energy(kinds.filter((k) => k % 4 === PLACE)),
    },
    clean: (samples) => shapes.posterior(samples, min).denoised,
    [Symbol.dispose]: () => {},
  }
}

async function learntSubject(context: ExperimentContext): Promise<Subject> {
  const energy = await shapesEnergy(context)
  return {
    energies: 'learnt',
    ...{ min: 0.1, max: 40 },
    of: {
      all: energy.conditioned([null, null]),
      shape: energy.conditioned([SHAPE, null]),
      place: energy.conditioned([null, PLACE]),
    },
    clean: (samples) => samples,
    [Symbol.dispose]: () => energy.dispose(),
  }
}

interface Measured {
  cloud: Cloud
  variance: number
  resampled: Cloud
  roots: number
  right: number
  kinds: number
  spread: number
}

/** One run without resampling, whose particles the weights can be told apart from, and one as it would be used. */
async function measured(
  subject: Subject,
  problem: Problem,
  { options }: Form,
  run: Pick<SmcOptions, 'particles' | 'sigmas' | 'seed' | 'signal'>,
): Promise<Measured> {
  const target = problem.target(subject.of)
  const apart = await smc(target, { ...run, ...options, essThreshold: 0 })
  const used = options.weights === 'none' ? apart : await smc(target, { ...run, ...options, finalResample: true })
  const seen = seenIn(subject.clean(used.samples), SIDE)
  const right = seen.flatMap((kind, i) => (problem.right(kind) ? [{ ...kind, i }] : []))
  const groups = [...groupBy(right, ({ shape, place }) => `${shape} ${place}`).values()]
  const shapesIn = (samples: Float32Array) => seenIn(subject.clean(samples), SIDE).map(({ shape }) => shape)
  const weightsOf = (logWeights: Float64Array) => logWeights.map(Math.exp)
  const centre = mean([...apart.logWeights])
  return {
    cloud: { shapes: shapesIn(apart.samples), weights: weightsOf(apart.logWeights) },
    variance: mean(Array.from(apart.logWeights, (lw) => (lw - centre) ** 2)),
    resampled: { shapes: seen.map(({ shape }) => shape), weights: weightsOf(used.logWeights) },
    roots: used.diagnostics.distinctRoots,
    right: right.length / seen.length,
    kinds: groups.length,
    spread: spreadWithin(
      used.samples,
      groups.map((group) => group.map(({ i }) => i)),
    ),
  }
}

/** Root mean square distance per pixel from the mean of each group; 0 of copies. */
function spreadWithin(images: Float32Array, groups: readonly number[][]): number {
  const size = SIDE * SIDE
  let [squares, count] = [0, 0]
  for (const group of groups.filter(({ length }) => length > 1))
    for (let p = 0; p < size; p++) {
      const values = group.map((i) => images[i * size + p])
      const centre = mean(values)
      squares += values.reduce((sum, v) => sum + (v - centre) ** 2, 0)
      count += group.length - 1
    }
  return count ? Math.sqrt(squares / count) : 0
}

/** A form beats no weights where it brings the shares nearer by two standard errors, on any target of its energies, and none further. */
function findings(rows: readonly ConsistencyRow[]): Finding[] {
  return (['exact', 'learnt'] as const).map((energies) => {
    const own = rows.filter((r) => r.energies === energies && r.form === 'bridge')
    const evidence = own.map((r) => `${r.target} ${cell(r.unweighted)} to ${cell(r.distance)} ± ${cell(r.changeError)}`)
    const holds = own.some((r) => r.change < -2 * r.changeError) && !own.some((r) => r.change > 2 * r.changeError)
    return {
      claim: `Bridge weights of ${energies} energies bring the shares nearer to the exact ones than no weights on the same particles.`,
      holds,
      evidence: evidence.join('; '),
    }
  })
}

function tables(rows: readonly ConsistencyRow[], note: string): Table[] {
  const names = shapeLabels.attributes[0].values!.join(', ')
  return (['exact', 'learnt'] as const).map((energies) => ({
    title: `Shares of shapes, ${energies} energies`,
    note: `${note} TV: total variation between the shares of ${names} and the exact ones. Not resampled: with the weights, without them on the same particles, and the change (standard error by a paired bootstrap); V is the variance of the log-weights. Resampled: as it would be used. Right: shows any shape, of AND the one asked for at its place.`,
    header: ['target', 'weights', 'TV', 'unweighted', 'change', '±', 'V', 'resampled: TV', 'roots', 'right', 'kinds', 'spread'], // biome-ignore format: one line
    rows: rows
      .filter((r) => r.energies === energies)
      .map((r) => [
        ...[r.target, r.form, cell(r.distance), cell(r.unweighted), cell(r.change), cell(r.changeError)],
        ...[r.variance.toPrecision(2), cell(r.resampled), cell(r.roots, 0), cell(r.right), cell(r.kinds, 1), cell(r.spread)], // biome-ignore format: one line
      ]),
  }))
}
