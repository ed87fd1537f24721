import { ArgumentError, invalid } from '../base/errors.js'
import { purpose, uniformAt } from '../base/random.js'
import { cellAt, interpolate, type LogNormaliser } from '../models/log-normaliser.js'
import type { NativeLevels } from '../native/types.js'
import type { Settings } from './settings.js'

/**
 * The cross-entropy over noise levels that makes energies comparable between modes and between levels (docs/levelled.md; DiffCLF, arXiv
 * 2601.21025): which points are classified, and the free energies F(sigma), which are learnt along. With logits F(sigma_j) - E(y, sigma_j)
 * the classifier is Bayes' at F = -log Z.
 */

/** Options of a run that levels its energy. */
export interface LevelSettings
  extends Pick<Settings, 'seed' | 'batchSize' | 'pMean' | 'pStd' | 'beta1' | 'beta2' | 'eps'> {
  levelWeight: number
  levels: number
  levelBatch: number
}

/** Increments of F over the cells of the grid, their average, and Adam's moments. */
export interface LevelState {
  increments: number[]
  average: number[]
  m: number[]
  v: number[]
}

/** The range in which levels are classified: this many standard deviations of the training's ln sigma about its mean. */
const REACH = 3
/**
 * ln sigma of neighbouring levels lies SPACING posterior standard deviations apart. Noise in d dimensions says ln sigma with a variance of
 * 1/(2 d); the information of a classification, E Var(ln sigma | y), is largest about here whatever the number of levels.
 */
const SPACING = 2
/** Learning rate of the increments, in nats per step. */
const LEARNING_RATE = 0.02
const row = 0xffffffff // particle number of nothing else in a step

export class Levels {
  readonly #min: number
  readonly #max: number
  readonly #spacing: number
  readonly #state: LevelState
  readonly #request: NativeLevels
  readonly #edges: Float64Array

  /** dims: numbers of a sample; sigmaData: of the preconditioning, for the start; range: noise levels that the network can be told. */
  readonly #settings: LevelSettings

