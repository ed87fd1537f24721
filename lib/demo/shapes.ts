import { scoreShapes, shapeLabels } from '../data/shapes.js'
import type { EnergyModel } from '../models/energy.js'
import { sample } from '../smc/samplers.js'
import { sigmaGrid } from '../smc/schedule.js'
import { smc } from '../smc/smc.js'
import { product, type Target } from '../smc/targets.js'
import { distill } from '../training/distill.js'
import { trainDenoiser } from '../training/dsm.js'
import type { DemoContext } from './run.js'

/**
 * Small pictures of one shape in one quarter. "This shape AND this place" is composed of energies that each know one of the two, and
 * what comes out is read by a rule.
 */

export const SIDE = 12
const PARTICLES = 48
/**
 * Noise levels: weights down to `weighted`, the rest without. Which attributes a picture has is settled by then; below it, a picture of
 * something else is one that a conditional energy was never trained on, and what it says of it is noise that weights would act on.
 */
const SIGMA = { max: 40, weighted: 0.5, min: 0.1 }
const STEPS = { weighted: 24, rest: 6 }
/** Class indices of the shapes and places to ask for. */
const WANTED = [
  [2, 1],
  [0, 2],
] as const

export interface ShapesRow {
  wanted: string
  /** 'plain': p(x|A) p(x|B); 'prior': p(x|A) p(x|B) / p(x). */
  target: 'plain' | 'prior'
  method: 'smc' | 'summed'
  /** Shares of the samples that show the shape, the place, and both. */
  shape: number
  place: number
  both: number
  smallestEss?: number
  distinctRoots?: number
}

export interface ShapesResult {
  side: number
  particles: number
  rows: ShapesRow[]
  /** For the figures: denoised samples. */
  pictures: { row: ShapesRow; samples: Float32Array }[]
}

export async function shapesDemo(context: DemoContext): Promise<ShapesResult> {
  const energy = await learn(context)
  try {
    return await compose(energy, context)
  } finally {
    energy.dispose()
  }
}

async function learn({ seed, signal, shorter, stage }: DemoContext): Promise<EnergyModel> {
  const common = { data: `synthetic:shapes:count=8000,size=${SIDE}`, batchSize: 64, labelDropout: 0.5, seed, signal }
  const teacher = await trainDenoiser({
    ...common,
    images: Math.round(32_000 * shorter),
    lr: 2e-3,
    network: { width: 24, channelMult: [1, 2, 2], blocks: 1, attention: [3] },
    onProgress: (p) => stage('pictures: denoiser', p.images, p.totalImages),
  })
  try {
    const { model } = await distill({
      ...common,
      images: Math.round(12_800 * shorter),
      lr: 1e-3,
      teacher: teacher.model,
      onProgress: (p) => stage('pictures: energy', p.images, p.totalImages),
    })
    return model
  } finally {
    teacher.model.dispose()
  }
}

async function compose(energy: EnergyModel, context: DemoContext): Promise<ShapesResult> {
  const particles = context.shorter < 1 ? 16 : PARTICLES
  const result: ShapesResult = { side: SIDE, particles, rows: [], pictures: [] }
  const prior = energy.conditioned([null, null])
  const runs = 4 * WANTED.length
  for (const [shape, place] of WANTED) {
    const [a, b] = [energy.conditioned([shape, null]), energy.conditioned([null, place])]
    const targets: [ShapesRow['target'], Target][] = [
      ['plain', product([a, b])],
      ['prior', product([a, b, prior], { weights: [1, 1, -1] })],
    ]
    const wanted = [shape, place].map((value, i) => shapeLabels.attributes[i].values![value]).join(', ')
    for (const [name, target] of targets)
      for (const method of ['smc', 'summed'] as const) {
        context.stage('pictures: compositions', result.rows.length, runs)
        const { images, ...diagnostics } = await draw(target, method, particles, context)
        const row: ShapesRow = { wanted, target: name, method, ...scores(images, shape, place), ...diagnostics }
        result.rows.push(row)
        result.pictures.push({ row, samples: images })
      }
  }
  context.stage('pictures: compositions', runs, runs)
  return result
}

/** Pictures by either method; both go through the same levels, and end with the mean of the clean picture, x - sigma^2 grad U. */
async function draw(target: Target, method: ShapesRow['method'], particles: number, { seed, signal }: DemoContext) {
  const sigmas = sigmaGrid({ steps: STEPS.weighted, min: SIGMA.weighted, max: SIGMA.max })
  const options = { particles, sigmas, seed, signal }
  const run =
    method === 'smc' ? await smc(target, { ...options, moves: { kernel: 'mala' }, finalResample: true }) : null
  const initial = run?.samples ?? (await sample(target, { ...options, method: 'ancestral' })).samples
  const rest = sigmaGrid({ steps: STEPS.rest, min: SIGMA.min, max: SIGMA.weighted })
  const finish = { particles, sigmas: rest, initial, method: 'ancestral', seed: seed + 1, signal } as const
  const { samples } = await sample(target, finish)
  const { grad } = await target.energyGrad(samples, SIGMA.min, { signal })
  return {
    images: samples.map((x, i) => x - SIGMA.min ** 2 * grad[i]),
    ...(run && { smallestEss: Math.min(...run.ess), distinctRoots: run.diagnostics.distinctRoots }),
  }
}

function scores(images: Float32Array, shape: number, place: number) {
  const share = { shape: 0, place: 0, both: 0 }
  const size = SIDE * SIDE
  const count = images.length / size
  for (let i = 0; i < count; i++) {
    const seen = scoreShapes(images.subarray(i * size, (i + 1) * size), [1, SIDE, SIDE])
    if (seen.shape === shape) share.shape += 1 / count
    if (seen.place === place) share.place += 1 / count
    if (seen.shape === shape && seen.place === place) share.both += 1 / count
  }
  return share
}
