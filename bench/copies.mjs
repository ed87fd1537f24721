import { EnergyModel, gaussianMixture, product, setThreads, sigmaGrid, smc, songUNet } from '../dist/index.js'

/**
 * What the copies cost that an energy function is given and that are kept of its answer (lib/smc/evaluation.ts), as a share of the processor time of a
 * run of smc: `node bench/copies.mjs`. Each run is followed by the copies of all its evaluations, made on their own; a median of such pairs.
 */

setThreads(1)
const mixture = gaussianMixture({ weights: [1, 1], means: [[0, 0], [1, 1]], covariances: [1, 0.5] }) // biome-ignore format: one line
const network = songUNet([1, 16, 16], { model_channels: 16, channel_mult: [1, 2], num_blocks: 1 })
const model = await EnergyModel.create({ network, kind: 'dot' }, { seed: 1, device: 'cpu' })
const cases = {
  'mixture, d = 2, 1e5 particles': [product([mixture, mixture]), 2, 1e5, 8],
  'U-Net of 16x16, 64 particles': [model, 256, 64, 2],
}

async function spent(work) {
  const before = process.cpuUsage()
  await work()
  const { user, system } = process.cpuUsage(before)
  return user + system
}

for (const [name, [target, d, particles, steps]] of Object.entries(cases)) {
  const [x, energy, grad] = [
    new Float32Array(particles * d).fill(1),
    new Float64Array(particles),
    new Float32Array(particles * d),
  ]
  let kept
  const copies = () => {
    kept = [x.slice(), new Float64Array(energy), new Float32Array(grad)]
  }
  const evaluations = (steps + 1) * (target === model ? 1 : 2)
  const shares = []
  for (let pair = 0; pair < 5; pair++) {
    const run = await spent(() => smc(target, { particles, sigmas: sigmaGrid({ steps, min: 0.1, max: 5 }), seed: 1 }))
    const copying = await spent(() => {
      for (let n = 0; n < evaluations; n++) copies()
    })
    shares.push((100 * copying) / run)
  }
  shares.sort((a, b) => a - b)
  console.log(`${name}: ${shares[2].toFixed(2)} % (${shares[0].toFixed(2)} to ${shares[4].toFixed(2)}), ${kept.length} copies of each evaluation`) // biome-ignore format: one line
}
model.dispose()
