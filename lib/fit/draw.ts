import { encodeLabel, type LabelSpec, labelDim } from '../data/dataset.js'
import type { EnergyModel } from '../models/energy.js'
import type { Target } from '../smc/energy-function.js'
import { type DenoiserFunction, sample } from '../smc/samplers.js'
import { sigmaGrid } from '../smc/schedule.js'
import { product } from '../smc/targets/linear.js'
import { LEVELS } from './budget.js'
import type { Asked, Row } from './rows.js'

/**
 * Samples of an energy without weights: weights of learnt pictures leave a few of them alone. They go by noisy steps, as noise lets every level
 * mend what those before it have done; Heun's method follows a field that errs, or the sum of two, to the end (docs/fit.md).
 */

/** A composition that is not guided is the nothing between two discs in one picture of ten. */
export const GUIDANCE = 2
/** Less noise than this is not seen, and is taken off in one step. */
const LEAST_NOISE = 0.02

export interface DrawOptions {
  seed: number
  signal?: AbortSignal
  onProgress?: (done: number, total: number) => void
}

/** [samples, ...shape] of a row. */
export async function drawRow(
  energy: EnergyModel,
  row: Row,
  { seed, signal, onProgress }: DrawOptions,
): Promise<Float32Array> {
  const { sigmaMin, sigmaMax } = energy.info
  const sigmas = [...sigmaGrid({ steps: LEVELS - 1, min: Math.max(sigmaMin, LEAST_NOISE), max: sigmaMax }), 0]
  const model = row.composed ? composed(energy, row.asked[0]) : asking(energy, row.asked)
  const { samples } = await sample(model, {
    particles: row.asked.length,
    sigmas,
    method: 'ancestral',
    seed,
    signal,
    onProgress: ({ level, lastLevel }) => onProgress?.(level, lastLevel),
  })
  return samples
}

/** Each particle under labels of its own. */
function asking(energy: EnergyModel, asked: readonly Asked[]): DenoiserFunction {
  const spec = energy.info.labels
  const labels = spec ? labelVectors(spec, asked) : undefined
  return {
    shape: energy.shape,
    denoise: (x, sigma, { part, signal } = {}) => energy.denoise(x, sigma, { labels, part, signal }),
  }
}

/** p(x) (p(A|x) p(B|x))^GUIDANCE; to the first power it is p(x|A, B) where the two are independent given x. */
function composed(energy: EnergyModel, asked: Asked): Target {
  const alone = asked.flatMap((value, a) => (value === null ? [] : [asked.map((_, b) => (a === b ? value : null))]))
  const terms = alone.map((labels) => energy.conditioned(labels))
  const prior = energy.conditioned(asked.map(() => null))
  return product([...terms, prior], { weights: [...terms.map(() => GUIDANCE), 1 - GUIDANCE * terms.length] })
}

function labelVectors(spec: LabelSpec, asked: readonly Asked[]): Float32Array {
  const dim = labelDim(spec)
  const vectors = new Float32Array(asked.length * dim)
  for (const [i, classes] of asked.entries()) encodeLabel(spec, classes, vectors, i * dim)
  return vectors
}
