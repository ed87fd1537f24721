import * as types from 'node:util/types'
import {
  finiteNumber,
  float32Array,
  held,
  integer,
  isShape,
  knownOptions,
  oneOf,
  plainObject,
  renamed,
} from '../base/args.js'
import { ArgumentError, describe, digits, FeynkacError, invalid, NumericsError } from '../base/errors.js'
import { requireMemory } from '../base/memory.js'
import { choice, notNegative, positive, type Rows, type RowsOf, reader, whole } from '../base/option-table.js'
import { purpose } from '../base/random.js'
import { sizeOf } from '../base/shape.js'
import { type Stream, streamOf, whilePresent } from '../base/stream.js'
import { native, run } from '../native/addon.js'
import { combined, drawNormals } from '../native/combine.js'
import { copyOf, host, inSpaceOf, type Space, toHost, toSpace } from '../native/space.js'
import type { Floats } from '../native/types.js'
import { type Communicator, checkedRanks } from '../ranks/communicator.js'
import type { EnergyFunction } from './energy-function.js'
import { callback, Evaluator, hasNaN, nameOf, residenceOf } from './evaluation.js'
import type { Step } from './events.js'
import { defaultBatch } from './mcmc.js'
import { baselineNote } from './notes.js'
import { SampleResult, unweighted } from './result.js'
import { OwnRows, type PopulationRows, RankRows } from './rows.js'
import { checkedSigmas } from './schedule.js'
import { asTarget } from './targets/linear.js'

/** What a denoiser is told beside x and sigma. */
export interface DenoiseOptions {
  signal?: AbortSignal
  /** Where the particles were cut in batches: the index of the first one, and the number of all. */
  part?: { first: number; of: number }
}

/** A denoiser D(x, sigma) = E[x0 | x], the other thing that `sample` takes. */
export interface DenoiserFunction {
  readonly shape: readonly number[]
  /** x: [B, ...shape] row-major; the result, an array like x, belongs to the caller. */
  denoise(x: Float32Array, sigma: number, options?: DenoiseOptions): Promise<Float32Array>
  /** Evaluations of a model for one particle at a noise level; default 1. */
  evaluations?(sigma: number): number
}

/** A denoiser that can also work in a device's memory, as ResidentEnergy can. */
export interface ResidentDenoiser extends DenoiserFunction {
  readonly residence: string
  denoiseIn(space: Space, x: Floats, sigma: number, options?: DenoiseOptions): Promise<Floats>
}

export const sampleMethods = ['heun', 'stochastic-heun', 'euler-maruyama', 'ancestral'] as const
/** Samplers without weights. */
export type SampleMethod = (typeof sampleMethods)[number]

/** Noise added back before each step of stochastic Heun (Karras et al. 2022, algorithm 2). */
export interface Churn {
  /** S_churn, over all steps; default 40. */
  churn?: number
  /** S_min and S_max: noise levels at which to churn; default 0.05 and 50. */
  min?: number
  max?: number
  /** S_noise: factor on the noise's standard deviation; default 1.003. */
  noise?: number
}

/** Options of `sample`. */
export interface SampleOptions {
  /** Number of samples. */
  particles: number
  /** Strictly decreasing; the last may be 0, which is a step onto the denoised image. */
  sigmas: ArrayLike<number>
  /** Default 'heun', the probability-flow ODE. */
  method?: SampleMethod
  /** For 'stochastic-heun'. */
  churn?: Churn
  /** Starting points [particles, d] at sigmas[0]; default draws of N(0, sigma^2 / Lambda). */
  initial?: Float32Array
  seed?: number
  /** Largest number of particles a model on the host gets at once; the results do not depend on it. */
  batchSize?: number
  /** @deprecated `batchSize` */
  batch?: number
  /** Where the particles are, as for `smc`; default where the model is. */
  device?: string
  /** What `communicator()` gives: the processes that share the samples, to the bit of one process. Default: this process alone. */
  ranks?: Communicator
  /** With ranks: whose samples each gets, those of all ('all', default), its own ('own'), or the first all and the others their own ('first'). */
  gather?: 'own' | 'first' | 'all'
  signal?: AbortSignal
  onProgress?: (progress: { level: number; lastLevel: number; sigma: number }) => unknown
}

