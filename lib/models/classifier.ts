import { integer, isList, knownOptions, unchanged } from '../base/args.js'
import { ArgumentError, FormatError } from '../base/errors.js'
import { sizeOf } from '../base/shape.js'
import { type LabelSpec, labelDim } from '../data/dataset.js'
import { native, run } from '../native/addon.js'
import { type DeviceOptions, deviceOptionNames, warnOfSlowKernels } from '../native/devices.js'
import type { NativeClassifier } from '../native/types.js'
import { type ClassifierConfig, checkClassifier } from '../networks/classifier.js'
import { checkSource, type SourceModel } from '../weights/source-model.js'
import { batchOf, chunkSize, chunksOf } from './chunks.js'
import { modelJson, parseLabels } from './info.js'
import { networkOfFile } from './load.js'
import { placed, saveModel } from './model-file.js'

/** Share of the held-out images whose class was right, for each attribute; null where there were none. */
export type Accuracy = readonly (number | null)[]

/** Everything about a classifier but its weights; stored like the ModelInfo of other models. */
export interface ClassifierInfo {
  kind: 'classifier'
  network: ClassifierConfig
  labels: LabelSpec
  accuracy: Accuracy
}

/** What `classify` returns. */
export interface Classes {
  /** [n, attributes]: the likeliest class of each attribute. */
  classes: Int32Array
  /** [n, classes of all attributes]: they sum to 1 within each attribute. */
  probabilities: Float32Array
}

/** Options of a call of a classifier. */
export interface Call {
  /** Cancels the call within one layer of the network. */
  signal?: AbortSignal
}

type Fail = (what: string) => never

/** A description with every field checked; `fail` throws. */
function checkInfo(json: { [K in keyof ClassifierInfo]?: unknown }, fail: Fail): ClassifierInfo {
  const shape = (json.network as { shape?: unknown } | null | undefined)?.shape
  const network = checkClassifier(json.network, shape, (what) => fail(`network configuration: ${what}`))
  const labels = parseLabels(json.labels, fail) ?? fail('expected the attributes of its labels')
  const { classes } = network.args
  const sizes = labels.attributes.map(({ size }) => size)
  if (sizes.join() !== classes.join()) fail(`the labels have ${sizes} classes but the network ${classes}`)
  const accuracy = checkAccuracy(json.accuracy ?? sizes.map(() => null), sizes.length, fail)
  return { kind: 'classifier', network, labels, accuracy }
}

function checkAccuracy(accuracy: unknown, attributes: number, fail: Fail): Accuracy {
  const share = (v: unknown) => v === null || (typeof v === 'number' && v >= 0 && v <= 1)
  return isList(accuracy, attributes) && accuracy.length === attributes && accuracy.every(share)
    ? ([...accuracy] as Accuracy)
    : fail('expected a number from 0 to 1, or null, for each attribute in the accuracy')
}

/** Reads the description of a classifier out of a file's metadata. Throws FormatError. */
export function parseClassifierInfo(metadata: Record<string, string>, path: string): ClassifierInfo {
  const fail: Fail = (what) => {
    throw new FormatError(`${path}: ${what}`, path)
  }
  const json = modelJson(metadata, fail)
  if (json.kind !== 'classifier') return fail('it holds no classifier')
  return checkInfo(json, fail)
}

const createNetwork = (network: ClassifierConfig, options: DeviceOptions): NativeClassifier =>
  placed(options, (device, precision) => native.createClassifier(network, device, precision))

/**
 * Tells the classes of images, by one attribute or several, and gives features of them: a small residual network trained by
 * `trainClassifier`. Call `dispose()` (or use `using`) to free its memory at once.
 * @example
 * ```js
 * import { Classifier } from 'feynkac'
 *
 * const classifier = await Classifier.load('classifier.safetensors')
 * const { classes } = await classifier.classify(new Float32Array(4 * 3 * 16 * 16)) // four images
 * console.log(classes, classifier.labels)
 * classifier.dispose()
 * ```
 */
export class Classifier {
  /** Numbers of one image's features. */
  readonly featureSize: number

  #description: ClassifierInfo

  private constructor(
    description: ClassifierInfo,
    /** The native network. @internal */
    readonly network: NativeClassifier,
  ) {
    this.#description = description
    this.featureSize = description.network.args.block_out_channels.at(-1)!
  }

  /** Reads a model file. Throws FileError, FormatError. */
  static async load(path: string, options: DeviceOptions = {}): Promise<Classifier> {
    knownOptions('Classifier.load', options, deviceOptionNames)
    const { readSource } = await import('../weights/source.js')
    return Classifier.from(await readSource(path), options)
  }

