import { finiteNumber, float32Array, integer, isShape, knownOptions } from '../base/args.js'
import { ArgumentError, FeynkacError, FormatError, invalid } from '../base/errors.js'
import { openFile, release } from '../base/files.js'
import { optional, outside } from '../base/optional.js'
import { sizeOf } from '../base/shape.js'
import { resampler } from '../data/resize.js'
import type { FeatureExtractor } from './extractor.js'

/** Feature extractors in ONNX files, run by onnxruntime-node, which whoever uses them installs. */

export interface OnnxFeatureOptions {
  /** Shape of one image, [channels, height, width]. */
  shape: readonly number[]
  /** Side of the images that the network takes; default what the file says, or as they are. Larger and smaller ones are resized (Lanczos). */
  size?: number
  /** What black and white are for the network; default [0, 1]. */
  range?: readonly [number, number]
  /** One number for each channel, in the units of `range`: the network gets (value - mean) / std. Default 0 and 1. */
  mean?: readonly number[]
  std?: readonly number[]
  /** Names of the network's input and output; default the first of each. */
  input?: string
  output?: string
  /** Default the package onnxruntime-node; any with its InferenceSession and Tensor will do. */
  runtime?: OnnxRuntime
}

/** What is used of onnxruntime-node. */
export interface OnnxRuntime {
  InferenceSession: { create(path: string): Promise<OnnxSession> }
  Tensor: new (type: 'float32', data: Float32Array, dims: readonly number[]) => OnnxTensor
}

/** A tensor of onnxruntime. */
export interface OnnxTensor {
  readonly data: unknown
  readonly dims: readonly number[]
}

/** A session of onnxruntime: as much of it as is used. */
export interface OnnxSession {
  readonly inputNames: readonly string[]
  readonly outputNames: readonly string[]
  /** Names stand for extents that are free. */
  readonly inputMetadata?: readonly { name: string; shape?: readonly (number | string)[] }[]
  run(feeds: Record<string, OnnxTensor>, fetches: readonly string[]): Promise<Record<string, OnnxTensor>>
  release?(): Promise<void>
}

const PACKAGE = 'onnxruntime-node'

/**
 * Features by any network [n, channels, height, width] -> [n, ...] of an ONNX file, such as Inception's for FID. Images are rounded to
 * bytes, as they are in the picture files that published values are of; grey ones are repeated where the network takes three channels.
 *
 * Throws ArgumentError, FileError, FormatError where the file is no such network, MissingPackageError without onnxruntime-node.
 * @example
 * ```js
 * import { evaluate, onnxFeatures } from 'feynkac'
 *
 * const features = await onnxFeatures('inception.onnx', { shape: [3, 64, 64], range: [0, 255] })
 * const { values } = await evaluate({ samples: 'out', data: 'images.zip', features, metrics: ['frechet'] })
 * ```
 */
export async function onnxFeatures(path: string, options: OnnxFeatureOptions): Promise<FeatureExtractor> {
  knownOptions('onnxFeatures', options, [...['shape', 'size', 'range', 'mean', 'std', 'input', 'output', 'runtime']])
  const { shape } = options
  if (!isShape(shape) || shape.length !== 3) throw invalid('shape', '[channels, height, width]', shape)
  await release((await openFile(path)).handle)
  const runtime = options.runtime ?? (await loadRuntime())
  const session = await runtime.InferenceSession.create(path).catch((cause) => {
    throw new FormatError(`${path}: no ONNX network that can be read: ${cause.message}`, path, { cause })
  })
  const input = nameAmong('input', options.input, session.inputNames)
  const output = nameAmong('output', options.output, session.outputNames)
  const [channels, height, width] = inputShape(session, input, options)
  const prepare = preparation(shape, [channels, height, width], options)
  const features = async (images: Float32Array, { signal }: { signal?: AbortSignal } = {}): Promise<Float32Array> => {
    signal?.throwIfAborted()
    const n = float32Array('images', images).length / sizeOf(shape)
    integer('the number of images', n, 1)
    const tensor = new runtime.Tensor('float32', prepare(images), [n, channels, height, width])
    const results = await session.run({ [input]: tensor }, [output]).catch((cause) => {
      throw new FeynkacError(`${path} failed on images of [${channels},${height},${width}]: ${cause.message}`, {
        cause,
      })
    })
    signal?.throwIfAborted()
    const { data, dims } = results[output]
    if (!(data instanceof Float32Array) || dims[0] !== n)
      throw new FormatError(`${path}: output ${output} of shape [${dims}] is not float32 for each of ${n} images`, path)
    return data
  }
  const dim = (await features(new Float32Array(sizeOf(shape)))).length
  return { name: path, shape, dim, features, dispose: async () => session.release?.() }
}