/** Those, once: ranges, defaults and help. */
export const sampleRows: RowsOf<SampleOptions, 'particles' | 'method' | 'seed' | 'batchSize'> = {
  particles: whole('samples to draw', { max: 0x7fffffff }),
  method: choice('how they are drawn', sampleMethods, { default: 'heun' }),
  seed: whole('of all random numbers', { min: 0, default: 0 }),
  batchSize: whole('most particles that a model on the host gets at once (4 MB of them)', { flag: false }),
}

export const churnRows: Rows<Churn> = {
  churn: notNegative('S_churn, over all steps', { flag: false, default: 40 }),
  min: notNegative('smallest noise level at which to churn', { flag: false, default: 0.05 }),
  max: notNegative('largest noise level at which to churn', { flag: false, default: 50 }),
  noise: positive("factor on the noise's standard deviation", { flag: false, default: 1.003 }),
}

/**
 * Samples without weights, of a denoiser, an energy, or a composed target (whose scores are then summed: the baseline that SMC corrects).
 * 'heun': second-order ODE; 'stochastic-heun': with churn; 'euler-maruyama': reverse SDE, x + v S + sqrt(v) n, v = s^2 - s'^2;
 * 'ancestral': the same with the posterior's variance v s'^2/s^2.
 * Throws ArgumentError; NumericsError on NaN; the signal's reason within one step.
 * @example
 * ```js
 * import { gaussianMixture, sample, sigmaGrid } from 'feynkac'
 *
 * const normal = gaussianMixture({ weights: [1], means: [[0, 0]], covariances: [1] })
 * const { samples } = await sample(normal, { particles: 64, sigmas: [...sigmaGrid({ steps: 32 }), 0], method: 'heun' })
 * ```
 */
export function sample(model: EnergyFunction | DenoiserFunction, options: SampleOptions): Promise<SampleResult> {
  return start(model, options)
}

/**
 * The same as a loop over the steps, with the samples of each, as `smc.stream`; `denoised()` of a step is an evaluation of its own.
 * @example
 * ```js
 * import { gaussianMixture, sample } from 'feynkac'
 *
 * const normal = gaussianMixture({ weights: [1], means: [[0, 0]], covariances: [1] })
 * for await (const step of sample.stream(normal, { particles: 4, sigmas: [2, 1, 0] })) console.log(step.sigma, await step.denoised())
 * ```
 */
sample.stream = (model: EnergyFunction | DenoiserFunction, options: SampleOptions): Stream<Step, SampleResult> => {
  const { signal, onProgress } = plainObject('options of sample.stream', options) as unknown as SampleOptions
  if (onProgress !== undefined)
    throw invalid('onProgress of sample.stream', 'nothing, as the loop has the steps', onProgress)
  return streamOf((emit, whole) => start(model, { ...options, signal: whole }, emit), signal)
}

type OnStep = (step: Step) => Promise<void>

async function start(
  model: EnergyFunction | DenoiserFunction,
  options: SampleOptions,
  onStep?: OnStep,
): Promise<SampleResult> {
  const given = renamed('sample', options, { batch: 'batchSize' })
  knownOptions('sample', given, knownSample)
  const n = integer('particles', given.particles, 1, 0x7fffffff)
  const ranks = checkedRanks(given.ranks)
  oneOf('gather', given.gather ?? 'all', ['own', 'first', 'all'])
  if (ranks.size > 1 && onStep) throw new ArgumentError('sample: with ranks there is no stream')
  return drawRows(model, given, ranks.size > 1 ? new RankRows(n, ranks) : new OwnRows(n), onStep)
}

/** The rows of the samples that `options` are of. */
export async function drawRows(
  model: EnergyFunction | DenoiserFunction,
  given: SampleOptions,
  rows: SampleRows,
  onStep?: OnStep,
): Promise<SampleResult> {
  const isDenoiser = typeof (model as DenoiserFunction)?.denoise === 'function'
  const residence = isDenoiser ? residenceOf([model]) : asTarget(model as EnergyFunction).residence
  return inSpaceOf(residence, given.device, given.signal, (space) => runSampler(model, given, rows, space, onStep))
}

type SampleRows = Pick<PopulationRows, 'total' | 'count' | 'first' | 'sum' | 'collect'>

/** Rows `first` to `first + count - 1` of `total`, of which nobody else is asked. */
export class SomeRows implements SampleRows {
  constructor(
    readonly total: number,
    readonly first: number,
    readonly count: number,
  ) {}

  async sum(value: number): Promise<number> {
    return value
  }

