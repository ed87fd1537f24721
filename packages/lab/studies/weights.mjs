// Forms of weights that smc does not have, on learnt pictures: the kernels' weights and the weights of denoisers with a learnt trace
// (docs/denoiser-weights.md), on the particles of the kernels without weights, of the experiment `consistency`'s denoisers. Shares of shapes
// against the exact ones, and what weights change on the same particles.
//
//   node packages/lab/studies/weights.mjs [--models DIR] [--energies denoiser|exact] [--targets NAME;...] [--trainings 0,1,2] [--seeds 0,1,2] [--particles 64] [--steps 56] [--out FILE]
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import { dirname } from 'node:path'
import { parseArgs } from 'node:util'
import { setThreads, sigmaGrid } from '../../../dist/index.js'
import { ParticleRng } from '../../../dist/internal.js'
import { COLD_SHARES } from '../dist/experiments/consistency.js'
import { bootstrap } from '../dist/experiments/consistency-shares.js'
import { dataOf, PLACE, SHAPE, subjectOf } from '../dist/experiments/consistency-subjects.js'
import { ExactShapes, KINDS } from '../dist/experiments/exact-shapes.js'
import { seenIn } from '../dist/experiments/pictures.js'

const { values: options } = parseArgs({
  options: {
    models: { type: 'string', default: 'experiments/models' },
    energies: { type: 'string', default: 'denoiser' }, // exact: no trace is learnt
    targets: { type: 'string' }, // names, between semicolons
    trainings: { type: 'string', default: '0,1,2' },
    seeds: { type: 'string', default: '0,1,2' },
    particles: { type: 'string', default: '64' },
    steps: { type: 'string', default: '56' },
    out: { type: 'string' },
  },
})
setThreads(1)
const [trainings, seeds] = [options.trainings, options.seeds].map((list) => list.split(',').map(Number))
const [n, steps] = [Number(options.particles), Number(options.steps)]
const SIDE = 12
const d = SIDE * SIDE
/** Below this the exact reference would take its finest grid for every particle. */
const EXACT = 0.3 * (1 - 1e-9)
const isExact = options.energies === 'exact'
const sigmas = sigmaGrid({ steps, min: isExact ? 0.3 : 0.1, max: 40 })
/** Weights act down to these. */
const REACHES = [1, 0.3, 0.1]

const all = Array.from({ length: KINDS }, (_, k) => k)
const parts = {
  all: { kinds: all, wish: () => true },
  shape: { kinds: all.filter((k) => Math.floor(k / 4) === SHAPE), wish: ([shape]) => shape === SHAPE },
  place: { kinds: all.filter((k) => k % 4 === PLACE), wish: ([, place]) => place === PLACE },
}
const shown = ({ shape }) => shape
const asked = (seen) => (seen.shape === SHAPE && seen.place === PLACE ? SHAPE : null)
const targets = [
  { name: 'gamma = 2', of: { all: 2 }, truth: COLD_SHARES[2], read: shown },
  { name: 'gamma = 3', of: { all: 3 }, truth: COLD_SHARES[3], read: shown },
  { name: 'AND', of: { shape: 1, place: 1, all: -1 }, truth: [0, 0, 1], read: asked },
  { name: 'AND, gamma = 2', of: { shape: 2, place: 2, all: -2 }, truth: [0, 0, 1], read: asked },
].filter(({ name }) => !options.targets || options.targets.split(';').includes(name))

const dot = (a, b) => a.reduce((sum, v, i) => sum + v * b[i], 0)

/** Solves (A + ridge) w = b, A symmetric [m, m]. */
function solve(A, b, ridge) {
  const m = b.length
  const L = new Float64Array(m * m)
  for (let i = 0; i < m; i++)
    for (let j = 0; j <= i; j++) {
      let sum = A[i * m + j] + (i === j ? ridge : 0)
      for (let k = 0; k < j; k++) sum -= L[i * m + k] * L[j * m + k]
      L[i * m + j] = i === j ? Math.sqrt(Math.max(sum, 1e-12)) : sum / L[j * m + j]
    }
  const w = Float64Array.from(b)
  for (let i = 0; i < m; i++) {
    for (let k = 0; k < i; k++) w[i] -= L[i * m + k] * w[k]
    w[i] /= L[i * m + i]
  }
  for (let i = m - 1; i >= 0; i--) {
    for (let k = i + 1; k < m; k++) w[i] -= L[k * m + i] * w[k]
    w[i] /= L[i * m + i]
  }
  return w
}

