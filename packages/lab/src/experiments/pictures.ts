import { type EnergyFunction, resample, type ShapeScore, sample, scoreShapes, sigmaGrid, type Target } from 'feynkac'
import { gridPng, seedAfter, sizeOf } from 'feynkac/internal'
import { type Method, runMethod } from './methods.js'

/**
 * Pictures of a target by any method. Weights act down to `weighted`: which attributes a picture has is settled by then; below it, a picture
 * of something else is one that a conditional energy was never trained on, and what it says of it is noise that weights would act on. The
 * rest is the same for all: steps without weights, and the mean of the clean picture, x - sigma^2 grad U.
 */
export const PICTURE_SIGMA = { max: 40, weighted: 0.5, min: 0.1 }
const REST = 6

export interface Pictures {
  /** [particles, ...shape], denoised, of equal weight. */
  images: Float32Array
  smallestEss: number
  distinctRoots: number
  logZ: number
  /** Evaluations of a model per picture, of the part that differs between the methods. */
  evaluations: number
  seconds: number
}

export interface PictureOptions {
  particles: number
  steps: number
  seed: number
  signal?: AbortSignal
  /** The folder that the levels are written into (runFolder). */
  log?: string
}

export async function drawPictures(target: Target, method: Method, options: PictureOptions): Promise<Pictures> {
  const { particles, steps, seed, signal, log } = options
  const sigmas = sigmaGrid({ steps, min: PICTURE_SIGMA.weighted, max: PICTURE_SIGMA.max })
  const run = await runMethod(target, method, { particles, sigmas, seed, signal, log })
  const chosen = resample(run.weights, { seed })
  const d = run.samples.length / particles
  const initial = new Float32Array(run.samples.length)
  for (const [i, from] of chosen.entries()) initial.set(run.samples.subarray(from * d, (from + 1) * d), i * d)
  return {
    images: await settle(target, initial, { particles, seed: seedAfter(seed), signal }),
    smallestEss: run.smallestEss,
    distinctRoots: run.distinctRoots,
    logZ: run.logZ,
    evaluations: run.evaluations / particles,
    seconds: run.seconds,
  }
}

/** From noise `weighted` to clean pictures, without weights. */
export async function settle(
  target: EnergyFunction,
  initial: Float32Array,
  options: Pick<PictureOptions, 'particles' | 'seed' | 'signal'>,
): Promise<Float32Array> {
  const { weighted: max, min } = PICTURE_SIGMA
  const sigmas = sigmaGrid({ steps: REST, min, max })
  const { samples } = await sample(target, { ...options, sigmas, initial, method: 'ancestral' })
  const { grad } = await target.energyGrad(samples, min, { signal: options.signal })
  return samples.map((x, i) => x - min ** 2 * grad[i])
}

/** What every picture shows. */
export function seenIn(images: Float32Array, side: number): ShapeScore[] {
  const size = side * side
  return Array.from({ length: images.length / size }, (_, i) =>
    scoreShapes(images.subarray(i * size, (i + 1) * size), [1, side, side]),
  )
}

/** Share of the pictures for which something is so. */
export function share(seen: readonly ShapeScore[], is: (score: ShapeScore) => boolean): number {
  return seen.filter(is).length / seen.length
}

/** One row of pictures for each method, as PNG. parts: as many pictures [n, ...shape] each. */
export function rowsPng(parts: readonly Float32Array[], shape: readonly number[]): Promise<Buffer> {
  const all = new Float32Array(parts.length * parts[0].length)
  for (const [i, part] of parts.entries()) all.set(part, i * parts[0].length)
  return gridPng(all, shape, { columns: parts[0].length / sizeOf(shape), size: 900 })
}
