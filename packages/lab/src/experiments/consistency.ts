import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import {
  guided,
  lowTemperature,
  mixture,
  negation,
  product,
  type SmcOptions,
  type SmcResult,
  sigmaGrid,
  smc,
  type Target,
} from 'feynkac'
import { shapeLabels } from 'feynkac/internal'
import { RunLog, runFolder } from '../run-log.js'
import { energyRows, energyTables } from './consistency-energies.js'
import { imagesOutcome } from './consistency-images.js'
import { bootstrap, type Cloud, type Clouds, compared, shareDistance, sharesOf, type Truth } from './consistency-shares.js' // biome-ignore format: one line
import { PLACE, SHAPE, type Subject, type SubjectName, subjectNames, subjectOf, type World } from './consistency-subjects.js' // biome-ignore format: one line
import { byBudget, cell, type Experiment, type ExperimentContext, type Finding, groupBy, mean, type Table } from './experiment.js' // biome-ignore format: one line
import { seenIn } from './pictures.js'
import { SIDE } from './trained.js'

/**
 * Are weights right? Shares of shapes against the exact ones for every form of weights, of exact and of learnt energies, and what the weights change
 * on the very particles that they weigh. Roots, effective sample size and the variance of the weights stand beside it: constant weights keep every
 * root and change nothing, so that they are no evidence.
 */

interface Form {
  name: string
  options: Pick<SmcOptions, 'weights' | 'kernel' | 'proposal' | 'weighAbove'>
  /** Whether it needs energies, not gradients alone. */
  energies?: boolean
  /** Whether it is for targets that are linear in the energies. */
  linear?: boolean
}

export const forms: Form[] = [
  { name: 'none', options: { weights: 'none' } },
  { name: 'likelihood', options: { weights: 'likelihood' }, linear: true },
  { name: 'bridge', options: { weights: 'bridge' }, energies: true },
  { name: 'bridge above auto', options: { weights: 'bridge', weighAbove: 'auto' }, energies: true },
  { name: 'bridge above 0.5', options: { weights: 'bridge', weighAbove: 0.5 }, energies: true },
  { name: 'tilt', options: { weights: 'tilt' }, energies: true },
  { name: 'fkc', options: { weights: 'fkc' }, energies: true, linear: true },
  { name: 'rne', options: { weights: 'rne', proposal: 'analytic' }, energies: true, linear: true },
]

/** A target of the three energies that it may be made of, and the shares of shapes that it has; a picture that shows none counts as wrong. */
interface Problem {
  name: string
  world: World
  target(subject: Subject): Target
  truth: Truth
  /** Whether U is not linear in the energies, so that gradients alone do not say where to go. */
  mixed?: boolean
  /** Whether it waits for a larger budget than small. */
  further?: boolean
  /** What of `truth` a picture counts to: its shape, where that is asked for; null of what is wrong. */
  seen(kind: { shape: number | null; place: number | null }): number | null
}