async function loadRuntime(): Promise<OnnxRuntime> {
  const hint = ` (where only the npm registry can be reached: ONNXRUNTIME_NODE_INSTALL=skip npm install ${PACKAGE})`
  const loaded = await optional('running the network of an ONNX file', [PACKAGE], () => outside(PACKAGE), hint)
  return loaded.default ?? loaded
}

function nameAmong(what: 'input' | 'output', name: string | undefined, names: readonly string[]): string {
  if (name === undefined) return names[0]
  if (names.includes(name)) return name
  throw invalid(what, `one of ${names.join(', ')}`, name)
}

/** What the network takes of one image: as its file says, else as `size` and the images do. */
function inputShape(session: OnnxSession, input: string, { shape, size }: OnnxFeatureOptions): number[] {
  const declared = session.inputMetadata?.find(({ name }) => name === input)?.shape ?? []
  if (declared.length !== 0 && declared.length !== 4)
    throw new ArgumentError(
      `the network's input ${input} has shape [${declared}]: expected [n, channels, height, width]`,
    )
  const [, channels, ...sides] = declared
  const given = size === undefined ? undefined : integer('size', size, 1, 4096)
  const extents = [0, 1].map((axis) => {
    const side = sides[axis]
    if (typeof side !== 'number' || side < 1) return given ?? shape[axis + 1]
    if (given !== undefined && given !== side)
      throw new ArgumentError(`the network takes images of ${side}, not ${size}`)
    return side
  })
  return [typeof channels === 'number' && channels > 0 ? channels : shape[0], ...extents]
}

/** A function from images in [-1, 1] to what the network takes. */
function preparation(
  from: readonly number[],
  to: readonly number[],
  { range = [0, 1], mean, std }: OnnxFeatureOptions,
): (images: Float32Array) => Float32Array {
  const [given, height, width] = from
  const [channels, h, w] = to
  if (given !== channels && given !== 1)
    throw new ArgumentError(`the network takes images of ${channels} channels but these have ${given}`)
  const [low, high] = range.map((value) => finiteNumber('range', value))
  const means = perChannel('mean', mean ?? [0], channels)
  const stds = perChannel('std', std ?? [1], channels)
  if (range.length !== 2 || low === high) throw invalid('range', 'two different numbers', range)
  if (stds.includes(0)) throw invalid('std', 'numbers other than 0', std)
  const [source, target] = [new Uint8Array(height * width), new Uint8Array(h * w)]
  const resample = h === height && w === width ? null : resampler([height, width], [h, w])
  return (images) => {
    const n = images.length / sizeOf(from)
    const out = new Float32Array(n * channels * h * w)
    for (let i = 0; i < n; i++)
      for (let c = 0; c < channels; c++) {
        const at = (i * given + (given === 1 ? 0 : c)) * source.length
        for (let p = 0; p < source.length; p++)
          source[p] = Math.round(Math.min(1, Math.max(-1, images[at + p])) * 127.5 + 127.5)
        resample?.(source, target)
        const plane = resample ? target : source
        const start = (i * channels + c) * plane.length
        for (let p = 0; p < plane.length; p++)
          out[start + p] = (low + (plane[p] / 255) * (high - low) - means[c]) / stds[c]
      }
    return out
  }
}

function perChannel(name: string, values: readonly number[], channels: number): number[] {
  if (!Array.isArray(values) || (values.length !== 1 && values.length !== channels))
    throw invalid(name, `one number or ${channels}`, values)
  return Array.from({ length: channels }, (_, c) => finiteNumber(name, values[values.length === 1 ? 0 : c]))
}
