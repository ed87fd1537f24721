// Compiled by test/documents.test.ts as a user's strict project would: every target on every kind of model, and types that users name.
import {
  bounded,
  type Contains,
  calibrate,
  conservativity,
  type Dataset,
  Denoiser,
  type EnergyFunction,
  EnergyModel,
  type FeynmanKacModel,
  gaussianMixture,
  guided,
  guidedDenoiser,
  type LevelReport,
  lowTemperature,
  mcmc,
  mixture,
  negation,
  product,
  type Reward,
  rewardTilt,
  type SmcOptions,
  type SmcResult,
  sample,
  sigmaGrid,
  smc,
  type Target,
} from 'feynkac'

export const model = await EnergyModel.load('energy.safetensors')
export const denoiser = await Denoiser.load('denoiser.safetensors')
export const exact = gaussianMixture({ weights: [1], means: [[0, 0]], covariances: [1] })
export const own: EnergyFunction = {
  shape: [2],
  async energyGrad(x, _sigma) {
    return { energy: Float64Array.from({ length: x.length / 2 }, (_, i) => x[2 * i]! ** 2 / 2), grad: x.slice() }
  },
}
export const calibrated: EnergyFunction = { ...exact, calibration: await calibrate(exact, { data: exact.sample(100) }) }

export const inside: Contains = (images, count) => Array.from({ length: count }, (_, i) => images[2 * i]! > 0)
export const reward: Reward = (images, count) => ({
  value: Float64Array.from({ length: count }, (_, i) => images[2 * i]!),
  grad: new Float32Array(images.length),
})

export const energies: EnergyFunction[] = [
  model,
  model.conditioned({ hair: 3 }),
  model.conditioned(),
  exact,
  own,
  calibrated,
]
export const targets: Target[] = energies.flatMap((energy) => [
  lowTemperature(energy, { gamma: 2 }),
  product([energy, model], { weights: [1, -1], lambda: 1 }),
  mixture([energy, exact], { weights: [1, 2], logZ: [0, 1] }),
  negation(energy, own, { strength: 0.5, floor: 0.1 }),
  guided(energy, model, { scale: 2 }),
  bounded(energy, { lower: -1, upper: [1, 2], softness: 0.1 }),
  bounded(energy, { contains: inside, anneal: 0.1 }),
  rewardTilt(energy, reward, { strength: (sigma) => 1 / (1 + sigma), sigmaData: 1 }),
  lowTemperature(product([lowTemperature(energy, { gamma: 2 }), exact]), { gamma: 1.5 }),
])

export const options: SmcOptions = {
  particles: 16,
  sigmas: sigmaGrid({ steps: 8 }),
  moves: { kernel: 'mala', tune: true },
}
export function first(result: SmcResult): number | undefined {
  return result.diagnostics.levels[0]?.conditionalEss
}
for (const target of [...targets, ...energies]) {
  const result = await smc(target, {
    ...options,
    signal: new AbortController().signal,
    onProgress: ({ ess }: LevelReport) => void ess,
  })
  first(result)
  await smc(target, { ...options, meanPrecisions: result.diagnostics.meanPrecisions })
  await sample(target, { particles: 16, sigmas: options.sigmas, method: 'ancestral' })
  await mcmc(target, { chains: 4, sigmas: [1, 0.5], kernel: 'hmc' })
}

export const chain: FeynmanKacModel = {
  levels: 2,
  initial: (_n, rng) => Float32Array.from(rng.normals(1)),
  propagate: (_k, x) => x,
  logPotential: (_k, _before, x) => Float64Array.from(x),
}
await smc(chain, { particles: 8 })
const guide = guidedDenoiser(denoiser, { labels: [3, null], scale: 2, interval: [0.3, 5] })
await sample(guide, { particles: 4, sigmas: [1, 0.5, 0] })
await conservativity(denoiser, { x: new Float32Array(2), sigma: 1 })
export const again = await EnergyModel.create({ ...model.info, kind: 'dot' })

export const data: Dataset = {
  name: 'two points',
  size: 2,
  shape: [2],
  labels: { attributes: [{ name: 'class', size: 2 }] },
  read: (index, out, offset) => out.set([index, 0], offset),
  label: (index) => [index],
}
model.dispose()