  /** The classifier of a file that was read. Throws ArgumentError, FormatError. */
  static async from(source: SourceModel, options: DeviceOptions = {}): Promise<Classifier> {
    knownOptions('Classifier.from', options, deviceOptionNames)
    const { path, metadata, tensors } = checkSource(source)
    const info = parseClassifierInfo(metadata, path)
    const network = await networkOfFile(path, tensors, options, () => createNetwork(info.network, options))
    return new Classifier(info, network)
  }

  /** A new, randomly initialised classifier; the same seed gives the same weights. Throws ArgumentError, DeviceError, OutOfMemoryError. */
  static async create(
    model: { network: ClassifierConfig; labels: LabelSpec },
    options: DeviceOptions & { seed?: number } = {},
  ): Promise<Classifier> {
    knownOptions('a new classifier', model, ['network', 'labels'])
    knownOptions('create', options, [...deviceOptionNames, 'seed'])
    const seed = integer('seed', options.seed ?? 0, 0)
    const info = checkInfo({ ...model, kind: 'classifier' }, (what) => {
      throw new ArgumentError(`a new classifier: ${what}`)
    })
    const network = createNetwork(info.network, options)
    await run(() => network.initialise(seed))
    await warnOfSlowKernels(options)
    return new Classifier(info, network)
  }

  /** What is written to its file: network, labels, and once measured the accuracy. */
  get info(): ClassifierInfo {
    return this.#description
  }

  /** Shape of one image. */
  get shape(): readonly number[] {
    return this.info.network.shape
  }

  /** The attributes that it tells, in the order of the classes and of their probabilities. */
  get labels(): LabelSpec {
    return this.info.labels
  }

  /** On images that it was not trained on; measured by `trainClassifier`. */
  get accuracy(): Accuracy {
    return this.info.accuracy
  }

  set accuracy(accuracy: Accuracy) {
    const checked = checkAccuracy(accuracy, this.labels.attributes.length, (what) => {
      throw new ArgumentError(what)
    })
    this.#description = { ...this.#description, accuracy: checked }
  }

  /** The device it is on. */
  get residence(): string {
    return this.network.device()
  }

  /**
   * Features of images [n, ...shape], [n, featureSize]: what the last layer tells the classes by. Throws ArgumentError on wrong lengths;
   * OutOfMemoryError; the signal's reason when aborted.
   */
  async features(images: Float32Array, options: Call = {}): Promise<Float32Array> {
    return this.#outputs('features', this.featureSize, images, options)
  }

  /** Classes of images [n, ...shape]. Errors as `features`. */
  async classify(images: Float32Array, options: Call = {}): Promise<Classes> {
    const width = labelDim(this.labels)
    const logits = await this.#outputs('logits', width, images, options)
    const sizes = this.info.network.args.classes
    const classes = new Int32Array((logits.length / width) * sizes.length)
    let [at, out] = [0, 0]
    while (at < logits.length)
      for (const size of sizes) {
        classes[out++] = softmax(logits.subarray(at, at + size))
        at += size
      }
    return { classes, probabilities: logits }
  }

  /** Writes the classifier atomically as safetensors. Throws FileError. */
  async save(path: string): Promise<void> {
    await saveModel(path, this.info, this.network)
  }

  /** Frees the network's memory; later calls throw. */
  dispose(): void {
    this.network.dispose()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }

  async #outputs(
    name: 'features' | 'logits',
    outWidth: number,
    images: Float32Array,
    options: Call,
  ): Promise<Float32Array> {
    knownOptions('the call', options, ['signal'])
    const { network } = this
    const width = sizeOf(this.shape)
    const batch = batchOf('images', images, width)
    const out = new Float32Array(batch * outWidth)
    const chunk = chunkSize(network, 'classify', () => network.workingBytes('classify', 1))
    for (const [first, last] of chunksOf(batch, chunk)) {
      unchanged('images', images, batch * width)
      const request = {
        x: images.slice(first * width, last * width), // the caller's array may go in the meantime
        [name]: out.subarray(first * outWidth, last * outWidth),
      }
      await run(() => network.classify(request), options.signal)
    }
    return out
  }
}

/** In place, in float64; returns the place of the largest. */
function softmax(logits: Float32Array): number {
  let best = 0
  for (let i = 1; i < logits.length; i++) if (logits[i] > logits[best]) best = i
  const largest = logits[best]
  const powers = Array.from(logits, (v) => Math.exp(v - largest))
  const sum = powers.reduce((a, b) => a + b, 0)
  powers.forEach((power, i) => {
    logits[i] = power / sum
  })
  return best
}