const RELU = 160
const random = new ParticleRng(7, 0, RELU).normals(d)

/** What m is read from: the denoised picture, random features of it, and how far the noised one is from it. */
function features(x, D, sigma) {
  const out = new Float64Array(d + RELU + 2)
  let residual = 0
  for (let p = 0; p < d; p++) {
    out[p] = D[p]
    residual += ((x[p] - D[p]) / sigma) ** 2
  }
  for (let h = 0; h < RELU; h++) {
    let sum = 0
    for (let p = 0; p < d; p++) sum += random[h * d + p] * D[p]
    out[d + h] = Math.max(0, sum / 8)
  }
  out[d + RELU] = residual / d
  out[d + RELU + 1] = 1
  return out
}

/** m(x) = tr Cov(x0 | x) / sigma^2 at every level by ridge regression on |x0 - D|^2 / sigma^2, averaged over the data's own posterior. */
async function learntTrace(energy, wish, seed) {
  const data = await dataOf('independent')
  const chosen = Array.from({ length: data.size }, (_, i) => i).filter((i) => wish(data.label(i)))
  const count = 400
  const others = 1200
  const read = (indices) => {
    const out = new Float32Array(indices.length * d)
    for (const [i, index] of indices.entries()) data.read(index, out, i * d)
    return out
  }
  const rows = []
  for (const [k, sigma] of sigmas.entries()) {
    const order = chosen.map((i) => [Math.sin(12.9898 * (i + 1) + 78.233 * (k + 1) + seed) * 43758.5453 % 1, i]).sort((a, b) => a[0] - b[0]) // biome-ignore format: one line
    const own = read(order.slice(0, count).map(([, i]) => i))
    const known = read(order.slice(0, others).map(([, i]) => i))
    const noise = new ParticleRng(seed, k, count).normals(d)
    const x = own.map((v, i) => v + sigma * noise[i])
    const { grad } = await energy.energyGrad(x, sigma)
    const D = x.map((v, i) => v - sigma * sigma * grad[i])
    const level = { x, D, targets: new Float64Array(count), sigma }
    const logs = new Float64Array(known.length / d)
    const errors = new Float64Array(known.length / d)
    for (let i = 0; i < count; i++) {
      for (let j = 0; j < logs.length; j++) {
        let [near, off] = [0, 0]
        for (let p = 0; p < d; p++) {
          near += (x[i * d + p] - known[j * d + p]) ** 2
          off += (known[j * d + p] - D[i * d + p]) ** 2
        }
        logs[j] = -near / (2 * sigma * sigma)
        errors[j] = off / (sigma * sigma)
      }
      const top = Math.max(...logs)
      let [sum, mean] = [0, 0]
      for (let j = 0; j < logs.length; j++) {
        const w = Math.exp(logs[j] - top)
        sum += w
        mean += w * errors[j]
      }
      level.targets[i] = mean / sum
    }
    level.features = Array.from({ length: count }, (_, i) =>
      features(x.subarray(i * d, (i + 1) * d), D.subarray(i * d, (i + 1) * d), sigma),
    )
    rows.push(level)
  }
  return rows.map((_, k) => {
    const near = rows.slice(Math.max(0, k - 1), k + 2)
    const train = near.flatMap((r) => r.features.slice(100).map((f, i) => [f, r.targets[i + 100]]))
    const held = near.flatMap((r) => r.features.slice(0, 100).map((f, i) => [f, r.targets[i]]))
    const m = train[0][0].length
    const A = new Float64Array(m * m)
    const b = new Float64Array(m)
    for (const [f, t] of train)
      for (let i = 0; i < m; i++) {
        b[i] += f[i] * t
        for (let j = 0; j <= i; j++) A[i * m + j] += f[i] * f[j]
      }
    const [best] = [1e-2, 1, 100, 1e4]
      .map((ridge) => {
        const w = solve(A, b, ridge)
        return { w, error: held.reduce((sum, [f, t]) => sum + (dot(f, w) - t) ** 2, 0) }
      })
      .sort((p, q) => p.error - q.error)
    return (x, D) => Math.min(d, Math.max(0.05, dot(features(x, D, sigmas[k]), best.w)))
  })
}

