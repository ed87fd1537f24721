import { ArgumentError } from '../base/errors.js'
import { purpose, uniformAt } from '../base/random.js'
import { sizeOf } from '../base/shape.js'
import { encodeLabel, type LabelSpec, labelDim } from '../data/dataset.js'
import type { Batch } from '../data/samples.js'
import type { EnergyModel } from '../models/energy.js'
import { native } from '../native/addon.js'
import type { Target } from '../smc/energy-function.js'
import { stepKernel } from '../smc/kernels.js'
import { evenLevels } from '../smc/schedule.js'
import { product } from '../smc/targets/linear.js'
import type { Tensor } from '../weights/safetensors.js'
import type { Settings } from './settings.js'

/**
 * Training on the sampler's own states (docs/residual.md): from half of the run on, paths without weights are drawn with the averaged weights, of
 * the energy and of what is composed of it, and a share of each batch is then not noised data but points of these paths, with their noise and
 * labels. The teacher is asked there as anywhere, and a walk of the path loss may begin there, as its noise is the forward one.
 */

/** Share of the rows of a batch. */
const SHARE = 0.4
/** The rounds of paths, in parts of the run. */
const ROUNDS = [4, 5, 6, 7].map((eighth) => eighth / 8)
/** Noise levels per factor 2 of a path. */
const PER_OCTAVE = 4

/** Points x at noise sigma under labels, as the energies of a path are asked. */
interface States {
  x: Float32Array
  sigma: Float32Array
  labels: Float32Array
}

const noStates = (): States => ({ x: new Float32Array(), sigma: new Float32Array(), labels: new Float32Array() })

export class SelfPlay {
  #states = noStates()

  /** paths: of each target in a round; tensors: of the checkpoint. */
  readonly #paths: number
  readonly #settings: Pick<Settings, 'seed' | 'batchSize'>
  readonly #labels: LabelSpec | null
  /** Lowest and highest noise of the paths. */
  readonly #range: readonly [number, number]
  /** A model of the averaged weights as they are. */
  readonly #averaged: () => Promise<EnergyModel>

  constructor(
    paths: number,
    settings: Pick<Settings, 'seed' | 'batchSize'>,
    labels: LabelSpec | null,
    range: readonly [number, number],
    averaged: () => Promise<EnergyModel>,
    tensors?: ReadonlyMap<string, Tensor>,
  ) {
    this.#paths = paths
    this.#settings = settings
    this.#labels = labels
    this.#range = range
    this.#averaged = averaged
    if (!tensors?.has('own.sigma')) return
    const stored = (name: keyof States) => {
      const found = tensors.get(`own.${name}`)?.data
      if (found === undefined && name === 'labels' && labelDim(labels) === 0) return new Float32Array()
      if (!(found instanceof Float32Array)) throw new ArgumentError(`the checkpoint has no valid states own.${name}`)
      return found
    }
    this.#states = { x: stored('x'), sigma: stored('sigma'), labels: stored('labels') }
    const { x, sigma } = this.#states
    const all = this.#states.labels.length === sigma.length * labelDim(labels) && x.length % sigma.length === 0
    if (!all) throw new ArgumentError('the checkpoint’s own states do not fit the run')
  }

