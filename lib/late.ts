import * as types from 'node:util/types'
import { plainObject, unchanged } from './base/args.js'
import { invalid } from './base/errors.js'
import { type Stream, streamOf } from './base/stream.js'
import type { Dataset } from './data/dataset.js'
import type { NpyArray } from './data/npy.js'
import type { LoadDatasetOptions } from './data/options.js'
import type { GridOptions, ScatterOptions } from './data/picture-options.js'
import type { FitOptions } from './fit/options.js'
import type { FitResult } from './fit/result.js'
import type { EvaluationResult } from './metrics/evaluate.js'
import type { EvaluateOptions } from './metrics/options.js'
import type { Autoencoder } from './models/autoencoder.js'
import type { Classifier } from './models/classifier.js'
import type { Denoiser } from './models/denoiser.js'
import type { EnergyModel } from './models/energy.js'
import type { DeviceOptions } from './native/devices.js'
import type { Communicator } from './ranks/communicator.js'
import type { Engine, EngineOptions } from './service/engine.js'
import type { HttpOptions, HttpServer } from './service/options.js'
import type { CheckEnergyOptions, EnergyCheck } from './smc/check-energy.js'
import type { EnergyFunction } from './smc/energy-function.js'
import type { McmcResult, SampleResult } from './smc/result.js'
import type { SmcResult } from './smc/smc-result.js'
import type { TrainingProgress } from './training/events.js'
import type { AutoencoderOptions } from './training/objectives/autoencoder.js'
import type { ClassifierOptions } from './training/objectives/classifier.js'
import type { DistillOptions } from './training/objectives/distill.js'
import type { DenoisingOptions, EnergyOptions } from './training/objectives/dsm.js'
import type { TrainingResult } from './training/types.js'
import type { VerifyResult } from './verify/fixture.js'

/** Functions whose files are loaded when they are first called: half of the package, of which who only samples needs nothing. */

/**
 * A training run as a loop over its steps: `for await (const step of trainDenoiser.stream(options))`. The run waits for the loop's body; where the
 * loop is left, it ends after the step in progress, with a checkpoint where there is an output directory, as by an aborted signal.
 */
export type TrainingStream<M> = Stream<TrainingProgress, TrainingResult<M>>

/** Loads the file of a function. Its arrays, by their names, are only read then: throws ArgumentError where one was taken away meanwhile. */
async function loaded<T>(load: () => Promise<T>, arrays: Record<string, unknown>): Promise<T> {
  const isArray = (value: unknown): value is Float32Array =>
    (types.isFloat32Array(value) || types.isFloat64Array(value)) && !Object.hasOwn(value, 'length')
  const before = Object.entries(arrays).flatMap(([name, a]) => (isArray(a) ? [{ name, a, length: a.length }] : []))
  const late = await load()
  for (const { name, a, length } of before) unchanged(name, a, length)
  return late
}

interface Heard {
  signal?: AbortSignal
  onProgress?: (progress: TrainingProgress) => unknown
}

function steps<O extends Heard, M>(options: O, train: (options: O) => Promise<TrainingResult<M>>): TrainingStream<M> {
  const { signal, onProgress } = plainObject('options of stream', options) as Heard
  if (onProgress !== undefined) throw invalid('onProgress of stream', 'nothing, as the loop has the steps', onProgress)
  return streamOf((emit, whole) => train({ ...options, signal: whole, onProgress: emit }), signal)
}

/**
 * Loads a data set into memory; its kind is told from its content. spec: a file (IDX or CIFAR-10 and CIFAR-100 binary, all also gzipped; a
 * zip of images, with dataset.json as NVlabs/edm writes it or without; .npy; .npz, also `file.npz:NAME` of the array), a folder (images,
 * the training half of CIFAR, binary or for Python, or of IDX), or `synthetic:NAME[:key=value,...]`. Bytes are kept as bytes.
 *
 * Throws FileError or FormatError naming the file and what is wrong; ArgumentError for wrong options; OutOfMemoryError; the
 * signal's reason when aborted.
 * @example
 * ```js
 * import { loadDataset } from 'feynkac'
 *
 * const data = await loadDataset('synthetic:shapes:count=100', { resize: 16, limit: 50 })
 * console.log(data.size, data.shape, data.label(0)) // 50 [1, 16, 16] and two class indices
 * ```
 */
