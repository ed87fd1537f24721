import {
  type Denoiser,
  densityCoverage,
  type EnergyModel,
  encodeLabel,
  frechetDistance,
  kernelDistance,
  labelDim,
  loadDataset,
  sample,
  sigmaGrid,
} from 'feynkac'
import { native, purpose, shapeLabels } from 'feynkac/internal'
import { cell, mean, type Table } from './experiment.js'
import { seenIn, share } from './pictures.js'
import { SIDE, shapesData } from './trained.js'

/** Procedural pictures that no model was trained on, noised, and what models make of them. */

export interface HeldOut {
  count: number
  /** [count, d] */
  clean: Float32Array
  labels: Float32Array
  levels: { sigma: number; noisy: Float32Array }[]
}

const HELD_OUT_SEED = 1
const SIGMAS = [0.05, 0.15, 0.5, 1.5, 5, 20]

export async function heldOut(count: number): Promise<HeldOut> {
  const data = await loadDataset(shapesData(HELD_OUT_SEED))
  const size = SIDE * SIDE
  const width = labelDim(shapeLabels)
  const [clean, labels] = [new Float32Array(count * size), new Float32Array(count * width)]
  for (let i = 0; i < count; i++) {
    data.read(i, clean, i * size)
    encodeLabel(shapeLabels, data.label(i), labels, i * width)
  }
  const levels = SIGMAS.map((sigma, k) => {
    const noise = new Float32Array(clean.length)
    native.normals(noise, count, HELD_OUT_SEED, purpose.user, k)
    return { sigma, noisy: clean.map((v, i) => v + sigma * noise[i]) }
  })
  return { count, clean, labels, levels }
}

type Model = Denoiser | EnergyModel

/** lambda(sigma) mean |D(x) - target|^2 / d at every level; the target is the clean picture, or another model's answer. */
export async function denoisingErrors(model: Model, data: HeldOut, teacher?: Model): Promise<number[]> {
  const errors: number[] = []
  for (const { sigma, noisy } of data.levels) {
    const { labels } = data
    const found = await model.denoise(noisy, sigma, { labels })
    const target = teacher ? await teacher.denoise(noisy, sigma, { labels }) : data.clean
    // lambda = 1 / c_out^2
    const lambda = (sigma ** 2 + SIGMA_DATA ** 2) / (sigma * SIGMA_DATA) ** 2
    errors.push((lambda * found.reduce((sum, v, i) => sum + (v - target[i]) ** 2, 0)) / found.length)
  }
  return errors
}
const SIGMA_DATA = 0.5

export interface Quality {
  /** Share of samples that show a shape, and their mean correlation with the nearest template. */
  recognised: number
  match: number
  /** Kernel distance of the pixels from held-out pictures, and its standard error. */
  distance: number
  distanceError: number
  /** Fréchet distance of the pixels: compare it at as many samples. */
  frechet: number
  /** Share of the held-out pictures that have a sample as near as their fifth neighbour. */
  coverage: number
}

/** Quality of unconditional samples by Heun's method. */
export async function qualityOf(
  model: Model,
  { clean }: HeldOut,
  { particles, seed, signal }: { particles: number; seed: number; signal?: AbortSignal },
): Promise<Quality> {
  const sigmas = [...sigmaGrid({ steps: 16, min: 0.05, max: 40 }), 0]
  const denoiser = {
    shape: model.shape,
    denoise: (x: Float32Array, sigma: number) => model.denoise(x, sigma, { labels: [null, null] }),
  }
  const { samples } = await sample(denoiser, { particles, sigmas, seed, signal })
  const seen = seenIn(samples, SIDE)
  const dim = SIDE * SIDE
  const distance = await kernelDistance(samples, clean, { dim, seed, signal })
  return {
    recognised: share(seen, (s) => s.shape !== null),
    match: mean(seen.map((s) => s.match)),
    distance: distance.mean,
    distanceError: distance.standardError,
    frechet: await frechetDistance(samples, clean, { dim, signal }),
    coverage: (await densityCoverage(samples, clean, { dim, signal })).coverage,
  }
}

/** Samples of several models: `names` of each, under `header`. */
export function qualityTable(
  title: string,
  header: string[],
  rows: readonly { names: string[]; quality: Quality }[],
): Table {
  return {
    title,
    note: 'Measured on unconditional samples. Recognised: share of them that show a shape. Match: mean correlation with the nearest template. Kernel distance of the pixels from held-out pictures, 0 is ideal, ± its standard error. Coverage: share of the held-out pictures with a sample as near as their fifth neighbour.',
    header: [...header, 'recognised', 'match', 'kernel distance', 'coverage'],
    rows: rows.map(({ names, quality: q }) => [
      ...names,
      cell(q.recognised),
      cell(q.match, 3),
      distanceOf(q),
      cell(q.coverage),
    ]),
  }
}

/** The kernel distance with its standard error. */
export const distanceOf = (q: Quality) => `${cell(q.distance, 3)} ± ${cell(q.distanceError, 3)}`

/** Mean over the levels that training visits: within two standard deviations of the mean of ln sigma, -1.2 and 1.2. */
export function visitedMean(perLevel: readonly number[]): number {
  return mean(perLevel.filter((_, k) => Math.abs(Math.log(SIGMAS[k]) + 1.2) < 2.4))
}

export const levelNames = SIGMAS.map((s) => `σ ${s}`)
