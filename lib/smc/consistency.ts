import { ArgumentError } from '../base/errors.js'
import { native, run } from '../native/addon.js'
import { copyOf, fill, inSpaceOf, type Space, toSpace } from '../native/space.js'
import { AnnealedPopulation, type AnnealingOptions } from './annealing.js'
import type { Consistency, ConsistencyBand, EnergyFunction, Target } from './energy-function.js'
import { evaluateModels, nameOf } from './evaluation.js'
import { calibratedKernel, stepKernel } from './kernels.js'
import { ParticleRng, seedAfter } from './random.js'
import { OwnRows } from './rows.js'
import { evenLevels } from './schedule.js'
import { asTarget } from './targets/linear.js'

export interface ConsistencyOptions {
  max: number
  min: number
  particles: number
  /** Samples without noise, one for each particle, to measure on noised data too. */
  clean?: Float32Array
  /** Levels to an octave; default PER_OCTAVE. */
  perOctave?: number
  seed: number
  signal?: AbortSignal
}

/**
 * Levels to an octave. Errors of an energy are in V whatever it is; those of the kernels fall, and by eight they are a small part of it where V is too
 * large, a third where it is bearable; by two they are most of it there (docs/residual.md).
 */
export const PER_OCTAVE = 8

/** Variance of the log-weights, from the largest noise down, that a run can bear: about half of the roots are left. */
const BEARABLE = 4
/** Where V from the top has come to this, nothing below is measured: no run can weigh so far. */
const ENOUGH = 100 * BEARABLE

/**
 * Measures an energy on the path of its own samples from noise `max` to `min`, or to where no run can weigh: eight evaluations an octave for each of the
 * particles, and as many on noised data.
 */
export function measureConsistency(energy: EnergyFunction, options: ConsistencyOptions): Promise<Consistency> {
  const { max, min, particles, clean, perOctave = PER_OCTAVE, seed, signal } = options
  const octaves = Math.max(1, Math.round(Math.log2(max / min)))
  const sigmas = evenLevels(min, max, octaves * perOctave + 1)
  const target = asTarget(energy)
  const how: AnnealingOptions = {
    ...{ sigmas, weights: 'bridge', weighAbove: 0, kernel: 'scaled', controlDrift: false, signal },
    proposal: target.calibration ? 'calibrated' : 'analytic',
    seed: seedAfter(seed),
    // one batch, as an energy under its particles' labels needs
    batch: particles,
  }
  return inSpaceOf(target.residence, undefined, signal, async (space) => {
    const population = new AnnealedPopulation(target, how, space, new OwnRows(particles))
    const weights = space.doubles(particles)
    await fill(weights, 1 / particles, signal)
    await population.start()
    const logG = async (k: number) => {
      const { terms, coefficients, constant } = await population.advance(k, weights)
      const out = space.doubles(particles)
      const request = { out, terms, coefficients: Float64Array.from(coefficients), constant }
      await run(() => native.sumTerms(request), signal)
      const values = await copyOf(out, signal)
      space.keep([weights, ...population.live()])
      return values
    }
    const bands = await bandsOf(sigmas, perOctave, particles, logG)
    if (!clean) return { bands, perOctave, particles }
    const data = await bandsOf(sigmas, perOctave, particles, await noised(target, clean, sigmas, options, space))
    return { bands, data, perOctave, particles }
  })
}

/** log G of every step along data whose noise is taken off as it was put on, by the kernels of the bridge. */
async function noised(
  target: Target,
  clean: Float32Array,
  sigmas: Float64Array,
  { particles, seed, signal }: ConsistencyOptions,
  space: Space,
): Promise<(k: number) => Promise<Float64Array>> {
  const d = clean.length / particles
  const added = (k: number) => {
    const std = Math.sqrt(sigmas[k - 1] ** 2 - sigmas[k] ** 2)
    return new ParticleRng(seed, k, particles).normals(d).map((z) => std * z)
  }
  // float64: at the largest noise the smallest would be lost
  const path = Float64Array.from(clean)
  const last = sigmas.length - 1
  const least = new ParticleRng(seed, last + 1, particles).normals(d)
  for (let i = 0; i < path.length; i++) path[i] += sigmas[last] * least[i]
  for (let k = last; k > 0; k--) for (const [i, noise] of added(k).entries()) path[i] += noise
  const at = async (k: number) => {
    const x = await toSpace(space, Float32Array.from(path), signal)
    const [{ energy, grad }] = await evaluateModels([target], space, x, sigmas[k], signal)
    const known = { energy: await copyOf(energy, signal), grad: await copyOf(grad, signal) }
    space.keep([])
    return known
  }
  let before = await at(0)
  return async (k) => {
    const step = added(k).map((noise) => -noise)
    for (const [i, change] of step.entries()) path[i] += change
    const after = await at(k)
    const { grad } = before
    const table = target.calibration
    const squares = grad.reduce((sum, g) => sum + g * g, 0) / grad.length
    const [s, next] = [sigmas[k - 1], sigmas[k]]
    const { v, tau } = table ? calibratedKernel(s, next, 1, table) : stepKernel(s, next, 1, 'analytic', Float64Array.of(squares)) // biome-ignore format: one line
    const cosines = async (x: Float32Array): Promise<Float32Array> => {
      if (table?.basis !== 'dct') return x
      const out = new Float32Array(x.length)
      await run(() => native.dct({ out, x, shape: target.shape }), signal)
      return out
    }
    const [moved, slope] = [await cosines(step), await cosines(grad)]
    const out = Float64Array.from(before.energy, (u, r) => u - after.energy[r])
    for (let i = 0; i < moved.length; i++) {
      const [a, b] = [v[v.length > 1 ? i % d : 0], tau[tau.length > 1 ? i % d : 0]]
      const off = moved[i] + a * slope[i]
      out[Math.floor(i / d)] += off ** 2 / (2 * b) - moved[i] ** 2 / (2 * a) + Math.log(b / a) / 2
    }
    before = after
    return out
  }
}

