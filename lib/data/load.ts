import type { Dirent } from 'node:fs'
import { stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { knownOptions } from '../base/args.js'
import { ArgumentError, FormatError, invalid } from '../base/errors.js'
import { fileError, found, openFile, readFully, release } from '../base/files.js'
import { givenOptions } from '../base/option-table.js'
import { sizeOf } from '../base/shape.js'
import { standIn } from '../base/stand-ins.js'
import { looksLikeZip, withZip } from '../base/zip.js'
import { BATCH_NAME, looksLikeCifar, readCifar, TRAIN_NAME } from './cifar.js'
import { looksLikePickle, pythonBatches, readPythonCifar } from './cifar-python.js'
import { readContent } from './content.js'
import { type Dataset, type DatasetParts, MemoryDataset } from './dataset.js'
import { idxFile, idxLength, labelsBeside, looksLikeIdx, parseIdx, readIdxLabels } from './idx.js'
import { entriesOf, folderSource } from './image-folder.js'
import { loadSource } from './image-source.js'
import { zipSource } from './image-zip.js'
import { convertImages, type ImageOptions, isImageName } from './images.js'
import { looksLikeNpy, npyLength, parseNpy } from './npy.js'
import { looksLikeNpz, npzParts, splitNpz } from './npz.js'
import { type LoadDatasetOptions, readingRows } from './options.js'
import { syntheticDataset } from './synthetic.js'

const SYNTHETIC = 'synthetic:'

/** A kind of file that is read whole, unfolded where it is gzip. */
interface FileFormat {
  /** As messages name it. */
  name: string
  is(bytes: Uint8Array): boolean
  /** The bytes of the whole file, by its first ones; undefined where they are not of this kind, or do not say. */
  length?(head: Uint8Array, path: string): number | undefined
  read(bytes: Uint8Array, path: string, signal?: AbortSignal): Promise<DatasetParts>
  /** Where its labels are: in it, or, if there are any, in the file that is found beside it, or that the options name. */
  labels: 'own' | ((path: string) => Promise<string | null>)
}

/** The first whose `is` holds is taken. A zip is told apart before, as it is never read whole. */
const formats: readonly FileFormat[] = [
  { name: '.npy', is: looksLikeNpy, length: npyLength, read: parseNpy, labels: async () => null },
  {
    name: 'a batch of CIFAR-10 or CIFAR-100 (.bin, .bin.gz)',
    // it may begin like IDX (label 0, a dark pixel, ...) and IDX have a batch's length, but an IDX header that says the length is one
    is: (bytes) => idxLength(bytes) !== bytes.length && looksLikeCifar(bytes),
    read: (_, path, signal) => readCifar([path], signal),
    labels: 'own',
  },
  {
    name: 'such a batch for Python',
    is: looksLikePickle,
    read: (_, path, signal) => readPythonCifar(dirname(path), [basename(path)], signal),
    labels: 'own',
  },
  { name: 'IDX (also .gz)', is: looksLikeIdx, length: idxLength, read: readIdx, labels: labelsBeside },
]

const EXPECTED = `expected ${formats.map(({ name }) => name).join(', ')}, a zip of images, .npz, a folder of images, or synthetic:NAME`

/** Documented in late.ts. */
export async function loadDataset(spec: string, given: LoadDatasetOptions = {}): Promise<Dataset> {
  const options = checkedOptions(spec, given)
  const { limit, signal } = options
  signal?.throwIfAborted()
  const parts = spec.startsWith(SYNTHETIC)
    ? await syntheticDataset(spec.slice(SYNTHETIC.length), signal)
    : await readParts(spec, options)
  const kept = limit === undefined ? parts : firstSamples(parts, limit)
  return new MemoryDataset(await converted(kept, options))
}

/** The options, read once: what they inherit is among them. */
function checkedOptions(spec: unknown, options: LoadDatasetOptions): LoadDatasetOptions {
  if (typeof spec !== 'string' || spec === '') throw invalid('data', 'a file, a folder or synthetic:NAME', spec)
  knownOptions('loadDataset', options, [...Object.keys(readingRows), 'signal', 'onProgress'])
  const { signal, onProgress } = options
  return { ...givenOptions(readingRows, options), ...(signal && { signal }), ...(onProgress && { onProgress }) }
}

async function readParts(path: string, options: LoadDatasetOptions): Promise<DatasetParts> {
  const { path: file, array } = splitNpz(path)
  if (array !== undefined && !(await found(path))) return readFile(file, options, array)
  const there = await stat(path).catch((error) => {
    throw fileError(error, path, 'read')
  })
  return there.isDirectory() ? readFolder(path, options) : readFile(path, options)
}

/** Data that bring their own labels. */
function labelled(parts: DatasetParts, path: string, { labels }: LoadDatasetOptions): DatasetParts {
  if (labels !== undefined) throw new ArgumentError(`labels are not needed for ${path}: it brings its own`)
  return parts
}

async function readFolder(path: string, options: LoadDatasetOptions): Promise<DatasetParts> {
  const { signal } = options
  let images = false
  const entries: Dirent[] = [] // of what may be more than one picture
  try {
    for await (const entry of entriesOf(path)) {
      if (isImageName(entry.name)) images = true
      else entries.push(entry)
    }
  } catch (error) {
    throw fileError(error, path, 'read the folder')
  }
  const names = entries.map(({ name }) => name)
  if (names.includes('samples.npy') && names.includes('samples.json'))
    // the pictures beside them show many at once
    return readFile(join(path, 'samples.npy'), options)
  const batches = names.filter((name) => BATCH_NAME.test(name)).sort()
  const binary = batches.length > 0 ? batches : names.filter((name) => TRAIN_NAME.test(name)).slice(0, 1)
  if (binary.length > 0) {
    const files = binary.map((name) => join(path, name))
    return labelled(await readCifar(files, signal), path, options)
  }
  const python = pythonBatches(entries.filter((entry) => entry.isFile()).map(({ name }) => name))
  if (python) return labelled(await readPythonCifar(path, python, signal), path, options)
  const idxNames = names.filter((name) => /(^|[-_])train-images.idx3-ubyte(\.gz)?$/.test(name)).sort()
  const sets = new Set(idxNames.map((name) => name.replace(/train-images.*$/, '')))
  if (sets.size > 1)
    throw new FormatError(
      `${path}: it holds several data sets, ${idxNames.slice(0, 5).join(', ')}: give one of them`,
      path,
    )
  for (const name of idxNames) {
    const idx = await idxFile(path, name)
    if (idx !== null) return readFile(idx, options)
  }
  const test = entries.find((entry) => isTestHalf(entry))?.name
  if (test !== undefined && !images)
    throw new FormatError(
      `${path}: it holds the test half of a data set alone: give ${join(path, test)} to take that`,
      path,
    )
  return labelled(await loadSource(await folderSource(path, signal), options), path, options)
}

/** Whether a file is the test half of MNIST, of data laid out like it, or of CIFAR; a folder named `test` may be one of pictures. */
function isTestHalf(entry: Dirent): boolean {
  if (/^(t10k-images.idx3-ubyte(\.gz)?|test_batch(\.bin)?|test\.bin)$/.test(entry.name)) return true
  return entry.name === 'test' && entry.isFile()
}

async function readFile(path: string, options: LoadDatasetOptions, array?: string): Promise<DatasetParts> {
  const { signal, labels } = options
  if (looksLikeZip(await firstBytes(path)))
    return withZip(
      path,
      async (zip) => {
        if (!looksLikeNpz(zip)) return labelled(await loadSource(zipSource(path, zip), options), path, options)
        const parts = await npzParts(zip, path, array, signal)
        return parts.labels ? labelled(parts, path, options) : withLabels(parts, labels ?? null, signal)
      },
      { signal },
    )
  const bytes = await readContent(path, signal, (head) => lengthOf(head, path))
  const format = formats.find(({ is }) => is(bytes))
  if (!format) return unknown(path, bytes)
  const parts = await format.read(bytes, path, signal)
  if (format.labels === 'own') return labelled(parts, path, options)
  return withLabels(parts, labels ?? (await format.labels(path)), signal)
}

async function readIdx(bytes: Uint8Array, path: string): Promise<DatasetParts> {
  const { shape, data } = parseIdx(bytes, path)
  if (shape.length !== 3 || data.length === 0)
    throw new FormatError(`${path}: IDX of shape [${shape}]: expected images [N, height, width]`, path)
  return { name: path, shape: [1, shape[1], shape[2]], data, labels: null }
}

/** What a compressed file unfolds to, by its first bytes. */
function lengthOf(head: Uint8Array, path: string): number | undefined {
  for (const { length } of formats) {
    const found = length?.(head, path)
    if (found !== undefined) return found
  }
  // label bytes of CIFAR's records come first; anything else is refused before all of it is unfolded
  return head[0] < 20 ? undefined : unknown(path, head)
}

function unknown(path: string, bytes: Uint8Array): never {
  const image = isImageName(path) ? ' (one image is no data set: give its folder)' : ''
  throw new FormatError(`${path}: ${standIn(bytes) ?? `the format is not known: ${EXPECTED}${image}`}`, path)
}

async function firstBytes(path: string): Promise<Uint8Array> {
  const { handle, size } = await openFile(path)
  try {
    if (size === 0) throw new FormatError(`${path}: the file is empty: ${EXPECTED}`, path)
    const bytes = new Uint8Array(Math.min(4, size))
    await readFully(handle, bytes, 0, path)
    return bytes
  } finally {
    await release(handle)
  }
}

async function withLabels(parts: DatasetParts, path: string | null, signal?: AbortSignal): Promise<DatasetParts> {
  return path === null ? parts : { ...parts, ...(await readIdxLabels(path, sampleCount(parts), signal)) }
}

function sampleCount({ data, shape }: DatasetParts): number {
  return data.length / sizeOf(shape)
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
  const { name, shape, data } = parts
  const { resize = shape.slice(1), channels = shape[0] } = options
  const [height, width] = typeof resize === 'number' ? [resize, resize] : resize
  if (shape.length === 3 && `${[channels, height, width]}` === `${shape}`) return parts
  if (options.resize === undefined && options.channels === undefined) return parts
  if (shape.length !== 3 || data instanceof Float32Array)
    throw new ArgumentError(
      `${name}: resize and channels are for images of bytes, not for ${shape.length === 3 ? 'floats' : 'vectors'}`,
    )
  const images = { shape: shape as [number, number, number], data: data as Uint8Array<ArrayBuffer> }
  return { ...parts, ...(await convertImages(images, name, options)) }
}
