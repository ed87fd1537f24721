import { readdir, readFile } from 'node:fs/promises'
import type { ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { extname, join, relative, resolve, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import Fastify, { type FastifyInstance } from 'fastify'
import { isFolder, type Run, Runs } from './runs.js'

export type { Run, RunState } from './runs.js'

/** Serves the page in which runs are watched: what it reads are the files that runs write, and it writes none. */

export interface WatchOptions {
  /** Folders of runs, or of folders of them. */
  folders: readonly string[]
  /** Default 127.0.0.1: this machine alone. */
  host?: string
  /** Default 0: any that is free. */
  port?: number
}

export interface WatchServer {
  readonly url: string
  close(): Promise<void>
}

/** Milliseconds between looks, while anybody looks. */
const PERIOD = 1000
/** Keeps the page out of the OpenAPI description of a server that it is part of. */
const hidden = { schema: { hide: true } as object }
/** Names by which a machine calls itself: pages of the web may not reach it by another (DNS rebinding). */
const ownNames = ['localhost', '127.0.0.1', '[::1]']
const types: Record<string, string> = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml' } // biome-ignore format: one line
const policy = "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'" // biome-ignore format: one line

/** Throws where a folder is none, or the port is taken. */
export async function watch({ folders, host = '127.0.0.1', port = 0 }: WatchOptions): Promise<WatchServer> {
  const app = Fastify({ forceCloseConnections: true })
  if (host === '127.0.0.1' || host === '::1' || host === 'localhost')
    app.addHook('onRequest', async (request, reply) => {
      const name = request.headers.host?.replace(/:\d+$/, '') ?? ''
      if (!ownNames.includes(name)) await reply.status(403).send({ message: `there is nothing here for ${name}` })
    })
  await app.register(async (scope) => void (await watchRoutes(scope, folders)))
  await app.listen({ host, port })
  const { port: taken } = app.server.address() as AddressInfo
  return { url: `http://${host.includes(':') ? `[${host}]` : host}:${taken}/`, close: () => app.close() }
}

/**
 * Adds the page and what it asks to an application of Fastify's, under the prefix of the scope. Returns what ends the events that are open.
 * Throws where a folder is none.
 */
export async function watchRoutes(app: FastifyInstance, folders: readonly string[]): Promise<() => void> {
  for (const folder of folders) if (!(await isFolder(folder))) throw new Error(`there is no folder ${folder}`)
  const roots = folders.map((folder) => resolve(folder))
  const runs = new Runs(roots)
  const listeners = new Listeners(() => runs.look({ search: false }))
  const page = await pageFiles()
  app.addHook('onClose', async () => listeners.close())
  app.addHook('onSend', async (_, reply) => {
    void reply.header('content-security-policy', policy).header('x-content-type-options', 'nosniff').header('referrer-policy', 'no-referrer') // biome-ignore format: one line
  })
  for (const [name, content] of page)
    app.get(
      name === 'index.html' ? '/' : `/${name}`,
      hidden,
      async (_, reply) =>
      reply.type(types[extname(name)] ?? 'application/octet-stream').header('cache-control', name.startsWith('assets/') ? 'max-age=31536000, immutable' : 'no-cache').send(content), // biome-ignore format: one line
    )
  app.get('/api/runs', hidden, async () => ({ folders: roots, runs: await runs.look({ search: true }) }))
  app.get<{ Querystring: { run?: string; from?: string } }>('/api/lines', hidden, async ({ query }, reply) => {
    const from = Number(query.from ?? 0)
    const found = Number.isSafeInteger(from) && from >= 0 ? runs.lines(query.run ?? '', from) : undefined
    if (!found) return reply.status(404).send({ message: 'there is no such run' })
    return { ...found, from, pictures: await runs.pictures(query.run ?? '') }
  })
  app.get<{ Querystring: { run?: string; name?: string } }>('/api/picture', hidden, async ({ query }, reply) => {
    const picture = await runs.picture(query.run ?? '', query.name ?? '')
    if (!picture) return reply.status(404).send({ message: 'there is no such picture' })
    return reply.type('image/png').header('cache-control', 'no-cache').send(picture)
  })
  app.get('/api/events', hidden, (_, reply) => {
    reply.hijack()
    listeners.add(reply.raw)
  })
  return () => listeners.close()
}

/** Those that hear of changes, by server-sent events; nothing is looked for while there are none. */
class Listeners {
  readonly #all = new Set<ServerResponse>()
  #timer: NodeJS.Timeout | undefined
  #last = ''
  #quiet = 0
  readonly #look: () => Promise<Run[]>

  constructor(look: () => Promise<Run[]>) {
    this.#look = look
  }

  add(response: ServerResponse): void {
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store', 'x-accel-buffering': 'no' }) // biome-ignore format: one line
    response.write('retry: 1000\n\n')
    this.#all.add(response)
    this.#last = '' // the new one has heard nothing yet
    response.on('close', () => this.#all.delete(response))
    if (this.#timer === undefined) this.#next(0)
  }

  close(): void {
    clearTimeout(this.#timer)
    for (const response of this.#all) response.end()
    this.#all.clear()
  }

  #next(after: number): void {
    this.#timer = setTimeout(async () => {
      const text = JSON.stringify(await this.#look())
      const changed = text !== this.#last
      this.#quiet = changed ? 0 : this.#quiet + 1
      // a word now and then: what passes connections on ends those that are silent
      const word = changed ? `event: runs\ndata: ${text}\n\n` : this.#quiet % 15 === 0 ? ':\n\n' : ''
      if (word !== '') for (const response of this.#all) response.write(word)
      this.#last = text
      if (this.#all.size > 0) this.#next(PERIOD)
      else this.#timer = undefined
    }, after)
    this.#timer.unref()
  }
}

/** All files of the built page, by their names in it. */
async function pageFiles(): Promise<Map<string, Buffer>> {
  const folder = fileURLToPath(new URL('page', import.meta.url))
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name))
  const read = async (file: string): Promise<[string, Buffer]> => [relative(folder, file).split(sep).join('/'), await readFile(file)] // biome-ignore format: one line
  return new Map(await Promise.all(files.map(read)))
}
