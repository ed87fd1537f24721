import { FormatError, formatFailure } from '../base/errors.js'
import { parseJson } from '../base/json.js'
import { eachInTurns, sortInTurns, turns } from '../base/turns.js'
import type { DatasetParts } from './dataset.js'
import { datasetLabels, folderLabels, type Labelling } from './dataset-json.js'
import { type ImageOptions, isImageName, loadImages } from './images.js'

/** Named files in a folder or an archive. */
export interface ImageSource {
  path: string
  /** Relative names with '/' between folders. */
  names: readonly string[]
  /** maxBytes: refuse larger files. */
  read(name: string, maxBytes?: number): Promise<Uint8Array>
}

/** No single file of a collection may be larger. */
export const MAX_FILE = 2 ** 28

/** What dataset.json takes for each image, and without any: far more than names and attributes need; likewise its values. */
const JSON_BYTES = { each: 2 ** 12, least: 2 ** 20 }
const JSON_VALUES = { each: 2 ** 8, least: 2 ** 16 }
const MAX_ATTRIBUTES = { bytes: 2 ** 22, values: 2 ** 18 }

/**
 * Loads the images of a collection in the order of their names, with the labels of `dataset.json`, else of the folders they
 * lie in. limit: how many of the first are taken. Throws FileError, FormatError.
 */
export async function loadSource(
  source: ImageSource,
  options: ImageOptions & { limit?: number },
): Promise<DatasetParts> {
  const { path } = source
  const turn = turns(options.signal)
  const images: string[] = []
  const left: string[] = []
  await eachInTurns(source.names, turn, (name) => {
    if (isHidden(name)) return
    if (isImageName(name)) images.push(name)
    else if (OTHER_PICTURE.test(name)) left.push(name)
  })
  const all = await sortInTurns(images, turn)
  if (all.length === 0)
    throw new FormatError(`${path}: it holds no images (png, jpg, webp, gif, tiff or avif)${others(source)}`, path)
  if (left.length > 0)
    process.emitWarning(
      `${path}: pictures left out as their format is not read: ${left.length}, such as ${left[0]}; save them as PNG`,
      'FeynkacWarning',
    )
  const { labels, classes } = await labelsOf(source, all, turn)
  const names = all.slice(0, options.limit)
  const picture = async (index: number) => ({
    bytes: await source.read(names[index]),
    name: `${path}: ${names[index]}`,
  })
  const { shape, data } = await loadImages(names.length, picture, options)
  const width = labels?.attributes.length ?? 0
  return { name: path, shape, data, labels, classes: classes.slice(0, names.length * width) }
}

/** What stands where images are expected, by the endings or names of the first few files, and what to do about it. */
function others({ path, names }: ImageSource): string {
  const shown = names.filter((name) => !isHidden(name)).slice(0, 100)
  if (shown.length === 0) return ''
  const known = new Set(shown.map((name) => /\.\w{1,8}$/.exec(name)?.[0] ?? name.split('/').at(-1)!.slice(0, 80)))
  const home = shown.find((name) => name.includes('/') && OTHER_DATA.test(name))?.replace(/\/[^/]*$/, '')
  const remedy = /\.zip$/i.test(path) ? ': unpack it first' : home === undefined ? '' : `: give ${path}/${home}`
  return ` but files ${[...known].sort().slice(0, 3).join(', ')}${remedy}`
}

/** Files that are data sets, or halves of some, and no pictures. */
const OTHER_DATA = /(^|\/)([^/]*-images.idx3-ubyte(\.gz)?|(data|test)_batch[^/]*|(train|test)(\.bin)?|[^/]*\.np[yz])$/

/** Files of labels as others write them: tables, and the metadata of Hugging Face's imagefolder. */
const OTHER_LABELS =
  /(^|\/)(metadata\.(jsonl|csv|parquet)|[^/]*(label|attr|annotation|class)[^/]*\.(csv|tsv|txt|jsonl|xml|mat|npy)|(train|labels)\.(csv|json))$/i

/** Pictures in formats that are not read here. */
const OTHER_PICTURE = /\.(bmp|p[gbnp]m|jp2|jxl|heic|heif|tga|ico|psd|svg|exr|hdr)$/i

/** Hidden files, and what macOS puts beside the files of an archive. */
function isHidden(name: string): boolean {
  return name.split('/').some((part) => part.startsWith('.') || part === '__MACOSX')
}

async function labelsOf(source: ImageSource, images: readonly string[], turn: () => Promise<void>): Promise<Labelling> {
  const { path } = source
  const file = labelFile(source)
  if (file === null) {
    const found = await folderLabels(images, path, turn)
    const other = found.labels === null && source.names.find((name) => OTHER_LABELS.test(name) && !isHidden(name))
    if (other)
      process.emitWarning(
        `${path}: ${other} may hold labels, but is not read: give them in a dataset.json, or by a folder for each class`,
        'FeynkacWarning',
      )
    return found
  }
  const folder = file.slice(0, -'dataset.json'.length)
  const json = async (name: string, bytes: number, values: number) =>
    source.names.includes(name) ? parseJson(await source.read(name, bytes), `${path}: ${name}`, values) : undefined
  const bound = ({ each, least }: { each: number; least: number }) => least + each * images.length
  const dataset = await json(file, Math.min(MAX_FILE, bound(JSON_BYTES)), bound(JSON_VALUES))
  const attributes = await json(`${folder}attributes.json`, MAX_ATTRIBUTES.bytes, MAX_ATTRIBUTES.values)
  // the names in it are relative to where it lies
  const names = images.map((name) => (name.startsWith(folder) ? name.slice(folder.length) : `../${name}`))
  return datasetLabels(dataset, attributes, names, path, turn)
}

/** The dataset.json of a collection, at the top or in a folder that an archive was made of; null: none. */
function labelFile({ names, path }: ImageSource): string | null {
  const found = names.filter(
    (name) => name.endsWith('dataset.json') && /(^|\/)dataset\.json$/.test(name) && !isHidden(name),
  )
  if (found.includes('dataset.json')) return 'dataset.json'
  if (found.length > 1) formatFailure(path)(`it holds several dataset.json: ${found.slice(0, 3).join(', ')}`)
  return found[0] ?? null
}
