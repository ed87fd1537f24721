import { ArgumentError } from '../base/errors.js'
import { sizeOf } from '../base/shape.js'
import type { Dataset, LabelSpec } from '../data/dataset.js'
import { namedClasses } from '../models/labels.js'
import type { Division } from '../ranks/division.js'
import type { FeatureExtractor } from './extractor.js'
import { startsOf } from './side-features.js'

/** Shares of samples that show what was asked for. */
export interface AttributeShares {
  /** By attribute. */
  [name: string]: number
  /** That show all of it. */
  all: number
}

export interface Asked {
  /** Value of every attribute asked for, by index or name. */
  attributes: Readonly<Record<string, number | string>>
  /** The first samples, at most this number, and their normalised weights; null: equal ones. */
  count: number
  weights: Float64Array | null
  batch: number
  /** Who reads which batch. */
  division: Division
  signal?: AbortSignal
}

/**
 * Reads the samples by a classifier: the weight of those whose predicted class is the one asked for, for each attribute and for all of them.
 * Throws ArgumentError where the extractor is no classifier or does not know an attribute.
 */
export async function attributeShares(
  extractor: FeatureExtractor,
  samples: Dataset,
  { attributes, count, weights, batch, division, signal }: Asked,
): Promise<AttributeShares> {
  const { labels } = extractor
  if (!labels || !extractor.attributes)
    throw new ArgumentError(`attributes: ${extractor.name} tells none: give features by a classifier of feynkac's`)
  const wanted = namedClasses(labels, attributes)
  const named = labels.attributes.flatMap(({ name }, a) => (wanted[a] === null ? [] : [{ name, a }]))
  if (named.length === 0) throw new ArgumentError('attributes: expected at least one name=value')
  checkRange(labels, wanted)
  const shares: AttributeShares = { all: 0, ...Object.fromEntries(named.map(({ name }) => [name, 0])) }
  const width = sizeOf(samples.shape)
  const classesFrom = async (first: number) => {
    const rows = Math.min(batch, count - first)
    const images = new Float32Array(rows * width)
    for (let r = 0; r < rows; r++) samples.read(first + r, images, r * width)
    return extractor.attributes!(images, { signal })
  }
  let first = 0
  for await (const classes of division.stream(startsOf(count, batch), classesFrom)) {
    const rows = Math.min(batch, count - first)
    for (let r = 0; r < rows; r++) {
      const weight = weights ? weights[first + r] : 1 / count
      const right = named.map(({ a }) => classes[r * labels.attributes.length + a] === wanted[a])
      named.forEach(({ name }, i) => {
        if (right[i]) shares[name] += weight
      })
      if (right.every(Boolean)) shares.all += weight
    }
    first += rows
  }
  return shares
}

function checkRange(labels: LabelSpec, wanted: readonly (number | null)[]): void {
  labels.attributes.forEach(({ name, size }, a) => {
    const value = wanted[a]
    if (value !== null && !(value < size))
      throw new ArgumentError(`attribute '${name}': expected an index below ${size} but received ${value}`)
  })
}
