// How well learnt energies agree between noise levels: the heads and losses of distillation against each other, with the same teachers, images
// and seeds. docs/residual.md has the results.
//
//   node bench/consistency.mjs [--problem shapes|discs|fashion] [--ways dot,residual,...] [--seeds 1,2] [--teacher-images N]
//     [--images N] [--batch N] [--lr RATE] [--folder DIR] [--fashion DIR] [--out FILE]
//
// For each energy: the variance of the summed log-weights per octave of noise (V; "robust": by quartiles) at gamma = 1, where exact energies and
// kernels have none, on noised data (random walks upwards) and on the sampler's own path without weights; what the plain samples at its end
// show; the loss. --folder keeps teachers for other runs.
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { parseArgs } from 'node:util'
import {
  Denoiser,
  distill,
  loadDataset,
  lowTemperature,
  setThreads,
  sigmaGrid,
  smc,
  trainDenoiser,
} from '../dist/index.js'
import { native } from '../dist/native/addon.js'
import { calibratedKernel } from '../dist/smc/kernels.js'
import { seenIn } from '../packages/lab/dist/experiments/pictures.js'
import { discs, seen } from '../packages/lab/studies/discs.mjs'

const { values: options } = parseArgs({
  options: {
    problem: { type: 'string', default: 'shapes' },
    ways: { type: 'string', default: 'dot,residual' },
    seeds: { type: 'string', default: '1,2' },
    'teacher-images': { type: 'string', default: '32000' },
    images: { type: 'string', default: '6400' },
    batch: { type: 'string' },
    lr: { type: 'string' },
    walks: { type: 'string', default: '64' },
    draws: { type: 'string', default: '256' }, // of the calibration
    'per-octave': { type: 'string', default: '8' },
    smc: { type: 'boolean', default: false }, // also smc to the end, at gamma = 1 and 2
    folder: { type: 'string' },
    fashion: { type: 'string' }, // folder of Fashion-MNIST
    out: { type: 'string' },
  },
})
const [teacherImages, images, walks, perOctave] = ['teacher-images', 'images', 'walks', 'per-octave'].map((name) =>
  Number(options[name]),
)
setThreads(1)

/** Options of distill. */
const ways = {
  dot: { head: 'dot' },
  residual: { head: 'residual' },
  'residual-random': { head: 'residual', init: 'random' },
  'dot-random': { head: 'dot', init: 'random' },
  'residual-path': { head: 'residual', pathWeight: 0.5 },
  'dot-path': { head: 'dot', pathWeight: 0.5 },
  'residual-own': { head: 'residual', selfPlay: 4 },
  'residual-path-own': { head: 'residual', pathWeight: 0.5, selfPlay: 4 },
}

const problems = {
  shapes: async () => ({
    data: await loadDataset('synthetic:shapes:count=8000,size=12'),
    network: { width: 24, channelMult: [1, 2, 2], blocks: 1, attention: [3] },
    kindOf: (picture) => {
      const [{ shape, place }] = seenIn(picture, 12)
      return shape === null || place === null ? null : `${shape} ${place}`
    },
  }),
  discs: async () => ({
    data: discs(500, 1),
    network: { width: 32 },
    kindOf: (picture) => seen(picture)?.join(' ') ?? null,
  }),
  fashion: async () => ({
    data: await loadDataset(join(options.fashion, 'train-images-idx3-ubyte.gz')),
    network: { width: 24, channelMult: [1, 2, 2], blocks: 1, attention: [7] },
  }),
}

/** Levels with as many in each factor 2 of noise, so that the edges of the bands are levels. */
const EDGES = [40, 5, 2, 1, 0.5, 0.25, 0.1, 0.05]
const grid = EDGES.slice(0, -1).flatMap((high, band) => {
  const low = EDGES[band + 1]
  const steps = Math.max(1, Math.round(perOctave * Math.log2(high / low)))
  return Array.from({ length: steps }, (_, i) => high * (low / high) ** (i / steps))
})
grid.push(EDGES.at(-1))

