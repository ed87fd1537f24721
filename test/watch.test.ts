import { appendFile, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { get } from 'node:http'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Run, type WatchServer, watch } from 'feynkac-watch'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { main } from '../lib/cli/index.js'
import { createEngine, EnergyModel, residualMLP, serve } from '../lib/index.js'

/** What the page of runs is told (its looks: watch-page.test.ts). */

let folder = ''
let server: WatchServer | undefined
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'feynkac-watch-'))
})
afterEach(async () => {
  await server?.close()
  server = undefined
  await rm(folder, { recursive: true })
})

const lines = (...all: object[]) => all.map((line) => `${JSON.stringify(line)}\n`).join('')
const step = (images: number, median = 1) => ({ time: new Date().toISOString(), step: images / 10, images, totalImages: 100, loss: 1, median }) // biome-ignore format: one line
const start = { step: 0, time: '2026-01-01T00:00:00.000Z', options: { lr: 1 } }
const asked = async (path: string) => {
  const answer = await fetch(server!.url + path)
  return { status: answer.status, type: answer.headers.get('content-type'), text: await answer.text() }
}
const listed = async (): Promise<Run[]> => JSON.parse((await asked('api/runs')).text).runs
const of = (run: string, more = '') => `run=${encodeURIComponent(run)}${more}`

async function runAt(name: string, log: string, file = 'log.jsonl'): Promise<string> {
  const path = join(folder, name)
  await mkdir(path, { recursive: true })
  await writeFile(join(path, file), log)
  return path
}

describe('the runs of a folder', () => {
  it('are found with how far they are, whatever else is there', async () => {
    await runAt('done', lines(start, step(50), step(100, 0.5)))
    await runAt('deep/er/killed', `${lines(start, step(20))}{"step": 3, "ima`)
    const live = await runAt('live', lines(start, step(40)))
    await writeFile(join(live, '.lock'), `process ${process.pid} on ${hostname()}\n`)
    const about = { particles: 10, lastLevel: 4, method: 'smc' }
    await runAt('drawn', lines(about, { level: 0, ess: 10 }, { level: 4, ess: 5 }, { summary: {} }), 'levels.jsonl')
    await runAt('failed', lines(about, { level: 1, ess: 10 }, { failed: 'of memory' }), 'levels.jsonl')
    await runAt('odd', 'no json\n[1]\nnull\n')
    await runAt('fitted/runs/teacher', lines(start, step(100)))
    const report = await runAt('fitted', '# Fit\n', 'report.md')
    await writeFile(join(report, 'samples.png'), '')
    await symlink('/', join(folder, 'outside'))
    server = await watch({ folders: [folder] })
    const found = await listed()
    expect(
      Object.fromEntries(found.map(({ name, kind, state, done, said }) => [name, { kind, state, done, said }])),
    ).toEqual({
      // biome-ignore format: one line
      live: { kind: 'training', state: 'running', done: 0.4, said: 'loss 1.00' },
      done: { kind: 'training', state: 'done', done: 1, said: 'loss 0.500' },
      'deep/er/killed': { kind: 'training', state: 'stopped', done: 0.2, said: 'loss 1.00' },
      drawn: { kind: 'sampling', state: 'done', done: 1, said: 'ESS 50 %' },
      failed: { kind: 'sampling', state: 'stopped', done: 0.25, said: 'ESS 100 %' },
      'fitted/teacher': { kind: 'training', state: 'done', done: 1, said: 'loss 1.00' },
      fitted: { kind: 'report', state: 'done', done: 1, said: '1 picture' },
      odd: { kind: 'training', state: 'stopped', done: 0, said: 'begins' },
    })
    expect(found[0]!.state).toBe('running')
  })

  it('give the lines that are new, and begin again where the log does', async () => {
    const path = await runAt('one', lines(start, step(10)))
    server = await watch({ folders: [path] })
    const [{ id }] = (await listed()) as [Run]
    const from = async (n: number) => JSON.parse((await asked(`api/lines?${of(id, `&from=${n}`)}`)).text)
    expect(await from(0)).toMatchObject({ epoch: 0, lines: [start, { images: 10 }] })
    await appendFile(join(path, 'log.jsonl'), lines(step(20)) + JSON.stringify(step(30)))
    await listed()
    expect((await from(2)).lines).toMatchObject([{ images: 20 }]) // the last is not whole yet
    await appendFile(join(path, 'log.jsonl'), '\n')
    await listed()
    expect((await from(3)).lines).toMatchObject([{ images: 30 }])
    await rm(join(path, 'log.jsonl'))
    await writeFile(join(path, 'log.jsonl'), lines(start))
    await listed()
    expect(await from(0)).toMatchObject({ epoch: 1, lines: [start] })
    for (const bad of ['api/lines?run=other', `api/lines?${of(id, '&from=-1')}`, `api/lines?${of(id, '&from=x')}`])
      expect((await asked(bad)).status).toBe(404)
  })

  it('are told by events when they change', async () => {
    const path = await runAt('one', lines(start, step(10)))
    server = await watch({ folders: [path] })
    const answer = await fetch(`${server.url}api/events`)
    expect(answer.headers.get('content-type')).toBe('text/event-stream')
    const reader = answer.body!.pipeThrough(new TextDecoderStream()).getReader()
    let text = ''
    const told = async (images: number) => {
      const done = `"done":${images / 100}`
      while (!text.includes(done)) text += (await reader.read()).value
    }
    await told(10)
    await appendFile(join(path, 'log.jsonl'), lines(step(60)))
    await told(60)
    await reader.cancel()
  })

  it('show their pictures, and nothing beside them', async () => {
    const path = await runAt('one', lines(start, { ...step(10), preview: 'previews/000000010.png' }))
    await mkdir(join(path, 'previews'))
    const png = Buffer.from('\x89PNG\r\n\x1a\n', 'latin1')
    for (const name of ['samples.png', 'previews/000000010.png']) await writeFile(join(path, name), png)
    await writeFile(join(path, 'secret.txt'), 'secret')
    await writeFile(join(folder, 'above.png'), 'secret')
    await symlink(join(folder, 'above.png'), join(path, 'link.png'))
    server = await watch({ folders: [path] })
    const [{ id }] = (await listed()) as [Run]
    expect(JSON.parse((await asked(`api/lines?${of(id)}`)).text).pictures).toEqual(['link.png', 'samples.png'])
    for (const name of ['samples.png', 'previews/000000010.png'])
      expect(await asked(`api/picture?${of(id, `&name=${name}`)}`)).toMatchObject({ status: 200, type: 'image/png' })
    const names = ['link.png', '../above.png', 'previews/../../above.png', 'secret.txt', '.lock', '/etc/passwd', 'previews/../samples.png', 'none.png', '%00.png', ''] // biome-ignore format: one line
    for (const name of names) expect((await asked(`api/picture?${of(id, `&name=${name}`)}`)).status).toBe(404)
    for (const outside of ['../package.json', '..%2fpackage.json', '%2e%2e/package.json', 'assets/../../index.js'])
      expect((await asked(outside)).status).toBe(404)
  })

  it('are for this machine alone: no other name leads to them', async () => {
    await runAt('one', lines(start))
    server = await watch({ folders: [folder] })
    const { hostname: host, port } = new URL(server.url)
    const as = (name: string) =>
      new Promise((resolve) => get({ host, port, path: '/api/runs', headers: { host: name } }, ({ statusCode }) => resolve(statusCode))) // biome-ignore format: one line
    expect(host).toBe('127.0.0.1')
    expect(await Promise.all(['localhost:1', '127.0.0.1', 'evil.example', 'localhost.evil.example'].map(as))).toEqual([200, 200, 403, 403]) // biome-ignore format: one line
    const page = await fetch(server.url)
    expect(page.headers.get('content-security-policy')).toMatch(/default-src 'self'/)
    expect(await page.text()).toMatch(/feynkac watch/)
    await expect(watch({ folders: [join(folder, 'none')] })).rejects.toThrow(/there is no folder/)
  })
})

