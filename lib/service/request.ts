import { boolean, finiteNumber, integer, knownOptions, numberList, oneOf } from '../base/args.js'
import { ArgumentError, invalid } from '../base/errors.js'
import { isObject } from '../base/json.js'
import { sizeOf } from '../base/shape.js'
import { type Stream, streamOf } from '../base/stream.js'
import { EnergyModel } from '../models/energy.js'
import { guidedDenoiser } from '../models/guidance.js'
import { kernels, proposals } from '../smc/kernels.js'
import { moveKernels } from '../smc/mcmc.js'
import { resamplingSchemes } from '../smc/resampling.js'
import type { SampleResult } from '../smc/result.js'
import { sample, sampleMethods } from '../smc/samplers.js'
import { sigmaGrid } from '../smc/schedule.js'
import { smc } from '../smc/smc.js'
import type { SmcOptions } from '../smc/smc-options.js'
import type { SmcResult } from '../smc/smc-result.js'
import { composeTarget, type NamedLabels, type TermSpec } from './composition.js'
import type { MergedModel } from './merge.js'

/** One request for samples: what the command `sample` takes, by names of models instead of files. */

export const requestMethods = ['smc', ...sampleMethods] as const
/** 'likelihood' is not among them: it is experimental, and takes 128 evaluations of every model more for each particle. */
export const weightSchemes = ['bridge', 'tilt', 'fkc', 'rne', 'none'] as const

/** One density of a composition. */
export interface TermRequest {
  /** Name of a model; default that of the request. */
  model?: string
  /** Classes of its attributes, by index or name; default none. */
  attributes?: NamedLabels
}

export interface SampleRequest {
  /** Name of a model of the engine. */
  model: string
  /** Samples; default 16. */
  particles?: number
  /** Transitions between noise levels; default 64. */
  steps?: number
  /** Noise levels, and their spacing (7); default the model's. */
  sigmaMin?: number
  sigmaMax?: number
  rho?: number
  /** Default 'smc' for energies, 'heun' for denoisers. */
  method?: (typeof requestMethods)[number]
  attributes?: NamedLabels
  /** The density to this power. */
  gamma?: number
  /** AND: multiplies by these. */
  with?: TermRequest[]
  /** NOT: divides by these, to the power `strength` (0.5). */
  not?: TermRequest[]
  strength?: number
  dividePrior?: boolean
  /** Guidance towards the attributes; 1: none. */
  guidance?: number
  /** Of a denoiser: guide at these noise levels only. */
  guidanceInterval?: [number, number]
  /** Keeps all coordinates between two bounds. */
  box?: [number, number]
  /** Of smc: as for `smc`. */
  weights?: SmcOptions['weights']
  weighAbove?: number | 'auto'
  kernel?: SmcOptions['kernel']
  proposal?: SmcOptions['proposal']
  resampling?: SmcOptions['resampling']
  essThreshold?: number
  essAfter?: number
  finalResample?: boolean
  controlDrift?: boolean
  moves?: (typeof moveKernels)[number]
  seed?: number
}

/** What a request tells while it runs: of smc as LevelReport, of samplers without weights the level alone. */
export interface RequestLevel {
  level: number
  lastLevel: number
  sigma: number
  /** Effective sample size; of smc. */
  ess?: number
  distinctRoots?: number
  /** What the particles are of, as many as there are [particles, ...shape]. Until the loop goes on. */
  denoised(): Promise<Float32Array>
}

export type RequestResult = SmcResult | SampleResult

const names = [
  ...['model', 'particles', 'steps', 'sigmaMin', 'sigmaMax', 'rho', 'method', 'attributes', 'gamma', 'with', 'not'],
  ...['strength', 'dividePrior', 'guidance', 'guidanceInterval', 'box', 'seed'],
]
const smcNames = [
  ...['weights', 'weighAbove', 'kernel', 'proposal', 'resampling', 'essThreshold', 'essAfter', 'finalResample'],
  ...['controlDrift', 'moves'],
] as const

