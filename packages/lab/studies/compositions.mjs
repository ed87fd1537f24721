// Two attributes of discs by two energies, p(x|A)^w p(x|B)^w / p(x)^(2w - 1), drawn in several ways and read by a rule: what `fit` draws its
// compositions by rests on it.
//
//   node packages/lab/studies/compositions.mjs MODEL [--ways "NAME;..."] [--count N] [--name WORDS] [--pictures DIR] [--out FILE]
//
// MODEL: the model.safetensors of `fit` on discs(500, 1) (packages/lab/studies/fit.mjs --only discs --keep DIR).
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { parseArgs } from 'node:util'
import { devices, EnergyModel, gridPng, product, sample, setThreads, sigmaGrid, smc } from '../../../dist/index.js'
import { seen } from './discs.mjs'

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    ways: { type: 'string' },
    count: { type: 'string', default: '20' }, // samples of each of the six pairs
    name: { type: 'string', default: '' }, // of the model, in the results
    pictures: { type: 'string' },
    out: { type: 'string', default: 'bench/results/2026-11-30-compositions-cpu.json' },
  },
})
setThreads(1)
const particles = Number(options.count)
const energy = await EnergyModel.load(positionals[0])

const composed = (colour, side, w) =>
  product([energy.conditioned([colour, null]), energy.conditioned([null, side]), energy.conditioned([null, null])], {
    weights: [w, w, 1 - 2 * w],
  })
const grid = (steps) => sigmaGrid({ steps, min: 0.02, max: 40 })
const plainly = (levels, more) => (target, seed) =>
  sample(target, { particles, sigmas: [...grid(levels - 1), 0], seed, ...more })
const noisily = (steps) => (target, seed) => smc(target, { particles, sigmas: grid(steps), seed, weights: 'none' })

/** How a target is drawn, and the weight of both attributes; both: one energy that is given both. */
const ways = {
  heun18: { draw: plainly(18), w: 1 },
  'stochastic-heun18': { draw: plainly(18, { method: 'stochastic-heun' }), w: 1 },
  'stochastic-heun36': { draw: plainly(36, { method: 'stochastic-heun' }), w: 1 },
  ancestral36: { draw: plainly(36, { method: 'ancestral' }), w: 1 },
  'ancestral36, weight 2': { draw: plainly(36, { method: 'ancestral' }), w: 2 },
  smc36: { draw: noisily(36), w: 1 },
  smc48: { draw: noisily(48), w: 1 },
  smc72: { draw: noisily(72), w: 1 },
  'smc36, weight 1.3': { draw: noisily(36), w: 1.3 },
  'smc36, weight 1.5': { draw: noisily(36), w: 1.5 },
  'smc36, weight 2': { draw: noisily(36), w: 2 },
  'smc48, weight 1.5': { draw: noisily(48), w: 1.5 },
  'both, heun18': { draw: plainly(18), w: null },
  'both, ancestral36': { draw: plainly(36, { method: 'ancestral' }), w: null },
  'both, smc48': { draw: noisily(48), w: null },
}

const cpu = () => {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1e6
}

const record = existsSync(options.out) ? JSON.parse(readFileSync(options.out, 'utf8')) : { rows: [] }
record.machine = { cpu: devices().find(({ name }) => name === 'cpu').description }
console.log('| model | way | samples | recognised | colour | side | right | processor seconds |')
console.log('|---|---|--:|--:|--:|--:|--:|--:|')
for (const way of options.ways?.split(';') ?? Object.keys(ways)) {
  const { draw, w } = ways[way]
  const began = cpu()
  const all = []
  const found = { samples: 0, recognised: 0, colour: 0, side: 0, right: 0 }
  for (const side of [0, 1])
    for (const colour of [0, 1, 2]) {
      const target = w === null ? energy.conditioned([colour, side]) : composed(colour, side, w)
      const { samples } = await draw(target, 5 + colour + 3 * side)
      const size = samples.length / particles
      for (let i = 0; i < particles; i++) {
        const shown = seen(samples.subarray(i * size, (i + 1) * size))
        const is = { colour: shown?.[0] === colour, side: shown?.[1] === side }
        found.samples++
        if (shown) found.recognised++
        if (is.colour) found.colour++
        if (is.side) found.side++
        if (is.colour && is.side) found.right++
      }
      all.push(samples)
    }
  const row = { model: options.name, way, ...found, cpuSeconds: Number((cpu() - began).toPrecision(3)) }
  record.rows.push(row)
  mkdirSync(dirname(options.out), { recursive: true })
  writeFileSync(options.out, `${JSON.stringify(record, null, 2)}\n`)
  console.log(`| ${Object.values(row).join(' | ')} |`)
  if (!options.pictures) continue
  mkdirSync(options.pictures, { recursive: true })
  const joined = Float32Array.from(all.flatMap((samples) => [...samples]))
  writeFileSync(
    join(options.pictures, `${way}.png`),
    await gridPng(joined, energy.shape, { columns: particles, size: 1200 }),
  )
}
energy.dispose()