  async collect(own: Float32Array): Promise<Float32Array> {
    return own
  }
}

async function runSampler(
  model: EnergyFunction | DenoiserFunction,
  options: SampleOptions,
  rows: SampleRows,
  space: Space,
  onStep?: OnStep,
): Promise<SampleResult> {
  const option = reader(sampleRows, options)
  const { count: n, first } = rows
  const sigmas = checkedSigmas(options.sigmas, 2, true)
  const [method, seed] = [option('method'), option('seed')]
  const { signal } = options
  const churn = checkedChurn(options.churn ?? {})
  const { evaluate, lambda, d, count, note } = denoiserOf(model, options, rows, space)
  if (space.device === host.device) requireMemory(16 * n * d, `${n} samples of [${model.shape}]`)
  const last = sigmas.length - 1

  /** sum_j coefficients[j] terms[j] + std n, n of step k */
  const combine = (terms: Floats[], coefficients: number[], std = 0, step = 0) =>
    combined({ space, rows: n, signal }, terms, coefficients, { std, seed, purpose: purpose.propose, step, first })

  const { initial } = options
  if (initial !== undefined) float32Array('initial', initial, rows.total * d)
  let x: Floats
  if (initial === undefined) {
    x = space.floats(n * d)
    const std = sigmas[0] / Math.sqrt(lambda)
    await drawNormals(x, n, { std, seed, purpose: purpose.start, step: 0, first }, signal)
  } else x = await toSpace(space, await held('initial', initial.subarray(first * d, (first + n) * d), signal), signal)
  let evaluations = 0 // without those of previews
  for (let k = 1; k <= last; k++) {
    signal?.throwIfAborted()
    const before = count()
    const [s, next] = [sigmas[k - 1], sigmas[k]]
    if (method === 'heun' || method === 'stochastic-heun') {
      const gamma =
        method === 'heun' || s < churn.min || s > churn.max ? 0 : Math.min(churn.churn / last, Math.SQRT2 - 1)
      const up = s * (1 + gamma)
      if (gamma > 0) x = await combine([x], [1], churn.noise * Math.sqrt(up * up - s * s), k)
      x = await heunStep(x, up, next, evaluate, combine)
    } else {
      // x + (s^2 - s'^2) S with S = (D - x)/s^2
      const denoised = await evaluate(x, s)
      const ratio = (next * next) / (s * s)
      const variance = (s * s - next * next) * (method === 'ancestral' ? ratio : 1)
      const std = next > 0 ? Math.sqrt(variance) : 0
      x = await combine([x, denoised], [ratio, 1 - ratio], std, k)
    }
    space.keep([x])
    evaluations += count() - before
    const at = { level: k, lastLevel: last, sigma: next }
    await options.onProgress?.(at)
    if (!onStep) continue
    const here = x
    const preview = async () => (next > 0 ? evaluate(here, next) : here)
    await whilePresent(`step ${k}`, (present) =>
      onStep({
        ...at,
        samples: () => present(() => copyOf(here, signal)),
        denoised: () => present(async () => copyOf(await preview(), signal)),
      }),
    )
  }
  const gather = options.gather ?? 'all'
  const samples = await rows.collect(await toHost(x, signal), gather)
  const part = samples.length < rows.total * d && { first }
  const fields = { ...unweighted(samples, model.shape, rows.total), evaluations: await rows.sum(evaluations) }
  return new SampleResult({ ...fields, ...part, ...(note && { note }) })
}

const knownSample = [
  ...[...Object.keys(sampleRows), 'sigmas', 'churn', 'initial', 'device', 'ranks', 'gather', 'signal', 'onProgress'],
]

type Combine = (terms: Floats[], coefficients: number[]) => Promise<Floats>
type Denoise = (x: Floats, sigma: number) => Promise<Floats>

/** dx/ds = (x - D)/s; Euler to s', and the trapezoidal rule where s' > 0 (Karras et al. 2022, algorithm 1). */
async function heunStep(x: Floats, s: number, next: number, denoise: Denoise, combine: Combine): Promise<Floats> {
  const first = await denoise(x, s)
  const h = next - s
  const euler = await combine([x, first], [1 + h / s, -h / s])
  if (next === 0) return euler
  const second = await denoise(euler, next)
  const [a, b] = [h / (2 * s), h / (2 * next)]
  return combine([x, first, euler, second], [1 + a, -a, b, -b])
}