function normals(length, step, seed) {
  const out = new Float32Array(length + (length % 2))
  native.normals(out, 1, seed, 11, step)
  return out.subarray(0, length)
}

const inBasis = async (x, shape, inverse = false) => {
  const out = new Float32Array(x.length)
  await native.dct({ out, x, shape, ...(inverse && { inverse }) }).promise
  return out
}

/** log G of one step of the calibrated bridge from (x, s) to (next, s2), for each walk; cosines are those of next - x and the gradient. */
function logG(at, then, moved, gradient, { v, tau }) {
  const d = v.length
  return Array.from(at.energy, (energy, b) => {
    let sum = energy - then.energy[b]
    for (let i = 0; i < d; i++) {
      const step = moved[b * d + i]
      const off = step + v[i] * gradient[b * d + i]
      sum += off ** 2 / (2 * tau[i]) - step ** 2 / (2 * v[i]) + Math.log(tau[i] / v[i]) / 2
    }
    return sum
  })
}

async function pathsOf(model, from) {
  const { shape } = model
  const energy =
    model.labelDim > 0 ? model.conditioned(model.info.labels.attributes.map(() => null)) : model.conditioned()
  const d = shape.reduce((a, b) => a * b)
  const table = energy.calibration
  const states = []
  let x = from.start(d)
  if (from.data) {
    // upwards
    let before = 0
    const levels = grid.toReversed()
    for (const [k, sigma] of levels.entries()) {
      const n = normals(x.length, k, 77)
      const step = Math.sqrt(sigma ** 2 - before ** 2)
      x = x.map((value, i) => value + step * n[i])
      before = sigma
      states.unshift({ x, sigma, ...(await energy.energyGrad(x, sigma)) })
    }
  } else {
    states.push({ x, sigma: grid[0], ...(await energy.energyGrad(x, grid[0])) })
    for (const [k, sigma] of grid.slice(1).entries()) {
      const { sigma: s, grad } = states.at(-1)
      const { v, tau } = calibratedKernel(s, sigma, 1, table)
      const [g, n] = [await inBasis(grad, shape), normals(x.length, k, 78)]
      const move = await inBasis(
        g.map((value, i) => -v[i % d] * value + Math.sqrt(tau[i % d]) * n[i]),
        shape,
        true,
      )
      x = x.map((value, i) => value + move[i])
      states.push({ x, sigma, ...(await energy.energyGrad(x, sigma)) })
    }
  }
  const logs = []
  for (let k = 0; k + 1 < states.length; k++) {
    const [at, then] = [states[k], states[k + 1]]
    const moved = await inBasis(
      then.x.map((value, i) => value - at.x[i]),
      shape,
    )
    logs.push(logG(at, then, moved, await inBasis(at.grad, shape), calibratedKernel(at.sigma, then.sigma, 1, table)))
  }
  const end = states.at(-1)
  return { logs, last: end.x.map((value, i) => value - end.sigma ** 2 * end.grad[i]) }
}

const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length
const variance = (values) => {
  const m = mean(values)
  return values.reduce((sum, v) => sum + (v - m) ** 2, 0) / (values.length - 1)
}
function robust(values) {
  const sorted = values.toSorted((a, b) => a - b)
  const at = (q) => sorted[Math.round(q * (sorted.length - 1))]
  return ((at(0.75) - at(0.25)) / 1.349) ** 2
}
const round = (value) => Number(value.toPrecision(3))

/** Per band: V of the sum, and W, the sum of the steps' variances. */
function bands(logs) {
  const sums = (steps) => steps[0].map((_, b) => steps.reduce((sum, step) => sum + step[b], 0))
  const row = (steps) => {
    const total = sums(steps)
    return {
      v: round(variance(total)),
      robust: round(robust(total)),
      w: round(steps.reduce((s, step) => s + variance(step), 0)),
    }
  }
  const out = {}
  for (let e = 0; e + 1 < EDGES.length; e++) {
    const steps = logs.filter((_, k) => grid[k] <= EDGES[e] * 1.0001 && grid[k + 1] >= EDGES[e + 1] * 0.9999)
    out[`${EDGES[e]}-${EDGES[e + 1]}`] = row(steps)
  }
  out['20-0.05'] = row(logs.filter((_, k) => grid[k] <= 20.01))
  out.all = row(logs)
  return out
}

