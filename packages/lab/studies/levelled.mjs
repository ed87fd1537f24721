// What the cross-entropy over noise levels does for the relative weight of separated modes, with and without it at the same steps and seeds.
// docs/levelled.md has the results.
//
//   node packages/lab/studies/levelled.mjs [--threads N] [--only near,far,tall,data,boots] [--steps N] [--seeds N] [--weight W] [--level-batch N] [--fashion DIR] [--out FILE]
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import { dirname, join } from 'node:path'
import { parseArgs } from 'node:util'
import {
  devices,
  distill,
  gaussianMixture,
  loadDataset,
  lowTemperature,
  product,
  setThreads,
  sigmaGrid,
  smc,
  trainDenoiser,
  trainEnergy,
} from '../../../dist/index.js'
import { native } from '../../../dist/native/addon.js'

const { values: options } = parseArgs({
  options: {
    threads: { type: 'string', default: '1' },
    only: { type: 'string', default: 'near,far,tall,data,boots' },
    steps: { type: 'string', default: '2000' },
    seeds: { type: 'string', default: '3' },
    weight: { type: 'string', default: '0.5' }, // levelWeight
    'level-batch': { type: 'string' }, // levelBatch; default: the library's
    fashion: { type: 'string' }, // folder of Fashion-MNIST; without it there are no boots
    out: { type: 'string' },
  },
})
const [threads, steps, seeds, weight] = ['threads', 'steps', 'seeds', 'weight'].map((n) => Number(options[n]))
const levelBatch = options['level-batch'] === undefined ? {} : { levelBatch: Number(options['level-batch']) }
setThreads(threads)
const loadBefore = os.loadavg()[0]
const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1]
const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length
const deviation = (values, from = mean(values)) => Math.sqrt(mean(values.map((v) => (v - from) ** 2)))
const round = (value) => (value === undefined ? undefined : Number(value.toPrecision(4)))

function noised(x, sigma, stream) {
  const noise = new Float32Array(x.length + (x.length % 2))
  native.normals(noise, 1, 0, 11, stream)
  return x.map((v, i) => v + sigma * noise[i])
}

/** Share of the weight of the samples that are `second`. */
function share({ samples, logWeights }, size, second) {
  let [part, all] = [0, 0]
  logWeights.forEach((logWeight, i) => {
    all += Math.exp(logWeight)
    if (second(samples.subarray(i * size, (i + 1) * size))) part += Math.exp(logWeight)
  })
  return part / all
}

/** Trains without the cross-entropy and with it, in turn, for each seed; `measure` gives numbers, which are kept by name. */
async function compare(name, train, measure) {
  const rows = []
  for (const levelWeight of [0, weight]) {
    const found = []
    for (let seed = 1; seed <= seeds; seed++) {
      let last
      const cpu = process.cpuUsage()
      const { model, loss } = await train({
        seed,
        ...(levelWeight > 0 && { levelWeight, ...levelBatch }),
        onProgress: (progress) => {
          last = progress
        },
      })
      const { user, system } = process.cpuUsage(cpu)
      const measured = await measure(model)
      found.push({ loss, levelLoss: last.levelLoss, cpuSeconds: (user + system) / 1e6, ...measured })
      model.dispose()
      console.log(
        name,
        levelWeight,
        JSON.stringify(found.at(-1), (_, v) => (typeof v === 'number' ? round(v) : v)),
      )
    }
    const names = Object.keys(found[0]).filter((key) => found[0][key] !== undefined)
    const of = (reduce) => Object.fromEntries(names.map((key) => [key, round(reduce(found.map((f) => f[key])))]))
    rows.push({
      levelWeight,
      median: of(median),
      worst: of((v) => v.toSorted((a, b) => Math.abs(b) - Math.abs(a))[0]),
      all: found,
    })
  }
  return { name, rows }
}

