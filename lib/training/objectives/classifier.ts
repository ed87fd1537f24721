import { knownOptions } from '../../base/args.js'
import { ArgumentError, invalid } from '../../base/errors.js'
import { checkOptions } from '../../base/option-table.js'
import { type Dataset, labelDim } from '../../data/dataset.js'
import { readSamples } from '../../data/samples.js'
import { chunksOf } from '../../models/chunks.js'
import { type Accuracy, Classifier, parseClassifierInfo } from '../../models/classifier.js'
import type { ClassifierConfig } from '../../networks/classifier.js'
import { defaultLevels, groupsFor, levelsOf } from '../architecture.js'
import { Batches } from '../batches.js'
import { holdOut } from '../hold-out.js'
import { type ClassifierArchitecture, classifierNetworkRows } from '../network-options.js'
import { holdOutRows } from '../options.js'
import { classifierRecipe } from '../recipe.js'
import type { TrainingResult } from '../types.js'
import { type ImageDefinition, type ImageTrainingOptions, imageStep, trainOnImages } from './images.js'

/** Options of `trainClassifier`. */
export interface ClassifierOptions extends ImageTrainingOptions<ClassifierArchitecture> {
  /**
   * Largest standard deviation of the noise on the images (0), uniform between 0 and it for each: so that a little noise, as samples have,
   * does not mislead the classifier.
   */
  noise?: number
  /** Share of the images that is kept back to measure the accuracy on (0.1), chosen by the seed; 0: none. */
  holdOut?: number
}

interface Definition extends ImageDefinition {
  objective: 'classifier'
  network: ClassifierConfig
  holdOut: number
}

/** A cross-entropy is small where hardly anything is wrong, and one mistake more is no divergence. */
const SMALLEST_LOSS = 0.1
/** Images that are read and classified at a time. */
const BATCH = 512

/** Documented in late.ts. */
export async function trainClassifier(options: ClassifierOptions): Promise<TrainingResult<Classifier>> {
  const { holdOut: share } = options ?? {}
  checkOptions(holdOutRows, { holdOut: share })
  return trainOnImages<Classifier, Definition>(options, {
    where: 'trainClassifier',
    name: 'classifier',
    optionNames: ['holdOut'],
    parse: parseClassifierInfo,
    given: share === undefined ? {} : { holdOut: share },
    defaults: { noise: 0, holdOut: 0.1 },
    recipe: classifierRecipe,
    configure: (network, data) => classifierFor(data, network),
    create: ({ network }, data, at) => Classifier.create({ network, labels: labelsOf(data) }, at),
    run: (model, definition, data) => {
      const { training, held } = holdOut(data, definition.holdOut, definition.seed)
      requireKnown(training)
      return {
        step: (common) => model.network.train({ ...imageStep(common, definition.noise), labels: common.labels! }),
        batches: new Batches(training, data.labels, definition),
        smallestLoss: SMALLEST_LOSS,
        finish: async () => {
          model.accuracy = await accuracyOn(model, data, held, options.signal)
        },
      }
    },
  })
}

/** An attribute whose class is never known would be learnt from nothing, with a loss of 0. */
function requireKnown(data: Dataset): void {
  const unseen = new Set(labelsOf(data).attributes.keys())
  for (let i = 0; i < data.size && unseen.size > 0; i++)
    for (const a of unseen) if ((data.label(i)[a] ?? null) !== null) unseen.delete(a)
  for (const a of unseen)
    throw new ArgumentError(
      `the class of '${labelsOf(data).attributes[a].name}' is not known for any image to train on`,
    )
}

function labelsOf({ labels, name }: Dataset) {
  if (!labels?.attributes.length) throw invalid('data', 'images with labels', name)
  return labels
}

/** A classifier of the images of a data set by its labels. Throws ArgumentError. */
export function classifierFor(data: Dataset, architecture: ClassifierArchitecture = {}): ClassifierConfig {
  knownOptions('network', architecture, Object.keys(classifierNetworkRows))
  const [channels, height, width] = data.shape as [number, number, number]
  const levels = levelsOf(architecture, defaultLevels(height, width, [1, 2, 4, 8]))
  return {
    class: 'ConvClassifier',
    shape: [channels, height, width],
    args: {
      in_channels: channels,
      block_out_channels: levels.channels,
      layers_per_block: levels.blocks,
      norm_num_groups: groupsFor(levels.channels),
      classes: labelsOf(data).attributes.map(({ size }) => size),
    },
  }
}

/** Share of a data set's samples whose class is right, for each attribute, of those whose class is known. */
export async function accuracyOn(
  model: Classifier,
  data: Dataset,
  indices: Int32Array,
  signal?: AbortSignal,
): Promise<Accuracy> {
  const { attributes } = model.labels
  const width = labelDim(model.labels)
  const [right, known] = [attributes.map(() => 0), attributes.map(() => 0)]
  for (const [first, last] of chunksOf(indices.length, BATCH)) {
    const { x0, labels } = await readSamples(data, model.labels, indices.subarray(first, last))
    const { classes } = await model.classify(x0, { signal })
    for (let row = 0; row < last - first; row++) {
      let at = row * width
      attributes.forEach(({ size }, a) => {
        const truth = labels!.subarray(at, at + size).indexOf(1)
        if (truth >= 0) known[a]++
        if (truth === classes[row * attributes.length + a]) right[a]++
        at += size
      })
    }
  }
  return right.map((count, a) => (known[a] ? count / known[a] : null))
}
