// What a joint network saves: the cost of an SMC step with one network for energy and drift against two of them, and the quality that
// equal training reaches in the plane. docs/joint.md has the results.
//
//   node packages/lab/studies/joint.mjs [--threads N] [--particles N] [--levels N] [--repeats N] [--steps N] [--out FILE]
import { mkdirSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import { dirname } from 'node:path'
import { parseArgs } from 'node:util'
import {
  Denoiser,
  devices,
  distill,
  EnergyModel,
  gaussianMixture,
  setThreads,
  sigmaGrid,
  smc,
  songUNet,
  trainDenoiser,
  trainEnergy,
} from '../../../dist/index.js'
import { native } from '../../../dist/native/addon.js'

const { values: options } = parseArgs({
  options: {
    threads: { type: 'string', default: '1' },
    particles: { type: 'string', default: '32' },
    levels: { type: 'string', default: '6' },
    repeats: { type: 'string', default: '7' },
    steps: { type: 'string', default: '2500' }, // of joint training; 0: no quality
    out: { type: 'string' },
  },
})
const [threads, particles, levels, repeats, steps] = ['threads', 'particles', 'levels', 'repeats', 'steps'].map((n) =>
  Number(options[n]),
)
setThreads(threads)
const loadBefore = os.loadavg()[0]
const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1]

/** Weights that leave no layer near zero, as a trained network has them. */
async function shuffled(model) {
  const flat = new Float32Array(model.network.parameterCount())
  native.normals(flat, 1, 0, 11, 2)
  for (const p of model.network.parameters()) {
    const fanIn = p.shape.length > 1 ? p.size / p.shape[0] : 100
    const mean = /norm\d?\.weight$/.test(p.name) ? 1 : 0
    for (let i = p.offset; i < p.offset + p.size; i++) flat[i] = mean + flat[i] / Math.sqrt(fanIn)
  }
  await model.network.write('params', flat).promise
  return model
}

/**
 * Seconds per particle and level of SMC, the ways in turn, so that what else the machine does falls on all of them; and processor time, on
 * which it tells less.
 */
async function cost() {
  const shape = [1, 28, 28]
  const args = { model_channels: 32, channel_mult: [1, 2, 2], num_blocks: 1, attn_resolutions: [14], dropout: 0 }
  const network = songUNet(shape, args)
  const joint = await shuffled(await EnergyModel.create({ kind: 'joint', network }))
  const dot = await shuffled(await EnergyModel.create({ kind: 'dot', network }))
  const denoiser = await shuffled(await Denoiser.create({ network }))
  const twoNetworks = {
    shape,
    name: 'two networks',
    async energyGrad(x, sigma, call) {
      const energy = await dot.energy(x, new Float64Array(x.length / 784).fill(sigma), call)
      const denoised = await denoiser.denoise(x, sigma, call)
      const grad = new Float32Array(x.length)
      for (let i = 0; i < grad.length; i++) grad[i] = (x[i] - denoised[i]) / (sigma * sigma)
      return { energy, grad }
    },
  }
  const ways = [
    { name: 'joint, score', units: 1, target: joint },
    { name: 'two networks: denoiser for the drift, dot for the weights', units: 2, target: twoNetworks },
    { name: 'dot, energy and its gradient', units: 2, target: dot },
    { name: 'joint, energy and its gradient', units: 2, target: joint.withGradient('energy') },
  ]
  const sigmas = sigmaGrid({ steps: levels - 1, min: 0.5, max: 10 })
  const [runs, cpuRuns] = [ways.map(() => []), ways.map(() => [])]
  const perLevel = particles * sigmas.length
  for (let r = -1; r < repeats; r++)
    for (const [i, { target }] of ways.entries()) {
      const [began, cpu] = [performance.now(), process.cpuUsage()]
      const { diagnostics } = await smc(target, { particles, sigmas, seed: r + 1, weights: 'bridge', essThreshold: 0 })
      ways[i].evaluations = diagnostics.evaluations
      if (r < 0) continue
      const { user, system } = process.cpuUsage(cpu)
      runs[i].push((performance.now() - began) / 1e3 / perLevel)
      cpuRuns[i].push((user + system) / 1e6 / perLevel)
    }
  const ratiosOf = (times, i) => times[i].map((t, r) => t / times[0][r])
  const spread = (values) => [Math.min(...values), Math.max(...values)]
  const results = ways.map(({ name, units, evaluations }, i) => ({
    name,
    units,
    evaluations,
    seconds: median(runs[i]),
    ratio: median(ratiosOf(runs, i)),
    ratios: spread(ratiosOf(runs, i)),
    cpuSeconds: median(cpuRuns[i]),
    cpuRatio: median(ratiosOf(cpuRuns, i)),
    cpuRatios: spread(ratiosOf(cpuRuns, i)),
  }))
  console.log(`SMC, 28x28x1 U-Net of 32 channels [1,2,2], ${particles} particles, ${sigmas.length} levels\n`)
  const text = (seconds, ratio, ratios) =>
    `${(seconds * 1e3).toFixed(2)} ms ${ratio.toFixed(2)} (${ratios.map((v) => v.toFixed(2)).join(' to ')})`
  for (const { name, units, evaluations, ...r } of results)
    console.log(
      `${name.padEnd(58)} ${units} units  ${evaluations} evaluations  ` +
        `${text(r.seconds, r.ratio, r.ratios)}  CPU ${text(r.cpuSeconds, r.cpuRatio, r.cpuRatios)}`,
    )
  for (const model of [joint, dot, denoiser]) model.dispose()
  return { network: '28x28x1, 32 ch [1,2,2]', particles, levels: sigmas.length, repeats, results }
}