function checkedChurn(given: Churn): Required<Churn> {
  knownOptions('churn', given, Object.keys(churnRows))
  const option = reader(churnRows, given, 'churn.')
  return { churn: option('churn'), min: option('min'), max: option('max'), noise: option('noise') }
}

/** D(x, sigma) of whatever was given: the denoiser itself where there is one, else x - sigma^2 grad U. */
function denoiserOf(
  model: EnergyFunction | DenoiserFunction,
  { batchSize: most, signal }: SampleOptions,
  { total, first: start }: SampleRows,
  space: Space,
) {
  if (typeof (model as DenoiserFunction)?.denoise !== 'function') {
    const target = asTarget(model as EnergyFunction)
    const evaluator = new Evaluator(
      target,
      integer('batchSize', most ?? defaultBatch(target.shape), 1),
      'none',
      signal,
      space,
    )
    const evaluate: Denoise = async (x, sigma) => {
      const { grad, energy } = await evaluator.evaluate(x, sigma)
      const out = await combined({ space, rows: energy.length, signal }, [x, grad], [1, -sigma * sigma])
      return checkedFinite(out, energy.length, sigma, model, space, signal)
    }
    const note = baselineNote(target)
    return { evaluate, lambda: target.lambda, d: evaluator.d, count: () => evaluator.count, note }
  }
  const denoiser = model as DenoiserFunction
  if (!isShape(denoiser.shape)) throw invalid('model', 'a denoiser { shape, denoise(x, sigma) }', model)
  const d = sizeOf(denoiser.shape)
  const batch = integer('batchSize', most ?? defaultBatch(denoiser.shape), 1) * d
  let count = 0
  const evaluate: Denoise = async (x, sigma) => {
    const rows = x.length / d
    count += rows * evaluationsOf(denoiser, sigma)
    if (!(x instanceof Float32Array)) {
      const part = rows < total ? { first: start, of: total } : undefined
      const there = await (denoiser as ResidentDenoiser).denoiseIn(space, x, sigma, { signal, part })
      return checkedFinite(there, rows, sigma, model, space, signal)
    }
    const out = new Float32Array(x.length)
    for (let first = 0; first < x.length; first += batch) {
      const part = x.length > batch || rows < total ? { first: start + first / d, of: total } : undefined
      out.set(await denoiseOnHost(denoiser, x.subarray(first, first + batch), sigma, { signal, part }), first)
    }
    return checkedFinite(out, rows, sigma, model, space, signal)
  }
  return { evaluate, lambda: 1, d, count: () => count }
}

/** Evaluations of a model that a call for one particle takes. */
export function evaluationsOf({ evaluations }: Pick<DenoiserFunction, 'evaluations'>, sigma: number): number {
  if (evaluations === undefined) return 1
  if (typeof evaluations !== 'function') throw invalid('evaluations of the denoiser', 'a function', evaluations)
  let count: unknown
  try {
    count = evaluations(sigma)
  } catch (cause) {
    throw new FeynkacError(`evaluations of the denoiser failed: ${describe(cause)}`, { cause })
  }
  return finiteNumber('evaluations(sigma)', count, { min: 0 })
}

/** One call of a denoiser, with its answer checked; what it gets and gives are copies, as in energyGrad of evaluation.ts. */
export async function denoiseOnHost<Options extends DenoiseOptions>(
  denoiser: { denoise(x: Float32Array, sigma: number, options?: Options): Promise<Float32Array> },
  x: Float32Array,
  sigma: number,
  options: Options,
): Promise<Float32Array> {
  const where = `denoise of ${nameOf(denoiser, 'the denoiser')} at sigma = ${digits(sigma)}`
  const result = await callback(where, options.signal, () => denoiser.denoise(x.slice(), sigma, options))
  if (types.isFloat32Array(result) && result.length === x.length) return new Float32Array(result)
  throw new ArgumentError(`${where}: expected a Float32Array of length ${x.length} but received ${describe(result)}`)
}

async function checkedFinite(
  denoised: Floats,
  rows: number,
  sigma: number,
  model: object,
  space: Space,
  signal?: AbortSignal,
) {
  const out = space.doubles(rows)
  await run(() => native.rowSquares({ out, terms: [denoised], coefficients: Float64Array.of(1) }), signal)
  if (hasNaN(await toHost(out, signal)))
    throw new NumericsError(`${nameOf(model)} gave NaN at sigma = ${digits(sigma)}`)
  return denoised
}