const cold = (gamma: number, truth: Truth): Problem => ({
  name: `gamma = ${gamma}`,
  world: 'independent',
  target: ({ all }) => lowTemperature(all, { gamma }),
  truth,
  seen: ({ shape }) => shape,
})
const both = (gamma: number, world: World = 'independent'): Problem => ({
  name: `AND${world === 'independent' ? '' : `, ${world}`}${gamma === 1 ? '' : `, gamma = ${gamma}`}`,
  further: world !== 'independent' || gamma !== 1,
  world,
  target: ({ shape, place, all }) => product([shape, place, all], { weights: [gamma, gamma, -gamma] }),
  truth: [0, 0, 1],
  seen: ({ shape, place }) => (shape === SHAPE && place === PLACE ? shape : null),
})
/** p(x) (p(a|x) p(b|x))^scale with both attributes: AND, each of them guided. */
const surer = (scale: number): Problem => ({
  ...both(1),
  name: `AND, guidance ${scale}`,
  further: scale !== 2,
  target: ({ shape, place, all }) => product([shape, place, all], { weights: [scale, scale, 1 - 2 * scale] }),
})
const either: Problem = {
  name: 'OR',
  world: 'independent',
  target: ({ shape, place }) => mixture([shape, place]),
  truth: [1 / 6, 1 / 6, 2 / 3],
  mixed: true,
  seen: ({ shape, place }) => (shape === SHAPE || place === PLACE ? shape : null),
}
/** Which of the other shapes it has is not asked: the law of a quotient is not a share of theirs. */
const without: Problem = {
  name: 'NOT',
  world: 'independent',
  target: ({ shape, place }) => negation(place, shape, { strength: 0.5 }),
  truth: [1, 0, 0],
  seen: ({ shape, place }) => (shape !== null && shape !== SHAPE && place === PLACE ? 0 : null),
}
/** p(x|a)^2 / p(x), which is p(x|a) where pictures show what they are. */
const guidance: Problem = {
  name: 'guidance',
  world: 'independent',
  target: ({ shape, all }) => guided(all, shape, { scale: 2 }),
  truth: [0, 0, 1],
  seen: ({ shape }) => (shape === SHAPE ? shape : null),
}

/**
 * Shares of ring, square and cross in p^gamma, by coldShares of 1000 pictures at sigma = 0.3 (test/consistency.test.ts recomputes them of fewer).
 * Standard errors are at most .01 and .02. Shapes with narrower neighbourhoods gain; places are alike.
 */
export const COLD_SHARES: Record<1 | 2 | 3, Truth> = {
  1: [1 / 3, 1 / 3, 1 / 3],
  2: [0.237, 0.368, 0.395],
  3: [0.159, 0.392, 0.449],
}
const problems = [cold(2, COLD_SHARES[2]), cold(3, COLD_SHARES[3]), both(1), surer(1.5), surer(2), both(2), either, without, guidance, cold(1, COLD_SHARES[1]), both(1, 'correlated'), both(1, 'unseen')] // biome-ignore format: one line

export interface ConsistencyRow {
  energies: SubjectName
  target: string
  form: string
  trainings: number
  /** Runs of all trainings. */
  runs: number
  /** Total variation between the weighted shares of shapes and the true ones, of particles that were never resampled, mean over trainings. */
  distance: number
  /** The same of those particles without their weights, and the difference, with its standard error by a paired bootstrap. */
  unweighted: number
  change: number
  changeError: number
  /** The difference to the form without weights, whose particles may be others, and its standard error; 0 of itself. */
  against: number
  againstError: number
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
  /** log Z by training, of each seed; none without weights. */
  logZ: number[][]
}

export const consistency: Experiment = {
  title: 'Are weights right?',
  question:
    'Does a form of weights bring the shares of shapes in low temperatures and products nearer to the exact ones than no weights on the same particles, of exact energies and of learnt ones?',
  takesData: true,
  async run(context) {
    if (context.images) return imagesOutcome(context.images, context)
    const [particles, steps] = [byBudget(context, 8, 64, 64, 256), byBudget(context, 4, 40, 56, 112)]
    const energies = await energyRows(context)
    const rows = rowsOf(await cellsOf(context, { particles, steps }), context.seed)
    const note = `${particles} particles, ${steps} steps.`
    return {
      findings: findings(rows),
      tables: [...energyTables(energies), ...tables(rows, note)],
      figures: [],
      data: { particles, steps, energies, rows },
    }
  },
}

export interface Setting {
  particles: number
  steps: number
}

/** Whether there is such a cell: of a denoiser alone nothing knows energies, and some weights are for linear targets. */
const applies = (name: SubjectName, problem: Problem, form: Form): boolean =>
  !(name === 'denoiser' && (form.energies || problem.mixed)) && !(problem.mixed && form.linear)

