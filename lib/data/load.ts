import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { integer, knownOptions } from '../args.js'
import { ArgumentError, FormatError, invalid } from '../errors.js'
import { fileError, openFile, readFully } from '../files.js'
import { looksLikeZip } from '../zip.js'
import { BATCH_NAME, looksLikeCifar, readCifar } from './cifar.js'
import { readContent } from './content.js'
import { type Dataset, type DatasetParts, MemoryDataset } from './dataset.js'
import { labelsBeside, looksLikeIdx, parseIdx, readIdxLabels } from './idx.js'
import { folderSource } from './image-folder.js'
import { loadSource } from './image-source.js'
import { withImageZip } from './image-zip.js'
import { convertImages, type ImageOptions, isImageName } from './images.js'
import { looksLikeNpy, parseNpy } from './npy.js'
import { syntheticDataset } from './synthetic.js'

export interface LoadDatasetOptions extends ImageOptions {
  /** IDX file of class indices, where the data set does not bring its own labels. */
  labels?: string
  /** Only the first so many samples. */
  limit?: number
}

const SYNTHETIC = 'synthetic:'
const EXPECTED =
  'expected IDX (also .gz), a CIFAR-10 batch (.bin, .bin.gz), a zip of images, .npy, a folder of images, or synthetic:NAME'

/**
 * Loads a data set into memory; its kind is told from its content. spec: a file (IDX or CIFAR-10 binary, both also gzipped; a
 * zip of images, with dataset.json as NVlabs/edm writes it or without; .npy), a folder (images, CIFAR-10 batches, or the
 * training half of IDX), or `synthetic:NAME[:key=value,...]`. Bytes are kept as bytes.
 *
 * Throws FileError or FormatError naming the file and what is wrong; ArgumentError for wrong options; OutOfMemoryError; the
 * signal's reason when aborted.
 */
export async function loadDataset(spec: string, options: LoadDatasetOptions = {}): Promise<Dataset> {
  checkOptions(spec, options)
  const { limit, signal } = options
  signal?.throwIfAborted()
  const parts = spec.startsWith(SYNTHETIC)
    ? await syntheticDataset(spec.slice(SYNTHETIC.length), signal)
    : await readParts(spec, options)
  const kept = limit === undefined ? parts : firstSamples(parts, limit)
  return new MemoryDataset(await converted(kept, options))
}

function checkOptions(spec: unknown, options: LoadDatasetOptions): void {
  if (typeof spec !== 'string' || spec === '') throw invalid('data', 'a file, a folder or synthetic:NAME', spec)
  knownOptions('loadDataset', options, ['labels', 'resize', 'channels', 'limit', 'signal', 'onProgress'])
  const { labels, resize, channels, limit } = options
  if (labels !== undefined && (typeof labels !== 'string' || labels === '')) throw invalid('labels', 'a file', labels)
  if (limit !== undefined) integer('limit', limit, 1)
  if (channels !== undefined && channels !== 1 && channels !== 3) throw invalid('channels', '1 or 3', channels)
  if (resize === undefined) return
  const sides = Array.isArray(resize) ? resize : [resize, resize]
  if (sides.length !== 2) throw invalid('resize', 'a side or [height, width]', resize)
  for (const side of sides) integer('resize', side, 1, 4096)
}

async function readParts(path: string, options: LoadDatasetOptions): Promise<DatasetParts> {
  const { signal, labels } = options
  const ownLabels = (parts: DatasetParts): DatasetParts => {
    if (labels !== undefined) throw new ArgumentError(`labels are not needed for ${path}: it brings its own`)
    return parts
  }
  const found = await stat(path).catch((error) => {
    throw fileError(error, path, 'read')
  })
  if (found.isDirectory()) {
    const names = await readdir(path).catch((error) => {
      throw fileError(error, path, 'read the folder')
    })
    const batches = names.filter((name) => BATCH_NAME.test(name)).sort()
    if (batches.length > 0)
      return ownLabels(
        await readCifar(
          batches.map((name) => join(path, name)),
          signal,
        ),
      )
    const idx = names.find((name) => /^train-images.idx3-ubyte(\.gz)?$/.test(name))
    if (idx !== undefined) return readParts(join(path, idx), options)
    return ownLabels(await loadSource(await folderSource(path, signal), options))
  }
  if (looksLikeZip(await firstBytes(path)))
    return ownLabels(await withImageZip(path, (source) => loadSource(source, options), signal))
  const bytes = await readContent(path, signal)
  if (looksLikeNpy(bytes)) return withLabels(await parseNpy(bytes, path, signal), labels ?? null, signal)
  // a CIFAR-10 batch may begin like IDX (label 0, a dark pixel, ...), but not with all its records right
  if (looksLikeCifar(bytes)) return ownLabels(await readCifar([path], signal))
  if (!looksLikeIdx(bytes)) {
    const image = isImageName(path) ? ' (one image is no data set: give its folder)' : ''
    throw new FormatError(`${path}: the format is not known: ${EXPECTED}${image}`, path)
  }
  const { shape, data } = parseIdx(bytes, path)
  if (shape.length !== 3 || data.length === 0)
    throw new FormatError(`${path}: IDX of shape [${shape}]: expected images [N, height, width]`, path)
  const parts: DatasetParts = { name: path, shape: [1, shape[1], shape[2]], data, labels: null }
  return withLabels(parts, labels ?? (await labelsBeside(path)), signal)
}

async function firstBytes(path: string): Promise<Uint8Array> {
  const { handle, size } = await openFile(path)
  try {
    if (size === 0) throw new FormatError(`${path}: the file is empty: ${EXPECTED}`, path)
    const bytes = new Uint8Array(Math.min(4, size))
    await readFully(handle, bytes, 0, path)
    return bytes
  } finally {
    await handle.close()
  }
}

async function withLabels(parts: DatasetParts, path: string | null, signal?: AbortSignal): Promise<DatasetParts> {
  return path === null ? parts : { ...parts, ...(await readIdxLabels(path, sampleCount(parts), signal)) }
}

function sampleCount({ data, shape }: DatasetParts): number {
  return data.length / shape.reduce((a, b) => a * b, 1)
}

/** The first samples in arrays of their own, so that the memory of the rest is given back. */
function firstSamples(parts: DatasetParts, limit: number): DatasetParts {
  const size = sampleCount(parts)
  if (limit >= size) return parts
  const attributes = parts.labels?.attributes.length ?? 0
  return {
    ...parts,
    data: parts.data.slice(0, (parts.data.length / size) * limit),
    classes: parts.classes?.slice(0, attributes * limit),
  }
}

async function converted(parts: DatasetParts, options: ImageOptions): Promise<DatasetParts> {
  if (options.resize === undefined && options.channels === undefined) return parts
  const { name, shape, data } = parts
  if (shape.length !== 3 || data instanceof Float32Array)
    throw new ArgumentError(
      `${name}: resize and channels are for images of bytes, not for ${shape.length === 3 ? 'floats' : 'vectors'}`,
    )
  const images = { shape: shape as [number, number, number], data: data as Uint8Array<ArrayBuffer> }
  return { ...parts, ...(await convertImages(images, name, options)) }
}
