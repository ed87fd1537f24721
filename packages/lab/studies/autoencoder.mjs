// The recipe of autoencoders: the mean squared error of images held out, after as many processor seconds of training, on one thread.
//
//   node packages/lab/studies/autoencoder.mjs [--data shapes,fashion,sprites] [--seconds 20] [--seeds 0] [--shared DIR] [--out FILE]
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { devices, loadDataset, setThreads, trainAutoencoder } from '../../../dist/index.js'
import { splitData } from '../../../dist/internal.js'

const { values: options } = parseArgs({
  options: {
    data: { type: 'string', default: 'shapes,fashion,sprites' },
    seconds: { type: 'string', default: '20' },
    seeds: { type: 'string', default: '0' },
    shared: { type: 'string', default: '../shared/data' }, // folder with fashion-mnist and lpc-sprites
    out: { type: 'string', default: 'bench/results/2026-11-30-autoencoder-cpu.json' },
  },
})
setThreads(1)

const TESTED = 256
const inShared = (...names) => join(options.shared, ...names)
const fashion = (which, limit) => loadDataset(inShared('fashion-mnist', `${which}-images-idx3-ubyte.gz`), { limit })
const shapes = (count, seed) => loadDataset(`synthetic:shapes:count=${count},size=24,seed=${seed}`)
const dataSets = {
  shapes: async () => [await shapes(2000, 0), await shapes(TESTED, 1)],
  fashion: async () => [await fashion('train'), await fashion('t10k', TESTED)],
  sprites: async () => {
    const all = await loadDataset(inShared('lpc-sprites', 'lpc-sprites-64x64.zip'))
    return splitData(all, [1 - TESTED / all.size, TESTED / all.size], 0)
  },
}

const recipes = {
  'before: batch 128, Adam, 0.001': { batchSize: 128, lr: 1e-3, muon: 0, decay: 0 },
  'batch 32, Adam, 0.002': { batchSize: 32, lr: 2e-3, muon: 0, decay: 0 },
  'batch 16, Muon, 0.004, decay 0.5': { batchSize: 16, lr: 4e-3, muon: 0.95, decay: 0.5 },
  'batch 16, Muon, 0.01, decay 0.5': { batchSize: 16, lr: 1e-2, muon: 0.95, decay: 0.5 },
  'batch 32, Muon, 0.01, decay 1': { batchSize: 32, lr: 1e-2, muon: 0.95, decay: 1 },
  'batch 8, Muon, 0.004, decay 0.5': { batchSize: 8, lr: 4e-3, muon: 0.95, decay: 0.5 },
}

const cpu = () => {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1e6
}

async function trainedFor(seconds, data, recipe, seed) {
  const timed = async (images) => {
    const began = cpu()
    const { model } = await trainAutoencoder({ data, images, ...recipe, previewEvery: 0, seed })
    return { model, images, took: cpu() - began }
  }
  const begun = await timed(4 * recipe.batchSize)
  const more = await timed(20 * recipe.batchSize)
  for (const { model } of [begun, more]) model.dispose()
  const perImage = (more.took - begun.took) / (more.images - begun.images)
  return timed(Math.round(seconds / perImage))
}

async function errorOf(model, test) {
  const size = test.shape.reduce((a, b) => a * b)
  const x0 = new Float32Array(test.size * size)
  for (let i = 0; i < test.size; i++) test.read(i, x0, i * size)
  const back = await model.decode(await model.encode(x0))
  return x0.reduce((sum, x, i) => sum + (x - back[i]) ** 2, 0) / x0.length
}

const record = existsSync(options.out) ? JSON.parse(readFileSync(options.out, 'utf8')) : { rows: [] }
record.machine = { cpu: devices().find(({ name }) => name === 'cpu').description }
record.note = 'processor seconds of training, one thread; the cores were shared with other work'
for (const kind of options.data.split(',')) {
  const [training, test] = await dataSets[kind]()
  for (const seed of options.seeds.split(',').map(Number))
    for (const [name, recipe] of Object.entries(recipes)) {
      const seconds = Number(options.seconds)
      const { model, images, took } = await trainedFor(seconds, training, recipe, seed)
      const error = Number((await errorOf(model, test)).toPrecision(4))
      model.dispose()
      record.rows.push({ data: kind, seconds, seed, recipe: name, images, took: Number(took.toPrecision(4)), error })
      console.log([kind, seconds, seed, name, images, took.toFixed(1), error].join(' | '))
      writeFileSync(options.out, `${JSON.stringify(record, null, 2)}\n`)
    }
}