/** Two round Gaussians in d dimensions, `apart` between the means. */
function twoModes({ name, dims, second, apart, std, from }) {
  const centre = (side) =>
    Array.from({ length: dims }, (_, i) => ((i % 2 ? 1 : -1) * side * apart) / 2 / Math.sqrt(dims))
  const means = [centre(-1), centre(1)]
  const covariances = means.map(() => Array(dims).fill(std ** 2))
  const exact = gaussianMixture({ weights: [1 - second, second], means, covariances })
  const alone = means.map((m, k) => gaussianMixture({ weights: [1], means: [m], covariances: [covariances[k]] }))
  // its product with the mixture of swapped weights has, but for constants, weights (1/2, 1/2)
  const swapped = gaussianMixture({ weights: [second, 1 - second], means, covariances })
  const points = exact.sample(20_000, { seed: 1 })
  const data = {
    name: 'mixture',
    size: 20_000,
    shape: [dims],
    labels: null,
    read: (i, out, at) => out.set(points.subarray(dims * i, dims * (i + 1)), at),
    label: () => [],
  }
  const common = {
    data,
    network: { width: 64, blocks: 2 },
    batchSize: 256,
    lr: 3e-3,
    decay: 0,
    holdOut: 0,
    images: 256 * steps,
  }
  const isSecond = (x) => x.reduce((sum, v, i) => sum + v * (means[1][i] - means[0][i]), 0) > 0

  /** Delta = (E - exact) averaged over the second mode, less that over the first; and how far E - exact varies within modes. */
  const measure = async (model) => {
    const out = {}
    for (const sigma of [0.02, 0.05, 0.2, 1]) {
      const off = []
      for (const [k, mode] of alone.entries()) {
        const x = noised(mode.sample(512, { seed: 9 }), sigma, k + 1)
        const [found, truth] = [await model.energy(x, sigma), (await exact.energyGrad(x, sigma)).energy]
        off.push(Array.from(found, (e, i) => e - truth[i]))
      }
      out[`delta ${sigma}`] = mean(off[1]) - mean(off[0])
      out[`within ${sigma}`] = deviation(
        off.flatMap((values) => values.map((v) => v - mean(values))),
        0,
      )
    }
    const settings = {
      particles: 1024,
      sigmas: sigmaGrid({ steps: 64, min: 0.05, max: 10 }),
      seed: 1,
      weights: 'bridge',
    }
    out['cold share'] = share(await smc(lowTemperature(model, { gamma: 2 }), settings), dims, isSecond)
    out['product share'] = share(await smc(product([model, swapped]), settings), dims, isSecond)
    return out
  }
  return async () => {
    const teacher = from === 'data' ? null : (await trainDenoiser({ ...common, seed: 11 })).model
    const train = (own) =>
      teacher ? distill({ ...common, ...own, teacher, init: 'random' }) : trainEnergy({ ...common, ...own })
    const cold = second ** 2 / (second ** 2 + (1 - second) ** 2)
    const result = { ...(await compare(name, train, measure)), dims, second, apart, std, cold, product: 0.5 }
    teacher?.dispose()
    return result
  }
}

