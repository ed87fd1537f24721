import { finiteNumber, isShape, knownOptions } from '../base/args.js'
import { ArgumentError, invalid } from '../base/errors.js'
import { sizeOf } from '../base/shape.js'
import { native, run } from '../native/addon.js'
import { host, type Space } from '../native/space.js'
import type { Floats } from '../native/types.js'
import { checkedPoints, residenceOf } from '../smc/evaluation.js'
import {
  type DenoiseOptions,
  type DenoiserFunction,
  denoiseOnHost,
  evaluationsOf,
  type ResidentDenoiser,
} from '../smc/samplers.js'
import type { Labels } from './labels.js'

/** A denoiser that takes labels: a Denoiser, an EnergyModel, or an object of one's own. */
export interface ConditionalDenoiser extends DenoiserFunction {
  /** Without labels, the unconditional denoiser. */
  denoise(x: Float32Array, sigma: number, options?: DenoiseOptions & { labels?: Labels }): Promise<Float32Array>
  /** Length of the label vector; 0 = unconditional. */
  readonly labelDim?: number
  /** The two of ResidentDenoiser, for one that can work in a device's memory. */
  readonly residence?: string
  denoiseIn?(space: Space, x: Floats, sigma: number, options?: DenoiseOptions & { labels?: Labels }): Promise<Floats>
}

/** Options of `guidedDenoiser`. */
export interface GuidanceOptions {
  /** Labels c to guide towards. May be left out where there is a guide: autoguidance of an unconditional model. */
  labels?: Labels
  /** w: 0 is the branch guided away from, 1 the one guided towards, above 1 guides. */
  scale: number
  /** Labels to guide away from; default none, the unconditional branch. With a guide the default is `labels`, if it takes any. */
  negative?: Labels
  /** The model to guide away from, if not the same: an unconditional one, or a weaker one (Karras et al. 2024, autoguidance). */
  guide?: ConditionalDenoiser
  /** Guide only where lo < sigma <= hi (Kynkäänniemi et al. 2024); plain D(x | c) elsewhere. */
  interval?: readonly [lo: number, hi: number]
}

interface Branch {
  model: ConditionalDenoiser
  labels?: Labels
  coefficient: number
}

/**
 * Guidance without weights (Ho and Salimans 2021), for `sample`: D = (1 - w) D(x | negative) + w D(x | c). Its samples are of no stated
 * density; the target `guided` of smc is. A branch whose coefficient is 0 is not evaluated.
 * Throws ArgumentError.
 * @example
 * ```js
 * import { Denoiser, guidedDenoiser, sample, sigmaGrid } from 'feynkac'
 *
 * const denoiser = await Denoiser.load('denoiser.safetensors')
 * const guided = guidedDenoiser(denoiser, { labels: { hair: 3 }, scale: 2, interval: [0.3, 5] })
 * const { samples } = await sample(guided, { particles: 16, sigmas: [...sigmaGrid({ steps: 32 }), 0] })
 * ```
 */
export function guidedDenoiser(
  denoiser: ConditionalDenoiser,
  options: GuidanceOptions,
): ResidentDenoiser & { readonly name: string } {
  knownOptions('guidedDenoiser', options, ['labels', 'scale', 'negative', 'guide', 'interval'])
  checkedDenoiser('denoiser', denoiser)
  const { labels, guide } = options
  const scale = finiteNumber('scale', options.scale)
  const [lo, hi] = checkedInterval(options.interval)
  checkGiven(denoiser, labels)
  checkGiven(guide ?? denoiser, options.negative)
  if (guide !== undefined) {
    checkedDenoiser('guide', guide)
    if (String(guide.shape) !== String(denoiser.shape))
      throw invalid('guide', `a denoiser of the shape [${denoiser.shape}]`, guide.shape)
  } else if (denoiser.labelDim === 0)
    throw new ArgumentError('this model is unconditional, there is nothing to guide towards: give a guide')
  else if (labels === undefined && options.negative === undefined)
    throw new ArgumentError('guidance needs labels, or a guide')
  const same = guide === undefined || guide.labelDim === 0 ? undefined : labels
  const towards: Branch = { model: denoiser, labels, coefficient: scale }
  const away: Branch = { model: guide ?? denoiser, labels: options.negative ?? same, coefficient: 1 - scale }
  const guided = [away, towards].filter(({ coefficient }) => coefficient !== 0)
  const plain = [{ ...towards, coefficient: 1 }]
  const branches = (sigma: number) => (sigma > lo && sigma <= hi ? guided : plain)

  const denoiseIn: ResidentDenoiser['denoiseIn'] = async (space, x, sigma, given = {}) => {
    const active = branches(sigma)
    const terms: Floats[] = []
    for (const branch of active) terms.push(await evaluate(branch, space, x, sigma, given))
    if (active.length === 1) return terms[0]
    const out = space.floats(x.length)
    const coefficients = Float64Array.from(active, (branch) => branch.coefficient)
    await run(() => native.combine({ out, terms, coefficients, rows: x.length / sizeOf(denoiser.shape) }), given.signal)
    return out
  }
  return {
    name: 'the guided denoiser',
    shape: denoiser.shape,
    residence: residenceOf([denoiser, guide ?? denoiser]),
    denoiseIn,
    denoise: async (x, sigma, options) => {
      const given = options ?? {}
      knownOptions('denoise', given, ['signal', 'part'])
      const own = await checkedPoints(x, sigma, sizeOf(denoiser.shape), { signal: given.signal })
      return (await denoiseIn(host, own, sigma, given)) as Float32Array
    },
    evaluations: (sigma) => branches(sigma).reduce((sum, { model }) => sum + evaluationsOf(model, sigma), 0),
  }
}

function evaluate(
  { model, labels }: Branch,
  space: Space,
  x: Floats,
  sigma: number,
  { signal, part }: DenoiseOptions,
): Promise<Floats> {
  const options = { signal, part, ...(labels !== undefined && { labels }) }
  return x instanceof Float32Array
    ? denoiseOnHost(model, x, sigma, options)
    : (model as Required<ConditionalDenoiser>).denoiseIn(space, x, sigma, options)
}

function checkedDenoiser(name: string, value: unknown): asserts value is ConditionalDenoiser {
  const denoiser = value as ConditionalDenoiser | null | undefined
  if (typeof denoiser?.denoise !== 'function' || !isShape(denoiser.shape))
    throw invalid(name, 'a denoiser { shape, denoise(x, sigma, { labels }) }', value)
}

/** Models of the package check their labels; functions of one's own see theirs when they are called. */
function checkGiven(model: ConditionalDenoiser, labels: Labels | undefined): void {
  const { conditioned } = model as { conditioned?: (labels: Labels) => unknown }
  if (labels !== undefined && model.labelDim !== 0 && typeof conditioned === 'function') conditioned.call(model, labels)
}

function checkedInterval(interval: unknown): readonly [number, number] {
  if (interval === undefined) return [0, Infinity]
  const [lo, hi] = Array.isArray(interval) && interval.length === 2 ? (interval as number[]) : []
  if (typeof lo === 'number' && typeof hi === 'number' && lo >= 0 && lo < hi) return [lo, hi]
  throw invalid('interval', 'two noise levels [lo, hi], 0 <= lo < hi', interval)
}