/** Trainings and seeds of the particles for each that a cell is to have; none where it says nothing. */
function wanted(
  context: ExperimentContext,
  name: SubjectName,
  problem: Problem,
  form: Form,
): [trainings: number, seeds: number] {
  const main = form.name === 'none' || form.name === 'likelihood'
  const [exact, all] = [name === 'exact', context.budget === 'large']
  if (!applies(name, problem, form)) return [0, 0]
  if (exact && (problem.world !== 'independent' || form.name === 'bridge above auto')) return [0, 0]
  if (context.budget === 'quick') return [problem.name === 'gamma = 2' && ['exact', 'denoiser', 'dot'].includes(name) && form.name !== 'bridge above 0.5' ? 1 : 0, 1] // biome-ignore format: one line
  if (exact && form.name === 'likelihood' && !all) return [0, 0] // 128 evaluations of sums over all pictures
  const told = tells(problem, form)
  const seeds = all ? 3 : form.name === 'bridge' && problem.name === 'gamma = 1' ? 2 : 1
  const elsewhere = problem.world !== 'independent' && name !== 'denoiser'
  // what exact energies are to show is in their powers
  if (context.budget === 'small') return [told && !problem.further && (!exact || problem.name.startsWith('gamma')) ? 1 : 0, seeds] // biome-ignore format: one line
  if (exact) return [1, main ? 3 : seeds]
  if (name === 'dot' || name === 'denoiser') return [3, main ? 3 : seeds]
  return [all || (told && !elsewhere) ? 3 : 0, seeds]
}

/** What ways to train are told apart by: no weights, the default ones, and the bridge where it shows what an energy is worth. */
const tells = ({ name, world }: Problem, form: Form): boolean =>
  form.name === 'none' ||
  (form.name === 'likelihood' && (name === 'gamma = 2' || name === 'gamma = 3' || world !== 'independent')) ||
  (form.name === 'bridge' && (name === 'gamma = 1' || name === 'gamma = 2'))

interface Cell {
  energies: SubjectName
  problem: Problem
  form: Form
  /** By training. */
  runs: Measured[][]
}

/**
 * Runs in the order of what they tell: the first training and seed of everything first. Each is kept beside the models, and only read where it is
 * there. `asked`: trainings and seeds of each cell where they are not the budget's.
 */
export async function cellsOf(
  context: ExperimentContext,
  setting: Setting,
  asked?: (energies: SubjectName, target: string, form: string) => [trainings: number, seeds: number],
): Promise<Cell[]> {
  const { models, seed, signal, stage } = context
  const { particles, steps } = setting
  const folder = join(models, `consistency-${particles}-${steps}`)
  await mkdir(folder, { recursive: true })
  const all = subjectNames.flatMap((energies) =>
    problems.flatMap((problem) => forms.map((form): Cell => ({ energies, problem, form, runs: [] }))),
  )
  const cells = all.filter(({ energies, problem, form }) => applies(energies, problem, form))
  const places = cells.map(({ energies, problem, form }) => asked?.(energies, problem.name, form.name) ?? wanted(context, energies, problem, form)) // biome-ignore format: one line
  const total = places.reduce((sum, [t, s]) => sum + t * s, 0)
  let done = 0
  for (let s = 0; s < 3; s++)
    for (let t = 0; t < 3; t++)
      for (const [key, group] of groupBy(
        cells.filter((_, c) => t < places[c][0] && s < places[c][1]),
        ({ energies, problem }) => `${energies}:${problem.world}`,
      )) {
        // biome-ignore format: one line
        let subject: Subject | undefined
        for (const { energies, problem, form, runs } of group) {
          stage(`${energies}, ${problem.name}, ${form.name}`, done++, total)
          const file = join(
            folder,
            `${key}:${problem.name}:${form.name}:${seed + t}:${seed + s}.json`.replace(/[ =,:]+/g, '-'),
          )
          const known = await readFile(file, 'utf8').then(JSON.parse, () => undefined)
          subject ??= known ? undefined : await subjectOf(energies, problem.world, { ...context, seed: seed + t })
          const log = s + t === 0 ? runFolder(context, energies, problem.name, form.name) : undefined
          const run = { particles, seed: seed + s, signal, log }
          const result: Measured = known ?? (await measured(subject!, problem, form, { ...run, sigmas: sigmaGrid({ steps, min: subject!.min, max: subject!.max }) })) // biome-ignore format: one line
          if (!known) await writeFile(file, JSON.stringify(result))
          runs[t] ??= []
          runs[t].push(result)
        }
        subject?.[Symbol.dispose]()
      }
  return cells.filter(({ runs }) => runs.length > 0)
}

