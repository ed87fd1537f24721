import { createHash, timingSafeEqual } from 'node:crypto'
import { once } from 'node:events'
import type { ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { FastifyReply as Reply, FastifyRequest as Request } from 'fastify'
import { finiteNumber, integer, knownOptions, oneOf } from '../base/args.js'
import { ArgumentError, BusyError, FeynkacError } from '../base/errors.js'
import { reader } from '../base/option-table.js'
import { loadServing } from '../base/optional.js'
import { sizeOf } from '../base/shape.js'
import { encoded } from '../smc/result-json.js'
import type { Engine } from './engine.js'
import { failure, formats, health, model, result, routes, sampleRequest } from './openapi.js'
import { type HttpOptions, type HttpServer, httpRows } from './options.js'
import type { RequestLevel, RequestResult } from './request.js'
import type { SampleRequest } from './request-options.js'
import { loadWatching } from './watching.js'

/** An engine over HTTP, by Fastify. */

/** Particles of a preview. */
const SHOWN = 16

/** Documented in late.ts. */
export async function serve(engine: Engine, options: HttpOptions = {}): Promise<HttpServer> {
  knownOptions('serve', options, Object.keys(httpRows))
  const option = reader(httpRows, options)
  const [host, port] = [option('host'), option('port')]
  const apiKey = options.apiKey === undefined ? undefined : option('apiKey')
  const settled = {
    apiKey,
    maxSeconds: option('maxSeconds'),
    maxBody: option('maxBody'),
    watch: option('watch'),
    version: option('version'),
  }
  const draining = new Draining()
  const app = await describedApp(engine, draining, settled)
  try {
    await app.listen({ host, port })
  } catch (error) {
    await app.close()
    throw new FeynkacError(`cannot listen on ${host}:${port}: ${(error as Error).message}`, { cause: error })
  }
  const { port: taken } = app.server.address() as AddressInfo
  const name = host.includes(':') ? `[${host}]` : host
  return {
    url: `http://${name}:${taken}`,
    port: taken,
    async close() {
      await draining.close()
      await app.close()
      await engine.close()
    },
  }
}

/**
 * What is being answered. Node's own close ends connections whose answers are written and not yet sent, so that it has to wait until there are
 * none; whoever asks in the meantime is refused.
 */
class Draining {
  closing = false
  /** Ends answers that have no end. */
  endEvents = () => {}
  #active = 0
  #done?: () => void

  answers(response: ServerResponse): void {
    this.#active++
    response.once('close', () => {
      this.#active--
      if (this.#active === 0) this.#done?.()
    })
  }

  async close(): Promise<void> {
    this.closing = true
    this.endEvents()
    if (this.#active > 0) await new Promise<void>((resolve) => (this.#done = resolve)) // biome-ignore format: one line
  }
}

interface Settled {
  apiKey: string | undefined
  maxSeconds: number
  maxBody: number
  version: string
  watch: readonly string[]
}

/** The application with its routes; the tests read its description without a port. */
export async function describedApp(
  engine: Engine,
  draining: Draining,
  { apiKey, maxSeconds, maxBody, version, watch }: Settled,
) {
  const { Fastify, swagger } = await loadServing()
  const [requestTimeout, keepAliveTimeout, connectionTimeout] = [30_000, 10_000, 1000 * (maxSeconds + 30)]
  const times = { requestTimeout, keepAliveTimeout, connectionTimeout }
  const app = Fastify({ bodyLimit: maxBody, ...times, return503OnClosing: true })
  app.server.on('request', (_, response) => draining.answers(response))
  const bearer = { bearer: { type: 'http' as const, scheme: 'bearer' } }
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: { title: 'feynkac', description: 'Samples of diffusion models and compositions of them.', version },
      ...(apiKey !== undefined && { components: { securitySchemes: bearer }, security: [{ bearer: [] }] }),
    },
    refResolver: { buildLocalReference: (json, _, __, i) => String(json.$id ?? `def-${i}`) },
  })
  for (const schema of [sampleRequest, result, failure, model, health]) app.addSchema(schema)
  // the engine checks, in words for people; results are written as they are
  app.setValidatorCompiler(() => () => true)
  app.setSerializerCompiler(() => (data) => JSON.stringify(data))
  app.setErrorHandler((error, _, reply) => {
    const { status, body } = failureOf(error)
    if (status === 503) void reply.header('retry-after', '1')
    return reply.status(status).send(body)
  })
  app.addHook('onRequest', async (request, reply) => {
    if (draining.closing && request.routeOptions.url !== '/health') {
      void reply.header('connection', 'close')
      throw new BusyError('the server is closing: it takes no more requests')
    }
    if (apiKey === undefined || request.routeOptions.url === '/health' || isKey(request, apiKey)) return
    if (/^\/watch(?:[/?]|$)/.test(request.url)) {
      const ticket = digest(`watch ${apiKey}`).toString('hex')
      if (hasTicket(request, ticket)) return
      const { key } = request.query as Record<string, string>
      if (typeof key === 'string' && timingSafeEqual(digest(key), digest(apiKey)))
        return reply.header('set-cookie', `feynkac-watch=${ticket}; Path=/watch; HttpOnly; SameSite=Strict`).redirect('/watch/') // biome-ignore format: one line
    }
    await reply.status(401).header('www-authenticate', 'Bearer').send({ code: 'UNAUTHORIZED', message: 'give the API key: Authorization: Bearer KEY' }) // biome-ignore format: one line
  })
  app.get('/health', { schema: routes.health }, async (_, reply) => {
    const state = { ...engine.health(), ...(draining.closing && { status: 'closing' as const }) }
    return reply.status(state.status === 'ok' ? 200 : 503).send(state)
  })
  app.get('/models', { schema: routes.models }, async () => engine.models)
  app.get('/metrics', { schema: routes.metrics }, async (_, reply) =>
    reply.type('text/plain; version=0.0.4').send(engine.metrics()),
  )
  app.get('/openapi.json', { schema: { hide: true } as object }, async () => app.swagger())
  app.post('/sample', { schema: routes.sample }, (request, reply) => answer(engine, request, reply, maxSeconds))
  if (watch.length > 0) {
    const { watchRoutes } = await loadWatching(version)
    // its page has relative addresses
    app.get('/watch', { schema: { hide: true } as object }, (_, reply) => reply.redirect('/watch/'))
    const scoped = async (scope: object) => {
      draining.endEvents = await watchRoutes(scope, watch)
    }
    await app.register(scoped, { prefix: '/watch/' })
  }
  await app.ready()
  return app
}