function kinds(pictures, d, kindOf) {
  if (!kindOf) return {}
  const found = Array.from({ length: pictures.length / d }, (_, i) => kindOf(pictures.slice(i * d, (i + 1) * d)))
  const right = found.filter((kind) => kind !== null)
  return { recognised: round(right.length / found.length), kinds: new Set(right).size }
}

async function measure(model, { data, kindOf }) {
  const d = model.shape.reduce((a, b) => a * b)
  const x0 = new Float32Array(walks * d)
  for (let i = 0; i < walks; i++) data.read(data.size - 1 - i, x0, i * d)
  const onData = await pathsOf(model, { data: true, start: () => x0 })
  const own = await pathsOf(model, { start: () => normals(walks * d, 1e6, 79).map((v) => v * grid[0]) })
  const out = { data: bands(onData.logs), base: bands(own.logs), plain: kinds(own.last, d, kindOf) }
  if (!options.smc) return out
  const energy =
    model.labelDim > 0 ? model.conditioned(model.info.labels.attributes.map(() => null)) : model.conditioned()
  out.smc = {}
  for (const gamma of [1, 2]) {
    const sigmas = sigmaGrid({ steps: 56, min: 0.08, max: 20 })
    const { samples, logZ, diagnostics } = await smc(lowTemperature(energy, { gamma }), {
      particles: walks,
      sigmas,
      seed: 5,
      proposal: 'calibrated',
      weights: 'bridge',
    })
    const { grad } = await energy.energyGrad(samples, 0.08)
    const clean = samples.map((value, i) => value - 0.08 ** 2 * grad[i])
    out.smc[gamma] = { logZ: round(logZ), roots: new Set(diagnostics.roots).size, ...kinds(clean, d, kindOf) }
  }
  return out
}

async function teacherOf(problem, seed) {
  const path = options.folder && join(options.folder, `${options.problem}-${teacherImages}-${seed}.safetensors`)
  if (path && existsSync(path)) return Denoiser.load(path)
  const { data, network } = problem
  const { model } = await trainDenoiser({ data, network, images: teacherImages, seed })
  if (path) {
    mkdirSync(options.folder, { recursive: true })
    await model.save(path)
  }
  return model
}

const problem = await problems[options.problem]()
const rows = []
for (const seed of options.seeds.split(',').map(Number)) {
  const teacher = await teacherOf(problem, seed)
  for (const name of options.ways.split(',')) {
    const given = {
      images,
      seed,
      ...(options.batch && { batchSize: Number(options.batch) }),
      ...(options.lr && { lr: Number(options.lr) }),
    }
    const before = process.cpuUsage()
    let [first, pathLoss] = [0, undefined]
    try {
      const { model, loss, heldOutLoss } = await distill({
        data: problem.data,
        teacher,
        ...given,
        ...ways[name],
        calibrate: Number(options.draws),
        onProgress: (p) => {
          if (p.step <= 20) first += p.loss / 20
          pathLoss = p.pathLoss
        },
      })
      const { user, system } = process.cpuUsage(before)
      const row = {
        seed,
        way: name,
        cpuSeconds: round((user + system) / 1e6),
        first20: round(first),
        loss: round(loss),
        heldOutLoss: round(heldOutLoss),
        ...(pathLoss !== undefined && { pathLoss: round(pathLoss) }),
      }
      rows.push({ ...row, ...(await measure(model, problem)) })
      model.dispose()
    } catch (error) {
      rows.push({ seed, way: name, error: error.message })
    }
    console.log(JSON.stringify(rows.at(-1)))
    if (options.out) {
      mkdirSync(dirname(options.out), { recursive: true })
      writeFileSync(
        options.out,
        `${JSON.stringify({ command: `node bench/consistency.mjs ${process.argv.slice(2).join(' ')}`, rows }, null, 1)}\n`,
      )
    }
  }
  teacher.dispose()
}
