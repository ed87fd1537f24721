import {
  ArgumentError,
  type Attribute,
  type Classifier,
  type Dataset,
  distill,
  type EnergyModel,
  type LabelSpec,
  loadDataset,
  trainClassifier,
  trainDenoiser,
} from 'feynkac'
import { fingerprintData, splitData } from 'feynkac/internal'
import { byBudget, type ExperimentContext } from './experiment.js'
import { trained } from './trained.js'

/** Images with attribute vectors of the user's own, and what experiments train on them: each kept under a name that tells it from others. */

export interface OwnImages {
  all: Dataset
  labels: LabelSpec
  /** [channels, side, side] */
  shape: number[]
  /** For each attribute: the values that have at least a quarter of an even share, the most frequent first. */
  values: number[][]
  /** Name of the folders of models: by the images, their side and the seed of the split. */
  key: string
  /** Without an image in common: what the energy learns from, what the classifier does, and what neither saw. */
  forEnergy: Dataset
  forClassifier: Dataset
  test: Dataset
}

const SHARES = [1 / 2, 3 / 8, 1 / 8]

/**
 * Loads images and scales them to a square. Throws ArgumentError where fewer than two attributes have two frequent values;
 * other errors as `loadDataset`.
 */
export async function ownImages(
  { data, size }: NonNullable<ExperimentContext['images']>,
  { seed, signal, stage }: Pick<ExperimentContext, 'seed' | 'signal' | 'stage'>,
): Promise<OwnImages> {
  const onProgress = ({ done, total }: { done: number; total: number }) => stage('reading images', done, total)
  const images = await loadDataset(data, { resize: size, signal, onProgress })
  const { labels } = images
  const values = labels?.attributes.map((attribute, a) => frequentValues(images, attribute, a)) ?? []
  if (labels === null || values.filter((v) => v.length > 1).length < 2)
    throw new ArgumentError(
      `data: expected images with two attributes or more that have two frequent values each (dataset.json, attributes.json), which ${data} has not`,
    )
  const [forEnergy, forClassifier, test] = splitData(images, SHARES, seed)
  const hash = /\((\w+)\)/.exec(await fingerprintData(images))![1]
  const key = `${hash}-${size}-${seed}`
  return { all: images, labels, values, shape: images.shape, key, forEnergy, forClassifier, test }
}

function frequentValues(data: Dataset, { size }: Attribute, attribute: number): number[] {
  const counts = new Array<number>(size).fill(0)
  for (let i = 0; i < data.size; i++) {
    const value = data.label(i)[attribute]
    if (value !== null) counts[value]++
  }
  const least = counts.reduce((sum, n) => sum + n, 0) / (4 * size)
  const frequent = [...counts.keys()].filter((v) => counts[v] > 0 && counts[v] >= least)
  return frequent.sort((a, b) => counts[b] - counts[a] || a - b)
}

/** As many images as two cores train on in some twenty minutes together, at `small` and a side of 16. */
const imagesSeen = (context: ExperimentContext) => ({
  teacher: byBudget(context, 128, 80_000, 400_000, 2_000_000),
  energy: byBudget(context, 64, 64_000, 300_000, 1_500_000),
  classifier: byBudget(context, 640, 60_000, 200_000, 600_000),
})

/** A conditional teacher, distilled and calibrated. */
export async function ownEnergy(
  { labels, shape, key, forEnergy: data }: OwnImages,
  context: ExperimentContext,
): Promise<EnergyModel> {
  const seen = imagesSeen(context)
  // a constant rate, as the published results were taken; the images held out are the test's
  const common = {
    data,
    batchSize: 32,
    decay: 0,
    holdOut: 0,
    references: 0,
    sharpened: 0,
    smallFirst: 0,
    seed: context.seed,
  }
  const network = { width: 24, channelMult: [1, 2, 2], blocks: 1, attention: [shape[1] / 4] }
  using teacher = await trained(context, `images-${key}-teacher-${seen.teacher}`, (where) =>
    trainDenoiser({ ...common, labelDropout: 0.5, images: seen.teacher, lr: 2e-3, network, ...where }),
  )
  // compositions are of energies under one attribute, or none: one is known on the average
  const labelDropout = 1 - 1 / labels.attributes.length
  return await trained(context, `images-${key}-energy-${seen.teacher}-${seen.energy}`, (where) =>
    distill({ ...common, labelDropout, images: seen.energy, lr: 1e-3, teacher, ...where }),
  )
}

/** A classifier of all attributes. A little noise on its images: samples have some. */
export function ownClassifier(
  { key, forClassifier: data }: OwnImages,
  context: ExperimentContext,
): Promise<Classifier> {
  const images = imagesSeen(context).classifier
  const options = { data, images, batchSize: 64, lr: 2e-3, noise: 0.1, holdOut: 0, seed: context.seed }
  return trained(context, `images-${key}-classifier-${images}`, (where) =>
    trainClassifier({ ...options, network: { width: 16, channelMult: [1, 2, 4] }, ...where }),
  )
}
