import { FormatError } from '../errors.js'
import { parseJson } from '../json.js'
import type { DatasetParts } from './dataset.js'
import { datasetLabels, folderLabels } from './dataset-json.js'
import { type ImageOptions, isImageName, loadImages } from './images.js'

/** Named files in a folder or an archive. */
export interface ImageSource {
  path: string
  /** Relative names with '/' between folders. */
  names: readonly string[]
  read(name: string): Promise<Uint8Array>
}

/** No single file of a collection may be larger. */
export const MAX_FILE = 2 ** 28

/**
 * Loads the images of a collection in the order of their names, with the labels of `dataset.json`, else of the folders they
 * lie in. limit: only the first so many. Throws FileError, FormatError.
 */
export async function loadSource(
  source: ImageSource,
  options: ImageOptions & { limit?: number },
): Promise<DatasetParts> {
  const { path } = source
  const all = source.names.filter(isImageName).sort()
  if (all.length === 0) throw new FormatError(`${path}: it holds no images (png, jpg, webp, gif, tiff or avif)`, path)
  const json = async (name: string) =>
    source.names.includes(name) ? parseJson(await source.read(name), `${path}: ${name}`) : undefined
  const dataset = await json('dataset.json')
  const { labels, classes } =
    dataset === undefined ? folderLabels(all) : datasetLabels(dataset, await json('attributes.json'), all, path)
  const names = all.slice(0, options.limit)
  const picture = async (index: number) => ({
    bytes: await source.read(names[index]),
    name: `${path}: ${names[index]}`,
  })
  const { shape, data } = await loadImages(names.length, picture, options)
  const width = labels?.attributes.length ?? 0
  return { name: path, shape, data, labels, classes: classes.slice(0, names.length * width) }
}
