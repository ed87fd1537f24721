import path from 'node:path'
import { parseArgs } from 'node:util'

// Processor time of whole runs of smc on closed-form energies in the plane, milliseconds, medians, one thread: `node bench/smc.mjs`.
// Builds in turns: --dist OTHER/dist --dist dist --turns 3; without the first runs of each, in which V8 compiles.

const { values: options } = parseArgs({
  options: {
    dist: { type: 'string', multiple: true, default: ['dist'] },
    particles: { type: 'string', default: '256' },
    levels: { type: 'string', default: '64' },
    runs: { type: 'string', default: '25' },
    turns: { type: 'string', default: '3' },
  },
})
const [particles, steps, runs, turns] = [options.particles, options.levels, options.runs, options.turns].map(Number)
const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1]

const builds = []
for (const dist of options.dist) {
  const F = await import(path.resolve(dist, 'index.js'))
  F.setThreads(1)
  const a = F.gaussianMixture({ weights: [1, 1], means: [[0, 0], [1, 1]], covariances: [1, 0.5] }) // biome-ignore format: one line
  const b = F.gaussianMixture({ weights: [1, 1], means: [[0.5, 0], [-1, 1]], covariances: [0.7, 0.3] }) // biome-ignore format: one line
  const targets = { mixture: a, product: F.product([a, b]) }
  builds.push({ dist, times: {}, run: (name, essThreshold) => F.smc(targets[name], { particles, sigmas: F.sigmaGrid({ steps, min: 0.01, max: 20 }), seed: 1, essThreshold }) }) // biome-ignore format: one line
}

for (let turn = 0; turn < turns; turn++)
  for (const { dist, times, run } of builds)
    for (const [name, threshold] of [
      ['mixture', 0.5],
      ['product', 0.5],
      ['product', 1],
    ]) {
      // biome-ignore format: one line
      const all = []
      for (let i = 0; i < runs + (turn ? 1 : 5); i++) {
        const [before, start] = [process.cpuUsage(), performance.now()]
        await run(name, threshold)
        const { user, system } = process.cpuUsage(before)
        all.push([(user + system) / 1e3, performance.now() - start])
      }
      const [cpu, wall] = [0, 1].map((k) => median(all.slice(-runs).map((pair) => pair[k])))
      const row = `${name}, resampled ${threshold === 1 ? 'at every level' : 'below 0.5 N'}`
      times[row] ??= []
      times[row].push(cpu)
      console.log(
        `${row.padEnd(36)} ${cpu.toFixed(1).padStart(8)} ms of processor time, ${wall.toFixed(1).padStart(8)} by the clock  ${dist}`,
      )
    }
if (turns > 1)
  for (const row of Object.keys(builds[0].times))
    console.log(`${row}: ${builds.map(({ dist, times }) => `${median(times[row]).toFixed(1)} ms ${dist}`).join(', ')}`)
