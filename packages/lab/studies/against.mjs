// Our recipe against those of others (others.mjs) at equal processor seconds, in the same engine and on one thread: the loss of one yardstick, the
// share of samples that show what was asked for, distances of the samples to pictures held out, and copies. Samples are drawn by both ways of
// as many evaluations, 18 levels of Heun's method and 36 ancestral steps. Sprites of 64 x 64 are learnt as latents of 4 x 16 x 16, of an
// autoencoder that is trained once and kept; all figures are those of latents, also what a classifier of latents tells.
//
//   node packages/lab/studies/against.mjs [--data KIND,...] [--minutes N,...] [--recipes NAME;...] [--seeds 0,1,...] [--count N]
//     [--shared DIR] [--keep DIR] [--out FILE] [--show]
//
// Minutes are of processor time, so the machine may be busy. Rows that are in the file already are not run again; with --show no others.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import { dirname, join } from 'node:path'
import { parseArgs } from 'node:util'
import {
  Autoencoder,
  Classifier,
  devices,
  frechetDistance,
  gridPng,
  kernelDistance,
  latentDataset,
  loadDataset,
  pixelFeatures,
  sample,
  scoreShapes,
  setThreads,
  sigmaGrid,
  trainAutoencoder,
  trainClassifier,
  trainDenoiser,
} from '../../../dist/index.js'
import { accuracyOn, splitData } from '../../../dist/internal.js'
import { findCopies } from '../../../dist/metrics/copies.js'
import { discs, seen } from './discs.mjs'
import { others, trainAs } from './others.mjs'
import { heldOutLoss, labelVectors } from './yardstick.mjs'

/** Ours, and what they are given; of pictures that have no half the two are one. */
const ours = { 'the rules': { smallFirst: 0 }, 'the rules, half the size first': {} }

const { values: options } = parseArgs({
  options: {
    data: { type: 'string', default: 'discs,shapes' },
    minutes: { type: 'string', default: '1' },
    recipes: { type: 'string', default: [...Object.keys(ours), ...Object.keys(others)].join(';') },
    seeds: { type: 'string', default: '0' },
    count: { type: 'string', default: '240' }, // samples
    shared: { type: 'string', default: '../shared/data' }, // folder with fashion-mnist, cifar10 and lpc-sprites
    keep: { type: 'string', default: join(os.tmpdir(), 'feynkac-against') }, // classifiers, and grids of samples
    show: { type: 'boolean', default: false },
    out: { type: 'string', default: 'bench/results/2026-11-30-against-cpu.json' },
  },
})
setThreads(1)

/** Test pictures of which the loss is, and to which distances are. */
const [TESTED, COMPARED] = [384, 1000]
/** Of several attributes those count that the classifier knows of this share of the test pictures. */
const KNOWN = 0.95
/** Share of the budget in which a speed is measured; of what is left, the held-out loss of our own recipe and the like have a part. */
const TRIAL = 0.03

const cpu = () => {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1e6
}
Object.defineProperty(performance, 'now', { value: () => 1000 * cpu() }) // the clock that minutes are of

const inShared = (...names) => join(options.shared, ...names)
const fashion = (which, limit) => loadDataset(inShared('fashion-mnist', `${which}-images-idx3-ubyte.gz`), { limit })
const cifar = (name, limit) => loadDataset(inShared('cifar10', `${name}.bin.gz`), { limit })
const dataSets = {
  discs: () => ({ training: discs(500, 1), test: discs(COMPARED, 2), read: seen }),
  shapes: async () => ({
    training: await loadDataset('synthetic:shapes:count=500,size=12'),
    test: await loadDataset(`synthetic:shapes:count=${COMPARED},size=12,seed=1`),
    read: (picture) => {
      const { shape, place } = scoreShapes(picture, [1, 12, 12])
      return shape === null ? null : [shape, place]
    },
  }),
  fashion: async () => ({ training: await fashion('train'), test: await fashion('t10k', COMPARED) }),
  cifar10: async () => ({ training: await cifar('data_batch_1'), test: await cifar('test_batch', COMPARED) }),
  sprites: async () => {
    const all = await loadDataset(inShared('lpc-sprites', 'lpc-sprites-64x64.zip'))
    const [training, ordered] = splitData(all, [1 - COMPARED / all.size, COMPARED / all.size], 0)
    const test = spread(ordered)
    const autoencoder = await kept('sprites-autoencoder', Autoencoder, async () => {
      const network = { width: 16, channelMult: [1, 2, 2], latentChannels: 4, attention: false }
      return (await trainAutoencoder({ data: training, images: 12_000, network, seed: 0 })).model
    })
    const [latents, testLatents] = [await latentDataset(training, autoencoder), await latentDataset(test, autoencoder)]
    return { training: latents, test: testLatents, decoder: autoencoder }
  },
}