const cloudsOf = ({ runs }: Cell): Clouds =>
  runs.map((of) => of.map(({ cloud: { shapes, weights } }) => ({ shapes, weights: Float64Array.from(weights) })))

export function rowsOf(cells: readonly Cell[], seed: number): ConsistencyRow[] {
  return cells.map((own) => {
    const { energies, problem, form } = own
    const runs = own.runs.flat()
    const { truth } = problem
    const { distance, unweighted, changeError } = bootstrap(cloudsOf(own), truth, seed)
    const none = cells.find((c) => c.energies === energies && c.problem === problem && c.form.name === 'none')
    const { difference, error } = none && none !== own ? compared(cloudsOf(own), cloudsOf(none).slice(0, own.runs.length), truth, seed) : { difference: 0, error: 0 } // biome-ignore format: one line
    const average = (of: (run: Measured) => number) => mean(runs.map(of))
    return {
      ...{ energies, target: problem.name, form: form.name, trainings: own.runs.length, runs: runs.length },
      ...{ distance, unweighted, change: distance - unweighted, changeError },
      ...{ against: difference, againstError: error },
      variance: average((r) => r.variance),
      resampled: mean(own.runs.map((of) => shareDistance(sharesOf(of.map((r) => ({ ...r.resampled, weights: Float64Array.from(r.resampled.weights) }))), truth))), // biome-ignore format: one line
      roots: average((r) => r.roots),
      right: average((r) => r.right),
      kinds: average((r) => r.kinds),
      spread: average((r) => r.spread),
      logZ: own.runs.map((of) => of.flatMap((r) => r.logZ ?? [])),
    }
  })
}

type StoredCloud = Omit<Cloud, 'weights'> & { weights: number[] }

interface Measured {
  cloud: StoredCloud
  variance: number
  resampled: StoredCloud
  roots: number
  right: number
  kinds: number
  spread: number
  /** Of the run that resamples, where it weighs. */
  logZ?: number
}

