import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cp, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { resultFromJSON } from '../lib/index.js'

/** The folders of examples/, each run as its first line says. They import the package that is built, as users do. */

const example = (path: string) => fileURLToPath(new URL(`../examples/${path}`, import.meta.url))

let folder: string
const children: ChildProcess[] = []
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'feynkac-examples-'))
})
afterAll(async () => {
  for (const child of children) child.kill('SIGKILL')
  await rm(folder, { recursive: true, force: true })
})

/** The lines of JSON that an example prints. */
// biome-ignore lint/suspicious/noExplicitAny: JSON
async function printed(path: string, ...argv: string[]): Promise<any[]> {
  const { stdout } = await promisify(execFile)(process.execPath, [example(path), ...argv], { cwd: folder })
  return stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
}

/** Starts an example that serves; resolves to its address, and to what it says afterwards. */
async function served(path: string): Promise<{ url: string; said: () => string; child: ChildProcess }> {
  const child = spawn(process.execPath, [example(path)], { stdio: ['ignore', 'pipe', 'inherit'] })
  children.push(child)
  let said = ''
  child.stdout.on('data', (data) => {
    said += data
  })
  await once(child.stdout, 'data')
  return { url: said.trim(), said: () => said, child }
}

const installed = (name: string) => {
  try {
    return Boolean(createRequire(import.meta.url).resolve(name))
  } catch {
    return false
  }
}

it('a first composition draws its picture', async () => {
  const [{ mean, variance, files }] = await printed('first-composition/index.mjs', join(folder, 'first'))
  expect(Math.abs(mean[0])).toBeLessThan(0.1)
  expect(Math.abs(mean[1])).toBeLessThan(1)
  expect(variance[1]).toBeGreaterThan(7) // the two modes at +-3 are both there
  expect(files.length).toBe(3)
  expect((await stat(join(folder, 'first/composition.png'))).size).toBeGreaterThan(5000)
})

it('a state-space model agrees with Kalman', async () => {
  const [{ exact, particles, logZError }] = await printed('state-space/index.mjs')
  for (const name of ['mean', 'variance']) expect(Math.abs(particles[name] - exact[name])).toBeLessThan(0.02)
  expect(Math.abs(particles.logZ - exact.logZ)).toBeLessThan(4 * logZError)
  expect(logZError).toBeLessThan(0.05)
})

it('inpainting has the shares of what fits the known half', async () => {
  const [{ bright, exact, left }] = await printed('inpainting/index.mjs', join(folder, 'inpainting'))
  expect(Math.abs(bright - exact)).toBeLessThan(0.06)
  expect(Math.abs(left - 0.8)).toBeLessThan(0.02)
})

it('a pool of workers gives exact normalisers', async () => {
  for (const { logZ, exact } of await printed('worker-pool/index.mjs')) expect(Math.abs(logZ - exact)).toBeLessThan(0.1)
})

it('CommonJS can require it', async () => {
  const [{ mean }] = await printed('commonjs/index.cjs')
  expect(Math.hypot(mean[0] - 1, mean[1] + 1)).toBeLessThan(0.1)
})

describe('services', () => {
  it('a route of Fastify answers, and stops when the client goes away', async () => {
    const { url, said, child } = await served('fastify/index.mjs')
    const answer = (await (await fetch(`${url}/samples?particles=8&steps=4`)).json()) as { kind: string }
    expect(answer.kind).toBe('smc')
    expect((await fetch(`${url}/samples?particles=1e9`)).status).toBe(400)
    const stop = new AbortController()
    const long = fetch(`${url}/samples?particles=20000&steps=10000`, { signal: stop.signal })
    setTimeout(() => stop.abort(), 200)
    await expect(long).rejects.toThrow()
    while (!said().includes('cancelled')) await once(child.stdout!, 'data')
  })

  it('previews are streamed to a page, level by level', async () => {
    const { url } = await served('streaming-preview/index.mjs')
    expect(await (await fetch(url)).text()).toContain("new EventSource('/run')")
    const events = (await (await fetch(`${url}/run`)).text()).trim().split('\n\n')
    expect(events.length).toBe(49)
    const { level, lastLevel, points } = JSON.parse(events.at(-1)!.split('\ndata: ')[1]!)
    expect([level, lastLevel, points.length]).toEqual([48, 48, 1000])
  })
})

it('the main process of Electron answers a window with levels and a result', async () => {
  // Electron's own part, as far as the example uses it
  const stub = `const handlers = {}
export const app = { whenReady: async () => {} }
export const ipcMain = { handle: (name, handler) => { handlers[name] = handler } }
export class BrowserWindow {
  async loadURL() {
    const levels = []
    const sender = { id: 1, isDestroyed: () => false, send: (channel, data) => levels.push([channel, data.level, data.points.length]) }
    const result = await handlers.sample({ sender }, { gamma: 2, particles: 16 })
    console.log(JSON.stringify({ levels: levels.length, last: levels.at(-1), kind: result.kind }))
  }
}`
  await writeFile(join(folder, 'electron.mjs'), stub)
  const hooks = `export const resolve = (name, context, next) => name === 'electron' ? { url: ${JSON.stringify(`file://${join(folder, 'electron.mjs')}`)}, shortCircuit: true } : next(name, context)`
  const register = `import { register } from 'node:module'; register('data:text/javascript,' + encodeURIComponent(${JSON.stringify(hooks)}))`
  const argv = ['--import', `data:text/javascript,${encodeURIComponent(register)}`, example('electron/main.mjs')]
  const { stdout } = await promisify(execFile)(process.execPath, argv)
  expect(JSON.parse(stdout)).toEqual({ levels: 33, last: ['level', 32, 32], kind: 'smc' })
})

