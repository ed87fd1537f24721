import { type Denoiser, type DistillOptions, distill, type EnergyModel, type EnergyOptions, trainEnergy } from 'feynkac'
import { plotPng } from 'feynkac/internal'
import { byBudget, cell, type Experiment, type ExperimentContext, type Finding, type Outcome } from './experiment.js'
import { type GradientNoise, gradientNoise } from './gradient-noise.js'
import {
  denoisingErrors,
  type HeldOut,
  heldOut,
  levelNames,
  type Quality,
  qualityOf,
  qualityTable,
  visitedMean,
} from './held-out.js'
import { shapesData, shapesNetwork, shapesTeacher, teacherImages, trained } from './trained.js'

/**
 * The paper's claim: an energy distilled from a denoiser converges faster and ends better than one trained on the data, and faster still
 * from the teacher's weights. All energies have the same network, batch, learning rate and number of images.
 */

interface Way {
  name: string
  folder: string
  options: Pick<DistillOptions, 'init'> & Pick<EnergyOptions, 'head' | 'headScale'>
  /** On the data, without a teacher. */
  direct?: boolean
}

const ways: Way[] = [
  { name: 'distilled, from the teacher', folder: 'a1', options: { init: 'teacher', headScale: 1 } },
  { name: 'distilled, from scratch', folder: 'scratch', options: { init: 'random' } },
  { name: 'score matching, from scratch', folder: 'direct', options: {}, direct: true },
  { name: 'a = 1/2, from the teacher', folder: 'teacher', options: { init: 'teacher', headScale: 0.5 } },
  { name: 'l2, from the teacher', folder: 'l2', options: { init: 'teacher', head: 'l2' } },
  { name: 'norm, from the teacher', folder: 'norm', options: { init: 'teacher', head: 'norm' } },
  { name: 'joint, from scratch', folder: 'joint', options: { head: 'joint' }, direct: true },
]
const [fromTeacher, fromScratch, direct] = ways

export interface InitialisationRow {
  way: string
  images: number
  /** lambda |D - x0|^2 / d on held-out pictures, per noise level, and its mean over those that training visits. */
  errors: number[]
  error: number
  quality: Quality
}

export const initialisation: Experiment = {
  title: 'Where an energy begins, and what it learns from',
  question: 'Does distillation converge faster and end better than score matching, and faster still from the teacher?',
  async run(context) {
    const stages = byBudget(context, [160, 320], [800, 1600, 3200, 6400], [4e3, 16e3, 64e3], [2e4, 1e5, 5e5])
    const particles = byBudget(context, 8, 64, 256, 1024)
    const batches = byBudget(context, 4, 24, 64, 64)
    const data = await heldOut(byBudget(context, 32, 192, 1024, 2048))
    using teacher = await shapesTeacher(context)
    const teacherErrors = await denoisingErrors(teacher, data)
    const rows: InitialisationRow[] = []
    for (const way of ways)
      for (const [stage, images] of stages.entries()) {
        using energy = await learn(way, teacher, images, stages[stage - 1], context)
        const errors = await errorsOf(energy, data)
        const quality = await qualityOf(energy, data, { particles, ...context })
        rows.push({ way: way.name, images, errors, error: visitedMean(errors), quality })
      }
    const quality = await qualityOf(teacher, data, { particles, ...context })
    using student = await learn(fromTeacher, teacher, stages.at(-1)!, stages.at(-2), context)
    const noise = await noises(student, teacher, data, batches, context)
    return {
      findings: findings(rows, noise, stages[0]),
      tables: [errorTable(rows, teacherErrors), samplesTable(rows, quality), noiseTable(noise)],
      figures: [
        {
          name: 'convergence',
          caption: 'Held-out denoising error above the teacher’s.',
          png: await plot(rows, teacherErrors),
        },
      ],
      data: { stages, particles, teacher: { errors: teacherErrors, quality }, noise, rows },
    } satisfies Outcome
  },
}

/** The energy's own gradient counts for a joint model, not its denoiser. */
async function errorsOf(energy: EnergyModel, data: HeldOut): Promise<number[]> {
  if (energy.info.kind !== 'joint') return denoisingErrors(energy, data)
  const errors: number[] = []
  for (const { sigma, noisy } of data.levels) {
    const { grad } = await energy.energyGrad(noisy, sigma, { labels: data.labels })
    const denoised = noisy.map((x, i) => x - sigma ** 2 * grad[i])
    const lambda = (sigma ** 2 + 0.25) / (sigma * 0.5) ** 2
    errors.push((lambda * denoised.reduce((sum, v, i) => sum + (v - data.clean[i]) ** 2, 0)) / noisy.length)
  }
  return errors
}

/** Goes on from the stage before. */
function learn(
  way: Way,
  teacher: Denoiser,
  images: number,
  before: number | undefined,
  context: ExperimentContext,
): Promise<EnergyModel> {
  const { seed } = context
  const name = (seen: number) => `initialisation-${way.folder}-${teacherImages(context)}-${seen}-${seed}`
  // a constant rate: a longer run goes on from a shorter one
  const schedule = { lr: 1e-3, warmUp: 320, decay: 0, emaHalfLife: 320 }
  const common = {
    data: shapesData(),
    images,
    batchSize: 32,
    ...schedule,
    labelDropout: 0.5,
    references: 0,
    sharpened: 0,
    smallFirst: 0,
    holdOut: 0,
    seed,
  }
  const { init, head, ...rest } = way.options
  const train = (where: Parameters<Parameters<typeof trained>[2]>[0]) =>
    way.direct
      ? trainEnergy({ ...common, ...rest, head, network: shapesNetwork, ...where })
      : distill({ ...common, ...rest, init, head: head as DistillOptions['head'], teacher, ...where })
  return trained(context, name(images), train, before === undefined ? undefined : name(before))
}

