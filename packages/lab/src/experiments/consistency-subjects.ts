import { type Dataset, type Denoiser, type DenoiserFunction, distill, type EnergyFunction, type EnergyModel, loadDataset, trainDenoiser } from 'feynkac' // biome-ignore format: one line
import { sizeOf } from 'feynkac/internal'
import { ExactShapes, KINDS } from './exact-shapes.js'
import { byBudget, type ExperimentContext } from './experiment.js'
import { SIDE, shapesData, shapesNetwork, trained } from './trained.js'

/** What the weights are of: the exact law of the pictures, and models of it by the recipe. */

/** The shape and the place that are asked for together: a cross at the top right. */
export const [SHAPE, PLACE] = [2, 1]

/**
 * How energies are distilled, all of them from one teacher, with what an image costs beside the 7 units of a forward of its distillation. A
 * classification of noise levels is not among them: it refuses labels (docs/levelled.md).
 */
const ways = {
  dot: { options: {}, beside: 0 },
  residual: { options: { head: 'residual' }, beside: 0 },
  'residual, path': { options: { head: 'residual', pathWeight: 0.5 }, beside: 4.5 },
  'residual, path, own states': { options: { head: 'residual', pathWeight: 0.5 }, beside: 4.5, own: true },
} as const
export type WayName = keyof typeof ways
export const wayNames = Object.keys(ways) as WayName[]

export const subjectNames = ['denoiser', ...wayNames, 'exact'] as const
export type SubjectName = (typeof subjectNames)[number]

/** Pictures to learn: of independent attributes, of correlated ones, and such that never show the wish's shape at its place. */
export type World = 'independent' | 'correlated' | 'unseen'

/** Energies to sample by, down to a noise level at which shapes are settled, and what the samples show there. */
export interface Subject extends Disposable {
  min: number
  max: number
  all: EnergyFunction
  shape: EnergyFunction
  place: EnergyFunction
  /** Of learnt ones; the training where it was this run's. */
  learnt?: { model: Denoiser | EnergyModel; training?: Training }
  clean(samples: Float32Array): Float32Array
}

export interface Training {
  images: number
  /** Seconds of the processor. */
  processor: number
  heldOutLoss: number | null
}

const UNITS = 7
const ROUNDS = 4
/** Images of a distillation that a path of a round costs as much as, roughly (docs/residual.md). */
const PATH = 80

/** As many images as cost what `images` of plain distillation do; paths: of own states, where they are the way. */
export function matched(name: WayName, images: number, paths: number) {
  const { beside, options } = ways[name]
  const selfPlay = 'own' in ways[name] ? paths : 0
  const rest = Math.max(images / 4, images - ROUNDS * PATH * selfPlay)
  return { ...options, ...(selfPlay && { selfPlay }), images: Math.round((rest * UNITS) / (UNITS + beside)) }
}

/** Trains what is not there; `seed` of the context is the training's. */
export async function subjectOf(name: SubjectName, world: World, context: ExperimentContext): Promise<Subject> {
  if (name === 'exact') return exact()
  const [teacherImages, images] = [byBudget(context, 640, 32_000, 100_000, 100_000), byBudget(context, 320, 12_000, 30_000, 100_000)] // biome-ignore format: one line
  const { seed } = context
  const data = await dataOf(world)
  const own = world === 'independent' ? '' : `${world}-`
  let training: Training | undefined
  const measured = async <R extends { images: number; heldOutLoss: number | null }>(run: Promise<R>): Promise<R> => {
    const began = process.cpuUsage()
    const result = await run
    const { user, system } = process.cpuUsage(began)
    training = { images: result.images, processor: (user + system) / 1e6, heldOutLoss: result.heldOutLoss }
    return result
  }
  const teacher = await trained(context, `${own}teacher-${teacherImages}-${seed}`, (where) =>
    measured(trainDenoiser({ data, images: teacherImages, network: shapesNetwork, seed, ...where })),
  )
  if (name === 'denoiser') return learnt(teacher, training, (labels) => scored(teacher.conditioned(labels)))
  using _ = teacher
  const { images: count, ...options } = matched(name, images, byBudget(context, 1, 4, 16, 64))
  const energy: EnergyModel = await trained(context, `${own}${name.replaceAll(/[ ,]+/g, '-')}-${count}-${seed}`, (where) =>
    measured(distill({ data, images: count, teacher, seed, ...options, ...where })),
  ) // biome-ignore format: one line
  return learnt(energy, training, (labels) => energy.conditioned(labels))
}

function learnt(
  model: Denoiser | EnergyModel,
  training: Training | undefined,
  conditioned: (labels: (number | null)[] | undefined) => EnergyFunction,
): Subject {
  return {
    ...{ min: 0.1, max: 40, learnt: { model, training } },
    all: conditioned(undefined),
    shape: conditioned([SHAPE, null]),
    place: conditioned([null, PLACE]),
    clean: (samples) => samples,
    [Symbol.dispose]: () => model[Symbol.dispose](),
  }
}

/** A denoiser's score for a gradient: no energy, so weights of energies are nothing. */
export function scored(denoiser: DenoiserFunction): EnergyFunction {
  const { shape } = denoiser
  return {
    shape,
    learnt: true,
    async energyGrad(x, sigma, options) {
      const denoised = await denoiser.denoise(x, sigma, options)
      const energy = new Float64Array(x.length / sizeOf(shape))
      return { energy, grad: x.map((v, i) => (v - denoised[i]) / sigma ** 2) }
    },
  }
}

function exact(): Subject {
  const shapes = new ExactShapes(SIDE)
  const kinds = Array.from({ length: KINDS }, (_, k) => k)
  const min = 0.3
  return {
    ...{ min, max: 40 },
    all: shapes.energy(),
    shape: shapes.energy(kinds.filter((k) => Math.floor(k / 4) === SHAPE)),
    place: shapes.energy(kinds.filter((k) => k % 4 === PLACE)),
    clean: (samples) => shapes.posterior(samples, min).denoised,
    [Symbol.dispose]: () => {},
  }
}

export async function dataOf(world: World): Promise<Dataset> {
  const all = await loadDataset(world === 'correlated' ? `${shapesData()},correlation=0.5` : shapesData())
  if (world !== 'unseen') return all
  const seen = Array.from({ length: all.size }, (_, i) => i).filter((i) => all.label(i).join() !== `${SHAPE},${PLACE}`)
  return {
    ...{ name: `${all.name} but for one pair`, shape: all.shape, labels: all.labels, size: seen.length },
    read: (index, out, offset) => all.read(seen[index], out, offset),
    label: (index) => all.label(seen[index]),
  }
}