export async function loadDataset(spec: string, options: LoadDatasetOptions = {}): Promise<Dataset> {
  const late = await import('./data/load.js')
  return late.loadDataset(spec, options)
}

/**
 * Compares samples with data. Both sides are read in batches, in random order: the Fréchet distance takes the moments of all, the other
 * metrics the features of `pairs`. Weighted samples are resampled (systematically) first for metrics without a weighted form, which
 * are all but sliced-wasserstein and mmd, and for those as well where there are more than `pairs`.
 *
 * Throws ArgumentError, FileError, FormatError, NumericsError, OutOfMemoryError, the signal's reason when aborted.
 * @example
 * ```js
 * import { evaluate } from 'feynkac'
 *
 * const { values } = await evaluate({ samples: 'out/samples.npy', data: 'images.zip', metrics: ['kernel'] })
 * console.log(values.kernel, values.kernelStandardError)
 * ```
 */
export async function evaluate(options: EvaluateOptions): Promise<EvaluationResult> {
  const late = await import('./metrics/evaluate.js')
  return late.evaluate(options)
}

/**
 * Trains an autoencoder by least squares, with noise on the latents; then its shift and scale are set so that the latents of the data have
 * mean 0 and standard deviation 0.5 in every channel. New networks are deterministic (`double_z: false`). Throws ArgumentError for bad
 * options, FileError where the output cannot be written, NumericsError where training diverges, and the signal's reason when aborted.
 * @example
 * ```js
 * import { trainAutoencoder } from 'feynkac'
 *
 * const { model } = await trainAutoencoder({ data: 'images.zip', images: 400_000, output: 'runs/autoencoder' })
 * ```
 */
export async function trainAutoencoder(options: AutoencoderOptions): Promise<TrainingResult<Autoencoder>> {
  const late = await import('./training/objectives/autoencoder.js')
  return late.trainAutoencoder(options)
}

/** The same as a loop over its steps, which may be left. */
trainAutoencoder.stream = (options: AutoencoderOptions): TrainingStream<Autoencoder> => steps(options, trainAutoencoder)

/**
 * Trains a classifier of labelled images by cross-entropy, the mean over all attributes; classes that are unknown are left out. At the end
 * the accuracy on the images held out is measured, and is part of the model. Throws ArgumentError for bad options and data without labels,
 * FileError where the output cannot be written, NumericsError where training diverges, and the signal's reason when aborted.
 * @example
 * ```js
 * import { trainClassifier } from 'feynkac'
 *
 * const { model } = await trainClassifier({ data: 'images.zip', images: 100_000, noise: 0.1 })
 * console.log(model.accuracy) // of each attribute, on images that were held out
 * ```
 */
export async function trainClassifier(options: ClassifierOptions): Promise<TrainingResult<Classifier>> {
  const late = await import('./training/objectives/classifier.js')
  return late.trainClassifier(options)
}

/** The same as a loop over its steps, which may be left. */
trainClassifier.stream = (options: ClassifierOptions): TrainingStream<Classifier> => steps(options, trainClassifier)

/**
 * Distils a denoiser into an energy: the projection of its score on gradient fields (docs/concepts/distillation.md; Thornton et al.
 * 2025), min E lambda ||D_student - D_teacher||^2 / d over noised data. Samples and labels reach both networks alike.
 * Throws ArgumentError for bad options or data that do not fit the teacher, FileError where the output cannot be written,
 * NumericsError where training diverges, and the signal's reason when aborted.
 * @example
 * ```js
 * import { distill } from 'feynkac'
 *
 * const { model: energy } = await distill({ teacher: 'teacher.safetensors', data: 'synthetic:ring', minutes: 5 })
 * await energy.save('energy.safetensors')
 * ```
 */