interface NoiseRow extends GradientNoise {
  target: 'teacher' | 'clean'
}

/** At one set of weights, those that distillation ended with. */
async function noises(
  energy: EnergyModel,
  teacher: Denoiser,
  data: HeldOut,
  batches: number,
  { seed, signal }: ExperimentContext,
): Promise<NoiseRow[]> {
  const rows: NoiseRow[] = []
  for (const target of ['teacher', 'clean'] as const) {
    const from = target === 'teacher' ? teacher : 'clean'
    rows.push({ target, ...(await gradientNoise(energy, data, from, { batches, seed, signal })) })
  }
  return rows
}

function findings(rows: readonly InitialisationRow[], noise: readonly NoiseRow[], first: number): Finding[] {
  const end = (way: Way) => rows.findLast((r) => r.way === way.name)!
  const start = (way: Way) => rows.find((r) => r.way === way.name && r.images === first)!
  const distances = (way: Way) => rows.filter((r) => r.way === way.name).map((r) => r.quality.distance)
  const [teacher, clean] = noise
  const say = (of: (way: Way) => InitialisationRow) =>
    [fromTeacher, fromScratch, direct].map((way) => `${way.name} ${cell(of(way).error, 3)}`).join(', ')
  const halves = ways.filter((w) => w.direct === undefined && w !== fromScratch)
  const best = halves.reduce((a, b) => (end(b).error < end(a).error ? b : a))
  return [
    {
      claim: 'A teacher as the target halves the variance of a batch’s gradient, or better.',
      holds: teacher.variance < clean.variance / 2,
      evidence: `variance ${teacher.variance.toExponential(1)} against ${clean.variance.toExponential(1)}`,
    },
    {
      claim: 'From scratch, distillation ends better than score matching after as many images.',
      holds: end(fromScratch).error < end(direct).error,
      evidence: say(end),
    },
    {
      claim: 'From the teacher it converges faster still.',
      holds: start(fromTeacher).error < start(fromScratch).error && end(fromTeacher).error < end(fromScratch).error,
      evidence: `after ${first} images: ${say(start)}`,
    },
    {
      claim: 'At every length its samples are nearer to held-out pictures than those from scratch.',
      holds: distances(fromTeacher).every((d, stage) => d < distances(fromScratch)[stage]),
      evidence: [fromTeacher, fromScratch, direct]
        .map(
          (way) =>
            `${way.name} ${distances(way)
              .map((d) => cell(d, 3))
              .join(', ')}`,
        )
        .join('; '),
    },
    {
      claim: 'The head ⟨u, h⟩, a = 1, is the best to begin with from the teacher.',
      holds: best === fromTeacher,
      evidence: halves.map((way) => `${way.name} ${cell(end(way).error, 3)}`).join(', '),
    },
  ]
}

function errorTable(rows: readonly InitialisationRow[], teacher: readonly number[]) {
  const row = (name: string, images: string, errors: readonly number[]) => [
    name,
    images,
    ...[visitedMean(errors), ...errors].map((v) => cell(v, 3)),
  ]
  return {
    title: 'Held-out denoising error per noise level',
    note: 'lambda |D - x0|² / d, the mean over the levels within two standard deviations of training’s; what is left of the teacher’s is what no model can know, or what it has not learnt.',
    header: ['energy', 'images', 'mean', ...levelNames],
    rows: [row('teacher', '–', teacher), ...rows.map((r) => row(r.way, String(r.images), r.errors))],
  }
}

const samplesTable = (rows: readonly InitialisationRow[], teacher: Quality) =>
  qualityTable(
    'Samples against images seen',
    ['energy', 'images'],
    [
      { names: ['teacher', '–'], quality: teacher },
      ...rows.map(({ way, images, quality }) => ({ names: [way, String(images)], quality })),
    ],
  )

const noiseTable = (noise: readonly NoiseRow[]) => ({
  title: 'Gradient of a batch, at the weights that distillation ended with',
  header: ['target', 'variance', 'squared mean', 'ratio'],
  rows: noise.map((n) => [
    n.target === 'teacher' ? 'teacher (distillation)' : 'clean sample (score matching)',
    n.variance.toExponential(2),
    n.signal.toExponential(2),
    cell(n.relative, 1),
  ]),
})

function plot(rows: readonly InitialisationRow[], teacher: readonly number[]): Promise<Buffer> {
  const floor = visitedMean(teacher)
  return plotPng({
    data: { values: rows.map((r) => ({ ...r, above: Math.max(r.error - floor, 1e-4) })) },
    mark: { type: 'line', point: true },
    width: 520,
    height: 320,
    encoding: {
      x: { field: 'images', type: 'quantitative', scale: { type: 'log' }, title: 'images seen' },
      y: { field: 'above', type: 'quantitative', scale: { type: 'log' }, title: 'error above the teacher’s' },
      color: { field: 'way', type: 'nominal', title: null, sort: ways.map((w) => w.name) },
    },
    config: { legend: { labelLimit: 300 } },
  })
}
