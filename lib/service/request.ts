import { integer, knownOptions } from '../base/args.js'
import { ArgumentError, invalid } from '../base/errors.js'
import { isObject } from '../base/json.js'
import { checkOptions, givenOptions, reader } from '../base/option-table.js'
import { sizeOf } from '../base/shape.js'
import { type Stream, streamOf } from '../base/stream.js'
import { EnergyModel } from '../models/energy.js'
import { guidedDenoiser } from '../models/guidance.js'
import type { SampleResult } from '../smc/result.js'
import { sample } from '../smc/samplers.js'
import { sigmaGrid } from '../smc/schedule.js'
import { smc } from '../smc/smc.js'
import type { SmcResult } from '../smc/smc-result.js'
import { composeTarget, type TermSpec } from './composition.js'
import type { MergedModel } from './merge.js'
import {
  compositionRows,
  requestRows,
  type SampleRequest,
  type SmcChoices,
  smcRows,
  type TermRequest,
} from './request-options.js'

/** One request for samples: what the command `sample` takes, by names of models instead of files. */

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

/** What a request ends with: of `smc`, or of a sampler without weights. */
export type RequestResult = SmcResult | SampleResult

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
  knownOptions('the request', given, ['model', ...Object.keys(requestRows), 'attributes', 'with', 'not'])
  const request = given as SampleRequest
  modelOf(request.model, models)
  checkOptions(requestRows, given as Record<string, unknown>)
  const particles = integer('particles', request.particles ?? requestRows.particles.default, 1, limits.particles)
  const steps = integer('steps', request.steps ?? requestRows.steps.default, 1, limits.steps)
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
    const method = request.method ?? (isEnergy ? 'smc' : 'ancestral')
    if (method !== 'smc') refuseSmc(request, `method '${method}'`)
    const source = isEnergy ? await targetOf(request, models) : denoiserOf(request, models)
    if (method === 'smc') {
      if (!('energyGrad' in source)) throw invalid('method of a denoiser', 'one without weights', method)
      const { moves, ...how } = givenOptions<SmcChoices>(smcRows, request)
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
  const given = (Object.keys(smcRows) as (keyof typeof smcRows)[]).find((name) => request[name] !== undefined)
  if (given !== undefined) throw new ArgumentError(`${given} goes with method 'smc' on an energy, not with ${where}`)
}

function targetOf(request: SampleRequest, models: ReadonlyMap<string, MergedModel>) {
  const { attributes, with: also = [], not = [], box } = request
  const option = reader(compositionRows, request)
  if (request.guidanceInterval) throw invalid('guidanceInterval of an energy', 'nothing, as it is guided at every noise level', request.guidanceInterval) // biome-ignore format: one line
  const term = ({ model = request.model, attributes = undefined }: TermRequest): TermSpec => ({
    file: model === request.model ? null : model,
    labels: attributes ?? null,
  })
  const composition = {
    base: attributes ?? null,
    also: also.map(term),
    not: not.map(term),
    strength: option('strength'),
    dividePrior: option('dividePrior'),
    guidance: option('guidance'),
    gamma: option('gamma'),
    box: box ?? null,
  }
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
