// What `fit` makes of pictures of several kinds that are made here, judged by rules that know them: of plain samples of the energy and of its
// teacher, each asked for one combination of all attributes in turn, the share that shows a figure, and the one asked for. Of garments a classifier
// tells, trained on 120,000 of them, whose share of right answers on test pictures stands in the row.
//
//   node packages/lab/studies/fit.mjs [--only KIND,...] [--shared DIR] [--images N,... | --minutes N,...] [--seeds 0,1,...] [--count N] [--threads N] [--processor] [--keep DIR] [--out FILE] [--show]
//
// A number of images stands for a time: images times the processor seconds of an image, over the share of the time that the teacher gets. With
// minutes, on an idle machine, `fit` measures and chooses; with --processor they are minutes of processor time, and the machine may be busy.
// Rows that are in the file already are not run again, only shown; with --show no others.
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import { dirname, join } from 'node:path'
import { parseArgs } from 'node:util'
import { drawRow } from '../../../dist/fit/draw.js'
import {
  Denoiser,
  devices,
  EnergyModel,
  fit,
  gridPng,
  loadDataset,
  setThreads,
  trainClassifier,
} from '../../../dist/index.js'
import { accuracyOn } from '../../../dist/internal.js'
import { discs, seen } from './discs.mjs'
import { figures, kinds, seenFigure } from './figures.mjs'

const { values: options } = parseArgs({
  options: {
    only: { type: 'string', default: ['discs', ...Object.keys(kinds)].join() },
    shared: { type: 'string', default: '../shared/data' }, // folder with fashion-mnist
    images: { type: 'string', default: '12000' }, // that the teacher sees
    minutes: { type: 'string' }, // in place of images
    seeds: { type: 'string', default: '0' },
    count: { type: 'string', default: '240' }, // samples that are judged
    threads: { type: 'string', default: '1' },
    processor: { type: 'boolean', default: false }, // the clock that minutes are of
    keep: { type: 'string' }, // folder for what fit writes, and grids of what was judged
    name: { type: 'string', default: 'the rules' },
    show: { type: 'boolean', default: false },
    out: { type: 'string', default: 'bench/results/2026-11-30-fit-cpu.json' },
  },
})
setThreads(Number(options.threads))

/** A reader of many pictures, of a rule for one. */
const byRule = (read) => async () => (samples, count) => {
  const size = samples.length / count
  return Array.from({ length: count }, (_, i) => read(samples.subarray(i * size, (i + 1) * size)))
}
const garments = (name, limit) => loadDataset(join(options.shared, 'fashion-mnist', `${name}-images-idx3-ubyte.gz`), { limit }) // biome-ignore format: one line
/** What is learnt, and how samples of it are read. */
const sets = {
  discs: {
    data: () => discs(500, 1),
    reader: byRule((picture) => {
      const found = seen(picture)
      return found && { classes: found }
    }),
  },
  ...Object.fromEntries(
    Object.keys(kinds).map((kind) => [
      kind,
      { data: () => figures(kind, 1), reader: byRule((picture) => seenFigure(kind, picture)) },
    ]),
  ),
  fashion: {
    data: () => garments('train'),
    reader: async () => {
      const [training, test] = [await garments('train'), await garments('t10k')]
      const { model } = await trainClassifier({ data: training, images: 120_000, noise: 0.1, network: { width: 16 } })
      const [known] = await accuracyOn(
        model,
        test,
        Int32Array.from({ length: test.size }, (_, i) => i),
      )
      const read = async (samples) => Array.from((await model.classify(samples)).classes, (is) => ({ classes: [is] }))
      return Object.assign(read, { known: round(known) })
    },
  },
}

const round = (value) => Number(value.toPrecision(4))
const cpu = () => {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1e6
}

if (options.processor) Object.defineProperty(performance, 'now', { value: () => 1000 * cpu() })

/** The i-th combination of all values. */
function combination(attributes, i) {
  let rest = i
  return attributes.map(({ size }) => {
    const value = rest % size
    rest = Math.floor(rest / size)
    return value
  })
}

async function judge(model, { shape, labels }, read, picture) {
  const count = Number(options.count)
  const asked = Array.from({ length: count }, (_, i) => combination(labels.attributes, i))
  const samples = await drawRow(model, { label: '', asked, composed: false }, { seed: 5 })
  const size = samples.length / count
  const shown = await read(samples, count)
  const share = (is) => round(asked.filter((want, i) => shown[i] && is(want, shown[i].classes)).length / count)
  if (picture) {
    const few = Math.min(count, 120)
    writeFileSync(picture, await gridPng(samples.subarray(0, few * size), shape, { columns: 20, size: 1000 }))
  }
  return {
    recognised: share(() => true),
    right: share((want, is) => want.every((value, a) => value === is[a])),
    ...Object.fromEntries(labels.attributes.map(({ name }, a) => [name, share((want, is) => want[a] === is[a])])),
  }
}