export async function distill(options: DistillOptions): Promise<TrainingResult<EnergyModel>> {
  const late = await import('./training/objectives/distill.js')
  return late.distill(options)
}

/** The same as a loop over its steps, which may be left. */
distill.stream = (options: DistillOptions): TrainingStream<EnergyModel> => steps(options, distill)

/**
 * Trains a denoiser D(x, sigma) = E[x0 | x] on data. Throws ArgumentError for bad options, FileError where the output cannot
 * be written, NumericsError where training diverges, and the signal's reason when aborted.
 * @example
 * ```js
 * import { trainDenoiser } from 'feynkac'
 *
 * const { model } = await trainDenoiser({ data: 'synthetic:ring', images: 200_000, output: 'runs/teacher', resume: 'auto' })
 * model.dispose()
 * ```
 */
export async function trainDenoiser(options: DenoisingOptions): Promise<TrainingResult<Denoiser>> {
  const late = await import('./training/objectives/dsm.js')
  return late.trainDenoiser(options)
}

/** The same as a loop over its steps, which may be left. */
trainDenoiser.stream = (options: DenoisingOptions): TrainingStream<Denoiser> => steps(options, trainDenoiser)

/**
 * Trains an energy on data directly, without a teacher: the baseline of distillation. With the head 'joint' a denoiser is trained on the
 * data and an energy, on the same trunk, on the denoiser as it is (docs/joint.md):
 * mean (h_D - R)^2 + energyWeight mean (grad Phi - h_D)^2, with h_D of the second term held fixed. Errors as `trainDenoiser`.
 * @example
 * ```js
 * import { trainEnergy } from 'feynkac'
 *
 * const { model } = await trainEnergy({ data: 'synthetic:ring', images: 200_000, head: 'dot' })
 * model.dispose()
 * ```
 */
export async function trainEnergy(options: EnergyOptions): Promise<TrainingResult<EnergyModel>> {
  const late = await import('./training/objectives/dsm.js')
  return late.trainEnergy(options)
}

/** The same as a loop over its steps, which may be left. */
trainEnergy.stream = (options: EnergyOptions): TrainingStream<EnergyModel> => steps(options, trainEnergy)

/**
 * Recomputes every tensor of a fixture (a safetensors file holding a network's weights, inputs, and the outputs, energies,
 * energy gradients and loss gradients that another implementation computed from them) and compares.
 * Throws FormatError when the file is not such a fixture or its network is not supported.
 * @example
 * ```js
 * import { verifyFixture } from 'feynkac'
 *
 * const { ok, rows } = await verifyFixture('ddpmpp-cond.safetensors')
 * console.log(ok, rows)
 * ```
 */
export async function verifyFixture(
  path: string,
  options: DeviceOptions & { signal?: AbortSignal } = {},
): Promise<VerifyResult> {
  const late = await import('./verify/fixture.js')
  return late.verifyFixture(path, options)
}

/**
 * From pictures to an energy: trains a denoiser, distils it into an energy with its table of precisions, trains a small classifier where
 * there are labels, draws samples, says how many of them show what they were asked to and whether they are copies, and writes all of it
 * into a folder: model.safetensors (the energy), teacher.safetensors, pictures, report.html and fit.json. The stages share the time by
 * rules (budget.ts), and each has the recipe of its training.
 *
 * Throws ArgumentError for bad options and for data that no model of pictures can be learnt from, MissingPackageError without the packages
 * that draw pictures, FileError and FormatError, NumericsError where training diverges, and the signal's reason when aborted.
 * @example
 * ```js
 * import { fit } from 'feynkac'
 *
 * const { model, copies } = await fit({ data: 'pictures.zip', minutes: 10, output: 'fit' })
 * console.log(model, copies)
 * ```
 */
export async function fit(options: FitOptions): Promise<FitResult> {
  const late = await import('./fit/fit.js')
  return late.fit(options)
}

