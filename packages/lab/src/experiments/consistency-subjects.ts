import { type Dataset, type DenoiserFunction, distill, type EnergyFunction, type EnergyModel, loadDataset, trainDenoiser } from 'feynkac' // biome-ignore format: one line
import { ExactShapes, KINDS } from './exact-shapes.js'
import { byBudget, type ExperimentContext } from './experiment.js'
import { SIDE, shapesData, shapesNetwork, trained } from './trained.js'

/** What the weights are of: the exact law of the pictures, and models of it by the recipe. */

/** The shape and the place that are asked for together: a cross at the top right. */
export const [SHAPE, PLACE] = [2, 1]

export const subjectNames = ['exact', 'denoiser', 'dot', 'residual', 'residual, path', 'residual, path, own states'] as const // biome-ignore format: one line
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
  clean(samples: Float32Array): Float32Array
}

const heads = {
  dot: {},
  residual: { head: 'residual' },
  'residual, path': { head: 'residual', pathWeight: 0.5 },
  'residual, path, own states': { head: 'residual', pathWeight: 0.5, selfPlay: 16 },
} as const

/** Trains what is not there; `seed` of the context is the training's. */
export async function subjectOf(name: SubjectName, world: World, context: ExperimentContext): Promise<Subject> {
  if (name === 'exact') return exact()
  const [teacherImages, images] = [byBudget(context, 640, 32_000, 100_000, 100_000), byBudget(context, 320, 12_000, 30_000, 100_000)] // biome-ignore format: one line
  const { seed } = context
  const data = await dataOf(world)
  const own = world === 'independent' ? '' : `${world}-`
  const teacher = await trained(context, `${own}teacher-${teacherImages}-${seed}`, (where) =>
    trainDenoiser({ data, images: teacherImages, network: shapesNetwork, seed, ...where }),
  )
  if (name === 'denoiser') return learnt(teacher, (labels) => scored(teacher.conditioned(labels)))
  using _ = teacher
  const energy: EnergyModel = await trained(context, `${own}${name.replaceAll(', ', '-').replaceAll(' ', '-')}-${images}-${seed}`, (where) =>
    distill({ data, images, teacher, seed, ...heads[name], ...where }),
  ) // biome-ignore format: one line
  return learnt(energy, (labels) => energy.conditioned(labels))
}

function learnt(model: Disposable, conditioned: (labels: (number | null)[] | undefined) => EnergyFunction): Subject {
  return {
    ...{ min: 0.1, max: 40 },
    all: conditioned(undefined),
    shape: conditioned([SHAPE, null]),
    place: conditioned([null, PLACE]),
    clean: (samples) => samples,
    [Symbol.dispose]: () => model[Symbol.dispose](),
  }
}

/** A denoiser's score for a gradient: no energy, so weights of energies are nothing. */
function scored(denoiser: DenoiserFunction): EnergyFunction {
  const { shape } = denoiser
  return {
    shape,
    learnt: true,
    async energyGrad(x, sigma, options) {
      const denoised = await denoiser.denoise(x, sigma, options)
      const energy = new Float64Array(x.length / (SIDE * SIDE))
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