/** What of a request says how much work it is: checked before it is queued. */
export interface Size {
  particles: number
  steps: number
}

/** Checks what can be checked without running. Throws ArgumentError. */
export function checkRequest(
  given: unknown,
  models: ReadonlyMap<string, MergedModel>,
  limits: Size,
): SampleRequest & Size {
  knownOptions('the request', given, [...names, ...smcNames])
  const request = given as SampleRequest
  modelOf(request.model, models)
  const particles = integer('particles', request.particles ?? 16, 1, limits.particles)
  const steps = integer('steps', request.steps ?? 64, 1, limits.steps)
  for (const name of ['sigmaMin', 'sigmaMax', 'rho', 'gamma', 'strength'] as const)
    if (request[name] !== undefined) finiteNumber(name, request[name], { above: 0 })
  if (request.guidance !== undefined) finiteNumber('guidance', request.guidance)
  if (request.method !== undefined) oneOf('method', request.method, requestMethods)
  for (const name of ['box', 'guidanceInterval'] as const) {
    if (request[name] === undefined) continue
    const [lo, hi] = numberList(name, request[name], { length: 2 })
    if (!(lo! < hi!)) throw invalid(name, 'two numbers, lo < hi', request[name])
  }
  if (request.dividePrior !== undefined) boolean('dividePrior', request.dividePrior)
  if (request.attributes !== undefined) checkAttributes(request.attributes)
  for (const name of ['with', 'not'] as const) {
    if (request[name] === undefined) continue
    const terms = request[name]
    if (!Array.isArray(terms) || terms.length > MOST_TERMS) throw invalid(name, `a list of at most ${MOST_TERMS} densities`, terms) // biome-ignore format: one line
    for (const term of terms) {
      knownOptions(name, term, ['model', 'attributes'])
      if (term.model !== undefined) modelOf(term.model, models)
      if (term.attributes !== undefined) checkAttributes(term.attributes)
    }
  }
  if (request.weights !== undefined) oneOf('weights', request.weights, weightSchemes)
  if (request.kernel !== undefined) oneOf('kernel', request.kernel, kernels)
  if (request.proposal !== undefined) oneOf('proposal', request.proposal, proposals)
  if (request.resampling !== undefined) oneOf('resampling', request.resampling, resamplingSchemes)
  if (request.moves !== undefined) oneOf('moves', request.moves, moveKernels)
  if (request.seed !== undefined) integer('seed', request.seed, 0)
  return { ...request, particles, steps }
}

const MOST_TERMS = 64

function checkAttributes(attributes: unknown): void {
  const fits = (value: unknown) => typeof value === 'string' || Number.isSafeInteger(value)
  if (!isObject(attributes) || !Object.values(attributes).every(fits))
    throw invalid('attributes', 'an object of classes by the names of attributes', attributes)
}

export function modelOf(name: unknown, models: ReadonlyMap<string, MergedModel>): MergedModel {
  const model = typeof name === 'string' ? models.get(name) : undefined
  if (!model) throw invalid('model', `one of ${[...models.keys()].join(', ')}`, name)
  return model
}

/** Bytes that a request takes while it runs, beside the models: particles, gradients, their copies, weights, and what is read of it. */
export function memoryOf(
  { particles, with: also = [], not = [] }: SampleRequest & Size,
  shape: readonly number[],
): number {
  const arrays = 16 + 4 * (also.length + not.length)
  return particles * (4 * arrays * sizeOf(shape) + 160)
}

/** The models that a request uses. */
export function modelsOf(
  { model, with: also = [], not = [] }: SampleRequest,
  models: ReadonlyMap<string, MergedModel>,
): MergedModel[] {
  const used = [model, ...[...also, ...not].map((term) => term.model ?? model)]
  return [...new Set(used)].map((name) => modelOf(name, models))
}

