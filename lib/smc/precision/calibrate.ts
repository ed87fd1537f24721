import * as types from 'node:util/types'
import { float32Array, held, knownOptions } from '../../base/args.js'
import { digits, invalid, NumericsError } from '../../base/errors.js'
import { reader } from '../../base/option-table.js'
import { purpose } from '../../base/random.js'
import { sizeOf } from '../../base/shape.js'
import type { Dataset } from '../../data/dataset.js'
import { MemoryDataset } from '../../data/dataset.js'
import { native, run } from '../../native/addon.js'
import { combined, drawNormals } from '../../native/combine.js'
import { inSpaceOf, type Space, toHost, toSpace } from '../../native/space.js'
import type { Floats } from '../../native/types.js'
import { type Communicator, checkedRanks } from '../../ranks/communicator.js'
import type { EnergyFunction } from '../energy-function.js'
import { evaluateModels, nameOf, residenceOf } from '../evaluation.js'
import { defaultBatch } from '../mcmc.js'
import { checkedSigmas, evenLevels } from '../schedule.js'
import { checkedModel } from '../targets/target.js'
import { type CalibrateOptions, calibrateOptionNames, calibrateRows } from './calibrate-options.js'
import { basisOf, Calibration, coordinateGroups, frequencyBands, monotone } from './calibration.js'

/**
 * Measures the mean precisions h_i(s) of an energy's density on noised data, for the proposal 'calibrated' of smc (calibration.ts): use
 * `{ ...energy, calibration: await calibrate(energy, { data }) }`. An EnergyModel has a `calibrate` of its own that keeps the table.
 *
 * By Stein's identity h_i = E[n_i d_i E(x0 + s n)] / s; here over x0 and the pair of noises n and -n, the same at every level, divided by
 * the mean of n_i^2 where h would be 1/s^2:
 *
 *   s^2 h_i = mean[n_i s (d_i E(x0 + s n) - d_i E(x0 - s n)) / 2] / mean[n_i^2]
 *
 * It has no error at all where the gradient is linear and i alone matters, and unlike the mean of squares a wrong mean of the model's does
 * not enter. V = 1/h - s^2 is then held between 0 and the data's variance and made not to decrease with s, as the true one does not.
 * Throws ArgumentError; NumericsError where the energy's gradient is not finite; the signal's reason.
 * @example
 * ```js
 * import { calibrate, gaussianMixture, sigmaGrid, smc } from 'feynkac'
 *
 * const normal = gaussianMixture({ weights: [1], means: [[0, 0]], covariances: [1] })
 * const calibration = await calibrate(normal, { data: normal.sample(500) })
 * const known = { ...normal, calibration } // smc's proposal is 'calibrated' now
 * await smc(known, { particles: 64, sigmas: sigmaGrid({ steps: 16, min: 0.01, max: 20 }) })
 * ```
 */
export async function calibrate(energy: EnergyFunction, options: CalibrateOptions): Promise<Calibration> {
  knownOptions('calibrate', options, calibrateOptionNames)
  checkedModel('energy', energy)
  return measure(energy, () => energy, options)
}

