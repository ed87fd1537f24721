import { gaussianMixture, lowTemperature, sigmaGrid, smc } from 'feynkac'

const energy = gaussianMixture({
  weights: [1, 2],
  means: [
    [-1, 0],
    [1, 0],
  ],
  covariances: [0.1, 0.2],
}) // or EnergyModel.load(...), once

export function draw({ particles, gamma, signal }) {
  const sigmas = sigmaGrid({ steps: 40, min: 0.02, max: 20 })
  return smc(lowTemperature(energy, { gamma }), { particles, sigmas, signal })
}
