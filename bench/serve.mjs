// Load on `feynkac serve`, on loopback: requests per second and latency with several clients at once, against the same requests one after the
// other; then SIGTERM in the middle: every request that was taken is answered.
// node bench/serve.mjs [--seconds 10] [--connections 8] [--particles 4] [--steps 16] [--threads 1] [--size 16] [--out results.json]
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import os from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import autocannon from 'autocannon'
import { EnergyModel, songUNet } from 'feynkac'
import { cpuName, MOST_LOAD, watchLoad } from './load.mjs'

const text = (value) => ({ type: 'string', default: value })
const { values } = parseArgs({ options: { seconds: text('10'), connections: text('8'), particles: text('4'), steps: text('16'), threads: text('1'), size: text('16'), out: { type: 'string' } } }) // biome-ignore format: one line
const [duration, connections, particles, steps, size] = ['seconds', 'connections', 'particles', 'steps', 'size'].map((name) => Number(values[name])) // biome-ignore format: one line

const folder = await mkdtemp(join(os.tmpdir(), 'feynkac-serve-bench-'))
const network = songUNet([1, size, size], { model_channels: 16, channel_mult: [1, 2], num_blocks: 1, attn_resolutions: [] }) // biome-ignore format: one line
const model = await EnergyModel.create({ network, kind: 'dot', sigmaMin: 0.05, sigmaMax: 20 }, { seed: 1 })
await model.save(join(folder, 'pictures.safetensors'))
model.dispose()

const underWay = watchLoad()
let childrenSeconds = 0

/** Seconds of processor time that a server has used (Linux). */
async function secondsOf({ pid }) {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
  const [user = 0, system = 0] = stat.slice(stat.lastIndexOf(')') + 2).split(' ').slice(11, 13).map(Number) // biome-ignore format: one line
  return (user + system) / 100
}

async function server(concurrent) {
  const argv = ['bin/feynkac.js', 'serve', join(folder, 'pictures.safetensors'), '--port', '0', '--json', '--quiet', '--threads', values.threads] // biome-ignore format: one line
  const child = spawn(process.execPath, [...argv, '--max-concurrent', String(concurrent), '--max-queued', '1000'], { stdio: ['ignore', 'pipe', 'ignore'] }) // biome-ignore format: one line
  const [said] = await once(child.stdout, 'data')
  return { child, ...JSON.parse(said) }
}

const body = (seed) => JSON.stringify({ model: 'pictures', particles, steps, seed })
const headers = { 'content-type': 'application/json' }
const metricOf = (metrics, name) => Number(metrics.split('\n').find((line) => line.startsWith(`${name} `) || line.startsWith(`${name}{`))?.split(' ').at(-1)) // biome-ignore format: one line

async function load(name, concurrent, clients) {
  const { child, url } = await server(concurrent)
  let seed = 0
  const run = await autocannon({
    ...{ url: `${url}/sample?format=npy`, method: 'POST', headers, connections: clients, duration, timeout: 60 },
    setupClient: (client) => client.setBody(body(seed++)),
  })
  const metrics = await (await fetch(`${url}/metrics`)).text()
  const samples = metricOf(metrics, 'feynkac_batch_samples_total') / metricOf(metrics, 'feynkac_batches_total')
  const seconds = await secondsOf(child)
  childrenSeconds += seconds
  child.kill('SIGTERM')
  await once(child, 'exit')
  const { requests, latency, errors, timeouts, non2xx } = run
  return { name, 'requests/s': requests.average, 'p50 ms': latency.p50, 'p99 ms': latency.p99, failed: errors + timeouts + non2xx, 'processor ms per request': Math.round((1000 * seconds) / requests.total), 'samples per batch': Number(samples.toFixed(1)) } // biome-ignore format: one line
}

/** SIGTERM while requests wait and run: how many of those taken were answered. */
async function stopped() {
  const { child, url } = await server(2)
  const asked = Array.from({ length: 24 }, (_, seed) => fetch(`${url}/sample`, { method: 'POST', headers, body: body(seed) }).then(async (answer) => answer.ok && Boolean(await answer.json()), () => false)) // biome-ignore format: one line
  for (let taken = 0; taken < 24; ) {
    const { queued, running } = await (await fetch(`${url}/health`)).json()
    const done = metricOf(await (await fetch(`${url}/metrics`)).text(), 'feynkac_requests_total')
    taken = queued + running + (done || 0)
  }
  child.kill('SIGTERM')
  const answered = (await Promise.all(asked)).filter(Boolean).length
  childrenSeconds += await secondsOf(child)
  const [code] = await once(child, 'exit')
  return { taken: 24, answered, code }
}

try {
  const rows = [await load('one after the other', 1, 1), await load(`${connections} clients, one at a time`, 1, connections), await load(`${connections} clients, merged`, connections, connections)] // biome-ignore format: one line
  const times = (k) => Number((rows[k]['requests/s'] / rows[0]['requests/s']).toFixed(2))
  const stop = await stopped()
  const loadOfOthers = underWay(childrenSeconds)
  console.table(rows)
  console.log(
    `merged against one after the other: ${times(2)} times the requests per second; without merging ${times(1)}`,
  )
  console.log('SIGTERM in the middle:', stop)
  console.log(`other work on the machine: ${(100 * loadOfOthers).toFixed(0)} % of its processor time${loadOfOthers > MOST_LOAD ? ': times are not to be compared' : ''}`) // biome-ignore format: one line
  if (values.out) {
    const machine = { cpu: cpuName(), cores: os.cpus().length, loadOfOthers, underLoad: loadOfOthers > MOST_LOAD }
    const { out, ...options } = values
    const result = { date: new Date().toISOString(), command: 'node bench/serve.mjs', options, machine, node: process.version, rows, stop } // biome-ignore format: one line
    await writeFile(out, `${JSON.stringify(result, null, 2)}\n`)
  }
} finally {
  await rm(folder, { recursive: true, force: true })
}
