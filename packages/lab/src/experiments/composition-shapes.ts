import { shapeLabels } from 'feynkac/internal'
import type { Wish } from './composition-problems.js'
import type { Subject } from './composition-subject.js'
import type { ExperimentContext } from './experiment.js'
import { seenIn } from './pictures.js'
import { SIDE, shapesEnergy } from './trained.js'

/** Compositions of the procedural pictures, read by the exact rule. */

const shape = (value: number) => ({ attribute: 0, value })
const place = (value: number) => ({ attribute: 1, value })

const wishes: Wish[] = [
  { operation: 'AND', traits: [shape(2), place(1)] },
  { operation: 'AND', traits: [shape(0), place(2)] },
  { operation: 'AND', traits: [shape(1), place(3)] },
  { operation: 'OR', traits: [shape(0), shape(2)] },
  { operation: 'NOT', traits: [place(0), shape(2)] },
]

export async function shapesSubject(context: ExperimentContext): Promise<Subject> {
  const energy = await shapesEnergy(context)
  return {
    energy,
    labels: shapeLabels,
    wishes,
    reader: 'Right: shows what was asked for, by template; recognised: shows any shape.',
    read: async (images) =>
      seenIn(images, SIDE).map((s) => ({ classes: [s.shape, s.place], recognised: s.shape !== null })),
    tables: [],
    [Symbol.dispose]: () => energy.dispose(),
  }
}