describe('of commands', () => {
  it('--watch shows the run while it goes', { timeout: 60_000 }, async () => {
    let seen: Promise<Run[]> | undefined
    vi.spyOn(console, 'log').mockImplementation(() => {})
    vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
      const [, url] = /^watch at (http:\S+)/.exec(String(text)) ?? []
      if (url) seen = follow(url)
      return true
    })
    const follow = async (url: string): Promise<Run[]> => {
      for (;;) {
        const { runs } = (await (await fetch(`${url}api/runs`)).json()) as { runs: Run[] }
        if (runs[0] && runs[0].done > 0) return runs
        await new Promise((resolve) => setTimeout(resolve, 20))
      }
    }
    try {
      const output = join(folder, 'run')
      const train = ['train', '--data', 'synthetic:ring:count=64', '--images', '3000', '--width', '8', '--log-every', '50', '--threads', '1'] // biome-ignore format: one line
      expect(await main([...train, '--output', output, '--watch', '0'])).toBe(0)
    } finally {
      vi.restoreAllMocks()
    }
    expect(await seen).toMatchObject([{ name: 'run', state: 'running' }])
  })

  it('refuses folders that are none', async () => {
    const said: string[] = []
    vi.spyOn(process.stderr, 'write').mockImplementation((text) => said.push(String(text)) > 0)
    expect(await main(['watch', join(folder, 'none'), '--port', '0'])).toBe(2)
    vi.restoreAllMocks()
    expect(said.join('')).toMatch(/there is no folder .*none to watch/)
  })

  it('serve has the page beside its routes, behind its key', async () => {
    using energy = await EnergyModel.create({ network: residualMLP(2, { hidden: 8, layers: 1 }), kind: 'dot' })
    await runAt('one', lines(start, step(10)))
    const engine = await createEngine({ models: { energy } })
    const serving = await serve(engine, { apiKey: 'secret', watch: [folder] })
    try {
      const at = (path: string, headers = {}) => fetch(serving.url + path, { headers, redirect: 'manual' })
      expect((await at('/watch/')).status).toBe(401)
      expect((await at('/watch/?key=other')).status).toBe(401)
      const entry = await at('/watch/?key=secret')
      expect([entry.status, entry.headers.get('location')]).toEqual([302, '/watch/'])
      const cookie = entry.headers.get('set-cookie')!.split(';')[0]!
      expect(cookie).not.toMatch(/secret/)
      expect(await (await at('/watch/', { cookie })).text()).toMatch(/feynkac watch/)
      expect(await (await at('/watch/api/runs', { cookie })).json()).toMatchObject({ runs: [{ done: 0.1 }] })
      expect((await at('/models', { cookie })).status).toBe(401) // good for the page alone
      expect(JSON.stringify(await (await at('/openapi.json', { 'x-api-key': 'secret' })).json())).not.toMatch(/watch/)
      const events = await at('/watch/api/events', { cookie })
      await serving.close() // does not wait for events, which have no end
      await events.text()
    } finally {
      await serving.close()
    }
  })
})
