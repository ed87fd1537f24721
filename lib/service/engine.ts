import { integer, knownOptions, plainObject } from '../base/args.js'
import { ArgumentError, BusyError, DeadlineError, invalid } from '../base/errors.js'
import { reader } from '../base/option-table.js'
import { type Stream, streamOf } from '../base/stream.js'
import { Denoiser } from '../models/denoiser.js'
import { EnergyModel } from '../models/energy.js'
import type { Labels } from '../models/labels.js'
import { labelSpecOf } from '../models/labels.js'
import { openModel } from '../models/open.js'
import { type DeviceOptions, deviceOptionNames } from '../native/devices.js'
import type { EnergyFunction } from '../smc/energy-function.js'
import { MergedModel } from './merge.js'
import { Metrics } from './metrics.js'
import { type EngineLimits, limitRows } from './options.js'
import { FairQueue } from './queue.js'
import {
  checkRequest,
  memoryOf,
  modelOf,
  modelsOf,
  type RequestLevel,
  type RequestResult,
  runRequest,
} from './request.js'
import type { SampleRequest } from './request-options.js'

/** A queue of requests for samples, in one process, on models that they share. */

/** What is told to a log: pino, console, or anything with these methods. */
export interface Logger {
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
}

/** Options of `createEngine`. */
export interface EngineOptions extends DeviceOptions, EngineLimits {
  /** The models by the names that requests know them by: files, which the engine loads and frees, or models, which stay the caller's. */
  models: Readonly<Record<string, string | EnergyModel | Denoiser>>
  logger?: Logger
}

/** How a request is served. */
export interface ServeOptions {
  /** Whose it is: clients take turns. Default all the same. */
  client?: string
  /** Milliseconds until it is given up with DeadlineError, waiting included; default none. */
  deadline?: number
  signal?: AbortSignal
}

/** What `health` says of an engine. */
export interface EngineHealth {
  status: 'ok' | 'closing'
  queued: number
  running: number
  /** Bytes of the particles of those that run. */
  memory: number
  /** Seconds since the start. */
  uptime: number
}

/** What a client may know of a model. */
export interface EngineModel {
  name: string
  kind: string
  shape: readonly number[]
  sigmaMin: number
  sigmaMax: number
  attributes: { name: string; size: number; values?: readonly string[] }[]
}

const optionNames = ['models', ...Object.keys(limitRows), 'logger', ...deviceOptionNames]
const serveNames = ['client', 'deadline', 'signal']

/**
 * Models and a queue of requests for samples from them, made by `createEngine`. Requests that run at the same time share the evaluations of a
 * model; what each returns does not depend on the others.
 */
export class Engine {
  readonly #models = new Map<string, MergedModel>()
  readonly #owned: (EnergyModel | Denoiser)[] = []
  readonly #queue: FairQueue
  readonly #metrics = new Metrics()
  readonly #began = performance.now()
  #closing = false
  #served = 0

  private constructor(
    /** The most that a request may ask for. */
    readonly limits: { particles: number; steps: number },
    queue: FairQueue,
    /** What is told of requests, where there is a log. */
    readonly logger?: Logger,
  ) {
    this.#queue = queue
    this.#metrics.gauge('feynkac_requests_queued', 'Requests that wait.', () => queue.queued)
    this.#metrics.gauge('feynkac_requests_running', 'Requests that run.', () => queue.running)
    this.#metrics.gauge('feynkac_particles_bytes', 'Memory of the particles of those that run.', () => queue.memory)
    this.#metrics.gauge('feynkac_resident_bytes', 'Memory of the process.', () => process.memoryUsage.rss())
  }

  /** Documented in late.ts. @internal */
  static async create(options: EngineOptions): Promise<Engine> {
    knownOptions('createEngine', options, optionNames)
    const given = Object.entries(plainObject('models', options.models)) as [string, string | EnergyModel | Denoiser][]
    if (given.length === 0) throw invalid('models', 'at least one model', options.models)
    const { logger, device, precision } = options
    for (const method of ['info', 'warn', 'error'] as const)
      if (logger !== undefined && typeof logger?.[method] !== 'function')
        throw invalid('logger', 'an object with info, warn and error', logger)
    const limit = reader(limitRows, options)
    const queue = new FairQueue({
      maxConcurrent: limit('maxConcurrent'),
      maxQueued: limit('maxQueued'),
      memoryLimit: options.memoryLimit === undefined ? Math.floor(process.availableMemory() / 2) : limit('memoryLimit'),
    })
    const rows = limit('batchRows')
    const engine = new Engine({ particles: limit('maxParticles'), steps: limit('maxSteps') }, queue, logger)
    try {
      for (const [name, model] of given) await engine.#add(name, model, rows, { device, precision })
    } catch (error) {
      engine.#free()
      throw error
    }
    return engine
  }

