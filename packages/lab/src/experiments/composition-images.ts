import { type Accuracy, type Classifier, type Dataset, mmd } from 'feynkac'
import { accuracyOn, membership, readSamples, sizeOf } from 'feynkac/internal'
import { shows, type Wish, wanted } from './composition-problems.js'
import type { Reading, Subject } from './composition-subject.js'
import { chooseWishes, READABLE } from './composition-wishes.js'
import { cell, type ExperimentContext, type Table } from './experiment.js'
import { type OwnImages, ownClassifier, ownEnergy, ownImages } from './own-images.js'

/** Compositions of images of the user's own, read by a classifier that learnt from other images than the energy. */

/** For held-out images: the radius of the balls of which a recognised picture lies in one. */
const NEIGHBOUR = 3
/** Most images of a kind that pictures are compared with. */
const COMPARED = 2000

/** Errors as `ownImages` and as those of training. */
export async function imagesSubject(
  given: NonNullable<ExperimentContext['images']>,
  context: ExperimentContext,
): Promise<Subject> {
  const images = await ownImages(given, context)
  const classifier = await ownClassifier(images, context)
  try {
    const reader = await readerOf(images, classifier, context.signal)
    const energy = await ownEnergy(images, context)
    return {
      energy,
      labels: images.labels,
      ...reader,
      [Symbol.dispose]: () => {
        energy.dispose()
        classifier.dispose()
      },
    }
  } catch (error) {
    classifier.dispose()
    throw error
  }
}

async function readerOf(
  images: OwnImages,
  classifier: Classifier,
  signal?: AbortSignal,
): Promise<Pick<Subject, 'wishes' | 'read' | 'reader' | 'distance' | 'tables'>> {
  const { all, test, labels, values, shape } = images
  const held = every(test)
  const accuracy = await accuracyOn(classifier, test, held, signal)
  const isReal = await membership(await pixels(test, held), { dim: sizeOf(shape), k: NEIGHBOUR, signal })
  const read = async (pictures: Float32Array): Promise<Reading[]> => {
    const { classes } = await classifier.classify(pictures, { signal })
    const recognised = await isReal(pictures)
    const width = labels.attributes.length
    return recognised.map((real, i) => ({
      classes: [...classes.subarray(i * width, (i + 1) * width)],
      recognised: real,
    }))
  }
  const wishes = chooseWishes(all, values, accuracy)
  const measures = { wishes, read, ...(await distances(images, classifier, signal)) }
  return {
    ...measures,
    reader: `Verdict: shows what was asked for, by the classifier; recognised: lies among held-out images, nearer in pixels to one than its neighbour ${NEIGHBOUR} does; right: both. Distance: squared MMD of the classifier's features to real images of what was asked for.`,
    tables: [accuracies(images, accuracy, held.length), await baselines(images, measures)],
  }
}

/** At most COMPARED indices of those of a data set's samples that are so. */
function every(data: Dataset, is: (index: number) => boolean = () => true): Int32Array {
  const indices = Array.from({ length: data.size }, (_, i) => i).filter(is)
  const step = Math.max(1, indices.length / COMPARED)
  return Int32Array.from({ length: Math.min(indices.length, COMPARED) }, (_, i) => indices[Math.floor(i * step)])
}

const pixels = async (data: Dataset, indices: Int32Array) => (await readSamples(data, null, indices)).x0

type Distance = NonNullable<Subject['distance']>

/** Unbiased MMD^2 of the classifier's features, by one kernel for all wishes, as wide as held-out images lie apart. */
async function distances(
  { all, test }: OwnImages,
  classifier: Classifier,
  signal?: AbortSignal,
): Promise<{ distance: Distance }> {
  const dim = classifier.featureSize
  const features = async (images: Float32Array) => classifier.features(images, { signal })
  const held = await features(await pixels(test, every(test)))
  const { bandwidths } = await mmd(held, held, { dim, signal })
  const real = new Map<string, Float32Array>()
  return {
    distance: async (pictures, { operation, traits }) => {
      const key = JSON.stringify([operation, traits])
      const asked = real.get(key) ?? (await features(await pixels(all, wishedFor(all, { operation, traits }))))
      real.set(key, asked)
      return (await mmd(await features(pictures), asked, { dim, bandwidths, signal })).squared
    },
  }
}

const wishedFor = (data: Dataset, wish: Wish) => every(data, (i) => shows(wish, data.label(i)))

/** How well the classifier reads images that it never saw, and what may be asked for. */
function accuracies({ labels, values, forClassifier }: OwnImages, accuracy: Accuracy, held: number): Table {
  return {
    title: 'The classifier',
    note: `Trained on ${forClassifier.size} images, its accuracy is of ${held} others; the energy learnt from none of them. Asked for is what it tells at ${READABLE} or better and has two frequent values.`,
    header: ['attribute', 'values', 'frequent', 'accuracy'],
    rows: labels.attributes.map(({ name, size }, a) => [
      name,
      String(size),
      String(values[a].length),
      cell(accuracy[a] ?? Number.NaN, 3),
    ]),
  }
}

/** What the measures say of real images: those of the classifier, most of which are not what was asked for. */
async function baselines(
  { all, labels, forClassifier }: OwnImages,
  { wishes, read, distance }: Pick<Subject, 'wishes' | 'read'> & { distance: Distance },
): Promise<Table> {
  const pictures = await pixels(forClassifier, every(forClassifier))
  const readings = await read(pictures)
  const share = (is: (r: Reading) => boolean) => readings.filter(is).length / readings.length
  const rows: string[][] = []
  for (const wish of wishes)
    rows.push([
      `${wish.operation}: ${wanted(wish, labels)}`,
      String(wishedFor(all, wish).length),
      cell(share(({ classes }) => shows(wish, classes))),
      cell(share(({ recognised }) => recognised)),
      cell(await distance(pictures, wish), 3),
    ])
  return {
    title: 'Any real images',
    note: 'The same measures of real images, whatever they show. Images: so many show what was asked for.',
    header: ['asked for', 'images', 'verdict', 'recognised', 'distance'],
    rows,
  }
}
