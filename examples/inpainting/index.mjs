// Inpainting by a mask: pictures whose left half is given. A reward says how far the half is off; smc weighs by it.
// With a trained energy: the same with EnergyModel.load(...). node examples/inpainting [folder]
import { gaussianMixture, rewardTilt, sigmaGrid, smc } from 'feynkac'

const folder = process.argv[2] ?? 'out'
// pictures of 4 x 4: all bright, all dark, or a bright left half, with a little noise
const [bright, dark] = [Array(16).fill(0.8), Array(16).fill(-0.8)]
const half = Array.from({ length: 16 }, (_, i) => (i % 4 < 2 ? 0.8 : -0.8))
const mixture = gaussianMixture({ weights: [1, 1, 2], means: [bright, dark, half], covariances: [0.02, 0.02, 0.02] })
const energy = { shape: [1, 4, 4], energyGrad: (x, sigma) => mixture.energyGrad(x, sigma) }

const known = Array.from({ length: 16 }, (_, i) => i % 4 < 2) // the mask
const picture = bright // of which the left half is known: bright
const tolerance = 0.3 // standard deviation of what is known

/** log N(known half; given, tolerance^2), and its gradient. */
function agrees(images, count) {
  const value = new Float64Array(count)
  const grad = new Float32Array(images.length)
  for (let at = 0; at < images.length; at++) {
    const pixel = at % 16
    if (!known[pixel]) continue
    const off = images[at] - picture[pixel]
    value[Math.floor(at / 16)] -= off ** 2 / (2 * tolerance ** 2)
    grad[at] = -off / tolerance ** 2
  }
  return { value, grad }
}

// little at large noise, where the denoised pictures are means of many: at full strength from the start few particles would be left
const target = rewardTilt(energy, agrees, { strength: (sigma) => 1 / (1 + sigma ** 2) })
const sigmas = sigmaGrid({ steps: 64, min: 0.02, max: 10 })
const result = await smc(target, { particles: 1000, sigmas, weights: 'bridge', seed: 1 })
await result.save(folder, { overwrite: true })
// the dark one is ruled out; of the two others the half is twice as likely
const brightHalf = result.weights.reduce((sum, w, i) => sum + (result.samples[16 * i + 3] > 0 ? w : 0), 0)
console.log(JSON.stringify({ bright: brightHalf, exact: 1 / 3, left: result.mean()[0], ess: result.ess.at(-1) }))
