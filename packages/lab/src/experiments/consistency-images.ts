import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Denoiser, type DenoiserFunction, EnergyModel, encodeLabel, frechetDistance, kernelDistance, labelDim, sample, sigmaGrid, smc } from 'feynkac' // biome-ignore format: one line
import { accuracyOn, type Figure, ParticleRng, sizeOf } from 'feynkac/internal'
import { RunLog, runFolder } from '../run-log.js'
import { type ControlledRow, type Energies, findings, type PlainRow, tablesOf } from './consistency-images-tables.js'
import { imagesClassifier, imagesEnergy, imagesTeacher, type Space, spaceOf } from './consistency-models.js'
import { COLD, type Problem, problemsOf, type Under, type Weights } from './consistency-problems.js'
import { labelsOf, pixels, type Reader, readerOf, spread } from './consistency-reader.js'
import { scored, wayNames } from './consistency-subjects.js'
import { byBudget, type ExperimentContext, mean, type Outcome, rms } from './experiment.js'
import { type OwnImages, ownImages } from './own-images.js'
import { rowsPng } from './pictures.js'

/**
 * The consistency experiment on images of the user's own, of which no exact law is known: one teacher, the ways to train an energy of it for the
 * same work, and what their samples are, plain and by SMC to the end, by a classifier and beside images that no model learnt from.
 */

interface Work {
  own: OwnImages
  space: Space
  reader: Reader
  context: ExperimentContext
  particles: number
  /** Of a run, and of plain samples. */
  steps: number
  plain: number
  /** Where samples are kept. */
  folder: string
}

const SIGMAS = { min: 0.02, max: 40 }
/** Pictures in a row of a figure. */
const SHOWN = 16

/** names: the teacher first. Errors as `ownImages` and as those of training. */
export async function imagesOutcome(
  given: NonNullable<ExperimentContext['images']>,
  context: ExperimentContext,
  names: readonly Energies[] = context.budget === 'quick' ? ['denoiser', 'dot'] : ['denoiser', ...wayNames],
): Promise<Outcome> {
  const own = await ownImages(given, context, 1)
  using classifier = await imagesClassifier(own, context)
  using space = await spaceOf(own, context)
  const reader = await readerOf(own, classifier, context.signal)
  const all = Int32Array.from({ length: own.test.size }, (_, i) => i)
  const accuracy = await accuracyOn(classifier, own.test, all, context.signal)
  const [particles, steps, plain] = [byBudget(context, 6, 24, 40, 128), byBudget(context, 4, 24, 32, 64), byBudget(context, 32, 96, 200, 1024)] // biome-ignore format: one line
  const folder = join(context.models, `consistency-${own.key}-${context.budget}`)
  await mkdir(folder, { recursive: true })
  const work: Work = { own, space, reader, context, particles, steps, plain, folder }
  const problems = problemsOf(own)
  const { model: teacher, training } = await imagesTeacher(own, space, context)
  using _ = teacher
  const plainRows: PlainRow[] = [await plainRow(work, 'images', await pixels(own.forEnergy, plain))]
  const rows: ControlledRow[] = []
  for (const problem of problems) rows.push(await imagesRow(work, problem))
  const gallery = new Map<string, { energies: Energies; pictures: Float32Array }[]>()
  let teachers: Float32Array | undefined
  for (const [n, energies] of names.entries()) {
    const learnt = energies === 'denoiser' ? { model: teacher, training } : await imagesEnergy(energies, teacher, own, space, context) // biome-ignore format: one line
    const show = (name: string, pictures: Float32Array) => {
      const shown = { energies, pictures: pictures.slice(0, SHOWN * sizeOf(own.shape)) }
      gallery.set(name, [...(gallery.get(name) ?? []), shown])
    }
    const { model } = learnt
    context.stage(`${energies}, plain samples`, n, names.length)
    const { samples } = await kept(work, `${energies}-plain`, async () => ({ samples: await drawPlain(work, model), about: {} })) // biome-ignore format: one line
    const pictures = await space.decode(samples)
    show('plain', pictures)
    const row = await plainRow(work, energies, pictures, teachers)
    teachers ??= await reader.features(pictures)
    const consistency = model instanceof EnergyModel ? model.calibration?.consistency : undefined
    plainRows.push({ ...row, training: learnt.training, consistency })
    for (const problem of problems)
      for (const weights of problem.weights) {
        if (model === teacher && (problem.mixed || weights === 'bridge')) continue
        context.stage(`${energies}, ${problem.name}, ${weights}`, n, names.length)
        const { row, pictures } = await controlled(work, energies, model, problem, weights)
        rows.push(row)
        const usual = space.name === 'pixels' && problem.weights.includes(COLD) ? COLD : 'none'
        if (weights === usual) show(problem.name, pictures)
      }
    if (model !== teacher) model[Symbol.dispose]()
  }
  const figures: Figure[] = []
  for (const [name, shown] of gallery)
    figures.push({
      name: name.toLowerCase().replaceAll(/\W+/g, '-'),
      caption: `${name}, by the default weights. Rows: ${shown.map(({ energies }) => energies).join('; ')}.`,
      png: await rowsPng(
        shown.map(({ pictures }) => pictures),
        own.shape,
      ),
    })
  const setting = { particles, steps, plain, space: space.name, accuracy }
  return {
    findings: findings(plainRows, rows, space.name),
    tables: tablesOf(plainRows, rows, own, setting),
    figures,
    data: { ...setting, plainRows, rows },
  }
}

