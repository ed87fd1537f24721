import { float32Array, integer, isList, isShape } from '../base/args.js'
import { invalid } from '../base/errors.js'
import { sizeOf } from '../base/shape.js'

/** One categorical attribute; a class label is one attribute. */
export interface Attribute {
  name: string
  /** Number of values. */
  size: number
  /** Names of the values, where the data has them. */
  values?: string[]
}

/** The label vector of a sample: the one-hot vectors of its attributes, one after the other. */
export interface LabelSpec {
  attributes: Attribute[]
}

/** From latents [n, ...latentShape] to images [n, ...shape]. */
export interface Decoder {
  readonly shape: readonly number[]
  decode(latents: Float32Array, options?: { signal?: AbortSignal }): Promise<Float32Array>
}

/** Samples in memory. */
export interface Dataset {
  readonly name: string
  /** Number of samples. */
  readonly size: number
  /** Shape of one sample: [channels, height, width] for images, [dimensions] for vectors. */
  readonly shape: number[]
  readonly labels: LabelSpec | null
  /** The samples are latents of images: not of pixels in [-1, 1], and not to be mirrored. */
  readonly latent?: boolean
  /** Of latents: what makes the images that they stand for of them, to look at. */
  readonly decoder?: Decoder | undefined
  /** What tells the samples from others, where their bits differ between machines. */
  readonly origin?: string | undefined
  /** Writes sample `index` to out[offset ...]: images row-major in [-1, 1], channel by channel. Throws ArgumentError. */
  read(index: number, out: Float32Array, offset: number): void
  /** One class index per attribute, null where it is unknown; empty without labels. Throws ArgumentError. */
  label(index: number): readonly (number | null)[]
}

/** Whether a value says an attribute: with names of its values, if any, that are texts. */
export function isAttribute(value: unknown): value is Attribute {
  const { name, size, values } = (value ?? {}) as Partial<Attribute>
  const named = values === undefined || (isList(values) && values.every((v) => typeof v === 'string'))
  return typeof name === 'string' && Number.isSafeInteger(size) && size! >= 1 && named
}

/** Throws ArgumentError. */
export function checkLabelSpec(spec: unknown): asserts spec is LabelSpec {
  const attributes: unknown = (spec as LabelSpec | null | undefined)?.attributes
  if (!isList(attributes) || !attributes.every(isAttribute))
    throw invalid('labels', 'attributes, each with a name and a size', spec)
}

/** A data set of a caller's own. Throws ArgumentError. */
export function checkDataset(data: unknown): Dataset {
  const { size, shape, labels, read, label } = (data ?? {}) as Partial<Dataset>
  const methods = typeof read === 'function' && typeof label === 'function'
  if (!methods || !Number.isSafeInteger(size) || size! < 1 || !isShape(shape))
    throw invalid('data', 'a data set { size, shape, labels, read, label } or its specification', data)
  labelDim(labels ?? null)
  return data as Dataset
}

/**
 * Length of the label vector: the sum of the attributes' sizes, 0 for null, which is no labels. Throws ArgumentError.
 * @example
 * ```js
 * import { labelDim } from 'feynkac'
 *
 * console.log(labelDim({ attributes: [{ name: 'hair', size: 6 }, { name: 'pose', size: 4 }] })) // 10
 * ```
 */
export function labelDim(spec: LabelSpec | null): number {
  if (spec !== null) checkLabelSpec(spec)
  return spec === null ? 0 : spec.attributes.reduce((sum, { size }) => sum + size, 0)
}

/**
 * Writes a label vector to out[offset ...]: a one in each attribute's block; null leaves a block zero (unknown).
 * classes: one class index, or null, per attribute. Throws ArgumentError.
 * @example
 * ```js
 * import { encodeLabel } from 'feynkac'
 *
 * const out = new Float32Array(10)
 * encodeLabel({ attributes: [{ name: 'hair', size: 6 }, { name: 'pose', size: 4 }] }, [3, null], out, 0)
 * console.log(out) // 1 at index 3, the pose unknown
 * ```
 */
export function encodeLabel(
  spec: LabelSpec,
  classes: readonly (number | null)[],
  out: Float32Array,
  offset: number,
): void {
  checkLabelSpec(spec)
  const { attributes } = spec
  float32Array('out', out)
  if (!Array.isArray(classes) || classes.length !== attributes.length)
    throw invalid('classes', `one class index or null for each of ${attributes.map((a) => a.name).join(', ')}`, classes)
  checkPlace(out, offset, labelDim(spec))
  let at = offset
  attributes.forEach(({ name, size }, i) => {
    const value = classes[i]
    out.fill(0, at, at + size)
    if (value !== null) out[at + integer(`attribute '${name}'`, value, 0, size - 1)] = 1
    at += size
  })
}

/** Throws ArgumentError where `width` numbers from the offset on have no place. */
function checkPlace(out: Float32Array, offset: unknown, width: number): void {
  if (out.length < width) throw invalid('out', `a Float32Array of at least ${width} numbers`, out)
  integer('offset', offset, 0, out.length - width)
}

/** What a MemoryDataset is made of. */
export interface DatasetParts {
  name: string
  shape: number[]
  /** Sample after sample; bytes are read as [-1, 1] (v / 127.5 - 1), floats as they are. */
  data: Uint8Array | Float32Array
  labels: LabelSpec | null
  /** [size * attributes] class indices; -1: unknown. */
  classes?: Int32Array
  latent?: boolean
  decoder?: Decoder
  origin?: string
}

/** A data set whose samples lie one after the other in one array. */
export class MemoryDataset implements Dataset {
  readonly name: string
  readonly size: number
  readonly shape: number[]
  readonly labels: LabelSpec | null
  readonly latent: boolean
  readonly decoder: Decoder | undefined
  readonly origin: string | undefined
  readonly #data: Uint8Array | Float32Array
  readonly #classes: Int32Array
  readonly #width: number

  /** Whether a data set has its samples as bytes here. */
  static holdsBytes(data: Dataset): boolean {
    return data instanceof MemoryDataset && data.#data instanceof Uint8Array
  }

  constructor({ name, shape, data, labels, classes, latent = false, decoder, origin }: DatasetParts) {
    this.origin = origin
    this.name = name
    this.shape = shape
    this.#data = data
    this.labels = labels
    this.latent = latent
    this.decoder = decoder
    this.#classes = classes ?? new Int32Array(0)
    this.#width = sizeOf(shape)
    this.size = data.length / this.#width
  }

  read(index: number, out: Float32Array, offset: number): void {
    const [data, width] = [this.#data, this.#width]
    integer('index', index, 0, this.size - 1)
    checkPlace(float32Array('out', out), offset, width)
    const start = index * width
    if (data instanceof Float32Array) out.set(data.subarray(start, start + width), offset)
    else for (let i = 0; i < width; i++) out[offset + i] = data[start + i] / 127.5 - 1
  }

  label(index: number): readonly (number | null)[] {
    integer('index', index, 0, this.size - 1)
    const count = this.labels?.attributes.length ?? 0
    return Array.from(this.#classes.subarray(index * count, (index + 1) * count), (c) => (c < 0 ? null : c))
  }
}
