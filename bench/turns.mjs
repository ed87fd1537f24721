// The longest turn of the event loop in each job, in milliseconds: `node bench/turns.mjs [--runs 5] [--only TEXT] [--pictures 50000]`. Below 5 is right.
//
// By the wall (a histogram of the loop's delay: on an idle machine), and by the processor time of the main thread, which a preloaded probe (turns.c, Linux with
// a C compiler) takes between two waits of the loop. A job's first run in a process, which also loads modules and compiles, stands apart.
import { execFileSync, spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setImmediate as breathe, setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const { values: options } = parseArgs({
  options: {
    runs: { type: 'string', default: '5' },
    only: { type: 'string', default: '' },
    pictures: { type: 'string', default: '50000' },
  },
})
const VARIABLE = 'FEYNKAC_TURNS'
const folder = process.env[VARIABLE] ? path.dirname(process.env[VARIABLE]) : fs.mkdtempSync(path.join(os.tmpdir(), 'feynkac-turns-')) // biome-ignore format: one line
if (!process.env[VARIABLE]) {
  const probe = path.join(folder, 'turns.so')
  const state = path.join(folder, 'turns')
  fs.writeFileSync(state, Buffer.alloc(8))
  const env = { ...process.env, [VARIABLE]: state }
  try {
    execFileSync(process.env.CC ?? 'cc', ['-shared', '-fPIC', '-O1', '-o', probe, fileURLToPath(new URL('turns.c', import.meta.url))]) // biome-ignore format: one line
    env.LD_PRELOAD = probe
  } catch (error) {
    console.log(`no probe, by the wall alone: ${error.message.split('\n')[0]}`)
  }
  const { status } = spawnSync(process.execPath, process.argv.slice(1), { env, stdio: 'inherit' })
  fs.rmSync(folder, { recursive: true, force: true })
  process.exit(status ?? 1)
}

const F = await import('../dist/index.js')
const { genealogyPng } = await import('../dist/report/genealogy.js')
const { pictureOf, writeReport } = await import('../dist/report/folder.js')
F.setThreads(1)
const state = fs.openSync(process.env[VARIABLE], 'r+')
const take = () => {
  const nanoseconds = new BigInt64Array(1)
  fs.readSync(state, new Uint8Array(nanoseconds.buffer), 0, 8, 0)
  fs.writeSync(state, Buffer.alloc(8), 0, 8, 0)
  return Number(nanoseconds[0]) / 1e6
}
const delay = monitorEventLoopDelay({ resolution: 1 })
delay.enable()

const mixture = F.gaussianMixture({ weights: [1, 1], means: [[0, 0], [1, 1]], covariances: [1, 0.5] }) // biome-ignore format: one line
const both = F.product([mixture, mixture])
const grid = (steps) => F.sigmaGrid({ steps })
const ring = (metric) => () => F.evaluate({ samples: 'synthetic:ring:count=5000', data: 'synthetic:ring:count=5000,seed=2', metrics: [metric] }) // biome-ignore format: one line
const noise = (count) => Float32Array.from({ length: count }, (_, i) => Math.sin(i * i))
const at = (name) => path.join(folder, name)
let features
let run
const grey = noise(256 * 3 * 64 * 64)
const figures = Array.from({ length: 30 }, (_, i) => ({ name: `f${i}`, png: Buffer.alloc(1e6, i), caption: 'one' }))

/** Made before a job is watched, in a process of its own where it would warm this one. */
const prepared = {
  async model() {
    if (fs.existsSync(at('model.safetensors'))) return
    const model = await F.EnergyModel.create({ network: F.residualMLP(64, { hidden: 1024, layers: 8 }), kind: 'dot' }, { seed: 1 }) // biome-ignore format: one line
    await model.save(at('model.safetensors'))
    model.dispose()
    await sleep(500)
  },
  pictures() {
    if (fs.existsSync(at('pictures'))) return
    const program = `
      const sharp = require('sharp'); const fs = require('node:fs'); const folder = ${JSON.stringify(at('pictures'))}; fs.mkdirSync(folder)
      const one = async (i) => fs.promises.writeFile(folder + '/' + i + '.png', await sharp(Buffer.alloc(3072, i), { raw: { width: 32, height: 32, channels: 3 } }).png().toBuffer());
      (async () => { for (let i = 0; i < ${Number(options.pictures)}; i += 64) await Promise.all(Array.from({ length: 64 }, (_, k) => one(i + k))) })()`
    execFileSync(process.execPath, ['-e', program], { env: { ...process.env, LD_PRELOAD: '' }, cwd: new URL('..', import.meta.url) }) // biome-ignore format: one line
  },
  async run() {
    run ??= await F.smc(mixture, { particles: 1e5, sigmas: grid(8), seed: 1 })
  },
  features() {
    features ??= [noise(768 * 1600), noise(768 * 1600).map((v) => v + 0.1)]
  },
}

const loadModel = async (save) => {
  const model = await F.EnergyModel.load(at('model.safetensors'))
  if (save) await model.save(at('saved.safetensors'))
  model.dispose()
}
/** By name: a job, and what it needs. */
const jobs = {
  idle: [() => sleep(200)],
  'smc, 256 particles, 256 levels': [() => F.smc(both, { particles: 256, sigmas: grid(256), seed: 1 })],
  'smc, 4000 particles, 64 levels': [() => F.smc(both, { particles: 4000, sigmas: grid(64), seed: 1 })],
  'smc, 1e5 particles, 32 levels': [() => F.smc(mixture, { particles: 1e5, sigmas: grid(32), seed: 1 })],
  'smc, 1e5, controlDrift, a product': [() => F.smc(both, { particles: 1e5, sigmas: grid(8), controlDrift: true, seed: 1 })], // biome-ignore format: one line
  'smc, 1e6, 8 levels': [() => F.smc(mixture, { particles: 1e6, sigmas: grid(8), seed: 1 })],
  ...Object.fromEntries(['frechet', 'kernel', 'precision-recall', 'coverage', 'sliced-wasserstein', 'mmd'].map((name) => [`evaluate, 5000 points: ${name}`, [ring(name)]])), // biome-ignore format: one line
  'frechetDistance, 768 features': [() => F.frechetDistance(...features, { dim: 768 }), 'features'],
  'loading a model of 110 MB': [() => loadModel(false), 'model'],
  'loading and saving it': [() => loadModel(true), 'model'],
  'genealogy of 1e5 particles': [() => genealogyPng(run), 'run'],
  'grid of 256 pictures of 64 x 64': [() => F.gridPng(grey, [3, 64, 64])],
  'report with 30 MB of pictures': [
    () => writeReport(folder, { title: 'turns', blocks: figures.map(pictureOf), figures }),
  ],
  [`loading ${options.pictures} PNGs of 32 x 32`]: [() => F.loadDataset(at('pictures')), 'pictures'],
}

console.log(`${'job'.padEnd(38)} ${'processor: first; others'.padEnd(40)} wall: first; others`)
const shown = ([first, ...others]) => `${first.toFixed(1)}; ${others.map((ms) => ms.toFixed(1)).join(' ')}`
for (const [name, [job, needs]] of Object.entries(jobs)) {
  if (!name.includes(options.only)) continue
  if (needs) await prepared[needs]()
  const [processor, wall] = [[], []]
  for (let n = 0; n < Number(options.runs); n++) {
    await sleep(30)
    for (let turn = 0; turn < 3; turn++) await breathe() // what was done before is a turn of its own
    take()
    delay.reset()
    await job()
    await sleep(5)
    processor.push(take())
    wall.push(delay.max / 1e6)
  }
  console.log(`${name.padEnd(38)} ${shown(processor).padEnd(40)} ${shown(wall)}`)
}
