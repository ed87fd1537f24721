import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import {
  type Autoencoder,
  type Classifier,
  type Dataset,
  Denoiser,
  distill,
  EnergyModel,
  latentDataset,
  trainAutoencoder,
  trainClassifier,
  trainDenoiser,
} from 'feynkac'
import { matched, type Training, type WayName } from './consistency-subjects.js'
import { byBudget, type ExperimentContext } from './experiment.js'
import type { OwnImages } from './own-images.js'
import { trained } from './trained.js'

/**
 * What is trained on images of the user's own: a classifier that reads them, and, by the recipe, one teacher and the energies of it, in pixels
 * where they are small and in the latents of an autoencoder where not. Each is trained once and kept beside the others.
 */

/** Larger images are learnt in latents. */
const PIXELS = 32

/** Where the models live: the images that they learn from, and the pictures that samples are. */
export interface Space extends Disposable {
  name: 'pixels' | 'latents'
  data: Dataset
  /** [n, ...] of samples, as images. */
  decode(samples: Float32Array): Promise<Float32Array>
}

/** Images that each sees: at `medium` and 28 x 28 as many as cost some seven minutes of a core for the teacher and four for an energy. */
const seen = (context: ExperimentContext, latents: boolean) => ({
  autoencoder: byBudget(context, 32, 3000, 12_000, 60_000),
  teacher: latents ? byBudget(context, 64, 6000, 24_000, 200_000) : byBudget(context, 64, 6000, 57_000, 200_000),
  energy: latents ? byBudget(context, 32, 1500, 4000, 50_000) : byBudget(context, 32, 1000, 14_250, 60_000),
  classifier: byBudget(context, 64, 6000, 12_000, 60_000),
  paths: byBudget(context, 1, 2, 8, 32),
})

export async function spaceOf(images: OwnImages, context: ExperimentContext): Promise<Space> {
  const { forEnergy: data, shape } = images
  if (shape[1] <= PIXELS) return { name: 'pixels', data, decode: async (samples) => samples, [Symbol.dispose]() {} }
  const { signal } = context
  const autoencoder = await imagesAutoencoder(images, context)
  return {
    name: 'latents',
    data: await latentDataset(data, autoencoder, { signal }),
    decode: (samples) => autoencoder.decode(samples, { signal }),
    [Symbol.dispose]: () => autoencoder.dispose(),
  }
}

function imagesAutoencoder({ key, forEnergy: data }: OwnImages, context: ExperimentContext): Promise<Autoencoder> {
  const images = seen(context, true).autoencoder
  const network = { width: 16, channelMult: [1, 2, 2], latentChannels: 4, attention: false }
  const options = { data, images, network, seed: context.seed }
  return trained(context, `images-${key}-autoencoder-${images}`, (where) => trainAutoencoder({ ...options, ...where }))
}

/** A little noise on its images: samples have some. */
export function imagesClassifier(
  { key, forClassifier: data }: OwnImages,
  context: ExperimentContext,
): Promise<Classifier> {
  const images = seen(context, false).classifier
  const network = { width: 16, channelMult: [1, 2, 4] }
  const options = { data, images, noise: 0.1, holdOut: 0, network, seed: context.seed }
  return trained(context, `images-${key}-reader-${images}`, (where) => trainClassifier({ ...options, ...where }))
}

export interface Learnt<M extends Denoiser | EnergyModel> {
  model: M
  training: Training
}

/** How the models of a space are named, and what they have in common. */
function common({ key, labels }: OwnImages, { name, data }: Space, { seed }: ExperimentContext) {
  const attributes = labels.attributes.length
  // compositions are of energies under one attribute, or none: of many, one is known on the average
  const labelDropout = attributes > 2 ? { labelDropout: 1 - 1 / attributes } : {}
  return { prefix: `images-${key}-${name}`, options: { data, seed, ...labelDropout } }
}

export async function imagesTeacher(
  own: OwnImages,
  space: Space,
  context: ExperimentContext,
): Promise<Learnt<Denoiser>> {
  const { prefix, options } = common(own, space, context)
  const { teacher: images } = seen(context, space.name === 'latents')
  return learnt(context, `${prefix}-teacher-${images}`, Denoiser.load, (where) =>
    trainDenoiser({ ...options, images, ...where }),
  )
}

export async function imagesEnergy(
  name: WayName,
  teacher: Denoiser,
  own: OwnImages,
  space: Space,
  context: ExperimentContext,
): Promise<Learnt<EnergyModel>> {
  const { prefix, options } = common(own, space, context)
  const { energy, paths } = seen(context, space.name === 'latents')
  const way = matched(name, energy, paths)
  return learnt(context, `${prefix}-${name.replaceAll(/[ ,]+/g, '-')}-${way.images}`, EnergyModel.load, (where) =>
    distill({ ...options, ...way, teacher, ...where }),
  )
}

/** A finished one is only read, and what its training cost is kept beside it. */
async function learnt<M extends Denoiser | EnergyModel>(
  context: ExperimentContext,
  name: string,
  load: (path: string, at: { device: string }) => Promise<M>,
  train: Parameters<typeof trained<M>>[2],
): Promise<Learnt<M>> {
  const { models, device } = context
  const file = join(models, `${name}-training.json`)
  const known: Training | undefined = await readFile(file, 'utf8').then(JSON.parse, () => undefined)
  if (known) return { model: await load(join(models, name, 'model.safetensors'), { device }), training: known }
  let training: Training | undefined
  const model = await trained<M>(context, name, async (where) => {
    const began = process.cpuUsage()
    const result = await train(where)
    const { user, system } = process.cpuUsage(began)
    training = { images: result.images, processor: (user + system) / 1e6, heldOutLoss: result.heldOutLoss }
    return result
  })
  await writeFile(file, JSON.stringify(training))
  return { model, training: training! }
}
