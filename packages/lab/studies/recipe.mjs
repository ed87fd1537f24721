// What lib/training/recipe.ts rests on: the same images seen under different batches, rates, decays, averages and dropouts of labels, judged
// by the loss on pictures of no run, and of discs by the share of samples that show what was asked for.
//
//   node packages/lab/studies/recipe.mjs [--only GROUP,...] [--rows 0,1,...] [--seeds 0,1,...] [--threads N] [--fashion DIR] [--pictures DIR] [--out FILE] [--show]
//
// Rows that are in the file already are not run again, only shown; with --show no others.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import { dirname, join } from 'node:path'
import { isDeepStrictEqual, parseArgs } from 'node:util'
import {
  devices,
  distill,
  gridPng,
  loadDataset,
  NumericsError,
  sample,
  scoreShapes,
  setThreads,
  sigmaGrid,
  trainDenoiser,
} from '../../../dist/index.js'
import { discs, seen } from './discs.mjs'
import { groups } from './recipe-rows.mjs'
import { heldOutLoss, labelVectors } from './yardstick.mjs'

const { values: options } = parseArgs({
  options: {
    only: { type: 'string', default: Object.keys(groups).join() },
    rows: { type: 'string' }, // of the groups; without it all
    seeds: { type: 'string', default: '0' },
    threads: { type: 'string', default: '1' },
    fashion: { type: 'string' }, // folder of Fashion-MNIST; without it its groups are left out
    pictures: { type: 'string' }, // folder of grids of samples
    show: { type: 'boolean', default: false },
    out: { type: 'string', default: 'bench/results/2026-11-29-recipe-cpu.json' },
  },
})
setThreads(Number(options.threads))

const TESTED = 384

const dataSets = {
  discs: () => ({ training: discs(500, 1), test: discs(TESTED, 2), read: seen }),
  shapes: async () => ({
    training: await loadDataset('synthetic:shapes:count=8000,size=12'),
    test: await loadDataset(`synthetic:shapes:count=${TESTED},size=12,seed=1`),
    read: (picture) => {
      const { shape, place } = scoreShapes(picture, [1, 12, 12])
      return shape === null ? null : [shape, place]
    },
  }),
  fashion: async () => ({
    training: await loadDataset(join(options.fashion, 'train-images-idx3-ubyte.gz')),
    test: await loadDataset(join(options.fashion, 't10k-images-idx3-ubyte.gz'), { limit: TESTED }),
  }),
}

/** Plain samples (Heun, 24 levels), each under the labels of one combination in turn, and, where a rule reads them, what they show. */
async function draw(model, { test, read }, count) {
  const { attributes } = test.labels
  const asked = Array.from({ length: count }, (_, i) => {
    let rest = i
    return attributes.map(({ size }) => {
      const value = rest % size
      rest = Math.floor(rest / size)
      return value
    })
  })
  const vectors = labelVectors({ labels: test.labels, label: (i) => asked[i] }, count)
  const width = vectors.length / count
  const conditional = {
    shape: model.shape,
    denoise: (x, sigma, { part: { first } = { first: 0 } } = {}) => {
      const n = x.length / test.shape.reduce((a, b) => a * b, 1)
      return model.denoise(x, sigma, { labels: vectors.subarray(first * width, (first + n) * width) })
    },
  }
  const sigmas = [...sigmaGrid({ steps: 24, min: 0.02, max: 40 }), 0]
  const { samples } = await sample(conditional, { particles: count, sigmas, seed: 5 })
  const size = samples.length / count
  if (!read) return { samples }
  const shown = asked.map((_, i) => read(samples.subarray(i * size, (i + 1) * size)))
  const share = (right) => asked.filter((want, i) => shown[i] && right(want, shown[i])).length / count
  return {
    samples,
    recognised: share(() => true),
    first: share((want, is) => want[0] === is[0]),
    right: share((want, is) => want[0] === is[0] && want[1] === is[1]),
  }
}

const round = (value) => Number(value.toPrecision(4))
const cpuSeconds = ({ user, system }) => (user + system) / 1e6

/** Rows say nothing of Muon, of label maps and of targets averaged over the data where they were run before there were any. */
const before = { muon: 0, sharpened: 0 }
const asThen = (row) => ({
  ...before,
  references: 0,
  smallFirst: 0,
  augment: 0,
  ...row,
  network: { labelMaps: false, ...row.network },
})

