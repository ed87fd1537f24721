// The calibrated bridge against the scaled one: products and powers of anisotropic mixtures in many dimensions, by exact energies, with
// tables from few and many draws, pooled and not. docs/concepts/precision-tables.md; results in bench/results/.
//
//   node packages/lab/studies/calibrated.mjs [--seeds N] [--threads N] [--small] [--out FILE]
import { mkdirSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import { dirname } from 'node:path'
import { parseArgs } from 'node:util'
import { calibrate, gaussianMixture, lowTemperature, product, setThreads, sigmaGrid, smc } from '../../../dist/index.js'
import { modeWeights, productOf, sampleVariance, totalVariation } from '../dist/experiments/mixtures.js'

const { values: options } = parseArgs({
  options: {
    seeds: { type: 'string', default: '3' },
    threads: { type: 'string', default: '1' },
    small: { type: 'boolean', default: false }, // the smaller dimension alone
    out: { type: 'string' },
  },
})
const seeds = Number(options.seeds)
setThreads(Number(options.threads))

const GROUPS = 16 // of coordinates with one variance: what bands of equal frequency are to images
const SIGMAS = { min: 0.02, max: 20 }

/** Two components that differ in the first two coordinates and share the variances 0.25 (1 + g)^-2 of groups g, rotated by `phase`. */
function components(d, weights, means, phase) {
  const variance = Array.from({ length: d }, (_, i) => (i < 2 ? 0.05 : 0.25 / (1 + ((i + phase) % GROUPS)) ** 2))
  return { weights, means: means.map((m) => [...m, ...new Array(d - 2).fill(0)]), covariances: [variance, variance] }
}

function problems(d) {
  const p = components(d, [0.3, 0.7], [[-1, 0], [1, 0.3]], 0) // biome-ignore format: one line
  const q = components(d, [0.6, 0.4], [[-1, 0.3], [1, 0]], 5) // biome-ignore format: one line
  return {
    product: { mixtures: [p, q], target: product, exact: productOf(p, q, SIGMAS.min) },
    // p^2 is the product of p with itself
    'low temperature': {
      mixtures: [p],
      target: ([energy]) => lowTemperature(energy, { gamma: 2 }),
      exact: productOf(p, p, SIGMAS.min),
    },
  }
}

/** In the order of docs/concepts/precision-tables.md. Draws: of data for the tables; the last has so many that nothing but the tables' levels is left. */
const methods = [
  { name: 'analytic per coordinate', proposal: 'analytic-diagonal' },
  { name: 'mean of squares, 500 draws', draws: 500, squares: true },
  { name: 'calibrated, 500 draws', draws: 500 },
  { name: 'calibrated, 500 draws, pooled', draws: 500, pooled: true },
  { name: 'calibrated, 4000 draws', draws: 4000 },
  { name: 'calibrated, 4000 draws, pooled', draws: 4000, pooled: true },
  { name: 'calibrated, exact h', exact: true },
]

/** Mean precisions of a mixture whose components share their variances: exact but in the first two coordinates, 2-D quadrature there. */
async function exactTable(m) {
  const plane = gaussianMixture({
    weights: m.weights,
    means: m.means.map((mean) => mean.slice(0, 2)),
    covariances: m.covariances.map((c) => c.slice(0, 2)),
  })
  const side = 301
  const known = new Map() // V by sigma
  const at = async (sigma) => {
    const reach = 1.5 + 7 * Math.hypot(sigma, Math.sqrt(0.05))
    const x = new Float32Array(2 * side * side)
    for (let i = 0; i < side * side; i++) {
      x[2 * i] = ((i % side) / (side - 1) - 0.5) * 2 * reach
      x[2 * i + 1] = (Math.floor(i / side) / (side - 1) - 0.5) * 2 * reach
    }
    const { energy, grad } = await plane.energyGrad(x, sigma)
    const [h, mass] = [[0, 0], energy.reduce((sum, e) => sum + Math.exp(-e), 0)]
    for (let i = 0; i < grad.length; i++) h[i % 2] += (grad[i] ** 2 * Math.exp(-energy[i >> 1])) / mass
    known.set(
      sigma,
      Float64Array.from(m.covariances[0], (v, i) => (i < 2 ? 1 / h[i] - sigma * sigma : v)),
    )
  }
  return {
    fill: at,
    basis: 'identity',
    precisionAt: (sigma, noise = sigma) => known.get(sigma).map((v) => 1 / (v + noise * noise)),
  }
}

/** h as the plain mean of squares of the gradient on data with the same noise at every level: what `calibrate` improves on. */
async function squaresTable(m, data, sigmas, seed) {
  const d = m.means[0].length
  const energy = gaussianMixture(m)
  const noise = gaussianMixture({ weights: [1], means: [new Array(d).fill(0)], covariances: [1] }).sample(data.length / d, { seed: seed + 1000 }) // biome-ignore format: one line
  const known = new Map()
  for (const sigma of sigmas) {
    const { grad } = await energy.energyGrad(data.map((x, i) => x + sigma * noise[i]), sigma) // biome-ignore format: one line
    const h = new Float64Array(d)
    for (let at = 0; at < grad.length; at += d)
      for (let i = 0; i < d; i++) h[i] += (grad[at + i] ** 2 * d) / grad.length
    known.set(sigma, h.map((v) => Math.max(1 / v - sigma * sigma, 0))) // biome-ignore format: one line
  }
  return { basis: 'identity', precisionAt: (sigma, noise = sigma) => known.get(sigma).map((v) => 1 / (v + noise * noise)) } // biome-ignore format: one line
}

async function tableOf(m, method, sigmas, seed) {
  if (method.exact) {
    const table = await exactTable(m)
    for (const sigma of sigmas) await table.fill(sigma)
    return table
  }
  if (!method.draws) return undefined
  const energy = gaussianMixture(m)
  const groups = new Map()
  const pool = m.covariances[0].map((v, i) => {
    const key = i < 2 ? i : v + 2 // the modes' coordinates are bands of their own, as the lowest frequencies are
    if (!groups.has(key)) groups.set(key, groups.size)
    return groups.get(key)
  })
  const data = energy.sample(method.draws, { seed })
  if (method.squares) return squaresTable(m, data, sigmas, seed)
  return calibrate(energy, { data, count: method.draws, seed, ...(method.pooled && { pool }) })
}

function measure({ samples, logWeights, logZ, ess, diagnostics }, exact) {
  const weights = logWeights.map(Math.exp)
  const variances = sampleVariance(samples, weights).slice(2)
  return {
    modes: totalVariation(modeWeights(samples, weights, exact.means), exact.weights),
    variance: mean(Array.from(variances, (v, i) => v / exact.covariances[0][i + 2])),
    logZ: logZ - exact.logZ,
    ess: Math.min(...ess),
    roots: diagnostics.distinctRoots,
  }
}

const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length
const rows = []
/** After every row, so that what was measured is not lost. */
function write() {
  if (!options.out) return
  mkdirSync(dirname(options.out), { recursive: true })
  const machine = { cpu: os.cpus()[0].model, threads: Number(options.threads), load: [loadBefore, os.loadavg()[0]] }
  const columns =
    'mode-weight error (total variation), variance ratio, rms error of log Z, smallest ESS, distinct roots: means over runs; seconds of calibrating, and of a run'
  writeFileSync(options.out, `${JSON.stringify({ machine, node: process.version, seeds, columns, rows }, null, 1)}\n`)
}
const loadBefore = os.loadavg()[0]
for (const [d, particles, steps] of options.small ? [[512, 256, 128]] : [[512, 256, 128], [3072, 128, 128]]) // biome-ignore format: one line
  for (const [name, { mixtures, target, exact }] of Object.entries(problems(d)))
    for (const method of methods) {
      const sigmas = sigmaGrid({ steps, ...SIGMAS })
      const runs = []
      const began = performance.now()
      const energies = [] // one table for all runs
      for (const [j, m] of mixtures.entries())
        energies.push({ ...gaussianMixture(m), calibration: await tableOf(m, method, sigmas, j) })
      const calibrating = (performance.now() - began) / 1000
      for (let seed = 0; seed < seeds; seed++) {
        const result = await smc(target(energies), {
          particles,
          sigmas,
          seed,
          proposal: method.proposal ?? 'calibrated',
        })
        runs.push(measure(result, exact))
      }
      const row = {
        target: name,
        ...{ d, particles, steps, method: method.name },
        modes: mean(runs.map((r) => r.modes)),
        variance: mean(runs.map((r) => r.variance)),
        logZ: Math.sqrt(mean(runs.map((r) => r.logZ ** 2))),
        ess: mean(runs.map((r) => r.ess)),
        roots: mean(runs.map((r) => r.roots)),
        calibrating,
        seconds: ((performance.now() - began) / 1000 - calibrating) / seeds, // a run
      }
      rows.push(row)
      write()
      const cell = [
        row.modes.toFixed(2),
        row.variance.toFixed(2),
        row.logZ.toFixed(2),
        row.ess.toFixed(0),
        row.roots.toFixed(0),
      ]
      console.log(
        `${name}, d = ${d}: ${method.name.padEnd(32)} ${cell.join(' / ')}  (${calibrating.toFixed(1)} s + ${row.seconds.toFixed(1)} s)`,
      )
    }
