// A picture in a moment: two densities, their product, sharpened. node examples/first-composition [folder]
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { gaussianMixture, lowTemperature, product, scatterPng, sigmaGrid, smc } from 'feynkac'

const folder = process.argv[2] ?? 'out'
const ring = gaussianMixture({
  weights: Array(8).fill(1),
  means: Array.from({ length: 8 }, (_, i) => [3 * Math.cos((i * Math.PI) / 4), 3 * Math.sin((i * Math.PI) / 4)]),
  covariances: Array(8).fill(0.1),
})
const bar = gaussianMixture({ weights: [1], means: [[0, 0]], covariances: [[0.3, 9]] })

// p(x) proportional to (ring(x) bar(x))^2: of the eight modes the two inside the bar
const target = lowTemperature(product([ring, bar]), { gamma: 2 })
const result = await smc(target, { particles: 2000, sigmas: sigmaGrid({ steps: 48, min: 0.02, max: 20 }) })
const files = await result.save(folder, { overwrite: true })
await writeFile(join(folder, 'composition.png'), await scatterPng(result.samples, { weights: result.weights }))
console.log(JSON.stringify({ mean: [...result.mean()], variance: [...result.variance()], logZ: result.logZ, files }))