const teachers = new Map()
async function teacherOf(data, of, seed) {
  const key = JSON.stringify([of, seed])
  if (!teachers.has(key)) teachers.set(key, (await trainDenoiser({ ...asThen(of), data: data.training, seed })).model)
  return teachers.get(key)
}

async function measure({ data: _, teacher, name: __, ...training }, seed, loaded, picture) {
  const given = teacher && { teacher: await teacherOf(loaded, teacher, seed), calibrate: false }
  const cpu = process.cpuUsage()
  const about = { data: loaded.training, seed }
  const { model, steps } = await (given
    ? distill({ ...before, ...training, ...about, ...given })
    : trainDenoiser({ ...asThen(training), ...about }))
  const seconds = cpuSeconds(process.cpuUsage(cpu))
  const { samples, ...shown } = await draw(model, loaded, 60)
  const found = { steps, cpuSeconds: seconds, ...(await heldOutLoss(model, loaded.test, TESTED)), ...shown }
  if (options.pictures) {
    mkdirSync(options.pictures, { recursive: true })
    writeFileSync(join(options.pictures, picture), await gridPng(samples, model.shape, { columns: 12, size: 700 }))
  }
  model.dispose()
  return Object.fromEntries(Object.entries(found).map(([k, v]) => [k, round(v)]))
}

/** What a row differs in, in words. */
function describe({
  name,
  batchSize,
  lr,
  decay,
  labelDropout,
  pMean,
  pStd,
  holdOut,
  warmUp,
  emaHalfLife,
  beta1,
  beta2,
  head,
  images,
  muon,
  network,
}) {
  const unusual = [
    muon && `Muon ${muon}`,
    network?.labelMaps && 'label maps',
    warmUp !== images / 20 && `warm-up ${warmUp}`,
    emaHalfLife !== images / 20 && `half-life ${emaHalfLife}`,
    beta1 && `beta1 ${beta1}`,
    beta2 && `beta2 ${beta2}`,
    head && `head ${head}`,
    holdOut === 0 && 'none held out',
  ].filter(Boolean)
  const usual = `batch ${batchSize}, lr ${lr}, decay ${decay}, label dropout ${labelDropout}, ln sigma ${pMean} ± ${pStd}`
  return `${name ? `${name}: ` : ''}${[usual, ...unusual].join(', ')}`
}

const record = existsSync(options.out) ? JSON.parse(readFileSync(options.out, 'utf8')) : { rows: [] }
record.machine = { cpu: devices().find(({ name }) => name === 'cpu').description, cores: os.availableParallelism() }
record.note = 'processor seconds of training; the cores were shared with other work'
const columns = ['steps', 'cpuSeconds', 'loss', 'low', 'middle', 'high', 'recognised', 'first', 'right']
console.log(
  `| data | images | recipe | seed | ${columns.join(' | ')} |\n|---|--:|---|--:|${columns.map(() => '--:|').join('')}`,
)
const loaded = {}
for (const group of options.only.split(','))
  for (const row of options.rows ? options.rows.split(',').map((place) => groups[group][place]) : groups[group])
    for (const seed of options.seeds.split(',').map(Number)) {
      const isThis = (r) => r.seed === seed && isDeepStrictEqual(r.options, row)
      if (!record.rows.some(isThis)) {
        if (options.show || (row.data === 'fashion' && options.fashion === undefined)) continue
        loaded[row.data] ??= await dataSets[row.data]()
        const picture = `${group}-${groups[group].indexOf(row)}-${seed}.png`
        const found = await measure(row, seed, loaded[row.data], picture).catch((error) => {
          if (error instanceof NumericsError) return { diverged: error.message }
          throw error
        })
        record.rows.push({ seed, options: row, ...found })
        mkdirSync(dirname(options.out), { recursive: true })
        writeFileSync(options.out, `${JSON.stringify(record, null, 2)}\n`)
      }
      const found = record.rows.find(isThis)
      const what = `${row.data}${row.teacher ? ', distilled' : ''}`
      const cells = columns.map((name) => found[name] ?? (found.diverged ? 'diverged' : ''))
      console.log(`| ${[what, row.images, describe(row), seed, ...cells].join(' | ')} |`)
    }
