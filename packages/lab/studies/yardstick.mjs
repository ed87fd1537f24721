// One yardstick for trainings of every recipe: the loss of denoising on pictures of no run, by noise.

import { uniforms } from './discs.mjs'

function normals(seed) {
  const u = uniforms(seed)
  return () => Math.sqrt(-2 * Math.log(1 - u())) * Math.cos(2 * Math.PI * u())
}

/** One-hot vectors of the first samples' labels. */
export function labelVectors(data, count) {
  const { attributes } = data.labels
  const width = attributes.reduce((sum, { size }) => sum + size, 0)
  const vectors = new Float32Array(count * width)
  for (let i = 0; i < count; i++) {
    let at = i * width
    data.label(i).forEach((value, a) => {
      vectors[at + value] = 1
      at += attributes[a].size
    })
  }
  return vectors
}

/**
 * lambda(sigma) |D(x) - x0|^2 / d of the first n test pictures, at ln sigma spread evenly over quantiles of N(-1.2, 1.2^2): of all, and of the low,
 * middle and high noise.
 */
export async function heldOutLoss(model, test, n) {
  const size = test.shape.reduce((a, b) => a * b, 1)
  const normal = normals(7)
  const x0 = new Float32Array(n * size)
  for (let i = 0; i < n; i++) test.read(i, x0, i * size)
  // sorted draws of the normal law stand for its quantiles; sample i has noise of rank 97 i, to mix it with the order of the data
  const ranks = Array.from({ length: 32 * n }, normal)
    .sort((a, b) => a - b)
    .filter((_, i) => i % 32 === 16)
  const sigmas = Float64Array.from({ length: n }, (_, i) => Math.exp(-1.2 + 1.2 * ranks[(97 * i) % n]))
  const x = x0.map((v, k) => v + sigmas[Math.floor(k / size)] * normal())
  const found = await model.denoise(x, sigmas, { labels: labelVectors(test, n) })
  const thirds = [[], [], []]
  sigmas.forEach((sigma, i) => {
    let square = 0
    for (let k = i * size; k < (i + 1) * size; k++) square += (found[k] - x0[k]) ** 2
    const lambda = (sigma ** 2 + 0.25) / (0.5 * sigma) ** 2
    thirds[Math.floor((3 * ((97 * i) % n)) / n)].push((lambda * square) / size)
  })
  const mean = (v) => v.reduce((a, b) => a + b, 0) / v.length
  return { loss: mean(thirds.flat()), low: mean(thirds[0]), middle: mean(thirds[1]), high: mean(thirds[2]) }
}