  async #add(name: string, given: string | EnergyModel | Denoiser, rows: number, at: DeviceOptions): Promise<void> {
    let model = given
    if (typeof model === 'string') {
      model = await openModel(model, at)
      this.#owned.push(model)
    } else if (!(model instanceof EnergyModel || model instanceof Denoiser))
      throw invalid(`model '${name}'`, 'a file, an EnergyModel or a Denoiser', model)
    const metrics = this.#metrics
    const onBatch = ({ calls, rows, ms }: { calls: number; rows: number; ms: number }) => {
      metrics.count('feynkac_batches_total', 'Batches that a model has evaluated.', 1, { model: name })
      metrics.count('feynkac_batch_calls_total', 'Calls that were merged into batches.', calls, { model: name })
      metrics.count('feynkac_batch_samples_total', 'Samples of the batches.', rows, { model: name })
      metrics.count('feynkac_batch_seconds_total', 'Time that a model has worked.', ms / 1000, { model: name })
    }
    this.#models.set(name, new MergedModel(model, { rows, onBatch }))
  }

  /** The models, for clients. */
  get models(): EngineModel[] {
    return [...this.#models].map(([name, { model }]) => {
      const { kind, sigmaMin, sigmaMax } = model.info
      const attributes = labelSpecOf(model.info)?.attributes ?? []
      return { name, kind, shape: model.shape, sigmaMin, sigmaMax, attributes: attributes.map((a) => ({ ...a })) }
    })
  }

  /**
   * p(x | labels) of a model, whose calls are merged with those of all others: for targets of one's own, run by `run`.
   * Throws ArgumentError where there is no such energy.
   */
  energy(name: string, labels?: Labels): EnergyFunction {
    return modelOf(name, this.#models).conditioned(labels)
  }

  /**
   * Serves a request. Throws ArgumentError for a wrong one, BusyError where there is no room, DeadlineError, NumericsError; the signal's reason.
   */
  async sample(request: SampleRequest, options: ServeOptions = {}): Promise<RequestResult> {
    return this.stream(request, options).result
  }

  /** The same as a loop over its levels, with previews; it starts with the loop, and waits for its turn. Errors as `run`. */
  stream(request: SampleRequest, options: ServeOptions = {}): Stream<RequestLevel, RequestResult> {
    knownOptions('stream', options, serveNames)
    const checked = checkRequest(request, this.#models, this.limits)
    const { shape } = modelOf(checked.model, this.#models).model
    const used = modelsOf(checked, this.#models)
    const memory = memoryOf(checked, shape)
    return streamOf(
      (emit, whole) =>
        this.run({ ...options, memory, signal: whole }, async (signal) => {
          for (const model of used) model.users++
          try {
            const run = runRequest(checked, this.#models, signal)
            for await (const level of run) await emit(level)
            return await run.result
          } finally {
            for (const model of used) model.users--
          }
        }),
      options.signal,
    )
  }

  /**
   * Runs work of one's own in its turn, with the engine's limits: smc on targets of `energy`, or anything that heeds the signal.
   * memory: bytes that it takes (0). Throws BusyError, DeadlineError, what the work throws, the signal's reason when aborted.
   */
  async run<T>(options: ServeOptions & { memory?: number }, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    knownOptions('run', options, [...serveNames, 'memory'])
    if (typeof work !== 'function') throw invalid('work', 'a function', work)
    const { client = '', deadline, signal } = options
    if (typeof client !== 'string') throw invalid('client', 'a text', client)
    const memory = integer('memory', options.memory ?? 0, 0)
    if (deadline !== undefined) integer('deadline', deadline, 1, 2 ** 31 - 1)
    const id = ++this.#served
    const asked = performance.now()
    let began = Number.NaN
    const since = (from: number) => (performance.now() - from) / 1000
    try {
      const ticket = { client, memory, ...(deadline !== undefined && { deadline }), ...(signal && { signal }) }
      const result = await this.#queue.run(ticket, (whole) => {
        began = performance.now()
        this.#metrics.observe('feynkac_queue_seconds', 'Time that requests waited.', since(asked))
        return work(whole)
      })
      this.#finished('ok', asked)
      this.logger?.info({ id, client, seconds: since(asked), waited: (began - asked) / 1000 }, 'request done')
      return result
    } catch (error) {
      const outcome = outcomeOf(error, signal)
      this.#finished(outcome, asked)
      const fields = { id, client, seconds: since(asked), outcome, err: error as object }
      if (outcome === 'failed') this.logger?.error(fields, 'request failed')
      else this.logger?.warn(fields, `request ${outcome}`)
      throw error
    }
  }

  #finished(outcome: string, asked: number): void {
    this.#metrics.count('feynkac_requests_total', 'Requests by how they ended.', 1, { outcome })
    this.#metrics.observe('feynkac_request_seconds', 'Time from the request to its end.', (performance.now() - asked) / 1000, { outcome }) // biome-ignore format: one line
  }

  /** Counters and times in the text form of Prometheus. */
  metrics(): string {
    return this.#metrics.text()
  }

  /** How it is: requests that wait and run, the memory of their particles, and whether it is closing. */
  health(): EngineHealth {
    const { queued, running, memory } = this.#queue
    const uptime = (performance.now() - this.#began) / 1000
    return { status: this.#closing ? 'closing' : 'ok', queued, running, memory, uptime }
  }

  /** Takes no more requests, serves those that it has, and frees the models that it has loaded. */
  async close(): Promise<void> {
    this.#closing = true
    await this.#queue.close()
    this.#free()
  }

  #free(): void {
    for (const model of this.#owned.splice(0)) model.dispose()
  }
}

function outcomeOf(error: unknown, signal: AbortSignal | undefined): string {
  if (error instanceof BusyError) return 'refused'
  if (error instanceof DeadlineError) return 'late'
  if (error instanceof ArgumentError) return 'wrong'
  return signal?.aborted ? 'cancelled' : 'failed'
}