/** Samples [n, ...] of a space and what is said of them, kept beside the models and read where they are there. */
async function kept<T extends object>(
  { folder }: Work,
  name: string,
  make: () => Promise<{ samples: Float32Array; about: T }>,
): Promise<{ samples: Float32Array; about: T }> {
  const path = join(folder, name.replaceAll(/[^\w-]+/g, '-'))
  const about: T | undefined = await readFile(`${path}.json`, 'utf8').then(JSON.parse, () => undefined)
  if (about) {
    const bytes = await readFile(`${path}.f32`)
    return { samples: new Float32Array(new Uint8Array(bytes).buffer), about }
  }
  const made = await make()
  await writeFile(`${path}.f32`, new Uint8Array(made.samples.buffer, made.samples.byteOffset, made.samples.byteLength))
  await writeFile(`${path}.json`, JSON.stringify(made.about))
  return made
}

/** By ancestral steps, each sample under all labels of a held-out image. */
async function drawPlain({ own, context, plain: particles, steps }: Work, model: Denoiser | EnergyModel) {
  const dim = labelDim(own.labels)
  const labels = new Float32Array(particles * dim)
  for (const [i, classes] of labelsOf(own.test, particles).entries()) encodeLabel(own.labels, classes, labels, i * dim)
  const denoiser: DenoiserFunction = {
    shape: model.shape,
    denoise: (x, sigma, { part } = {}) => model.denoise(x, sigma, { labels, part }),
  }
  const { seed, signal } = context
  const sigmas = [...sigmaGrid({ steps: steps - 1, ...SIGMAS }), 0]
  return (await sample(denoiser, { particles, sigmas, method: 'ancestral', seed, signal })).samples
}

/** Plain samples, or as many images that models learnt from; `teachers`: the features of the teacher's. */
async function plainRow(
  { own, reader, context, plain }: Work,
  energies: PlainRow['energies'],
  pictures: Float32Array,
  teachers?: Float32Array,
): Promise<PlainRow> {
  const { held, dim } = reader
  const { signal, seed } = context
  const features = await reader.features(pictures)
  const asked = labelsOf(energies === 'images' ? own.forEnergy : own.test, plain)
  const seen = await reader.classes(pictures)
  const distance = await kernelDistance(features, held.features, { dim, seed, signal })
  return {
    ...{ energies, ...(await reader.measure(pictures, { asked: [], right: () => true })) },
    right: mean(asked.map((classes, i) => Number(classes.every((v, a) => v === null || v === seen[i][a])))),
    frechet: await frechetDistance(features, held.features, { dim, signal }),
    ...{ kernel: distance.mean, kernelError: distance.standardError },
    ...(teachers && {
      ...(await ratioOf(features, teachers, reader, seed)),
      toTeacher: await frechetDistance(features, teachers, { dim, signal }),
      kernelToTeacher: (await kernelDistance(features, teachers, { dim, seed, signal })).mean,
    }),
  }
}

