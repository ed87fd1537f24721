import * as feynkac from '../../dist/index.js'

/** Calls of the library that take long enough to be stopped: each is given what `smc` and the others have in common, and gives what it found. */

const { EnergyModel, Denoiser, residualMLP, songUNet } = feynkac
const mixture = feynkac.gaussianMixture({ weights: [1, 1], means: [[0, 0], [1, 1]], covariances: [1, 0.5] }) // biome-ignore format: one line
const mlp = residualMLP(2, { hidden: 16, layers: 2 })
const unet = songUNet([1, 8, 8], { model_channels: 8, channel_mult: [1], num_blocks: 1 })
const energy = await EnergyModel.create({ network: mlp, kind: 'dot' }, { seed: 1 })
const denoiser = await Denoiser.create({ network: unet }, { seed: 1 })
const x = Float32Array.from({ length: 64 * 60 }, (_, i) => Math.sin(i * i))
const sigmas = feynkac.sigmaGrid({ steps: 8, min: 0.1, max: 10 })
const training = { batchSize: 8, images: 160, seed: 1, device: 'cpu' }
const points = { data: 'synthetic:ring:count=40', network: { width: 8, blocks: 1 } }
const weights = async ({ model }) => {
  const values = new Float32Array(model.network.parameterCount())
  await model.network.read('params', values).promise
  model.dispose()
  return values
}

export const calls = {
  smc: ({ seed, signal }) => feynkac.smc(feynkac.product([mixture, energy]), { particles: 400, sigmas, seed, signal }).then(({ samples, logZ }) => [samples, logZ]), // biome-ignore format: one line
  drift: ({ seed, signal }) => feynkac.smc(feynkac.product([mixture, energy]), { particles: 400, sigmas, seed, signal, controlDrift: true }).then(({ samples }) => samples), // biome-ignore format: one line
  mcmc: ({ seed, signal }) => feynkac.mcmc(mixture, { chains: 200, sigmas, seed, signal, kernel: 'hmc' }).then(({ samples }) => samples), // biome-ignore format: one line
  sample: ({ seed, signal }) => feynkac.sample(denoiser, { particles: 32, sigmas: [...sigmas, 0], seed, signal }).then(({ samples }) => samples), // biome-ignore format: one line
  energyGrad: ({ signal }) => energy.energyGrad(x, 0.5, { signal }).then(({ grad }) => grad),
  denoise: ({ signal }) => denoiser.denoise(x, 0.5, { signal }),
  train: ({ seed, signal }) => feynkac.trainDenoiser({ ...training, ...points, seed, signal }).then(weights),
  trainEnergy: ({ seed, signal }) => feynkac.trainEnergy({ ...training, ...points, head: 'dot', seed, signal }).then(weights), // biome-ignore format: one line
  evaluate: ({ seed, signal }) => feynkac.evaluate({ samples: 'synthetic:ring:count=300', data: 'synthetic:ring:count=300,seed=2', seed, signal }).then(({ values }) => values), // biome-ignore format: one line
  mmd: ({ seed, signal }) =>
    feynkac.mmd(
      x,
      x.map((v) => v + 0.1),
      { dim: 2, seed, signal },
    ),
  calibrate: ({ seed, signal }) => feynkac.calibrate(mixture, { data: x, count: 64, sigmas, seed, signal }).then(({ precisions }) => precisions), // biome-ignore format: one line
  loadDataset: ({ signal }) => feynkac.loadDataset('synthetic:shapes:count=300,size=8', { signal }).then((data) => { const out = new Float32Array(64); data.read(299, out, 0); return out }), // biome-ignore format: one line
  conservativity: ({ seed, signal }) => feynkac.conservativity(denoiser, { x: x.subarray(0, 64 * 8), sigma: 1, probes: 2, seed, signal }), // biome-ignore format: one line
}
export const { setThreads, FeynkacError } = feynkac