  constructor(
    settings: LevelSettings,
    dims: number,
    sigmaData: number,
    range: { sigmaMin: number; sigmaMax: number },
    state?: LevelState,
  ) {
    this.#settings = settings
    const { levels, levelBatch, levelWeight, pMean, pStd } = settings
    this.#min = Math.max(pMean - REACH * pStd, Math.log(range.sigmaMin))
    this.#max = Math.min(pMean + REACH * pStd, Math.log(range.sigmaMax))
    const told = (lnSigma: number) =>
      Number.isFinite(Math.fround(Math.exp(lnSigma))) && Math.fround(Math.exp(lnSigma)) > 0
    if (!(this.#max > this.#min && told(this.#min) && told(this.#max)))
      throw invalid(
        'pMean and pStd',
        `noise within ${REACH} standard deviations that the network can be told and levels can lie in`,
        [pMean, pStd],
      )
    this.#spacing = Math.min(SPACING / Math.sqrt(2 * dims), (this.#max - this.#min) / (levels - 1))
    const cells = Math.ceil((this.#max - this.#min) / Math.min(this.#spacing / 2, 0.25))
    this.#edges = new Float64Array(cells + 1)
    if (state && Object.values(state).some((values) => values.length !== cells))
      throw new ArgumentError(`the checkpoint's levels are not the ${cells} of this run`)
    this.#state = state ?? gaussian(this.#min, this.#max, cells, dims, sigmaData)
    this.#request = {
      count: levels,
      weight: levelWeight / dims,
      sigma: new Float64Array(levels * levelBatch),
      truth: new Int32Array(levelBatch),
      free: new Float64Array(levels * levelBatch),
      losses: new Float64Array(levelBatch),
      residual: new Float64Array(levels * levelBatch),
    }
  }

  /** Of a batch, the first ones, that are classified. */
  get rows(): number {
    return this.#settings.levelBatch
  }

  /** The classifications of a step: its levels are functions of the seed and the step. Valid until the next one. */
  prepare(step: number): NativeLevels {
    const [min, max, spacing, edges, request] = [this.#min, this.#max, this.#spacing, this.#edges, this.#request]
    const { seed, levels, levelBatch } = this.#settings
    this.#state.increments.forEach((increment, cell) => {
      edges[cell + 1] = edges[cell]! + increment
    })
    const room = max - min - (levels - 1) * spacing
    for (let i = 0; i < levelBatch; i++) {
      const lowest = min + room * uniformAt(seed, purpose.levels, step, row - i, 0)
      request.truth[i] = Math.floor(levels * uniformAt(seed, purpose.levels, step, row - i, 1))
      for (let j = 0; j < levels; j++) {
        const at = j * levelBatch + i
        // as the noise is scaled: in float32
        request.sigma[at] = Math.fround(Math.exp(lowest + j * spacing))
        request.free[at] = interpolate(edges, this.#cell(request.sigma[at]!))
      }
    }
    return request
  }

  /** Moves the free energies after a step, by Adam, and their average with the weights'. Returns the mean cross-entropy. */
  learn(step: number, emaDecay: number): number {
    const { levelBatch, beta1, beta2, eps } = this.#settings
    const { increments, average, m, v } = this.#state
    const { sigma, residual, losses } = this.#request
    const gradient = new Float64Array(increments.length + 1)
    for (let i = 0; i < sigma.length; i++) {
      const { cell, part } = this.#cell(sigma[i]!)
      gradient[cell]! += ((1 - part) * residual[i]!) / levelBatch
      gradient[cell + 1]! += (part * residual[i]!) / levelBatch
    }
    // an increment moves all edges above it
    let above = 0
    for (let cell = increments.length - 1; cell >= 0; cell--) {
      above += gradient[cell + 1]!
      m[cell] = beta1 * m[cell]! + (1 - beta1) * above
      v[cell] = beta2 * v[cell]! + (1 - beta2) * above * above
      const slope = m[cell]! / (1 - beta1 ** step)
      const size = Math.sqrt(v[cell]! / (1 - beta2 ** step))
      increments[cell]! -= (LEARNING_RATE * slope) / (size + eps)
      average[cell] = emaDecay * average[cell]! + (1 - emaDecay) * increments[cell]!
    }
    return losses.reduce((sum, loss) => sum + loss, 0) / levelBatch
  }

  stored(): LevelState {
    return structuredClone(this.#state)
  }

  /** log Z = -F of the averaged increments; at the highest level that of the Gaussian with Phi = 0, to which all energies come near. */
  normaliser(dims: number, sigmaData: number): LogNormaliser {
    const values = [gaussianLogZ(this.#max, dims, sigmaData)]
    for (const increment of this.#state.average.toReversed()) values.push(values.at(-1)! + increment)
    return { sigmaMin: Math.exp(this.#min), sigmaMax: Math.exp(this.#max), values: values.toReversed() }
  }

  #cell(sigma: number) {
    return cellAt(Math.log(sigma), this.#min, this.#max, this.#state.increments.length)
  }
}

/** Where Phi = 0: p_sigma = N(0, (sigma^2 + sigmaData^2) I). */
function gaussianLogZ(logSigma: number, dims: number, sigmaData: number): number {
  return (dims / 2) * Math.log(2 * Math.PI * (Math.exp(2 * logSigma) + sigmaData ** 2))
}

function gaussian(min: number, max: number, cells: number, dims: number, sigmaData: number): LevelState {
  const at = (edge: number) => -gaussianLogZ(min + ((max - min) * edge) / cells, dims, sigmaData)
  const increments = Array.from({ length: cells }, (_, cell) => at(cell + 1) - at(cell))
  const zeros = () => new Array<number>(cells).fill(0)
  return { increments, average: [...increments], m: zeros(), v: zeros() }
}
