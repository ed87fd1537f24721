import { bounded, type EnergyModel, scoreShapes, type Target } from 'feynkac'
import { drawShape, type Figure } from 'feynkac/internal'
import { runFolder } from '../run-log.js'
import { byBudget, cell, type Experiment, mean, type Outcome, type Table } from './experiment.js'
import type { Method } from './methods.js'
import { drawPictures, type Pictures, rowsPng, seenIn, share } from './pictures.js'
import { SIDE, shapesEnergy } from './trained.js'

/** Generation within a set: how far pictures are outside before and after. */

const PIXELS = SIDE * SIDE

interface Constraint {
  name: string
  target(base: EnergyModel): Target
  /** How far outside a picture is: 0 inside. */
  violation(image: Float32Array): number
}

/** Largest distance of a pixel outside [lower, upper]. */
const outside = (lower: ArrayLike<number>, upper: ArrayLike<number>) => (image: Float32Array) =>
  image.reduce((most, v, i) => Math.max(most, lower[i] - v, v - upper[i]), 0)

/** No brighter than this anywhere. */
function box(): Constraint {
  const [lower, upper] = [new Float64Array(PIXELS).fill(-1.2), new Float64Array(PIXELS).fill(0.4)]
  return {
    name: 'box: pixels at most 0.4',
    target: (base) => bounded(base.conditioned([null, null]), { lower, upper, softness: 0.02 }),
    violation: outside(lower, upper),
  }
}

/** The left half of a ring at the top left is given. */
function inpainting(): Constraint {
  const bytes = new Uint8Array(PIXELS)
  drawShape([0, 0.1, 0.5, 0.5, 0.5, 0.5], SIDE, 0, bytes)
  const [lower, upper] = [new Float64Array(PIXELS).fill(-Infinity), new Float64Array(PIXELS).fill(Infinity)]
  const half = Math.round(0.3125 * SIDE)
  for (let row = 0; row < SIDE; row++)
    for (let column = 0; column < half; column++) {
      const i = row * SIDE + column
      lower[i] = bytes[i] / 127.5 - 1 - TOLERANCE
      upper[i] = bytes[i] / 127.5 - 1 + TOLERANCE
    }
  return {
    name: 'mask: half a ring is given',
    target: (base) => bounded(base.conditioned([null, null]), { lower, upper, softness: 0.05 }),
    violation: outside(lower, upper),
  }
}
const TOLERANCE = 0.25

/** Mean brightness at least a threshold that three in four of the data are below. */
function halfSpace(): Constraint {
  const brightness = (image: Float32Array) => image.reduce((sum, v) => sum + v, 0) / image.length
  return {
    name: `half-space: mean at least ${LEAST}`,
    target: (base) =>
      bounded(base.conditioned([null, null]), {
        contains: (images, count) => Array.from({ length: count }, (_, i) => brightness(at(images, i)) >= LEAST),
        anneal: 1,
      }),
    violation: (image) => Math.max(0, LEAST - brightness(image)),
  }
}
const LEAST = -0.67

/** What the rule that reads the pictures says. */
function recognised(): Constraint {
  const inside = (image: Float32Array) => scoreShapes(image, [1, SIDE, SIDE]).place === 3
  return {
    name: 'classifier: bottom right',
    target: (base) =>
      bounded(base.conditioned([null, null]), {
        contains: (images, count) => Array.from({ length: count }, (_, i) => inside(at(images, i))),
        anneal: 1,
      }),
    violation: (image) => (inside(image) ? 0 : 1),
  }
}

const at = (images: Float32Array, i: number) => images.subarray(i * PIXELS, (i + 1) * PIXELS)

export interface BoundsRow extends Omit<Pictures, 'images' | 'logZ'> {
  constraint: string
  method: string
  /** Share of pictures outside by more than 0.05, and the mean of how far they are. */
  violated: number
  violation: number
  recognised: number
}

const methods: (Method & { constrained: boolean })[] = [
  { name: 'unconstrained', constrained: false },
  { name: 'summed scores', constrained: true },
  { name: 'SMC', constrained: true, smc: {} },
  { name: 'SMC, MALA', constrained: true, thin: 2, smc: { moves: { kernel: 'mala' } } },
]

export const bounds: Experiment = {
  title: 'Generation within a set',
  question: 'Do samples of a bounded target keep within a box, a half-space, a mask and what a classifier accepts?',
  async run(context) {
    const particles = byBudget(context, 16, 64, 256, 512)
    const steps = byBudget(context, 10, 48, 96, 192)
    using base = await shapesEnergy(context)
    const rows: BoundsRow[] = []
    const figures: Figure[] = []
    const constraints = [box(), halfSpace(), inpainting(), recognised()]
    for (const [i, { name, target, violation }] of constraints.entries()) {
      const shown: Float32Array[] = []
      for (const { constrained, ...method } of methods) {
        context.stage(name, i, constraints.length)
        const log = runFolder(context, name, method.name)
        const options = { particles, steps, seed: context.seed, signal: context.signal, log }
        const density = constrained ? target(base) : target(base).models[0]
        const { images, logZ: _, ...run } = await drawPictures(density as Target, method, options)
        const far = Array.from({ length: particles }, (_v, j) => violation(at(images, j)))
        rows.push({
          constraint: name,
          method: method.name,
          violated: far.filter((v) => v > 0.05).length / particles,
          violation: mean(far),
          recognised: share(seenIn(images, SIDE), (s) => s.shape !== null),
          ...run,
        })
        shown.push(images.subarray(0, 16 * PIXELS))
      }
      figures.push({
        name: `bounds-${i}`,
        caption: `${name}. Rows: ${methods.map((m) => m.name).join('; ')}.`,
        png: await rowsPng(shown, [1, SIDE, SIDE]),
      })
    }
    context.stage('done', constraints.length, constraints.length)
    const of = (method: string, constraint: string) =>
      rows.find((r) => r.method === method && r.constraint === constraint)!
    return {
      findings: constraints.map(({ name }) => {
        const [before, after] = [of('unconstrained', name), of('SMC', name)]
        return {
          claim: `${name}: SMC on the bounded target violates the set in less than half as many pictures.`,
          holds: after.violated < before.violated / 2,
          evidence: `outside before ${cell(before.violated)}, after ${cell(after.violated)} (summed scores ${cell(of('summed scores', name).violated)}); recognised ${cell(before.recognised)} and ${cell(after.recognised)}`,
        }
      }),
      tables: [table(rows, particles)],
      figures,
      data: { particles, steps, rows },
    } satisfies Outcome
  },
}

const table = (rows: readonly BoundsRow[], particles: number): Table => ({
  title: 'Violations',
  note: `${particles} pictures. Outside: share with a violation above 0.05; violation: its mean. Recognised: still shows a shape.`,
  header: ['set', 'method', 'outside', 'violation', 'recognised', 'smallest ESS', 'roots', 'evaluations', 'seconds'],
  rows: rows.map((r) => [
    r.constraint,
    r.method,
    ...[r.violated, r.violation, r.recognised].map((v) => cell(v, 3)),
    ...[r.smallestEss, r.distinctRoots, r.evaluations].map((v) => cell(v, 0)),
    cell(r.seconds, 1),
  ]),
})