/** Fashion-MNIST's ankle boots at 8 x 8, one in ten mirrored: p(mirror x) / p(x) is 1/9 for every boot, at all noise levels alike. */
async function boots() {
  const [side, size] = [8, 64]
  const path = (name) => join(options.fashion, `${name}.gz`)
  const images = path('train-images-idx3-ubyte')
  const all = await loadDataset(images, { labels: path('train-labels-idx1-ubyte'), resize: side })
  const indices = Array.from({ length: all.size }, (_, i) => i).filter((i) => all.label(i)[0] === 9)
  const mirror = (pixels) => {
    for (let line = 0; line < pixels.length; line += side) pixels.subarray(line, line + side).reverse()
    return pixels
  }
  const data = {
    name: 'boots',
    size: indices.length,
    shape: [1, side, side],
    labels: null,
    label: () => [],
    read: (i, out, at) => {
      all.read(indices[i], out, at)
      if (i % 10 === 9) mirror(out.subarray(at, at + size))
    },
  }
  const references = indices.slice(0, 512).map((index) => {
    const x = new Float32Array(size)
    all.read(index, x, 0)
    return x
  })
  const flat = new Float32Array(512 * size)
  for (const [i, x] of references.entries()) flat.set(x, i * size)
  const distance = (a, b) => a.reduce((sum, v, i) => sum + (v - b[i]) ** 2, 0)
  const isMirrored = (x) => {
    const back = mirror(x.slice())
    const nearest = (y) => references.reduce((least, r) => Math.min(least, distance(y, r)), Infinity)
    return nearest(back) < nearest(x)
  }
  const measure = async (model) => {
    const out = {}
    for (const sigma of [0.05, 0.1, 0.2, 0.5, 1]) {
      const x = noised(flat, sigma, 3)
      const [kept, mirrored] = [await model.energy(x, sigma), await model.energy(mirror(x.slice()), sigma)]
      const difference = Array.from(mirrored, (e, i) => e - kept[i])
      out[`delta ${sigma}`] = mean(difference) - Math.log(9)
      out[`within ${sigma}`] = deviation(difference)
    }
    for (const gamma of [1, 1.5]) {
      const settings = {
        particles: 256,
        sigmas: sigmaGrid({ steps: 40, min: 0.1, max: 10 }),
        seed: 1,
        weights: 'bridge',
      }
      out[`share at gamma ${gamma}`] = share(await smc(lowTemperature(model, { gamma }), settings), size, isMirrored)
    }
    return out
  }
  const network = { width: 16, channelMult: [1, 2], blocks: 1, attention: [] }
  const rate = { batchSize: 64, lr: 2e-3, decay: 0 }
  const common = {
    data,
    network,
    ...rate,
    holdOut: 0,
    references: 0,
    sharpened: 0,
    smallFirst: 0,
    augment: 0,
    images: 64 * Math.round(steps / 2),
  }
  const { model: teacher } = await trainDenoiser({ ...common, seed: 11 })
  const train = (own) => distill({ ...common, ...own, teacher, init: 'random' })
  const result = await compare('boots', train, measure)
  teacher.dispose()
  return { ...result, dims: size, second: 0.1, share1: 0.1, share15: 1 / (1 + 9 ** 1.5) }
}

const cases = {
  near: twoModes({ name: 'plane, 0.8/0.2, 10 std apart', dims: 2, second: 0.2, apart: 2, std: 0.2 }),
  far: twoModes({ name: 'plane, 0.95/0.05, 30 std apart', dims: 2, second: 0.05, apart: 3, std: 0.1 }),
  tall: twoModes({ name: '16 dimensions, 0.8/0.2, 10 std apart', dims: 16, second: 0.2, apart: 4, std: 0.4 }),
  data: twoModes({ name: 'plane, 0.8/0.2, from data', dims: 2, second: 0.2, apart: 2, std: 0.2, from: 'data' }),
  boots,
}
const record = {
  date: new Date().toISOString(),
  // without the names of files, which are the machine's own
  command: `node packages/lab/studies/levelled.mjs ${Object.entries(options)
    .filter(([name]) => name !== 'out' && name !== 'fashion')
    .map(([name, value]) => `--${name} ${value}`)
    .join(' ')}`,
  machine: {
    cpu: devices().find(({ name }) => name === 'cpu').description,
    cores: os.availableParallelism(),
    threads,
    load: loadBefore,
    note: 'cores shared with other work during the run',
  },
  versions: { node: process.version },
  steps,
  seeds,
  results: options.out ? existing(options.out) : {},
}

/** Results of earlier runs into the same file, of other cases. */
function existing(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8')).results
  } catch {
    return {}
  }
}

for (const name of options.only.split(',')) {
  if (name === 'boots' && options.fashion === undefined) continue
  record.results[name] = { ...(await cases[name]()), steps, seeds, weight, command: record.command }
  if (!options.out) continue
  mkdirSync(dirname(options.out), { recursive: true })
  writeFileSync(options.out, `${JSON.stringify(record, null, 2)}\n`)
}
