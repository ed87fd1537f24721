import { loadDataset } from 'feynkac'
import { ParticleRng } from 'feynkac/internal'
import { ExactShapes, KINDS } from './exact-shapes.js'

/** Shares of shapes: of weighted pictures, and the exact ones of p^gamma. */

const SHAPES = 3
/** Shares of ring, square and cross. */
export type Truth = readonly [number, number, number]

/** Shapes of weighted pictures, null where there is none; the weights sum to one. */
export interface Cloud {
  shapes: (number | null)[]
  weights: Float64Array
}

/** Mean over clouds of the weight on each shape, and on none. */
export function sharesOf(clouds: readonly Cloud[]): number[] {
  const shares = new Array<number>(SHAPES + 1).fill(0)
  for (const { shapes, weights } of clouds)
    for (const [i, shape] of shapes.entries()) shares[shape ?? SHAPES] += weights[i] / clouds.length
  return shares
}

/** Total variation, 0 to 1; what shows no shape is wrong. */
export const shareDistance = (shares: readonly number[], truth: Truth): number =>
  shares.reduce((sum, share, k) => sum + Math.abs(share - (truth[k] ?? 0)), 0) / 2

const DRAWS = 500

/** Clouds by training: those of one are pooled, and distances are means over trainings. */
export type Clouds = readonly (readonly Cloud[])[]

const flat = (clouds: Clouds): Clouds =>
  clouds.map((of) =>
    of.map(({ shapes, weights }) => ({ shapes, weights: weights.map((_, __, all) => 1 / all.length) })),
  )

const distanceOf = (clouds: Clouds, truth: Truth): number =>
  clouds.reduce((sum, of) => sum + shareDistance(sharesOf(of), truth), 0) / clouds.length

/** The same clouds of particles that are drawn again, with their weights. */
function redrawn(clouds: Clouds, rng: ParticleRng): Clouds {
  return clouds.map((of) =>
    of.map(({ shapes, weights }) => {
      const n = shapes.length
      const chosen = Array.from(rng.uniforms().subarray(0, n), (u) => Math.floor(u * n))
      const own = Float64Array.from(chosen, (i) => weights[i])
      const total = own.reduce((a, b) => a + b)
      return { shapes: chosen.map((i) => shapes[i]), weights: total > 0 ? own.map((w) => w / total) : own.fill(1 / n) }
    }),
  )
}

function spreadOf(values: readonly number[]): number {
  const centre = values.reduce((a, b) => a + b) / values.length
  return Math.sqrt(values.reduce((sum, v) => sum + (v - centre) ** 2, 0) / (values.length - 1))
}

/** The distance with weights and without, and the standard error of the difference, over particles drawn again with their weights. */
export function bootstrap(clouds: Clouds, truth: Truth, seed: number) {
  const rng = new ParticleRng(seed, 0, clouds[0][0].shapes.length)
  const changes = Array.from({ length: DRAWS }, () => {
    const drawn = redrawn(clouds, rng)
    return distanceOf(drawn, truth) - distanceOf(flat(drawn), truth)
  })
  const [distance, unweighted] = [distanceOf(clouds, truth), distanceOf(flat(clouds), truth)]
  return { distance, unweighted, changeError: spreadOf(changes) }
}

/** How much nearer clouds are than others, below 0 where they are, and the standard error, over particles of both drawn again. */
export function compared(clouds: Clouds, others: Clouds, truth: Truth, seed: number) {
  const rng = new ParticleRng(seed, 1, clouds[0][0].shapes.length)
  const differences = Array.from(
    { length: DRAWS },
    () => distanceOf(redrawn(clouds, rng), truth) - distanceOf(redrawn(others, rng), truth),
  )
  return { difference: distanceOf(clouds, truth) - distanceOf(others, truth), error: spreadOf(differences) }
}

/**
 * Shares of the shapes in p_sigma^gamma, by importance sampling from pictures of noise sigma / sqrt(gamma), which across the manifold of the
 * pictures is what p^gamma looks like: a picture of kind a at such noise counts p_sigma(x)^gamma / p_{sigma / sqrt(gamma)}(x | a).
 * errors: standard errors of the shares, over the pictures.
 */
export async function coldShares(gamma: number, sigma: number, count: number, seed = 0) {
  const shapes = new ExactShapes()
  const d = shapes.side ** 2
  const data = await loadDataset(`synthetic:shapes:count=${count},size=${shapes.side},seed=${seed}`)
  const inner = sigma / Math.sqrt(gamma)
  const noise = new ParticleRng(seed, 0, count).normals(d)
  const logs = new Float64Array(count)
  const kinds = new Int32Array(count)
  const x = new Float32Array(d)
  for (let i = 0; i < count; i++) {
    data.read(i, x, 0)
    for (let p = 0; p < d; p++) x[p] += inner * noise[i * d + p]
    const [shape, place] = data.label(i) as number[]
    kinds[i] = shape * 4 + place
    logs[i] = shapes.posterior(x, inner, [kinds[i]]).energy[0] - gamma * shapes.posterior(x, sigma).energy[0]
  }
  const top = Math.max(...logs)
  const sums = new Float64Array(SHAPES)
  const squares = new Float64Array(SHAPES)
  const numbers = new Float64Array(SHAPES)
  for (const [i, log] of logs.entries()) {
    const shape = Math.floor(kinds[i] / (KINDS / SHAPES))
    const weight = Math.exp(log - top)
    sums[shape] += weight
    squares[shape] += weight ** 2
    numbers[shape]++
  }
  // kinds are as frequent as each other, whatever the draw of them was
  const means = sums.map((sum, k) => sum / numbers[k])
  const total = means.reduce((a, b) => a + b)
  const errors = means.map((m, k) => Math.sqrt(Math.max(0, squares[k] / numbers[k] - m * m) / numbers[k]) / total)
  return { shares: [...means].map((m) => m / total), errors: [...errors] }
}