/** The address of a Redis: REDIS_URL, or one that is started here; null where there is none. */
async function redisUrl(): Promise<string | null> {
  if (process.env.REDIS_URL) return process.env.REDIS_URL
  const port = 20_000 + (process.pid % 20_000)
  const child = spawn('redis-server', ['--port', String(port), '--save', '', '--dir', folder], { stdio: ['ignore', 'pipe', 'ignore'] }) // biome-ignore format: one line
  children.push(child)
  const started = once(child.stdout, 'data').then(() => `redis://localhost:${port}`)
  return Promise.race([started, once(child, 'error').then(() => null)])
}

it('a job of a queue goes on where its worker was killed', async ({ skip }) => {
  skip(
    !process.env.REDIS_URL && !process.env.FEYNKAC_TEST_FULL,
    'in the full check alone: a dead worker is missed after seconds',
  )
  const url = await redisUrl()
  skip(url === null, 'needs Redis: REDIS_URL, or redis-server')
  const env = { ...process.env, REDIS_URL: url! }
  const worker = (more: object) => {
    const child = spawn(process.execPath, [example('queue/worker.mjs')], { env: { ...env, ...more }, stdio: 'inherit' })
    children.push(child)
    return child
  }
  const first = worker({ DIE_AT: '20' })
  const adding = promisify(execFile)(process.execPath, [example('queue/add.mjs'), folder], { env })
  expect(await once(first, 'exit')).toEqual([null, 'SIGKILL'])
  worker({})
  const { stdout, stderr } = await adding
  expect(JSON.parse(stdout).mean[0]).toBeGreaterThan(0)
  const levels = stderr.trim().split('\n').map((line) => Number(line.split(' ')[1])) // biome-ignore format: one line
  expect(levels).toEqual([...levels].sort((a, b) => a - b)) // none was done twice
  expect(levels.at(-1)).toBe(40)
  expect(JSON.parse(await readFile(join(folder, '1/result.json'), 'utf8')).kind).toBe('smc')
})

it('a route and a page of Next.js draw samples', { timeout: 600_000 }, async ({ skip }) => {
  const project = process.env.FEYNKAC_TEST_NEXT
  skip(
    !project,
    'by hand: FEYNKAC_TEST_NEXT=FOLDER, where npm has installed next, react, react-dom and a packed feynkac',
  )
  await cp(example('next'), project!, { recursive: true })
  const env = { ...process.env, NEXT_TELEMETRY_DISABLED: '1', NODE_ENV: 'production' as const }
  const next = [join(project!, 'node_modules/next/dist/bin/next')]
  await promisify(execFile)(process.execPath, [...next, 'build'], { cwd: project!, env })
  const port = 20_000 + (process.pid % 20_000)
  const server = spawn(process.execPath, [...next, 'start', '-p', String(port)], { cwd: project!, env, stdio: ['ignore', 'pipe', 'inherit'] }) // biome-ignore format: one line
  children.push(server)
  for (let said = ''; !said.includes('Ready'); ) said += (await once(server.stdout!, 'data'))[0]
  const at = (path: string) => fetch(`http://localhost:${port}${path}`)
  const drawn = resultFromJSON(await (await at('/api/samples?particles=500&gamma=2')).json())
  expect(drawn.mean()[1]).toBeCloseTo(0, 0)
  expect((await at('/api/samples?particles=1e9')).status).toBe(400)
  expect((await at('/api/samples?gamma=-1')).status).toBe(400)
  expect(await (await at('/')).text()).toMatch(/<circle/)
})

it.skipIf(!installed('onnxruntime-node'))(
  'a reward is read from a classifier in ONNX (needs onnxruntime-node)',
  async () => {
    const file = join(folder, 'classifier.onnx')
    await writeFile(file, linearClassifier([[-3, 0], [3, 0]])) // biome-ignore format: a matrix
    const [{ mean }] = await printed('onnx-reward/index.mjs', file, '1')
    expect(mean[0]).toBeGreaterThan(0.8)
  },
)

/** An ONNX model y = x W^T of opset 13: one MatMul, written out in protobuf. */
function linearClassifier(weights: number[][]): Buffer {
  const field = (tag: number, body: Buffer) => Buffer.concat([Buffer.from([(tag << 3) | 2]), varint(body.length), body])
  const varint = (value: number): Buffer => (value < 128 ? Buffer.from([value]) : Buffer.concat([Buffer.from([(value & 127) | 128]), varint(value >> 7)])) // biome-ignore format: one line
  const int = (tag: number, value: number) => Buffer.concat([Buffer.from([tag << 3]), varint(value)])
  const text = (tag: number, value: string) => field(tag, Buffer.from(value))
  const numbers = weights[0]!.flatMap((_, i) => weights.map((row) => row[i]!))
  const tensor = Buffer.concat([int(1, 2), int(1, weights.length), int(2, 1), text(8, 'w'), field(9, Buffer.from(Float32Array.from(numbers).buffer))]) // biome-ignore format: one line
  const node = Buffer.concat([text(1, 'x'), text(1, 'w'), text(2, 'y'), text(4, 'MatMul')])
  const value = (name: string, columns: number) => {
    const dims = Buffer.concat([field(1, text(2, 'n')), field(1, int(1, columns))])
    return Buffer.concat([text(1, name), field(2, field(1, Buffer.concat([int(1, 1), field(2, dims)])))])
  }
  const graph = Buffer.concat([field(1, node), text(2, 'g'), field(5, tensor), field(11, value('x', 2)), field(12, value('y', weights.length))]) // biome-ignore format: one line
  return Buffer.concat([int(1, 8), field(7, graph), field(8, int(2, 13))])
}