/** A browser gives no headers of its own: it gives the key once, in the address, and then a cookie that is good for the page alone. */
function hasTicket({ headers }: Request, ticket: string): boolean {
  const [, given = ''] = /(?:^|;\s*)feynkac-watch=([0-9a-f]+)/.exec(headers.cookie ?? '') ?? []
  return timingSafeEqual(digest(given), digest(ticket))
}

/** One request for samples: in one piece, or as events. */
async function answer(engine: Engine, request: Request, reply: Reply, maxSeconds: number): Promise<Reply> {
  const query = request.query as Record<string, string>
  knownOptions('the query', query, ['format', 'deadline', 'previews'])
  const format = oneOf('format', query.format ?? 'json', formats)
  const seconds = finiteNumber('deadline', query.deadline === undefined ? maxSeconds : Number(query.deadline), { above: 0, max: maxSeconds }) // biome-ignore format: one line
  const previews = integer('previews', query.previews === undefined ? 8 : Number(query.previews), 0, 1000)
  const gone = new AbortController()
  const { raw } = reply
  raw.on('close', () => {
    if (!raw.writableFinished) gone.abort(new Error('the client went away'))
  })
  const options = { client: request.ip, deadline: Math.ceil(1000 * seconds), signal: gone.signal }
  const run = engine.stream(request.body as SampleRequest, options)
  if (!request.headers.accept?.includes('text/event-stream')) {
    const drawn = await run.result
    if (format === 'json') return reply.type('application/json').send(JSON.stringify(drawn))
    if (format === 'png') return reply.type('image/png').send(await picture(drawn))
    const { npyBytes } = await import('../data/npy-write.js')
    const bytes = npyBytes(drawn.resampled(), [drawn.particles, ...drawn.shape])
    return reply.type('application/octet-stream').header('content-disposition', 'attachment; filename="samples.npy"').send(bytes) // biome-ignore format: one line
  }
  reply.hijack()
  raw.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store', 'x-accel-buffering': 'no' })
  const send = async (event: string, data: unknown) => {
    // a client that reads slowly slows its own run down
    if (!raw.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`))
      await once(raw, 'drain', { signal: gone.signal }).catch(() => {}) // it went away
  }
  const shape = engine.models.find(({ name }) => name === (request.body as SampleRequest).model)!.shape
  try {
    let shown = 0
    for await (const level of run) {
      const { level: at, lastLevel, sigma, ess, distinctRoots } = level
      await send('level', encoded({ level: at, lastLevel, sigma, ess, distinctRoots }))
      if (at * previews < (shown + 1) * lastLevel) continue
      shown = Math.floor((at * previews) / lastLevel)
      await send('preview', await preview(level, shape))
    }
    await send('result', await run.result)
  } catch (error) {
    if (!gone.signal.aborted) await send('error', failureOf(error).body)
  } finally {
    raw.end()
  }
  return reply
}

/** The first images in a PNG; where samples are none, their numbers. */
async function preview(level: RequestLevel, shape: readonly number[]): Promise<object> {
  const all = await level.denoised()
  const few = all.slice(0, SHOWN * sizeOf(shape))
  const at = { level: level.level, sigma: level.sigma }
  if (shape.length !== 3) return { ...at, shape, samples: encoded(few) }
  const { gridPng } = await import('../data/grid.js')
  return { ...at, png: (await gridPng(few, shape, { size: 512 })).toString('base64') }
}

async function picture(drawn: RequestResult): Promise<Buffer> {
  const { shape, samples, weights, particles } = drawn
  if (shape.length === 3) {
    const { gridPng } = await import('../data/grid.js')
    return gridPng(drawn.resampled(), shape)
  }
  const dim = sizeOf(shape)
  if (dim < 2) throw new ArgumentError('format: there is no picture of samples of one number: ask for npy')
  const { scatterPng } = await import('../report/scatter.js')
  return scatterPng(samples, { dim, weights, most: Math.min(5000, particles) })
}

const digest = (text: string) => createHash('sha256').update(text).digest()

function isKey({ headers }: Request, apiKey: string): boolean {
  const { authorization, 'x-api-key': own } = headers
  const given = authorization?.startsWith('Bearer ') ? authorization.slice(7) : own
  return typeof given === 'string' && timingSafeEqual(digest(given), digest(apiKey))
}

const statuses: Record<string, number> = {
  FEYNKAC_ARGUMENT: 400,
  FEYNKAC_BUSY: 503,
  FEYNKAC_OUT_OF_MEMORY: 503,
  FEYNKAC_DEADLINE: 504,
  FEYNKAC_NUMERICS: 422,
  FEYNKAC_MISSING_PACKAGE: 501,
}

/** What a client is told of an error; of a fault of the server's own not more than that it is one. */
function failureOf(error: unknown): { status: number; body: { code: string; message: string } } {
  const { code, message, statusCode } = error as { code?: string; message: string; statusCode?: number }
  if (error instanceof FeynkacError) return { status: statuses[error.code] ?? 500, body: { code: error.code, message } }
  if (statusCode !== undefined && statusCode < 500) return { status: statusCode, body: { code: code ?? 'HTTP', message } } // biome-ignore format: one line
  return { status: 500, body: { code: 'INTERNAL', message: 'the server failed: its log says why' } }
}