/** The same where the energy of draws may differ between them: `energyOf` is given their indices in the data. */
export async function measure(
  model: EnergyFunction,
  energyOf: (indices: Int32Array) => EnergyFunction,
  options: CalibrateOptions,
): Promise<Calibration> {
  const { shape } = model
  const data = await checkedData(options.data, shape, options.signal)
  const sigmas = checkedSigmas(options.sigmas ?? evenLevels(0.002, 80, 32), 1)
  const option = reader(calibrateRows, options)
  const [count, seed] = [option('count'), option('seed')]
  const { pool, signal, onProgress } = options
  const ranks = checkedRanks(options.ranks)
  const basis = basisOf(shape)
  if (basis === 'dct' && pool !== undefined) throw invalid('pool', 'nothing for images, pooled by frequency', pool)
  const groups = basis === 'dct' ? frequencyBands(shape) : coordinateGroups(sizeOf(shape), pool)
  const sums = new Sums(groups, sigmas.length)
  // a function of the shape alone, so that the noise is too
  const batch = Math.min(defaultBatch(shape), 256)
  await inSpaceOf(residenceOf([model]), undefined, signal, async (space) => {
    for (let first = 0; first < count; first += batch) {
      const rows = Math.min(batch, count - first)
      const indices = Int32Array.from({ length: rows }, (_, r) => drawOf(first + r, count, data.size))
      const draws = new Draws(space, shape, basis === 'dct', signal)
      await draws.start(data, indices, seed, first)
      sums.add(draws.noise, draws.noise, sums.noise)
      sums.addData(draws.clean)
      for (const [level, sigma] of sigmas.entries()) {
        if (level % ranks.size !== ranks.rank) continue
        const slope = await draws.slope(energyOf(indices), sigma)
        sums.add(draws.noise, slope, sums.slopes.subarray(level * groups.count, (level + 1) * groups.count))
        if (sums.hasNaN(level))
          throw new NumericsError(
            `the gradient of ${nameOf(model)} is not finite at sigma = ${digits(sigma)} on noised data`,
          )
        onProgress?.({ done: first * sigmas.length + (level + 1) * rows, total: count * sigmas.length })
      }
      space.keep([])
    }
  })
  await sums.share(ranks)
  return new Calibration({ shape, groups, sigmas, variances: sums.variances(sigmas), count, seed })
}

/** Draw i of `count` from a set: evenly spread over it, or round and round where it is smaller. */
const drawOf = (i: number, count: number, size: number) => (count < size ? Math.floor((i * size) / count) : i % size)

/** Samples as a data set. Throws ArgumentError. */
export async function checkedData(data: unknown, shape: readonly number[], signal?: AbortSignal): Promise<Dataset> {
  const d = sizeOf(shape)
  if (types.isFloat32Array(data)) {
    const samples = float32Array('data', data)
    if (samples.length >= 2 * d && samples.length % d === 0)
      return new MemoryDataset({
        name: 'the samples',
        shape: [...shape],
        data: await held('data', samples, signal),
        labels: null,
      })
  }
  const set = data as Dataset | undefined
  if (typeof set?.read === 'function' && set.size >= 2 && set.shape?.join() === shape.join()) return set
  throw invalid(
    'data',
    `a data set of two samples of [${shape}] or more, or a Float32Array of as many whole rows of ${d}`,
    data,
  )
}

/** A batch of draws x0 and n, the energy's slopes along n, all in the basis. */
class Draws {
  /** On the host, in the basis. */
  noise!: Float32Array
  clean!: Float32Array
  #x0!: Floats
  #n!: Floats
  #mark!: number

  constructor(
    readonly space: Space,
    readonly shape: readonly number[],
    readonly cosines: boolean,
    readonly signal?: AbortSignal,
  ) {}

  async start(data: Dataset, indices: Int32Array, seed: number, step: number): Promise<void> {
    const { space, signal } = this
    const d = sizeOf(this.shape)
    const x0 = new Float32Array(indices.length * d)
    for (const [row, index] of indices.entries()) data.read(index, x0, row * d)
    this.#x0 = await toSpace(space, x0, signal)
    this.#n = space.floats(x0.length)
    const noise = { std: 1, seed, purpose: purpose.calibrate, step }
    await drawNormals(this.#n, indices.length, noise, signal)
    this.noise = await this.#inBasis(this.#n)
    this.clean = await this.#inBasis(this.#x0)
    this.#mark = space.mark()
  }

  /** s (grad E(x0 + s n) - grad E(x0 - s n)) / 2, until the next call */
  async slope(energy: EnergyFunction, sigma: number): Promise<Float32Array> {
    this.space.keep([], this.#mark)
    const above = await this.#grad(energy, sigma, 1)
    const below = await this.#grad(energy, sigma, -1)
    const out = await this.#combined([above, below], [sigma / 2, -sigma / 2])
    return this.#inBasis(out)
  }

  async #grad(energy: EnergyFunction, sigma: number, sign: number): Promise<Floats> {
    const x = await this.#combined([this.#x0, this.#n], [1, sign * sigma])
    return (await evaluateModels([energy], this.space, x, sigma, this.signal))[0].grad
  }

  #combined(terms: Floats[], coefficients: number[]): Promise<Floats> {
    const rows = terms[0].length / sizeOf(this.shape)
    return combined({ space: this.space, rows, signal: this.signal }, terms, coefficients)
  }

