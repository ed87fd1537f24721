import { distill, type EnergyModel, product, type Target, trainDenoiser } from 'feynkac'
import { shapeLabels } from 'feynkac/internal'
import type { Method } from '../experiments/methods.js'
import { drawPictures, seenIn, share } from '../experiments/pictures.js'
import { runFolder } from '../run-log.js'
import type { DemoContext } from './context.js'
import { learnt } from './learnt.js'

/**
 * Small pictures of one shape in one quarter. "This shape AND this place" is composed of energies that each know one of the two, and
 * what comes out is read by a rule.
 */

export const SIDE = 12
const PARTICLES = 48
const STEPS = 24
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

async function learn(context: DemoContext): Promise<EnergyModel> {
  const { seed, shorter } = context
  const common = { data: `synthetic:shapes:count=8000,size=${SIDE}`, seed }
  const network = { width: 24, channelMult: [1, 2, 2], blocks: 1, attention: [3] }
  using teacher = await learnt(context, 'pictures: denoiser', (where) =>
    trainDenoiser({ ...common, images: Math.round(32_000 * shorter), network, ...where }),
  )
  return await learnt(context, 'pictures: energy', (where) =>
    distill({ ...common, images: Math.round(12_800 * shorter), teacher, ...where }),
  )
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
        const log = runFolder(context, wanted, name, ways[method].name)
        const options = { particles, steps: STEPS, seed: context.seed, signal: context.signal, log }
        const { images, smallestEss, distinctRoots } = await drawPictures(target, ways[method], options)
        const row: ShapesRow = {
          wanted,
          target: name,
          method,
          ...scores(images, shape, place),
          ...(method === 'smc' && { smallestEss, distinctRoots }),
        }
        result.rows.push(row)
        result.pictures.push({ row, samples: images })
      }
  }
  context.stage('pictures: compositions', runs, runs)
  return result
}

const ways = {
  smc: { name: 'SMC', smc: { moves: { kernel: 'mala' } } },
  summed: { name: 'summed scores' },
} as const satisfies Record<ShapesRow['method'], Method>

function scores(images: Float32Array, shape: number, place: number) {
  const seen = seenIn(images, SIDE)
  return {
    shape: share(seen, (s) => s.shape === shape),
    place: share(seen, (s) => s.place === place),
    both: share(seen, (s) => s.shape === shape && s.place === place),
  }
}
