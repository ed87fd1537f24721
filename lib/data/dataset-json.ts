import { FormatError, formatFailure } from '../base/errors.js'
import { eachInTurns, sortInTurns } from '../base/turns.js'
import type { Attribute, LabelSpec } from './dataset.js'

/**
 * Labels of image collections: `dataset.json` as NVlabs/edm writes it, {"labels": [[file name, label], ...]} or null, where a
 * label is a class index or a list of attribute indices; beside it `attributes.json` may name the attributes.
 */
export interface Labelling {
  labels: LabelSpec | null
  /** [names.length * attributes] */
  classes: Int32Array
}

const NONE: Labelling = { labels: null, classes: new Int32Array(0) }
/** Folders of what is trained on, and of what is held out. */
const HALF = /^(train(ing)?|test(ing)?|val|valid(ation)?|dev|eval)$/i
const MAX_CLASSES = 1 << 16
/** Attributes of one image. */
const MAX_WIDTH = 1 << 12

type Fail = (what: string) => never

/** The labels of named images. attributes: the content of attributes.json, undefined when there is none. */
export async function datasetLabels(
  json: unknown,
  attributes: unknown,
  names: readonly string[],
  path: string,
  turn: () => Promise<void>,
): Promise<Labelling> {
  const fail: Fail = (what) => {
    throw new FormatError(`${path}: dataset.json: ${what}`, path)
  }
  if (typeof json !== 'object' || json === null || Array.isArray(json)) fail('expected an object with labels')
  const list = (json as { labels?: unknown }).labels
  if (list === null || list === undefined) return NONE
  if (!Array.isArray(list)) return fail('expected a list of [file name, label] for labels')
  const byName = new Map<string, number[]>()
  let width = -1
  await eachInTurns(list, turn, (pair) => {
    if (!Array.isArray(pair) || pair.length !== 2 || typeof pair[0] !== 'string')
      return fail(`expected [file name, label] in labels but found ${JSON.stringify(pair).slice(0, 80)}`)
    const [name, label] = pair as [string, unknown]
    const vector = Array.isArray(label) ? label : [label]
    if (
      vector.length === 0 ||
      vector.length > MAX_WIDTH ||
      !vector.every((v) => Number.isSafeInteger(v) && v >= 0 && v < MAX_CLASSES)
    )
      fail(`expected a class index or a list of attribute indices as label of '${name}'`)
    if (width >= 0 && vector.length !== width)
      fail(`the label of '${name}' has ${vector.length} attributes, others have ${width}`)
    width = vector.length
    const place = name.replaceAll('\\', '/')
    const other = byName.get(place)
    if (other?.some((v, a) => v !== vector[a])) fail(`'${name}' has two labels, [${other}] and [${vector}]`)
    byName.set(place, vector)
  })
  if (width < 0) return NONE
  const sizes = new Array<number>(width).fill(1)
  for (const vector of byName.values()) for (let a = 0; a < width; a++) sizes[a] = Math.max(sizes[a], vector[a] + 1)
  const classes = new Int32Array(names.length * width)
  await eachInTurns(names, turn, (name, i) => {
    classes.set(byName.get(name) ?? fail(`image '${name}' has no label`), i * width)
  })
  if (byName.size > names.length) {
    const there = new Set(names)
    const absent = [...byName.keys()].find((name) => !there.has(name))
    process.emitWarning(
      `${path}: dataset.json labels ${byName.size} pictures, of which ${byName.size - names.length} are not there, such as ${absent}`,
      'FeynkacWarning',
    )
  }
  return { labels: { attributes: describe(attributes, sizes, path) }, classes }
}

/** Names and sizes of the attributes: each entry is a number of values or the list of their names; an object names the attributes. */
function describe(json: unknown, sizes: readonly number[], path: string): Attribute[] {
  const fail: Fail = (what) => {
    throw new FormatError(`${path}: attributes.json: ${what}`, path)
  }
  if (json === undefined)
    return sizes.map((size, i) => ({ name: sizes.length === 1 ? 'class' : `attribute${i}`, size }))
  if (typeof json !== 'object' || json === null) return fail('expected an object or a list')
  const entries: [string, unknown][] = Array.isArray(json)
    ? json.map((value, i) => [`attribute${i}`, value])
    : Object.entries(json)
  const number = entries.find(([name]) => !Array.isArray(json) && /^\d+$/.test(name))
  if (number) fail(`the name '${number[0]}' is a number, which has no order in JSON: give another, or a list`)
  if (entries.length !== sizes.length)
    fail(`it describes ${entries.length} attributes but the labels have ${sizes.length}`)
  return entries.map(([name, value], i) => {
    const values = Array.isArray(value) && value.every((v) => typeof v === 'string') ? (value as string[]) : undefined
    const size = values ? values.length : (value as number)
    if (values && new Set(values).size < size) fail(`two values of '${name}' have one name`)
    if (!Number.isSafeInteger(size) || size < 1 || size > MAX_CLASSES)
      return fail(`expected a number of values, or the list of their names, for '${name}'`)
    if (sizes[i] > size) fail(`'${name}' has ${size} values but a label has index ${sizes[i] - 1}`)
    return values ? { name, size, values } : { name, size }
  })
}

/**
 * Labels by the top folder of each image, below the folders that all of them lie in; none unless every image lies in one of two folders or
 * more.
 */
export async function folderLabels(
  all: readonly string[],
  path: string,
  turn: () => Promise<void>,
): Promise<Labelling> {
  const common = await commonFolder(all, turn)
  const top = (name: string) => name.slice(common, Math.max(common, name.indexOf('/', common)))
  const tops = new Set<string>()
  await eachInTurns(all, turn, (name) => tops.add(top(name)))
  const values = await sortInTurns([...tops], turn)
  if (values.length > 2 && values.includes(''))
    process.emitWarning(
      `${path}: pictures lie in folders, ${values.slice(1, 4).join(', ')}, but others beside these: no classes are taken of them`,
      'FeynkacWarning',
    )
  if (values.length < 2 || values.includes('')) return NONE
  if (values.every((value) => HALF.test(value)))
    formatFailure(path)(
      `it holds parts of a data set in folders of their own, ${values.join(', ')}, which are no classes: give one of them`,
    )
  const index = new Map(values.map((value, i) => [value, i]))
  const classes = new Int32Array(all.length)
  await eachInTurns(all, turn, (name, i) => {
    classes[i] = index.get(top(name))!
  })
  return { labels: { attributes: [{ name: 'class', size: values.length, values }] }, classes }
}

/** Length of the path, with its last '/', that all names begin with. */
async function commonFolder(names: readonly string[], turn: () => Promise<void>): Promise<number> {
  const [first] = names
  let length = first.lastIndexOf('/') + 1
  await eachInTurns(names, turn, (name) => {
    while (length > 0 && !name.startsWith(first.slice(0, length))) length = first.lastIndexOf('/', length - 2) + 1
  })
  return length
}