const DRAWS = 40

/** Of Fréchet distances to the held-out images, and its standard error over samples drawn again, the same ones of both. */
async function ratioOf(features: Float32Array, others: Float32Array, { held, dim }: Reader, seed: number) {
  const n = features.length / dim
  const of = async (a: Float32Array, b: Float32Array) =>
    (await frechetDistance(a, held.features, { dim })) / (await frechetDistance(b, held.features, { dim }))
  const rng = new ParticleRng(seed, 0, n)
  const logs: number[] = []
  for (let draw = 0; draw < DRAWS; draw++) {
    const rows = Array.from(rng.uniforms().subarray(0, n), (u) => Math.floor(u * n))
    const drawn = (from: Float32Array) => from.map((_, k) => from[rows[Math.floor(k / dim)] * dim + (k % dim)])
    logs.push(Math.log(await of(drawn(features), drawn(others))))
  }
  const ratio = await of(features, others)
  return { ratio, ratioError: ratio * rms(logs.map((v) => v - mean(logs))) }
}

/** Of as many images that show what was asked for as there are particles, at most. */
async function imagesRow({ own, reader, particles }: Work, problem: Problem): Promise<ControlledRow> {
  const labels = labelsOf(own.forEnergy, own.forEnergy.size)
  const chosen = spread(
    labels.flatMap((seen, i) => (problem.right(seen) ? [i] : [])),
    particles,
  )
  const size = sizeOf(own.shape)
  const images = new Float32Array(chosen.length * size)
  for (const [i, index] of chosen.entries()) own.forEnergy.read(index, images, i * size)
  const measures = await reader.measure(images, problem)
  return { energies: 'images', target: problem.name, weights: '–', ...measures, roots: chosen.length, logZ: [] }
}

/** SMC to the end; by the bridge at gamma = 1 twice, for log Z. */
async function controlled(
  work: Work,
  energies: Energies,
  model: Denoiser | EnergyModel,
  problem: Problem,
  weights: Weights,
): Promise<{ row: ControlledRow; pictures: Float32Array }> {
  const { own, space, reader, context, particles, steps } = work
  const { signal } = context
  const under: Under = (traits) => {
    const labels = own.labels.attributes.map((_, a) => traits.find(({ attribute }) => attribute === a)?.value ?? null)
    return model instanceof EnergyModel ? model.conditioned(labels) : scored(model.conditioned(labels))
  }
  const seeds = [...(weights === 'bridge' && problem.name === 'gamma = 1' ? [0, 1] : [0])].map((s) => context.seed + s)
  const runs: Awaited<ReturnType<typeof run>>[] = []
  for (const seed of seeds) runs.push(await kept(work, `${energies}-${problem.name}-${weights}-${seed}`, () => run(seed))) // biome-ignore format: one line
  const pictures = await space.decode(runs[0].samples)
  const row = {
    ...{ energies, target: problem.name, weights, ...(await reader.measure(pictures, problem)) },
    ...{ roots: runs[0].about.roots, logZ: runs.flatMap(({ about }) => about.logZ ?? []) },
  }
  return { row, pictures }

  async function run(seed: number): Promise<{ samples: Float32Array; about: { roots: number; logZ?: number } }> {
    const target = problem.target(under)
    const options = { particles, sigmas: sigmaGrid({ steps, ...SIGMAS }), seed, weights, finalResample: weights !== 'none' } // biome-ignore format: one line
    const log = new RunLog(seed === context.seed ? runFolder(context, energies, problem.name, weights) : undefined)
    const about = { name: weights, method: 'smc', target, particles, lastLevel: steps, options: { seed, weights } }
    const { samples, logZ, diagnostics } = await log.follow(smc.stream(target, { ...options, signal }), about)
    return { samples, about: { roots: diagnostics.distinctRoots, ...(weights !== 'none' && { logZ }) } }
  }
}
