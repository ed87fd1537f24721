import { ArgumentError } from '../base/errors.js'
import { native, run } from '../native/addon.js'
import { fill, inSpaceOf, toHost } from '../native/space.js'
import { AnnealedPopulation, type AnnealingOptions } from './annealing.js'
import type { Consistency, ConsistencyBand, EnergyFunction, Target } from './energy-function.js'
import { nameOf } from './evaluation.js'
import { seedAfter } from './random.js'
import { OwnRows } from './rows.js'
import { evenLevels } from './schedule.js'
import { asTarget } from './targets/linear.js'

export interface ConsistencyOptions {
  max: number
  min: number
  particles: number
  seed: number
  signal?: AbortSignal
}

/** Steps to an octave: V hardly depends on it. */
const STEPS = 2

/** Measures an energy on the path of its own samples from noise `max` to `min`: two evaluations an octave for each of the particles. */
export function measureConsistency(energy: EnergyFunction, options: ConsistencyOptions): Promise<Consistency> {
  const { max, min, particles, seed, signal } = options
  const octaves = Math.max(1, Math.round(Math.log2(max / min)))
  const sigmas = evenLevels(min, max, octaves * STEPS + 1)
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
      const values = (await toHost(out, signal)).slice()
      space.keep([weights, ...population.live()])
      return values
    }
    return { bands: await bandsOf(sigmas, particles, logG), particles }
  })
}

async function bandsOf(sigmas: Float64Array, particles: number, logG: (k: number) => Promise<Float64Array>) {
  const bands: ConsistencyBand[] = []
  const above = new Float64Array(particles)
  for (let first = 0; first + STEPS < sigmas.length; first += STEPS) {
    const within = new Float64Array(particles)
    let steps = 0
    for (let k = first + 1; k <= first + STEPS; k++) {
      const values = await logG(k)
      steps += quartileVariance(values)
      for (const [i, value] of values.entries()) {
        within[i] += value
        above[i] += value
      }
    }
    bands.push({
      ...{ from: sigmas[first], to: sigmas[first + STEPS] },
      ...{ variance: known(variance(within)), robust: known(quartileVariance(within)), steps: known(steps) },
      above: known(quartileVariance(above)),
    })
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

/** Variance of the log-weights, from the largest noise down, that a run can bear: about half of the roots are left. */
const BEARABLE = 4

/**
 * weighAbove: 'auto': the smallest noise level down to which the measured variance of a target's log-weights is bearable, Infinity where there is
 * none. A product's standard deviation is at most the sum of |w_j| times its models'. Throws ArgumentError where a learnt energy was not measured.
 */
export function bearableAbove(target: Target, sigmas: Float64Array): number {
  let found = Number.POSITIVE_INFINITY
  for (const sigma of sigmas.subarray(1)) {
    if (deviationAbove(target, sigma) ** 2 > BEARABLE) break
    found = sigma
  }
  return found
}

function deviationAbove(energy: EnergyFunction, sigma: number): number {
  const table = energy.calibration?.consistency
  if (table) return Math.sqrt(table.bands.reduce((most, { from, above }) => (from > sigma ? Math.max(most, above) : most), 0)) // biome-ignore format: one line
  const { models, exponents } = energy as Partial<Target>
  if (models?.length) {
    const deviations = models.map((model) => deviationAbove(model, sigma))
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