  async #inBasis(x: Floats): Promise<Float32Array> {
    if (!this.cosines) return toHost(x, this.signal)
    const out = this.space.like(x)
    await run(() => native.dct({ out, x, shape: this.shape }), this.signal)
    return toHost(out, this.signal)
  }
}

/** Sums over draws, by groups. */
class Sums {
  /** Sums of n^2 [groups], and of n times slope [levels, groups]. */
  readonly noise: Float64Array
  readonly slopes: Float64Array
  /** Moments of the clean samples, per coordinate. */
  readonly #data: Float64Array
  readonly #squares: Float64Array
  #rows = 0

  constructor(
    readonly groups: { of: Int32Array; count: number },
    readonly levels: number,
  ) {
    this.noise = new Float64Array(groups.count)
    this.slopes = new Float64Array(levels * groups.count)
    this.#data = new Float64Array(groups.of.length)
    this.#squares = new Float64Array(groups.of.length)
  }

  /** out[group] += sum of a b */
  add(a: Float32Array, b: Float32Array, out: Float64Array): void {
    const { of } = this.groups
    for (let at = 0; at < a.length; at += of.length)
      for (let i = 0; i < of.length; i++) out[of[i]] += a[at + i] * b[at + i]
  }

  addData(x: Float32Array): void {
    const d = this.groups.of.length
    this.#rows += x.length / d
    for (let at = 0; at < x.length; at += d)
      for (let i = 0; i < d; i++) {
        this.#data[i] += x[at + i]
        this.#squares[i] += x[at + i] * x[at + i]
      }
  }

  /** The slopes of all levels, of which level l is rank l mod size's. */
  async share(ranks: Communicator): Promise<void> {
    if (ranks.size === 1) return
    const all = await ranks.allGather(this.slopes)
    const { count } = this.groups
    for (let level = 0; level < this.levels; level++) {
      const from = (level % ranks.size) * this.slopes.length + level * count
      this.slopes.set(all.subarray(from, from + count), level * count)
    }
  }

  hasNaN(level: number): boolean {
    const { count } = this.groups
    return !this.slopes.subarray(level * count, (level + 1) * count).every(Number.isFinite)
  }

  /** V [levels, groups] */
  variances(sigmas: Float64Array): Float64Array {
    const { of, count } = this.groups
    const most = new Float64Array(count)
    const members = new Float64Array(count)
    for (const [i, g] of of.entries()) {
      most[g] += Math.max(this.#squares[i] / this.#rows - (this.#data[i] / this.#rows) ** 2, 0)
      members[g]++
    }
    const out = new Float64Array(this.slopes.length)
    for (let g = 0; g < count; g++) {
      if (members[g] === 0) continue // a band of frequencies that the image does not have
      const rising = sigmas.toReversed().map((sigma, j) => {
        const share = this.slopes[(this.levels - 1 - j) * count + g] / this.noise[g] // s^2 h
        const v = share > 0 ? sigma * sigma * (1 / share - 1) : Number.POSITIVE_INFINITY
        return Math.min(Math.max(v, 0), most[g] / members[g])
      })
      monotone(rising).forEach((v, j) => {
        out[(this.levels - 1 - j) * count + g] = v
      })
    }
    return out
  }
}
