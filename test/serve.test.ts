import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Client } from '../examples/typed-client/client.js'
import { parseNpyArray } from '../lib/data/npy.js'
import { createEngine, EnergyModel, type Engine, type HttpServer, residualMLP, resultFromJSON, serve, sigmaGrid, smc, songUNet } from '../lib/index.js' // biome-ignore format: one line

const labels = { attributes: [{ name: 'side', size: 2, values: ['left', 'right'] }] }
const network = residualMLP(2, { hidden: 16, layers: 1, label_dim: 2 })
const range = { sigmaMin: 0.05, sigmaMax: 10 }
const key = { authorization: 'Bearer secret' }

let folder: string
let model: EnergyModel
let pictures: EnergyModel
let engine: Engine
let server: HttpServer
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'feynkac-serve-'))
  model = await EnergyModel.create({ network, kind: 'dot', labels, ...range }, { seed: 1 })
  await model.save(join(folder, 'plane.safetensors'))
  const unet = songUNet([1, 8, 8], { model_channels: 4, channel_mult: [1], num_blocks: 1, attn_resolutions: [] })
  pictures = await EnergyModel.create({ network: unet, kind: 'dot', ...range }, { seed: 1 })
  engine = await createEngine({ models: { plane: model, pictures }, maxParticles: 64, maxSteps: 100 })
  server = await serve(engine, { apiKey: 'secret', maxBody: 2000, maxSeconds: 20 })
})
afterAll(async () => {
  await server?.close()
  for (const one of [model, pictures]) one?.dispose()
  await rm(folder, { recursive: true, force: true })
})

const post = (
  body: unknown,
  { query = '', headers = {}, url = server.url, signal }: { query?: string; headers?: Record<string, string>; url?: string; signal?: AbortSignal } = {}, // biome-ignore format: one line
) =>
  fetch(`${url}/sample${query}`, {
    method: 'POST',
    headers: { ...key, 'content-type': 'application/json', ...headers },
    body: typeof body === 'string' ? body : JSON.stringify(body),
    ...(signal && { signal }),
  })

const small = { model: 'plane', particles: 4, steps: 6, seed: 3 }