/** The particles of the kernels without weights, and the log-weights that every form would give them, down to each reach. */
async function particles(subject, target, traces, seed) {
  const names = Object.keys(target.of)
  const w = Object.values(target.of)
  const L = w.reduce((a, b) => a + b)
  const exact = new ExactShapes(SIDE)
  const forms = { 'kernels': new Float64Array(n), 'learnt trace': new Float64Array(n), 'exact trace': new Float64Array(n) } // biome-ignore format: one line
  const found = {}
  const at = async (x, k) => {
    const sigma = sigmas[k]
    const models = await Promise.all(names.map((name) => subject[name].energyGrad(x, sigma)))
    const grads = models.map(({ grad }) => grad)
    const G = new Float32Array(x.length)
    for (const [j, grad] of grads.entries()) for (let i = 0; i < x.length; i++) G[i] += w[j] * grad[i]
    const precision = (g) => g.reduce((sum, v) => sum + v * v, 0) / x.length
    const bracket = (dimension) =>
      Float64Array.from({ length: n }, (_, i) => {
        let sum = 0
        for (let a = 0; a < w.length; a++) {
          sum += (1 - 1 / L) * w[a] * dimension(a, i)
          for (let b = 0; b < a; b++) {
            let squares = 0
            for (let p = i * d; p < (i + 1) * d; p++) squares += (sigma * (grads[a][p] - grads[b][p])) ** 2
            sum += (w[a] * w[b] * squares) / L
          }
        }
        return sum
      })
    const row = (values, i) => values.subarray(i * d, (i + 1) * d)
    const denoised = grads.map((grad) => x.map((v, i) => v - sigma * sigma * grad[i]))
    const rates = {
      ...(traces && { 'learnt trace': bracket((a, i) => traces[names[a]][k](row(x, i), row(denoised[a], i))) }),
      ...(sigma >= EXACT && {
        'exact trace': (() => {
          const m = names.map((name) => exact.posterior(x, sigma, parts[name].kinds).dimension)
          return bracket((a, i) => m[a][i])
        })(),
      }),
    }
    return { x, grads, G, precisions: grads.map(precision), precision: precision(G), denoised, rates }
  }
  const normals = (k) => new ParticleRng(seed, k, n).normals(d)
  const { grad } = await subject.all.energyGrad(new Float32Array(d), sigmas[0])
  const start = normals(0)
  let here = await at(start.map((v, i) => -(sigmas[0] ** 2) * grad[i % d] + (sigmas[0] / Math.sqrt(L)) * v), 0) // biome-ignore format: one line
  for (let k = 1; k < sigmas.length; k++) {
    const [s, next] = [sigmas[k - 1], sigmas[k]]
    const v1 = s * s - next * next
    const v = v1 / L
    const floor = (next / s) ** 2
    const tau = v * Math.min(1, Math.max(1 - v * here.precision, floor))
    const noise = normals(k)
    const x = here.x.map((value, i) => value - v * here.G[i] + Math.sqrt(tau) * noise[i])
    const there = await at(x, k)
    for (let i = 0; i < n; i++) {
      // log L - log M, and of each model log M_j - log q with the curvature that the two gradients show
      let log = 0
      let [back, forth] = [0, 0]
      for (let p = i * d; p < (i + 1) * d; p++) {
        back += (here.x[p] - x[p]) ** 2
        forth += (x[p] - here.x[p] + v * here.G[p]) ** 2
      }
      log += -back / (2 * v) - (d / 2) * Math.log(v) + forth / (2 * tau) + (d / 2) * Math.log(tau)
      for (let j = 0; j < w.length; j++) {
        const h = Math.min(here.precisions[j], (1 - floor) / v1)
        const tau1 = v1 * (1 - v1 * h)
        let [own, curve] = [0, 0]
        for (let p = i * d; p < (i + 1) * d; p++) {
          const r = x[p] - here.x[p]
          const rho = r + v1 * here.grads[j][p]
          const eps = r + v * here.G[p]
          own += rho * rho
          curve += ((tau1 / tau) * eps - rho) * (there.grads[j][p] - here.grads[j][p] - ((h * v1) / tau1) * rho)
        }
        log +=
          w[j] * (-own / (2 * tau1) - (d / 2) * Math.log(tau1) + back / (2 * v1) + (d / 2) * Math.log(v1) + curve / 2)
      }
      forms.kernels[i] += log
      for (const name of ['learnt trace', 'exact trace'])
        if (there.rates[name]) forms[name][i] -= (Math.log(s / next) * (here.rates[name][i] + there.rates[name][i])) / 2
    }
    for (const reach of REACHES)
      if (next >= reach * (1 - 1e-9))
        for (const [name, logs] of Object.entries(forms))
          if ((name !== 'exact trace' || next >= EXACT) && (traces || name !== 'learnt trace'))
            found[`${name}, down to ${reach}`] = logs.slice()
    here = there
  }
  // the clean picture of the target: where its gradient points
  const clean = isExact
    ? exact.posterior(here.x, sigmas.at(-1)).denoised
    : here.x.map((value, i) => value - (sigmas.at(-1) ** 2 / L) * here.G[i])
  const shapes = seenIn(clean, SIDE).map(target.read)
  return { shapes, found }
}

