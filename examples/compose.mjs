import { distill, lowTemperature, product, sigmaGrid, smc, trainDenoiser } from 'feynkac'

/**
 * Trains a denoiser on a data set and distils it into an energy.
 * @param {string} data
 */
async function energyOf(data) {
  const { model: teacher } = await trainDenoiser({ data, images: 200_000 })
  const { model: energy } = await distill({ teacher, data, images: 100_000 })
  teacher.dispose()
  return energy
}

const ring = await energyOf('synthetic:ring') // eight Gaussians on a circle
const bar = await energyOf('synthetic:bar') // an upright bar through its middle

// p(x) proportional to (ring(x) bar(x))^2: the two modes inside the bar, sharpened
const target = lowTemperature(product([ring, bar]), { gamma: 2 })
const { samples, ess, diagnostics } = await smc(target, {
  particles: 2000,
  sigmas: sigmaGrid({ steps: 64, min: 0.05, max: 10 }),
  finalResample: true, // equal weights at the end
})
for (let i = 0; i < 8; i++) console.log(samples.slice(2 * i, 2 * i + 2).join('  '))
console.log(`smallest ESS ${Math.round(Math.min(...ess))} of 2000, ${diagnostics.resamplings} resamplings`)