/** One run without resampling, whose particles the weights can be told apart from, and one as it would be used. */
async function measured(
  subject: Subject,
  problem: Problem,
  { name, options }: Form,
  { log: folder, ...run }: Pick<SmcOptions, 'particles' | 'sigmas' | 'seed' | 'signal'> & { log: string | undefined },
): Promise<Measured> {
  const target = problem.target(subject)
  const log = new RunLog(folder)
  const logged = (own: Partial<SmcOptions>) => {
    const { particles, sigmas, seed } = run
    const about = { name, method: 'smc', target, particles, lastLevel: sigmas.length - 1, options: { seed, ...own } }
    return log.follow(smc.stream(target, { ...run, ...own }), about)
  }
  const weighed = options.weights !== 'none'
  const alone = { ...options, essThreshold: 0 }
  const apart = await (weighed ? smc(target, { ...run, ...alone }) : logged(alone))
  const used = await resampledOf()
  const seen = seenIn(subject.clean(used.samples), SIDE)
  const right = seen.flatMap((kind, i) => (problem.seen(kind) === null ? [] : [{ ...kind, i }]))
  const groups = [...groupBy(right, ({ shape, place }) => `${shape} ${place}`).values()]
  const kindsIn = (samples: Float32Array) => seenIn(subject.clean(samples), SIDE).map((kind) => problem.seen(kind))
  const weightsOf = (logWeights: Float64Array) => Array.from(logWeights, Math.exp)
  const centre = mean([...apart.logWeights])
  return {
    cloud: { shapes: kindsIn(apart.samples), weights: weightsOf(apart.logWeights) },
    variance: mean(Array.from(apart.logWeights, (lw) => (lw - centre) ** 2)),
    resampled: { shapes: kindsIn(used.samples), weights: weightsOf(used.logWeights) },
    roots: used.roots,
    // none where 'auto' leaves nothing to weigh
    ...(weighed && Number.isFinite(used.logZ) && { logZ: used.logZ }),
    right: right.length / seen.length,
    kinds: groups.length,
    spread: spreadWithin(
      used.samples,
      groups.map((group) => group.map(({ i }) => i)),
    ),
  }

  /** As it would be used. */
  async function resampledOf(): Promise<Pick<SmcResult, 'samples' | 'logWeights' | 'logZ'> & { roots: number }> {
    if (!weighed) return { ...apart, roots: run.particles }
    const result = await logged({ ...options, finalResample: true })
    return { ...result, roots: result.diagnostics.distinctRoots }
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

/** A form beats no weights where it brings the shares nearer by two standard errors on a low temperature, and on no target further. */
function findings(rows: readonly ConsistencyRow[]): Finding[] {
  return subjectNames.flatMap((energies) =>
    forms.slice(1).flatMap(({ name }) => {
      const own = rows.filter((r) => r.energies === energies && r.form === name)
      if (own.length === 0) return []
      const evidence = own.map((r) => `${r.target} ${cell(r.distance)}, ${cell(r.against)} ± ${cell(r.againstError)}`)
      const holds = own.some((r) => r.against < -2 * r.againstError) && !own.some((r) => r.against > 2 * r.againstError)
      return [
        {
          claim: `${name} weights of ${describe(energies)} bring the shares nearer to the exact ones than no weights.`,
          holds,
          evidence: evidence.join('; '),
        },
      ]
    }),
  )
}

/** How far log Z of one training differs between seeds, the largest of all; none where there is but one. */
const agreement = (logZ: readonly number[][]): string => {
  const gaps = logZ.filter(({ length }) => length > 1).map((of) => Math.max(...of) - Math.min(...of))
  return gaps.length ? cell(Math.max(...gaps), 1) : cell(undefined)
}

const signed = (difference: number): string => cell(difference).replace('-0.00', '0.00')

const describe = (name: SubjectName): string =>
  name === 'exact' ? 'exact energies' : name === 'denoiser' ? 'the denoiser alone' : `learnt energies (${name})`

export function tables(rows: readonly ConsistencyRow[], note: string): Table[] {
  const names = shapeLabels.attributes[0].values!.join(', ')
  return subjectNames.flatMap((energies) => {
    const own = rows.filter((r) => r.energies === energies)
    if (own.length === 0) return []
    return [
      {
        title: `Shares of shapes, ${describe(energies)}`,
        note: `${note} Runs, and of how many trainings. TV: total variation between the shares of ${names} (of AND, OR, NOT and guidance: of what was asked for) and the exact ones, mean over trainings; of 64 samples of p^2 itself it is .07 on average, of 192 .04, of 576 .02. Not resampled: with the weights, without them on the same particles, and the change (standard error by a paired bootstrap); to none: the difference to the run without weights, whose particles may be others. V is the variance of the log-weights. Resampled: as it would be used. Right: shows any shape, of AND the one asked for at its place, of OR either, of NOT another shape at the place, of guidance the shape. log Z: how far it differs between seeds.`,
        header: ['target', 'weights', 'runs', 'TV', 'unweighted', 'change', '±', 'to none', '±', 'V', 'resampled: TV', 'roots', 'right', 'kinds', 'spread', 'log Z'], // biome-ignore format: one line
        rows: own.map((r) => [
          ...[r.target, r.form, `${r.runs} (${r.trainings})`, cell(r.distance), cell(r.unweighted), signed(r.change), cell(r.changeError), signed(r.against), cell(r.againstError)], // biome-ignore format: one line
          ...[r.variance < 1e-9 ? '0' : r.variance.toPrecision(2), cell(r.resampled), cell(r.roots, 0), cell(r.right), cell(r.kinds, 1), cell(r.spread), agreement(r.logZ)], // biome-ignore format: one line
        ]),
      },
    ]
  })
}
