import { createHash } from 'node:crypto'
import { ArgumentError } from '../base/errors.js'
import type { Dataset } from '../data/dataset.js'
import { readSamples } from '../data/samples.js'
import { defaultLevels } from '../training/architecture.js'
import { isGrey, LARGE } from './pictures.js'

/** What there is to know of pictures before one learns from them. */
export interface Findings {
  name: string
  /** Number of pictures. */
  pictures: number
  /** [channels, height, width] */
  shape: readonly number[]
  attributes: AttributeFindings[]
  /** What is odd about them, a sentence each. */
  odd: string[]
}

/** What a check says of one attribute of the labels. */
export interface AttributeFindings {
  name: string
  /** How many pictures have each value. */
  values: { value: string; count: number }[]
  /** Pictures whose value is not known. */
  unknown: number
}

/** With fewer there is nothing to learn from. */
const FEWEST = 8
/** Fewer pictures of a value than this are odd. */
const FEW = 10
/** So many pictures of one attribute's values are named before the rest is counted. */
const NAMED = 20
const BATCH = 256

/** Reads all of the pictures; `changes`: what was done to them before. Throws ArgumentError for what no model of pictures can be learnt from. */
export async function findingsOf(
  data: Dataset,
  changes: readonly string[] = [],
  signal?: AbortSignal,
): Promise<Findings> {
  const { name, size, shape, labels } = data
  if (shape.length !== 3 || data.latent)
    throw new ArgumentError(`fit is for pictures, but ${name} has samples of [${shape}]: use train, then distill`)
  if (size < FEWEST)
    throw new ArgumentError(
      `${name} has ${size === 1 ? '1 picture' : `${size} pictures`}: fit needs at least ${FEWEST}`,
    )
  const attributes = (labels?.attributes ?? []).map((attribute) => ({
    name: attribute.name,
    values: Array.from({ length: attribute.size }, (_, i) => ({
      value: attribute.values?.[i] ?? String(i),
      count: 0,
    })),
    unknown: 0,
  }))
  const seen = new Map<string, number>()
  let [blank, grey] = [0, 0]
  for (let first = 0; first < size; first += BATCH) {
    signal?.throwIfAborted()
    const rows = Int32Array.from({ length: Math.min(BATCH, size - first) }, (_, i) => first + i)
    const { x0 } = await readSamples(data, null, rows)
    const width = x0.length / rows.length
    for (let row = 0; row < rows.length; row++) {
      const picture = x0.subarray(row * width, (row + 1) * width)
      const hash = createHash('sha1').update(new Uint8Array(picture.buffer, picture.byteOffset, 4 * width))
      const key = hash.digest('base64')
      seen.set(key, (seen.get(key) ?? 0) + 1)
      if (isBlank(picture, shape)) blank++
      else if (isGrey(picture, shape)) grey++
      data.label(first + row).forEach((value, a) => {
        if (value === null) attributes[a].unknown++
        else attributes[a].values[value].count++
      })
    }
  }
  if (seen.size === 1)
    throw new ArgumentError(`all ${size} pictures of ${name} are the same: there is nothing to learn`)
  for (const { name: attribute, unknown } of attributes)
    if (size - unknown < FEW)
      throw new ArgumentError(
        `the ${attribute} of ${size - unknown} pictures alone is known: label at least ${FEW}, or leave it out`,
      )
  const odd = [
    ...changes,
    ...(size < 100 ? [`${size} pictures are few: samples are likely to be copies of them`] : []),
    ...(seen.size < size ? [`${counted(size - seen.size)} the same as another one`] : []),
    ...(blank > 0 ? [`${counted(blank)} of one colour alone`] : []),
    ...(shape[0] === 3 && blank + grey === size
      ? ['the pictures are grey, so that one channel is enough (give channels)']
      : []),
    ...sideNotes(shape),
    ...attributes.flatMap((attribute) => attributeNotes(attribute)),
  ]
  return { name, pictures: size, shape, attributes, odd }
}

const counted = (count: number) => (count === 1 ? '1 picture is' : `${count} pictures are`)

function sideNotes([, height, width]: readonly number[]): string[] {
  const larger = Math.max(height, width)
  if (larger > LARGE)
    return [`${width} x ${height} takes long to learn on a processor: smaller ones do not (give resize)`]
  const levels = defaultLevels(height, width, [1, 2, 2]).length
  const even = 4 * Math.ceil(larger / 4)
  if (larger > 8 && levels < 3 && levels < defaultLevels(even, even, [1, 2, 2]).length)
    return [`${width} x ${height} does not halve evenly, which makes the network slow: ${even} does`]
  return []
}

function attributeNotes({ name, values, unknown }: AttributeFindings): string[] {
  const list = (some: AttributeFindings['values']) =>
    `${some
      .slice(0, NAMED)
      .map(({ value }) => value)
      .join(', ')}${some.length > NAMED ? ' ...' : ''}`
  const [none, few] = [
    values.filter(({ count }) => count === 0),
    values.filter(({ count }) => count > 0 && count < FEW),
  ]
  return [
    ...(none.length > 0 ? [`no picture has ${name} ${list(none)}`] : []),
    ...(few.length > 0 ? [`fewer than ${FEW} pictures have ${name} ${list(few)}`] : []),
    ...(unknown > 0 ? [`the ${name} of ${unknown} is not known`] : []),
  ]
}

function isBlank(picture: Float32Array, [channels]: readonly number[]): boolean {
  const area = picture.length / channels
  return picture.every((value, k) => value === picture[Math.floor(k / area) * area])
}

/** In lines. */
export function describeFindings({ name, pictures, shape, attributes, odd }: Findings): string[] {
  const [channels, height, width] = shape
  const colours = channels === 1 ? 'grey' : channels === 3 ? 'in colour' : `of ${channels} channels`
  const counted = (values: AttributeFindings['values']) => {
    const named = values.slice(0, NAMED).map(({ value, count }) => `${value} (${count})`)
    return `${named.join(', ')}${values.length > NAMED ? ` and ${values.length - NAMED} more` : ''}`
  }
  return [
    `${name}: ${pictures} pictures of ${width} x ${height}, ${colours}${attributes.length > 0 ? '' : ', without labels'}`,
    ...attributes.map((attribute) => `  ${attribute.name}: ${counted(attribute.values)}`),
    ...odd.map((note) => `  note: ${note}`),
  ]
}
