import { type Classifier, type Dataset, densityCoverage } from 'feynkac'
import { membership, readSamples, sizeOf } from 'feynkac/internal'
import type { Classes } from './composition-problems.js'
import { groupBy, mean } from './experiment.js'
import type { OwnImages } from './own-images.js'

/** What samples show, by a classifier's classes and features, beside images that no energy learnt from. */

/** What is asked for: of which attributes, and whether a picture of these classes is right. */
export interface Wished {
  asked: readonly number[]
  right(classes: Classes): boolean
}

export interface Measures {
  /** Share that shows what was asked for, by the classifier. */
  right: number
  /** Share of the right ones whose features lie among those of held-out images. */
  recognised: number
  /** Share of the held-out images of what was asked for that have a right one as near in features as their fifth neighbour. */
  coverage: number
  /** exp(entropy) of the classes of an attribute that was not asked for, mean over those attributes; NaN where all were. */
  kinds: number
  /** Root mean square distance per pixel of right ones from their mean. */
  spread: number
}

export interface Reader {
  /** Of held-out images. */
  held: { images: Float32Array; classes: Classes[]; features: Float32Array }
  dim: number
  features(images: Float32Array): Promise<Float32Array>
  classes(images: Float32Array): Promise<Classes[]>
  measure(images: Float32Array, wish: Wished): Promise<Measures>
}

/** Most held-out images, and those for each sample that coverage is of: as many for all, since more are harder to cover. */
const HELD = 2000
const FOR_EACH = 4

export async function readerOf(own: OwnImages, classifier: Classifier, signal?: AbortSignal): Promise<Reader> {
  const dim = classifier.featureSize
  const images = await pixels(own.test, HELD)
  const features = (of: Float32Array) => classifier.features(of, { signal })
  const width = own.labels.attributes.length
  const classesOf = async (of: Float32Array): Promise<Classes[]> => {
    const { classes } = await classifier.classify(of, { signal })
    return Array.from({ length: classes.length / width }, (_, i) => [...classes.subarray(i * width, (i + 1) * width)])
  }
  const held = { images, classes: labelsOf(own.test, HELD), features: await features(images) }
  const isReal = await membership(held.features, { dim, signal })
  const sizes = own.labels.attributes.map(({ size }) => size)
  return {
    ...{ held, dim, features, classes: classesOf },
    async measure(given, { asked, right }) {
      const classes = await classesOf(given)
      const chosen = indicesWhere(classes, right)
      const size = sizeOf(own.shape)
      const rows = (of: Float32Array, indices: readonly number[], d: number) => {
        const out = new Float32Array(indices.length * d)
        for (const [i, from] of indices.entries()) out.set(of.subarray(from * d, (from + 1) * d), i * d)
        return out
      }
      if (chosen.length === 0) return { right: 0, recognised: 0, coverage: 0, kinds: Number.NaN, spread: 0 }
      const shown = await features(rows(given, chosen, size))
      const wanted = spread(indicesWhere(held.classes, right), FOR_EACH * classes.length)
      const { coverage } = wanted.length > COVERED ? await densityCoverage(shown, rows(held.features, wanted, dim), { dim, signal }) : { coverage: Number.NaN } // biome-ignore format: one line
      return {
        right: chosen.length / classes.length,
        recognised: mean((await isReal(shown)).map(Number)),
        coverage,
        kinds: mean(sizes.flatMap((_, a) => (asked.includes(a) ? [] : [variety(chosen.map((i) => classes[i][a]))]))),
        spread: spreadOf(rows(given, chosen, size), size),
      }
    },
  }
}

/** Coverage is by the fifth neighbour among as many at least. */
const COVERED = 10

/** At most so many of them, evenly spread: data sets have an order. */
export function spread(indices: readonly number[], most: number): number[] {
  const count = Math.min(most, indices.length)
  return Array.from({ length: count }, (_, i) => indices[Math.floor((i * indices.length) / count)])
}

const chosenOf = (data: Dataset, most: number): number[] => spread([...Array(data.size).keys()], most)

export const pixels = async (data: Dataset, most: number): Promise<Float32Array> =>
  (await readSamples(data, null, Int32Array.from(chosenOf(data, most)))).x0

export const labelsOf = (data: Dataset, most: number): Classes[] => chosenOf(data, most).map((i) => data.label(i))

const indicesWhere = (classes: readonly Classes[], is: (classes: Classes) => boolean): number[] =>
  classes.flatMap((seen, i) => (is(seen) ? [i] : []))

function variety(classes: readonly (number | null)[]): number {
  const shares = [...groupBy(classes, (c) => c).values()].map((group) => group.length / classes.length)
  return Math.exp(-shares.reduce((sum, p) => sum + p * Math.log(p), 0))
}

function spreadOf(images: Float32Array, size: number): number {
  const n = images.length / size
  let squares = 0
  for (let p = 0; p < size; p++) {
    let [sum, square] = [0, 0]
    for (let i = 0; i < n; i++) {
      sum += images[i * size + p]
      square += images[i * size + p] ** 2
    }
    squares += Math.max(0, square - sum ** 2 / n)
  }
  return n > 1 ? Math.sqrt(squares / (n - 1) / size) : 0
}
