import { inPieces, turns } from '../base/turns.js'
import { native, run } from '../native/addon.js'
import { copyOf, toHost, upload } from '../native/space.js'
import type { Doubles } from '../native/types.js'
import { indices } from './diagnostics.js'
import type { Population } from './feynman-kac.js'
import type { ResamplingScheme } from './resampling.js'
import type { Draw, PopulationRows } from './rows.js'

/** How a run resamples. */
export interface Redraw {
  scheme: ResamplingScheme
  /** Share of the particles that the effective sample size comes to; 1: all take part, and have equal weights then. */
  essAfter: number
  seed: number
  /** Step that the random numbers belong to. */
  step: number
  signal?: AbortSignal
}

/** What came of it: every particle's ancestor, how many different ones, and the normalised weights now. */
export interface Redrawn {
  ancestors: Int32Array
  unique: number
  weights: Float64Array
}

/**
 * Resamples a population and its weights, which come back as N times the normalised ones: their mean is 1.
 * @param before the normalised weights, on the host: there they may be the same array, and hold those after it then
 */
export async function redraw(
  population: Population,
  rows: PopulationRows,
  { logWeights, weights }: { logWeights: Doubles; weights: Doubles },
  before: Float64Array,
  { scheme, essAfter, seed, step, signal }: Redraw,
): Promise<Redrawn> {
  const { space } = population
  const n = before.length
  const there = space.ints(n)
  const resample = (draw: Draw) => population.resample((from) => rows.gather(space, from, there, draw, signal))
  if (essAfter === 1) {
    const request = { ancestors: there, weights, logWeights, scheme, seed, step }
    let unique = 0
    await resample(async (here) => {
      unique = await run(() => native.resampleJob({ ...request, ...here }), signal)
    })
    return { ancestors: await copyOf(there, signal), unique, weights: await toHost(weights, signal) }
  }
  const chosen = await extremes(before, essAfter, signal)
  const turn = turns(signal)
  const among = new Float64Array(chosen.length)
  let share = 0
  await inPieces(chosen.length, turn, (first, end) => {
    let part = share // a local one: what a closure captures is a new object for every number
    for (let j = first; j < end; j++) part += among[j] = before[chosen[j]]
    share = part
  })
  await inPieces(chosen.length, turn, (first, end) => {
    const whole = share
    for (let j = first; j < end; j++) among[j] /= whole
  })
  const drawn = new Int32Array(chosen.length)
  const unique = await run(() => native.resampleJob({ ancestors: drawn, weights: among, scheme, seed, step }), signal)
  const ancestors = await indices(n, turn)
  const after = await copyOf(before, signal)
  await inPieces(chosen.length, turn, (first, end) => {
    const each = share / chosen.length
    for (let j = first; j < end; j++) {
      ancestors[chosen[j]] = chosen[drawn[j]]
      after[chosen[j]] = each
    }
  })
  await upload(there, ancestors, signal)
  await resample(async (here) => {
    if (here) await run(() => native.gather({ ancestors: there, ...here }), signal)
  })
  const logs = new Float64Array(n)
  await inPieces(n, turn, (first, end) => {
    for (let i = first; i < end; i++) logs[i] = Math.log(n * after[i])
  })
  await upload(logWeights, logs, signal)
  await upload(weights, after, signal)
  return { ancestors, unique: n - chosen.length + unique, weights: after }
}

/**
 * The particles that take part in a partial resampling: the fewest of the largest and smallest weights, as many of the small as bring the
 * mean weight of those chosen down to that of all, such that the effective sample size comes to `share` of the particles if those chosen
 * share their weight evenly. Drawing as many of them again by weight, each with the chosen's mean weight, keeps every expectation given
 * the choice and the total weight (Liu, Chen & Logvinenko 2001; Martino, Elvira & Louzada 2016); the others go on as they are.
 * @param weights normalised
 * @returns indices of weights, ascending
 */
export async function extremes(weights: Float64Array, share: number, signal?: AbortSignal): Promise<Int32Array> {
  const chosen = new Int32Array(weights.length)
  const count = await run(() => native.extremes({ chosen, weights, share }), signal)
  return chosen.subarray(0, count)
}
