import { inPieces, turns } from '../base/turns.js'
import { native, run } from '../native/addon.js'
import { host, upload } from '../native/space.js'
import type { Doubles } from '../native/types.js'
import type { Roots } from './diagnostics.js'
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

/** What came of it: every particle's ancestor, and how many different ones. */
export interface Redrawn {
  ancestors: Int32Array
  unique: number
}

/**
 * Resamples a population, its roots and its weights, which come back as N times the normalised ones: their mean is 1.
 * @param shares the normalised weights, on the host: there they may be the same array; they hold those after it then
 */
export async function redraw(
  population: Population,
  rows: PopulationRows,
  { logWeights, weights }: { logWeights: Doubles; weights: Doubles },
  shares: Float64Array,
  roots: Roots,
  { scheme, essAfter, seed, step, signal }: Redraw,
): Promise<Redrawn> {
  const { space } = population
  const n = shares.length
  const ancestors = new Int32Array(n)
  const there = space.device === host.device ? ancestors : space.ints(n)
  const resample = (draw: Draw) => population.resample((from) => rows.gather(space, from, there, draw, signal))
  if (essAfter === 1) {
    const request = { ancestors: there, weights, logWeights, scheme, seed, step }
    const descent = { roots: roots.descent, drawn: ancestors, shares }
    let unique = 0
    await resample(async (here) => {
      const drawn = await run(() => native.resampleJob({ ...request, ...descent, ...here }), signal)
      roots.resampled(drawn)
      unique = drawn.unique
    })
    return { ancestors, unique }
  }
  const chosen = await extremes(shares, essAfter, signal)
  const turn = turns(signal)
  const among = new Float64Array(chosen.length)
  let share = 0
  await inPieces(chosen.length, turn, (first, end) => {
    let part = share // a local one: what a closure captures is a new object for every number
    for (let j = first; j < end; j++) part += among[j] = shares[chosen[j]]
    share = part
  })
  await inPieces(chosen.length, turn, (first, end) => {
    const whole = share
    for (let j = first; j < end; j++) among[j] /= whole
  })
  const drawn = new Int32Array(chosen.length)
  const request = { ancestors: drawn, weights: among, scheme, seed, step }
  const { unique } = await run(() => native.resampleJob(request), signal)
  await inPieces(n, turn, (first, end) => {
    for (let i = first; i < end; i++) ancestors[i] = i
  })
  await inPieces(chosen.length, turn, (first, end) => {
    const each = share / chosen.length
    for (let j = first; j < end; j++) {
      ancestors[chosen[j]] = chosen[drawn[j]]
      shares[chosen[j]] = each
    }
  })
  if (there !== ancestors) await upload(there, ancestors, signal)
  await resample(async (here) => {
    if (here) await run(() => native.gather({ ancestors: there, ...here }), signal)
  })
  const logs = new Float64Array(n)
  await inPieces(n, turn, (first, end) => {
    for (let i = first; i < end; i++) logs[i] = Math.log(n * shares[i])
  })
  await upload(logWeights, logs, signal)
  if (weights !== shares) await upload(weights, shares, signal)
  roots.resampled(await run(() => native.descend({ ancestors, weights: shares, roots: roots.descent }), signal))
  return { ancestors, unique: n - chosen.length + unique }
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