  /** Puts states in place of some rows of a step's batch. Returns their noise levels, 0 for rows of data; undefined while there are none. */
  mix({ x0, labels }: Batch, step: number): Float64Array | undefined {
    const { x, sigma, labels: own } = this.#states
    if (sigma.length === 0) return undefined
    const { seed, batchSize } = this.#settings
    const d = x.length / sigma.length
    const dims = labelDim(this.#labels)
    return Float64Array.from({ length: batchSize }, (_, row) => {
      if (uniformAt(seed, purpose.ownStates, step, row, 0) >= SHARE) return 0
      const from = Math.floor(sigma.length * uniformAt(seed, purpose.ownStates, step, row, 1))
      x0.set(x.subarray(from * d, (from + 1) * d), row * d)
      labels?.set(own.subarray(from * dims, (from + 1) * dims), row * dims)
      return sigma[from]!
    })
  }

  /** Draws the next round's paths where a step of the run is the first past one of ROUNDS. */
  async after(step: number, steps: number, signal?: AbortSignal): Promise<void> {
    if (!ROUNDS.some((part) => step >= part * steps && step - 1 < part * steps) || step === steps) return
    using model = await this.#averaged()
    const parts: States[] = []
    for (const [k, { target, asked }] of this.#targets(model, step).entries())
      parts.push(...(await this.#path(target, asked, step, k, signal)))
    const joined = (name: keyof States) => {
      const out = new Float32Array(parts.reduce((sum, part) => sum + part[name].length, 0))
      let at = 0
      for (const part of parts) {
        out.set(part[name], at)
        at += part[name].length
      }
      return out
    }
    this.#states = { x: joined('x'), sigma: joined('sigma'), labels: joined('labels') }
  }

  /** For a checkpoint. */
  tensors(): [string, { shape: number[]; data: Float32Array }][] {
    const { x, sigma, labels } = this.#states
    if (sigma.length === 0) return []
    const rows = (data: Float32Array) => ({ shape: [sigma.length, data.length / sigma.length], data })
    return [
      ['own.x', rows(x)],
      ['own.sigma', { shape: [sigma.length], data: sigma }],
      ...(labels.length > 0 ? [['own.labels', rows(labels)] as [string, ReturnType<typeof rows>]] : []),
    ]
  }

  /** p and p^2 without labels, under one and under all; p(x|a) p(x|b) / p(x). `asked`: label vectors of every path for each of the energies. */
  #targets(model: EnergyModel, step: number): { target: Target; asked: Float32Array[] }[] {
    const [labels, paths] = [this.#labels, this.#paths]
    const dims = labelDim(labels)
    const powers = (asked: Float32Array, gamma: number) => ({
      target: product([model.conditioned(dims > 0 ? asked : undefined)], { weights: [gamma] }),
      asked: [asked],
    })
    const classes = Array.from({ length: paths }, (_, i) =>
      (labels?.attributes ?? []).map(({ size }, a) =>
        Math.floor(size * uniformAt(this.#settings.seed, purpose.ownStates, step, 2 ** 31 + i, a)),
      ),
    )
    /** Indices of the attributes `kept`. */
    const vectors = (kept: (attribute: number) => boolean) => {
      const out = new Float32Array(paths * dims)
      for (const [i, chosen] of classes.entries()) {
        encodeLabel(labels!, chosen, out, i * dims)
        let at = i * dims
        for (const [a, { size }] of labels!.attributes.entries()) {
          if (!kept(a)) out.fill(0, at, at + size)
          at += size
        }
      }
      return out
    }
    if (!labels) return [powers(new Float32Array(), 1), powers(new Float32Array(), 2)]
    const all = vectors(() => true)
    const last = labels.attributes.length - 1
    const none = model.info.nullClass === null ? [] : [new Float32Array(paths * dims)]
    if (typeof model.info.nullClass === 'number') for (let i = 0; i < paths; i++) none[0]![i * dims + model.info.nullClass] = 1 // biome-ignore format: one line
    const list = [...none.flatMap((vector) => [powers(vector, 1), powers(vector, 2)]), powers(all, 1), powers(all, 2)]
    if (last < 1 || none.length === 0) return list
    const asked = [vectors((a) => a === step % (last + 1)), vectors((a) => a === (step + 1) % (last + 1)), none[0]!]
    const energies = asked.map((vector) => model.conditioned(vector))
    return [...list, { target: product(energies, { weights: [1, 1, -1] }), asked }]
  }

  /** The states of a path for each of what the energies are asked under. */
  async #path(target: Target, asked: Float32Array[], step: number, k: number, signal?: AbortSignal): Promise<States[]> {
    const d = sizeOf(target.shape)
    const rows = this.#paths
    const [min, max] = this.#range
    const sigmas = evenLevels(min, max, Math.ceil(PER_OCTAVE * Math.log2(max / min)) + 1).map(Math.fround)
    const normals = (level: number) => {
      const out = new Float32Array(rows * d)
      native.normals(out, rows, this.#settings.seed, purpose.ownPaths, ((step * 8 + k) * 64 + level) >>> 0)
      return out
    }
    let x = normals(0).map((z) => (sigmas[0]! / Math.sqrt(target.lambda)) * z)
    const found: States[] = []
    for (const [level, s] of sigmas.entries()) {
      for (const labels of asked) found.push({ x, sigma: new Float32Array(rows).fill(s), labels })
      const next = sigmas[level + 1]
      if (next === undefined) break
      const { grad } = await target.energyGrad(x, s, { signal })
      const precision = grad.reduce((sum, g) => sum + g * g, 0) / grad.length
      const { v, tau } = stepKernel(s, next, target.lambda, 'analytic', Float64Array.of(precision))
      const z = normals(level + 1)
      x = x.map((value, i) => value - v[0]! * grad[i]! + Math.sqrt(tau[0]!) * z[i]!)
    }
    return found.filter(({ x: at }) => at.every(Number.isFinite))
  }
}