const weightsOf = (logs) => {
  const top = Math.max(...logs)
  const raw = Float64Array.from(logs, (v) => Math.exp(v - top))
  const total = raw.reduce((a, b) => a + b)
  return raw.map((v) => v / total)
}
const variance = (logs) => {
  const mean = logs.reduce((a, b) => a + b) / logs.length
  return logs.reduce((sum, v) => sum + (v - mean) ** 2, 0) / logs.length
}

const cpu = () => {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1e6
}
/** Of each target: by training, the runs. */
const runs = Object.fromEntries(targets.map(({ name }) => [name, trainings.map(() => [])]))
for (const [t, training] of trainings.entries()) {
  const context = { budget: 'medium', seed: training, device: 'cpu', models: options.models, stage() {} }
  const subject = await subjectOf(options.energies, 'independent', context)
  const began = cpu()
  const traces = isExact ? null : {}
  for (const [name, { wish }] of Object.entries(isExact ? {} : parts))
    traces[name] = await learntTrace(subject[name], wish, training)
  console.log(`training ${training}: traces learnt in ${(cpu() - began).toFixed(0)} s of processor time`)
  for (const target of targets)
    for (const seed of seeds) {
      const from = cpu()
      runs[target.name][t].push(await particles(subject, target, traces, seed))
      console.log(`  ${target.name}, seed ${seed}: ${(cpu() - from).toFixed(0)} s`)
    }
  subject[Symbol.dispose]()
}
const rows = targets.flatMap(({ name, truth }) =>
  Object.keys(runs[name][0][0].found).map((form) => {
    const clouds = runs[name].map((of) => of.map(({ shapes, found }) => ({ shapes, weights: weightsOf(found[form]) })))
    const { distance, unweighted, changeError } = bootstrap(clouds, truth, 0)
    const V = runs[name].flat().map(({ found }) => variance(found[form]))
    return { target: name, form, distance, unweighted, change: distance - unweighted, changeError, variance: V.reduce((a, b) => a + b) / V.length } // biome-ignore format: one line
  }),
)
console.log(`\n${trainings.length} trainings, ${seeds.length} seeds of ${n} particles, ${steps} steps`)
for (const r of rows)
  console.log(`${r.target.padEnd(15)} ${r.form.padEnd(26)} TV ${r.distance.toFixed(3)}  unweighted ${r.unweighted.toFixed(3)}  change ${r.change.toFixed(3)} ± ${r.changeError.toFixed(3)}  V ${r.variance.toPrecision(2)}`) // biome-ignore format: one line
if (options.out) {
  const { version } = JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8'))
  mkdirSync(dirname(options.out), { recursive: true })
  const record = { date: new Date().toISOString(), version, trainings, seeds, particles: n, steps, load: os.loadavg(), processor: cpu(), rows } // biome-ignore format: one line
  writeFileSync(options.out, `${JSON.stringify(record, null, 2)}\n`)
}