/**
 * The processes that a launcher (mpirun, mpiexec, srun) has started with this one, over the MPI that goes with it; this process alone where
 * none did, and then nothing is loaded. Opened once. From then on the ranks end together: one that throws, or exits with another status
 * than 0, ends all, and one that has ended waits for the others, FEYNKAC_PATIENCE seconds (30) at most.
 *
 * Throws DeviceError where there is no MPI library that goes with the launcher, ArgumentError in a worker.
 * @example
 * ```js
 * import { communicator } from 'feynkac'
 *
 * const ranks = await communicator() // mpirun -n 4 node script.js
 * const sums = await ranks.allGather(Float64Array.of(ranks.rank + 0.5))
 * console.log(ranks.rank, ranks.size, sums)
 * ```
 */
export async function communicator(): Promise<Communicator> {
  const late = await import('./ranks/communicator.js')
  return late.communicator()
}

/**
 * Work that needs no others, shared among ranks: item i is rank i mod size's. All ranks call it with the same items, and all get all results, which
 * have to be JSON, in the order of the items; undefined comes as null.
 *
 * Throws ArgumentError for wrong arguments, and what `work` throws.
 * @example
 * ```js
 * import { communicator, share } from 'feynkac'
 *
 * const squares = await share(await communicator(), [1, 2, 3], (x) => x * x)
 * console.log(squares) // [1, 4, 9] on every rank
 * ```
 */
export async function share<T, R>(
  ranks: Communicator,
  items: readonly T[],
  work: (item: T, index: number) => R | Promise<R>,
): Promise<R[]> {
  const late = await import('./ranks/share.js')
  return late.share(ranks, items, work)
}

/**
 * A grid of images as PNG, for a file or a browser. samples: [n, channels, height, width] in [-1, 1], grey or RGB. Needs sharp
 * (MissingPackageError). Throws ArgumentError.
 * @example
 * ```js
 * import { writeFile } from 'node:fs/promises'
 * import { gridPng, loadDataset } from 'feynkac'
 *
 * const data = await loadDataset('synthetic:shapes:count=16,size=16')
 * const pictures = new Float32Array(16 * 256)
 * for (let i = 0; i < 16; i++) data.read(i, pictures, i * 256)
 * await writeFile('shapes.png', await gridPng(pictures, data.shape))
 * ```
 */
export async function gridPng(
  samples: Float32Array,
  shape: readonly number[],
  options: GridOptions = {},
): Promise<Uint8Array> {
  const late = await loaded(() => import('./data/grid.js'), { samples })
  return late.gridPng(samples, shape, options)
}

/**
 * Samples in the plane as PNG. samples: [n, dim]. Needs sharp, vega, vega-lite and dejavu-fonts-ttf (MissingPackageError). Throws ArgumentError.
 * @example
 * ```js
 * import { writeFile } from 'node:fs/promises'
 * import { gaussianMixture, sample, scatterPng, sigmaGrid } from 'feynkac'
 *
 * const two = gaussianMixture({ weights: [1, 1], means: [[-1, 0], [1, 0]], covariances: [0.1, 0.1] })
 * const { samples, weights } = await sample(two, { particles: 500, sigmas: [...sigmaGrid({ steps: 16 }), 0] })
 * await writeFile('two.png', await scatterPng(samples, { weights }))
 * ```
 */
export async function scatterPng(samples: Float32Array, options: ScatterOptions = {}): Promise<Uint8Array> {
  const late = await loaded(() => import('./report/scatter.js'), { samples })
  return late.scatterPng(samples, options)
}

/**
 * Writes an array as .npy, for numpy.load. Throws ArgumentError, FileError.
 * @example
 * ```js
 * import { writeNpy } from 'feynkac'
 *
 * await writeNpy('matrix.npy', Float64Array.of(1, 2, 3, 4), [2, 2])
 * ```
 */
export async function writeNpy(
  path: string,
  data: Float32Array | Float64Array,
  shape: readonly number[],
): Promise<void> {
  const late = await loaded(() => import('./data/npy-write.js'), { data })
  return late.writeNpy(path, data, shape)
}