async function measure(kind, budget, seed) {
  const { data: make, reader } = sets[kind]
  const data = await make()
  const name = `${[kind.replaceAll(' ', '-'), ...Object.entries(budget).flat(), seed].join('-')}`
  if (options.keep) mkdirSync(options.keep, { recursive: true })
  const output = options.keep ? join(options.keep, name) : mkdtempSync(join(os.tmpdir(), 'feynkac-fit-study-'))
  const spent = {}
  let [stage, began] = ['', cpu()]
  const done = () => {
    if (stage) spent[stage] = round((spent[stage] ?? 0) + cpu() - began)
    began = cpu()
  }
  const started = performance.now()
  const found = await fit({
    data,
    ...budget,
    seed,
    output,
    onProgress: (at) => {
      if (at.stage === stage) return
      done()
      stage = at.stage
    },
  })
  done()
  const seconds = round((performance.now() - started) / 1000)
  const grid = (of) => options.keep && `${output}-${of}.png`
  const energy = await EnergyModel.load(join(output, 'model.safetensors'))
  const teacher = await Denoiser.load(join(output, 'teacher.safetensors'))
  const read = await reader()
  const judged = {
    ...(read.known && { known: read.known }),
    energy: await judge(energy, data, read, grid('energy')),
    teacher: await judge(teacher, data, read, grid('teacher')),
  }
  for (const model of [energy, teacher]) model.dispose()
  if (!options.keep) rmSync(output, { recursive: true })
  return {
    seconds,
    cpuSeconds: spent,
    teacherImages: found.teacher.images,
    energyImages: found.energy.images,
    teacherHeldOut: round(found.teacher.heldOutLoss),
    energyHeldOut: round(found.energy.heldOutLoss),
    copies: found.copies.copies,
    classifier: found.classifier,
    classifierHeldOut: found.classifierHeldOut,
    byClassifier: Object.fromEntries(
      found.samples.map(({ name: group, rows }) => [
        group,
        `${rows.reduce((sum, { right }) => sum + right, 0)}/${rows.reduce((sum, row) => sum + row.samples, 0)}`,
      ]),
    ),
    ...judged,
  }
}

const record = existsSync(options.out) ? JSON.parse(readFileSync(options.out, 'utf8')) : { rows: [] }
record.machine = { cpu: devices().find(({ name }) => name === 'cpu').description, cores: os.availableParallelism() }
record.note ??= 'processor seconds, one thread; the cores were shared with other work'
const columns = ['recognised', 'right']
const budgets = options.minutes
  ? options.minutes.split(',').map((minutes) => ({ minutes: Number(minutes) }))
  : options.images.split(',').map((images) => ({ images: Number(images) }))
console.log(
  `| data | budget | rules | seed | seconds | ${columns.flatMap((c) => [`energy ${c}`, `teacher ${c}`]).join(' | ')} |`,
)
console.log(`|---|--:|---|--:|--:|${columns.map(() => '--:|--:|').join('')}`)
for (const kind of options.only.split(','))
  for (const budget of budgets)
    for (const seed of options.seeds.split(',').map(Number)) {
      const isThis = (r) =>
        r.data === kind &&
        r.images === budget.images &&
        r.minutes === budget.minutes &&
        r.seed === seed &&
        r.name === options.name
      if (!record.rows.some(isThis)) {
        if (options.show) continue
        record.rows.push({
          data: kind,
          ...budget,
          threads: Number(options.threads),
          ...(options.processor && { clock: 'processor' }),
          name: options.name,
          seed,
          load: round(os.loadavg()[0]),
          ...(await measure(kind, budget, seed)),
        })
        mkdirSync(dirname(options.out), { recursive: true })
        writeFileSync(options.out, `${JSON.stringify(record, null, 2)}\n`)
      }
      const found = record.rows.find(isThis)
      const seconds = round(Object.values(found.cpuSeconds ?? {}).reduce((a, b) => a + b, 0))
      const cells = columns.flatMap((c) => [found.energy[c], found.teacher[c]])
      console.log(
        `| ${[kind, Object.entries(budget).flat().join(' '), options.name, seed, seconds, ...cells].join(' | ')} |`,
      )
    }