/** The archive is ordered by what sprites show: of these the first so many are of all kinds. */
function spread(data) {
  const at = (i) => (i * 617) % data.size // a prime, and no divisor of COMPARED
  return { ...data, read: (i, out, offset) => data.read(at(i), out, offset), label: (i) => data.label(at(i)) }
}

/** A model that is trained once, in the folder of those. */
async function kept(name, of, make) {
  const path = join(options.keep, `${name}.safetensors`)
  mkdirSync(options.keep, { recursive: true })
  if (!existsSync(path)) {
    const model = await make()
    await model.save(path)
    model.dispose()
  }
  return of.load(path)
}

/** Latents that a classifier takes. */
const asImages = (data) => ({
  ...{ name: data.name, size: data.size, shape: data.shape, labels: data.labels },
  read: (index, out, offset) => data.read(index, out, offset),
  label: (index) => data.label(index),
})

/** Trained on enough for each kind; what it knows of test pictures stands in the row. */
function classifierOf(kind, { training, test }) {
  const images = training.size < 5000 ? 12_000 : 100_000
  const recipe = { batchSize: 32, lr: 1e-2, muon: 0.95, decay: 1, noise: 0.1, network: { width: 16 } }
  return kept(`${kind}-classifier`, Classifier, async () => {
    const { model } = await trainClassifier({ data: asImages(training), images, ...recipe, seed: 0 })
    model.accuracy = await accuracyOn(
      model,
      test,
      Int32Array.from({ length: test.size }, (_, i) => i),
    )
    return model
  })
}

/** Images of a recipe that are seen in so many seconds, by the speed at the start. */
async function imagesOf(name, data, seconds) {
  const { batchSize } = others[name]
  const began = cpu()
  let images = 2 * batchSize
  for (;;) {
    const from = cpu()
    const model = await trainAs(name, data, { seed: 0, images, total: 10_000 })
    model.dispose()
    const took = cpu() - from
    if (cpu() - began > TRIAL * seconds) return Math.floor(((seconds - (cpu() - began)) * images) / took)
    images *= 2
  }
}

async function trained(name, data, minutes, seed) {
  if (!(name in ours)) {
    const images = await imagesOf(name, data, 60 * minutes)
    return { model: await trainAs(name, data, { seed, images }), images }
  }
  return trainDenoiser({ data, minutes, seed, ...ours[name] })
}

/** Samples, each asked for one combination of all values in turn, or, where there are more of them, for what a test picture shows. */
function askedFor({ labels: { attributes }, label }, count) {
  if (attributes.reduce((all, { size }) => all * size, 1) > count)
    return Array.from({ length: count }, (_, i) => label(i))
  return Array.from({ length: count }, (_, i) => {
    let rest = i
    return attributes.map(({ size }) => {
      const value = rest % size
      rest = Math.floor(rest / size)
      return value
    })
  })
}

const methods = {
  heun: { sigmas: [...sigmaGrid({ steps: 18, min: 0.02, max: 80 }), 0] },
  ancestral: { sigmas: [...sigmaGrid({ steps: 35, min: 0.02, max: 80 }), 0], method: 'ancestral' },
}