/** Errors against an exact mixture in the plane after training of the same number of units, three seeds. */
async function quality() {
  const means = [
    [-0.8, 0],
    [0.7, 0.3],
  ]
  const covariances = [
    [0.06, 0.1],
    [0.1, 0.05],
  ]
  const exact = gaussianMixture({ weights: [2, 1], means, covariances })
  const points = exact.sample(20000, { seed: 1 })
  const data = {
    name: 'mixture',
    size: 20000,
    shape: [2],
    labels: null,
    read: (i, out, at) => out.set(points.subarray(2 * i, 2 * i + 2), at),
    label: () => [],
  }
  const levelsOf = [0.1, 0.3, 1, 3]
  const errors = async (model, gradient) => {
    const rows = []
    for (const sigma of levelsOf) {
      const noise = new Float32Array(4096)
      native.normals(noise, 1, 0, 11, 1)
      const x = exact.sample(2048, { seed: 9 }).map((v, i) => v + sigma * noise[i])
      const truth = await exact.energyGrad(x, sigma)
      const found = await model.energyGrad(x, sigma)
      const off = found.energy.map((e, i) => e - truth.energy[i])
      const mean = off.reduce((a, b) => a + b, 0) / off.length
      const rms = (values) => Math.sqrt(values.reduce((sum, v) => sum + v * v, 0) / values.length)
      const score = gradient && (await model.withGradient('score').energyGrad(x, sigma)).grad
      rows.push({
        sigma,
        energy: rms(off.map((v) => v - mean)),
        grad: rms(found.grad.map((v, i) => (v - truth.grad[i]) * sigma)),
        ...(score && { score: rms(score.map((v, i) => (v - truth.grad[i]) * sigma)) }),
      })
    }
    return rows
  }
  const common = { data, network: { width: 64, blocks: 2 }, batchSize: 256, lr: 3e-3, decay: 0, holdOut: 0 }
  const units = 6 * steps
  const half = Math.round(units / 10)
  const ways = {
    [`joint, ${steps} steps of 6 units`]: async (seed) => {
      const { model } = await trainEnergy({ ...common, head: 'joint', images: 256 * steps, seed })
      return { model: model.withGradient('energy'), joint: true }
    },
    [`denoiser, ${half} steps of 3 units, then distilled (dot), ${half} of 7`]: async (seed) => {
      const { model: teacher } = await trainDenoiser({ ...common, images: 256 * half, seed })
      const { model } = await distill({ ...common, teacher, init: 'random', images: 256 * half, seed })
      teacher.dispose()
      return { model }
    },
    [`dot from data, ${steps} steps of 6 units`]: async (seed) =>
      trainEnergy({ ...common, head: 'dot', images: 256 * steps, seed }),
  }
  console.log('\nErrors in the plane: energy in nats, gradients in units of 1 / sigma; medians of three seeds\n')
  const results = []
  for (const [name, train] of Object.entries(ways)) {
    const found = []
    for (const seed of [1, 2, 3]) {
      const { model, joint } = await train(seed)
      found.push(await errors(model, joint))
      model.dispose()
    }
    const rows = levelsOf.map((sigma, i) => {
      const of = (key) => median(found.map((rows) => rows[i][key]))
      return { sigma, energy: of('energy'), grad: of('grad'), ...(found[0][i].score && { score: of('score') }) }
    })
    results.push({ name, rows })
    console.log(name)
    for (const { sigma, energy, grad, score } of rows)
      console.log(
        `  sigma ${sigma}  energy ${energy.toFixed(3)}  gradient ${grad.toFixed(3)}${score ? `  score ${score.toFixed(3)}` : ''}`,
      )
  }
  return { units, results }
}

const measured = await cost()
const reached = steps > 0 ? await quality() : null
if (options.out) {
  const cpu = devices().find(({ name }) => name === 'cpu')
  const record = {
    date: new Date().toISOString(),
    command: `node packages/lab/studies/joint.mjs ${process.argv.slice(2).join(' ')}`.trim(),
    machine: {
      cpu: cpu.description,
      cores: os.availableParallelism(),
      threads,
      load: loadBefore,
      note: 'cores shared with other work during the run: ratios are of interleaved runs',
    },
    versions: { node: process.version },
    cost: measured,
    quality: reached,
  }
  mkdirSync(dirname(options.out), { recursive: true })
  writeFileSync(options.out, `${JSON.stringify(record, null, 2)}\n`)
}