describe('over HTTP', () => {
  it('answers with the result of smc, as JSON, .npy and PNG', async () => {
    const alone = await smc(model, { particles: 4, sigmas: sigmaGrid({ steps: 6, min: 0.05, max: 10 }), seed: 3 })
    const whole = await post(small)
    expect([whole.status, whole.headers.get('content-type')]).toEqual([200, 'application/json; charset=utf-8'])
    expect(resultFromJSON(await whole.json()).samples).toEqual(alone.samples)
    const array = parseNpyArray(
      new Uint8Array(await (await post(small, { query: '?format=npy' })).arrayBuffer()),
      'npy',
    )
    expect(array).toMatchObject({ shape: [4, 2], data: alone.resampled() })
    const png = await post({ model: 'pictures', particles: 2, steps: 2 }, { query: '?format=png' })
    expect(
      Buffer.from(await png.arrayBuffer())
        .subarray(1, 4)
        .toString(),
    ).toBe('PNG')
  })

  it('tells its progress as events, with previews', async () => {
    for (const [name, has] of [
      ['plane', 'samples'],
      ['pictures', 'png'],
    ] as const) {
      const answer = await post(
        { ...small, model: name },
        { query: '?previews=3', headers: { accept: 'text/event-stream' } },
      )
      const events = (await answer.text()).trim().split('\n\n').map((text) => {
        const [event, data] = text.split('\n').map((line) => line.slice(line.indexOf(': ') + 2))
        return { event, data: JSON.parse(data!) }
      }) // biome-ignore format: short
      const of = (name: string) => events.filter(({ event }) => event === name)
      expect(of('level').map(({ data }) => data.level)).toEqual([0, 1, 2, 3, 4, 5, 6])
      expect(of('level')[3]!.data).toMatchObject({ lastLevel: 6, ess: expect.any(Number), sigma: expect.any(Number) })
      expect(of('preview').map(({ data }) => data.level)).toEqual([2, 4, 6])
      expect(of('preview')[0]!.data).toHaveProperty(has)
      expect(events.at(-1)!.event).toBe('result')
      expect(resultFromJSON(events.at(-1)!.data).particles).toBe(4)
    }
  })

  it('says what is wrong with a request, by status and words', async () => {
    for (const [status, body, message, options] of [
      [400, { ...small, particles: 65 }, /integer from 1 to 64 for particles/, {}],
      [400, { model: 'other' }, /one of plane, pictures for model/, {}],
      [400, { ...small, attributes: { side: 'up' } }, /left, right/, {}],
      [400, small, /one of 'json', 'png', 'npy' for format/, { query: '?format=gif' }],
      [400, 'no JSON', /JSON/, {}],
      [401, small, /API key/, { headers: { authorization: 'Bearer wrong' } }],
      [413, { ...small, method: 'x'.repeat(3000) }, /too large/, {}],
      [504, { ...small, particles: 64, steps: 100 }, /not done within 1 ms/, { query: '?deadline=0.001' }],
    ] as const) {
      const answer = await post(body, options)
      const said = (await answer.json()) as { code: string; message: string }
      expect([answer.status, said.message]).toEqual([status, expect.stringMatching(message)])
      expect(typeof said.code).toBe('string')
    }
    const late = await post({ ...small, particles: 64, steps: 100 }, { query: '?deadline=0.001', headers: { accept: 'text/event-stream' } }) // biome-ignore format: one line
    expect(await late.text()).toMatch(/event: error\ndata: \{"code":"FEYNKAC_DEADLINE"/)
  })

  it('stops a request whose client goes away', async () => {
    const stop = new AbortController()
    const long = post({ ...small, particles: 64, steps: 100 }, { signal: stop.signal })
    while (engine.health().running === 0) await new Promise((resolve) => setTimeout(resolve, 1))
    stop.abort()
    await expect(long).rejects.toThrow()
    while (engine.health().running > 0) await new Promise((resolve) => setTimeout(resolve, 1))
    expect(engine.metrics()).toContain('feynkac_requests_total{outcome="cancelled"} 1')
  })

  it('describes itself, its models, health and metrics', async () => {
    const get = async (path: string, headers: Record<string, string> = key) =>
      fetch(`${server.url}${path}`, { headers })
    expect(await (await get('/health', {})).json()).toMatchObject({ status: 'ok' })
    expect((await get('/metrics', {})).status).toBe(401)
    expect(await (await get('/metrics', { 'x-api-key': 'secret' })).text()).toContain(
      '# TYPE feynkac_requests_total counter',
    )
    expect(await (await get('/models')).json()).toMatchObject([{ name: 'plane', attributes: labels.attributes }, { name: 'pictures' }]) // biome-ignore format: one line
    // biome-ignore lint/suspicious/noExplicitAny: JSON
    const description = (await (await get('/openapi.json')).json()) as any
    expect(Object.keys(description.paths).sort()).toEqual(['/health', '/metrics', '/models', '/sample'])
    const { schema } = description.paths['/sample'].post.requestBody.content['application/json']
    expect(schema).toEqual({ $ref: '#/components/schemas/SampleRequest' })
    // every option of a request is in it, and no other
    const refused = (await (await post({ nothing: 1 })).json()) as { message: string }
    const listed = refused.message.match(/only (.*) for/)![1]!.split(', ')
    expect(Object.keys(description.components.schemas.SampleRequest.properties).sort()).toEqual(listed.sort())
    expect((await get('/nothing')).status).toBe(404)
  })
})

describe('a client typed by the description', () => {
  it('is typed by what the server says now', async () => {
    const committed = await readFile(new URL('../examples/typed-client/openapi.json', import.meta.url), 'utf8')
    const open = await createEngine({ models: { plane: model } })
    const other = await serve(open)
    const description = await (await fetch(`${other.url}/openapi.json`)).json()
    await other.close()
    expect(description, 'run examples/typed-client/types.mjs').toEqual(JSON.parse(committed))
  })

  it('asks for samples, hears events, and cancels', async () => {
    const client = new Client(server.url, 'secret')
    expect((await client.models()).map(({ name }) => name)).toEqual(['plane', 'pictures'])
    const drawn = await client.sample({ ...small, attributes: { side: 'left' } }, { deadline: 20 })
    expect(resultFromJSON(drawn).particles).toBe(4)
    const seen: string[] = []
    for await (const { event } of client.events(small, { previews: 0 })) seen.push(event)
    expect(seen).toEqual([...new Array(7).fill('level'), 'result'])
    for await (const { event } of client.events({ ...small, particles: 64, steps: 100 })) if (event === 'level') break
    while (engine.health().running > 0) await new Promise((resolve) => setTimeout(resolve, 1))
    await expect(client.sample({ model: 'none' })).rejects.toThrow(/FEYNKAC_ARGUMENT: expected one of/)
    await expect(new Client(server.url).models()).rejects.toThrow(/UNAUTHORIZED/)
  })
})

describe('the command serve', () => {
  const cli = fileURLToPath(new URL('../bin/feynkac.js', import.meta.url))
  const children: ChildProcess[] = []
  afterAll(() => children.forEach((child) => void child.kill('SIGKILL')))

  it('answers all that it has taken when it is stopped in the middle', async () => {
    const argv = [cli, 'serve', join(folder, 'plane.safetensors'), '--port', '0', '--json', '--max-concurrent', '1', '--threads', '1'] // biome-ignore format: one line
    const child = spawn(process.execPath, argv, { stdio: ['ignore', 'pipe', 'pipe'] })
    children.push(child)
    let log = ''
    child.stderr.on('data', (data) => {
      log += data
    })
    const [ready] = await once(child.stdout, 'data')
    const { url, models } = JSON.parse(ready)
    expect(models).toEqual(['plane'])
    const ended = once(child, 'exit')
    const requests = Array.from({ length: 5 }, (_, seed) => post({ ...small, particles: 16, steps: 20, seed }, { url }))
    let [taken, state] = [0, { queued: 0, running: 0 }]
    while (taken < 5) {
      state = (await (await fetch(`${url}/health`)).json()) as typeof state
      const done = (await (await fetch(`${url}/metrics`)).text()).match(/feynkac_requests_total\{outcome="ok"\} (\d+)/)
      taken = state.queued + state.running + Number(done?.[1] ?? 0)
    }
    child.kill('SIGTERM')
    const answers = await Promise.all(requests)
    expect(answers.map(({ status }) => status)).toEqual(new Array(5).fill(200))
    for (const answer of answers) expect(resultFromJSON(await answer.json()).particles).toBe(16)
    expect(await ended).toEqual([0, null])
    expect(log.match(/"msg":"request done"/g)?.length).toBe(5)
    await expect(fetch(`${url}/health`)).rejects.toThrow()
  })

  it('says what is wrong before it listens', async () => {
    const child = spawn(process.execPath, [cli, 'serve', join(folder, 'nothing.safetensors'), '--port', '0'])
    children.push(child)
    let said = ''
    child.stderr.on('data', (data) => {
      said += data
    })
    expect((await once(child, 'close'))[0]).toBe(1)
    expect(said).toMatch(/nothing.safetensors.*no such file/)
  })
})