async function judged(model, { training, test, read, decoder }, classifier, method, picture) {
  const count = Number(options.count)
  const asked = askedFor({ labels: test.labels, label: (i) => test.label(i) }, count)
  const vectors = labelVectors({ labels: test.labels, label: (i) => asked[i] }, count)
  const conditional = {
    shape: model.shape,
    denoise: (x, sigma, { part, signal } = {}) => model.denoise(x, sigma, { labels: vectors, part, signal }),
  }
  const { samples } = await sample(conditional, { particles: count, seed: 5, ...methods[method] })
  const size = samples.length / count
  const share = (right) => asked.filter((want, i) => right(want, i)).length / count
  const { classes } = await classifier.classify(samples)
  const counts = asked[0].map((_, a) => asked[0].length === 1 || classifier.accuracy[a] >= KNOWN)
  const width = asked[0].length
  const shown = read && asked.map((_, i) => read(samples.subarray(i * size, (i + 1) * size)))
  const [own, theirs] = [await classifier.features(samples), await classifier.features(firstOf(test, COMPARED))]
  const dim = classifier.featureSize
  const copies = await findCopies({ samples, heldOut: firstOf(test, 128), training, extractor: pixelFeatures(test.shape) }) // biome-ignore format: one line
  const few = samples.slice(0, 60 * size)
  const looked = decoder ? await decoder.decode(few) : few
  writeFileSync(picture, await gridPng(looked, decoder?.shape ?? test.shape, { columns: 12, size: 700 }))
  return {
    byClassifier: share((want, i) => want.every((value, a) => !counts[a] || value === classes[i * width + a])),
    ...(read && {
      recognised: share((_, i) => shown[i]),
      right: share((want, i) => shown[i] && want.every((value, a) => value === shown[i][a])),
    }),
    frechet: await frechetDistance(own, theirs, { dim }),
    kernel: (await kernelDistance(own, theirs, { dim, subsetSize: Math.floor(count / 4) })).mean,
    copies: copies.copies,
  }
}

/** [n, ...shape] */
function firstOf(data, n) {
  const size = data.shape.reduce((a, b) => a * b, 1)
  const x0 = new Float32Array(n * size)
  for (let i = 0; i < n; i++) data.read(i, x0, i * size)
  return x0
}

const round = (value) =>
  typeof value === 'number'
    ? Number(value.toPrecision(4))
    : value && typeof value === 'object'
      ? Object.fromEntries(Object.entries(value).map(([key, v]) => [key, round(v)]))
      : value

async function measure(kind, name, minutes, seed, loaded) {
  const classifier = await classifierOf(kind, loaded)
  const began = cpu()
  const { model, images, steps } = await trained(name, loaded.training, minutes, seed)
  const cpuSeconds = cpu() - began
  const loss = await heldOutLoss(model, loaded.test, TESTED)
  const picture = (method) =>
    join(options.keep, `${kind}-${minutes}-${name.replaceAll(/[^\w]+/g, '-')}-${seed}-${method}.png`)
  const drawn = {}
  for (const method of Object.keys(methods))
    drawn[method] = await judged(model, loaded, classifier, method, picture(method))
  model.dispose()
  return round({ images, steps, cpuSeconds, ...loss, known: classifier.accuracy[0], ...several(classifier), ...drawn })
}

/** Shares of the test pictures whose attributes are known. */
const several = ({ accuracy }) => (accuracy.length > 1 ? { knownOf: { ...accuracy } } : {})

const record = existsSync(options.out) ? JSON.parse(readFileSync(options.out, 'utf8')) : { rows: [] }
record.machine = { cpu: devices().find(({ name }) => name === 'cpu').description, cores: os.availableParallelism() }
record.note =
  'processor seconds of training, one thread, measuring the speed among them; the cores were shared with other work'
const cells = ({ images, cpuSeconds, loss, low, middle, high, heun, ancestral }) => [
  ...[images, cpuSeconds, loss, low, middle, high],
  ...[heun, ancestral].flatMap((by) => [by.right ?? by.byClassifier, by.frechet, by.kernel]),
]
console.log(
  '| data | minutes | recipe | seed | images | seconds | loss | low | middle | high | Heun: right | Fréchet | kernel | ancestral: right | Fréchet | kernel |',
)
console.log(`|---|--:|---|${'--:|'.repeat(13)}`)
const loaded = {}
for (const kind of options.data.split(','))
  for (const minutes of options.minutes.split(',').map(Number))
    for (const name of options.recipes.split(';'))
      for (const seed of options.seeds.split(',').map(Number)) {
        const isThis = (r) => r.data === kind && r.minutes === minutes && r.recipe === name && r.seed === seed
        if (!record.rows.some(isThis)) {
          if (options.show) continue
          loaded[kind] ??= await dataSets[kind]()
          const found = await measure(kind, name, minutes, seed, loaded[kind])
          record.rows.push({ data: kind, minutes, recipe: name, seed, ...found })
          mkdirSync(dirname(options.out), { recursive: true })
          writeFileSync(options.out, `${JSON.stringify(record, null, 2)}\n`)
        }
        console.log(`| ${[kind, minutes, name, seed, ...cells(record.rows.find(isThis))].join(' | ')} |`)
      }