/**
 * The array of a .npy file, of any shape: little-endian floats and integers. Throws FileError, FormatError.
 * @example
 * ```js
 * import { readNpy, writeNpy } from 'feynkac'
 *
 * await writeNpy('rows.npy', Float32Array.of(1, 2, 3, 4), [2, 2])
 * const { data, shape } = await readNpy('rows.npy')
 * ```
 */
export async function readNpy(path: string): Promise<NpyArray> {
  const [{ readFileChecked }, { parseNpyArray }] = await Promise.all([
    import('./base/files.js'),
    import('./data/npy.js'),
  ])
  return parseNpyArray(await readFileChecked(path), path)
}

/**
 * The result that `save` of a result has written to a folder, of the same kind and with the same bits. Throws FileError, FormatError.
 * @example
 * ```js
 * import { gaussianMixture, loadResult, sample } from 'feynkac'
 *
 * const normal = gaussianMixture({ weights: [1], means: [[0, 0]], covariances: [1] })
 * await (await sample(normal, { particles: 8, sigmas: [2, 1, 0] })).save('out')
 * const result = await loadResult('out')
 * console.log(result.kind, result.particles, result.mean())
 * if (result.kind === 'smc') console.log(result.logZ)
 * ```
 */
export async function loadResult(folder: string): Promise<SmcResult | McmcResult | SampleResult> {
  const late = await import('./smc/result-load.js')
  return late.loadResult(folder)
}

/**
 * Tells whether an energy of one's own is what smc takes it for: finite; its gradient that of its energy, by finite differences; and, where data
 * are given, its noise levels the standard deviations of the noise, by Tweedie's formula: the score at sigma must predict the noise of noised
 * data. `problems` says what is wrong and what to look at; empty: nothing was found. Throws ArgumentError where it is no energy function
 * or answers with arrays of other lengths; the signal's reason.
 * @example
 * ```js
 * import { checkEnergy, gaussianMixture } from 'feynkac'
 *
 * const normal = gaussianMixture({ weights: [1], means: [[0, 0]], covariances: [1] })
 * const { ok, problems } = await checkEnergy(normal, { data: normal.sample(256) })
 * console.log(ok, problems)
 * ```
 */
export async function checkEnergy(energy: EnergyFunction, options: CheckEnergyOptions = {}): Promise<EnergyCheck> {
  const { data } = plainObject('options of checkEnergy', options) as CheckEnergyOptions
  const late = await loaded(() => import('./smc/check-energy.js'), { data })
  return late.checkEnergy(energy, options)
}

/**
 * An engine that serves requests for samples in this process, on models that they share: a queue with limits, clients in turn, calls of a model
 * by several requests merged into one batch, deadlines, metrics for Prometheus. Throws ArgumentError, FileError, FormatError.
 * @example
 * ```js
 * import { createEngine } from 'feynkac'
 *
 * const engine = await createEngine({ models: { faces: 'energy.safetensors' }, maxConcurrent: 4 })
 * const { samples } = await engine.sample({ model: 'faces', attributes: { hair: 3 }, particles: 16 }, { deadline: 60_000 })
 * console.log(samples.length, engine.metrics())
 * await engine.close()
 * ```
 */
export async function createEngine(options: EngineOptions): Promise<Engine> {
  const late = await import('./service/engine.js')
  return late.Engine.create(options)
}

/**
 * Serves an engine over HTTP: POST /sample (JSON, PNG, .npy, or server-sent events with previews), GET /models, /metrics, /health and
 * /openapi.json, which describes it all. Needs fastify and @fastify/swagger (MissingPackageError). Throws ArgumentError; FeynkacError where the
 * port is taken.
 * @example
 * ```js
 * import { createEngine, serve } from 'feynkac'
 *
 * const engine = await createEngine({ models: { faces: 'energy.safetensors' } })
 * const server = await serve(engine, { port: 8000, apiKey: process.env.API_KEY ?? 'secret' })
 * console.log(server.url)
 * process.once('SIGTERM', () => server.close()) // answers what it has taken
 * ```
 */
export async function serve(engine: Engine, options: HttpOptions = {}): Promise<HttpServer> {
  const late = await import('./service/http.js')
  return late.serve(engine, options)
}