async function bandsOf(
  sigmas: Float64Array,
  perOctave: number,
  particles: number,
  logG: (k: number) => Promise<Float64Array>,
) {
  const bands: ConsistencyBand[] = []
  const above = new Float64Array(particles)
  for (let first = 0; first + perOctave < sigmas.length; first += perOctave) {
    const within = new Float64Array(particles)
    let steps = 0
    for (let k = first + 1; k <= first + perOctave; k++) {
      const values = await logG(k)
      steps += quartileVariance(values)
      for (const [i, value] of values.entries()) {
        within[i] += value
        above[i] += value
      }
    }
    bands.push({
      ...{ from: sigmas[first], to: sigmas[first + perOctave] },
      ...{ variance: known(variance(within)), robust: known(quartileVariance(within)), steps: known(steps) },
      above: known(quartileVariance(above)),
    })
    if (!(bands.at(-1)!.above <= ENOUGH)) break
  }
  return bands
}

/** Where paths end in NaN or infinity, as bad as can be: JSON has neither. */
const known = (value: number): number => (value < HOPELESS ? value : HOPELESS)
const HOPELESS = 1e300

function variance(values: Float64Array): number {
  const centre = values.reduce((a, b) => a + b, 0) / values.length
  return values.reduce((sum, v) => sum + (v - centre) ** 2, 0) / Math.max(1, values.length - 1)
}

/** The variance of a normal variable with the quartiles of the values. */
export function quartileVariance(values: Float64Array): number {
  const sorted = values.slice().sort()
  const at = (share: number) => {
    const place = share * (sorted.length - 1)
    const low = Math.floor(place)
    const high = Math.min(low + 1, sorted.length - 1)
    return sorted[low] + (place - low) * (sorted[high] - sorted[low])
  }
  return ((at(0.75) - at(0.25)) / 1.3489795) ** 2
}

/**
 * weighAbove: 'auto': the smallest noise level of a run down to which the measured variance of a target's log-weights is bearable, Infinity where
 * there is none. A product's standard deviation is at most the sum of |w_j| times its models'. Throws ArgumentError where a learnt energy was not measured.
 */
export function bearableAbove(target: Target, sigmas: Float64Array): number {
  const known = new Map<Consistency, ConsistencyBand[]>()
  const bandsFor = (consistency: Consistency) => {
    const bands = known.get(consistency) ?? byLevelsOf(sigmas, consistency)
    known.set(consistency, bands)
    return bands
  }
  let found = Number.POSITIVE_INFINITY
  for (const sigma of sigmas.subarray(1)) {
    if (deviationAbove(target, sigma, bandsFor) ** 2 > BEARABLE) break
    found = sigma
  }
  return found
}

/**
 * The bands with V from the top as a run of coarser levels has it. By W, all there is of the kernels' errors, at n levels an octave in place of m
 * V grows by ((m / n)^2 - 1) W: they are alike in neighbouring steps, and of half as many steps each errs four times as much.
 */
function byLevelsOf(sigmas: Float64Array, { bands, perOctave }: Consistency): ConsistencyBand[] {
  let more = 0
  return bands.map((band) => {
    const { from, to, steps, above } = band
    const middle = Math.sqrt(from * to)
    const at = sigmas.findIndex((s) => s < middle)
    const k = Math.max(1, at < 0 ? sigmas.length - 1 : at)
    const coarser = Math.max(1, perOctave * Math.log2(sigmas[k - 1] / sigmas[k]))
    more += steps * (coarser ** 2 - 1)
    return { ...band, above: above + more }
  })
}

function deviationAbove(
  energy: EnergyFunction,
  sigma: number,
  bandsFor: (of: Consistency) => ConsistencyBand[],
): number {
  const table = energy.calibration?.consistency
  if (table) return Math.sqrt(bandsFor(table).reduce((most, { from, above }) => (from > sigma ? Math.max(most, above) : most), 0)) // biome-ignore format: one line
  const { models, exponents } = energy as Partial<Target>
  if (models?.length) {
    const deviations = models.map((model) => deviationAbove(model, sigma, bandsFor))
    return exponents ? deviations.reduce((sum, s, j) => sum + Math.abs(exponents[j]) * s, 0) : Math.max(...deviations)
  }
  if (!energy.learnt) return 0
  throw new ArgumentError(
    `weighAbove: 'auto' needs to know how consistent every learnt energy is, and ${nameOf(energy)} was not measured: 'feynkac calibrate' measures it`,
  )
}

/** Whether weighAbove: 'auto' knows all that it needs of a target. */
export function isMeasured(energy: EnergyFunction): boolean {
  if (energy.calibration?.consistency) return true
  const { models } = energy as Partial<Target>
  return models?.length ? models.every(isMeasured) : !energy.learnt
}

/** Noise below which an energy's own weights are noise by themselves; 0 where they are not, as far as was measured. */
export function noisyBelow({ bands }: Consistency): number {
  const first = bands.find(({ above }) => above > BEARABLE)
  return first?.from ?? 0
}