/** Runs a request that was checked. */
export function runRequest(
  request: SampleRequest & Size,
  models: ReadonlyMap<string, MergedModel>,
  signal?: AbortSignal,
): Stream<RequestLevel, RequestResult> {
  return streamOf(async (emit, whole) => {
    const { model } = modelOf(request.model, models)
    const { info } = model
    const { particles, seed, steps, rho } = request
    const [min, max] = [request.sigmaMin ?? info.sigmaMin, request.sigmaMax ?? info.sigmaMax]
    const sigmas = sigmaGrid({ steps, min, max, ...(rho !== undefined && { rho }) })
    const isEnergy = model instanceof EnergyModel
    const method = request.method ?? (isEnergy ? 'smc' : 'heun')
    if (method !== 'smc') refuseSmc(request, `method '${method}'`)
    const source = isEnergy ? await targetOf(request, models) : denoiserOf(request, models)
    if (method === 'smc') {
      if (!('energyGrad' in source)) throw invalid('method of a denoiser', 'one without weights', method)
      const { weights, weighAbove, kernel, proposal, resampling, essThreshold, essAfter, finalResample, controlDrift, moves } = request // biome-ignore format: one line
      const how = { weights, weighAbove, kernel, proposal, resampling, essThreshold, essAfter, finalResample, controlDrift } // biome-ignore format: one line
      const options = { particles, sigmas, seed, signal: whole, ...how, ...(moves && { moves: { kernel: moves } }) }
      const run = smc.stream(source, options)
      for await (const level of run) await emit(level)
      return run.result
    }
    const run = sample.stream(source, { particles, sigmas: [...sigmas, 0], method, seed, signal: whole })
    for await (const level of run) await emit(level)
    return run.result
  }, signal)
}

function refuseSmc(request: SampleRequest, where: string): void {
  const given = smcNames.find((name) => request[name] !== undefined)
  if (given !== undefined) throw new ArgumentError(`${given} goes with method 'smc' on an energy, not with ${where}`)
}

function targetOf(request: SampleRequest, models: ReadonlyMap<string, MergedModel>) {
  const { attributes, with: also = [], not = [], strength = 0.5, dividePrior = false, guidance = 1, gamma = 1, box } = request // biome-ignore format: one line
  if (request.guidanceInterval) throw invalid('guidanceInterval of an energy', 'nothing, as it is guided at every noise level', request.guidanceInterval) // biome-ignore format: one line
  const term = ({ model = request.model, attributes = undefined }: TermRequest): TermSpec => ({
    file: model === request.model ? null : model,
    labels: attributes ?? null,
  })
  const composition = { base: attributes ?? null, also: also.map(term), not: not.map(term), strength, dividePrior, guidance, gamma, box: box ?? null } // biome-ignore format: one line
  return composeTarget(composition, async (name) => modelOf(name ?? request.model, models))
}

function denoiserOf(request: SampleRequest, models: ReadonlyMap<string, MergedModel>) {
  const { attributes, guidance = 1, guidanceInterval: interval } = request
  const composed = ['with', 'not', 'strength', 'box', 'gamma', 'dividePrior'] as const
  const given = composed.find((name) => request[name] !== undefined)
  if (given !== undefined)
    throw new ArgumentError(
      `${given}: a denoiser has no energy to compose and weigh: distil it first (feynkac distill)`,
    )
  if (interval && (!attributes || guidance === 1))
    throw invalid('guidanceInterval', 'nothing without guidance', interval)
  const merged = modelOf(request.model, models)
  const denoiser = merged.denoiser()
  if (!attributes) {
    if (guidance !== 1) throw invalid('guidance', '1, as there are no attributes to guide towards', guidance)
    return denoiser
  }
  merged.model.conditioned(attributes) // labels that it does not have
  return guidedDenoiser(denoiser, { labels: attributes, scale: guidance, ...(interval && { interval }) })
}
