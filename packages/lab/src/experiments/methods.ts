import {
  type AdaptedSigmas,
  adaptSigmas,
  type MoveOptions,
  mcmc,
  type SmcOptions,
  type SmcResult,
  sample,
  smc,
  type Target,
} from 'feynkac'
import { RunLog } from '../run-log.js'

/** Ways to sample a target, side by side. */

export interface Method {
  name: string
  /** Every `thin`-th level only: for methods that evaluate more than once at a level. */
  thin?: number
  /** As many levels, but where pilot runs of as many particles put them, whose evaluations count as well. Options of smc. */
  adapt?: boolean
  /** Annealed MCMC: moves at every level. */
  mcmc?: MoveOptions
  /** Options of `smc`, with weights 'bridge' where it names none. Neither: the summed scores, without weights, by the ancestral sampler. */
  smc?: Pick<
    SmcOptions,
    | 'weights'
    | 'kernel'
    | 'proposal'
    | 'moves'
    | 'resampling'
    | 'essThreshold'
    | 'essAfter'
    | 'meanPrecisions'
    | 'controlDrift'
    | 'finalResample'
  >
}

export interface Run {
  samples: Float32Array
  /** Normalised. */
  weights: Float64Array
  logZ: number
  smallestEss: number
  distinctRoots: number
  evaluations: number
  seconds: number
  /** Options of smc. */
  result?: SmcResult
}

export interface RunOptions {
  particles: number
  sigmas: Float64Array
  seed: number
  device?: string
  signal?: AbortSignal
  /** The folder that its levels are written into (runFolder). */
  log?: string
}

export async function runMethod(target: Target, method: Method, { log: folder, ...options }: RunOptions): Promise<Run> {
  const began = performance.now()
  const log = new RunLog(folder)
  const seconds = () => (performance.now() - began - log.spent) / 1000
  const { particles: n, seed, ...common } = options
  const sigmas = thinned(options.sigmas, method.thin ?? 1)
  const about = { name: method.name, target, particles: n, lastLevel: sigmas.length - 1 }
  if (!method.smc) {
    const { samples, evaluations } = method.mcmc
      ? await log.follow(mcmc.stream(target, { ...common, seed, ...method.mcmc, sigmas, chains: n }), {
          ...about,
          method: 'mcmc',
          options: { seed, ...method.mcmc },
        })
      : await log.follow(sample.stream(target, { ...options, sigmas, method: 'ancestral' }), {
          ...about,
          method: 'ancestral',
          options: { seed },
        })
    const weights = new Float64Array(n).fill(1 / n)
    return { samples, weights, logZ: Number.NaN, smallestEss: n, distinctRoots: n, evaluations, seconds: seconds() }
  }
  const pilot = method.adapt ? await adapted(target, method.smc, { ...options, sigmas }) : { sigmas, evaluations: 0 }
  const all = { weights: 'bridge' as const, ...method.smc }
  const stream = smc.stream(target, { ...options, sigmas: pilot.sigmas, ...all })
  const lastLevel = pilot.sigmas.length - 1
  const result = await log.follow(stream, { ...about, lastLevel, method: 'smc', options: { seed, ...all } })
  const { distinctRoots, evaluations } = result.diagnostics
  return {
    samples: result.samples,
    weights: result.logWeights.map(Math.exp),
    logZ: result.logZ,
    smallestEss: result.ess.reduce((a, b) => Math.min(a, b)),
    distinctRoots,
    evaluations: evaluations + pilot.evaluations,
    seconds: seconds(),
    result,
  }
}

async function adapted(
  target: Target,
  { weights, kernel, proposal, moves, controlDrift }: NonNullable<Method['smc']>,
  { sigmas, ...options }: RunOptions,
): Promise<AdaptedSigmas> {
  const last = sigmas.length - 1
  const range = { steps: last, max: sigmas[0], min: sigmas[last] }
  return adaptSigmas(target, { ...options, ...range, weights, kernel, proposal, moves, controlDrift })
}

/** Every `by`-th level, counted from the last one, and the first. */
function thinned(sigmas: Float64Array, by: number): Float64Array {
  const last = sigmas.length - 1
  return sigmas.filter((_, k) => k === 0 || (last - k) % by === 0)
}

/** Weights that need no more than energies and scores of the models, from none to all that docs/concepts/kernels.md has. */
export const weightings: readonly Method[] = [
  { name: 'summed scores', smc: undefined },
  { name: 'proposals alone', smc: { weights: 'none' } },
  { name: 'FKC', smc: { weights: 'fkc' } },
  { name: 'RNE', smc: { weights: 'rne', proposal: 'analytic' } },
  { name: 'tilt', smc: { weights: 'tilt', kernel: 'plain' } },
  { name: 'bridge, plain, sde', smc: { kernel: 'plain', proposal: 'sde' } },
  { name: 'bridge, scaled, sde', smc: { proposal: 'sde' } },
  { name: 'bridge, scaled, posterior', smc: { proposal: 'posterior' } },
  { name: 'bridge, scaled, analytic', smc: { proposal: 'analytic' } },
  { name: 'bridge, per coordinate', smc: { proposal: 'analytic-diagonal' } },
  { name: 'bridge, per coordinate, MALA', smc: { proposal: 'analytic-diagonal', moves: { kernel: 'mala' } } },
]

/** Whether a method can be run on a target: FKC and RNE need one that is linear in the energies. */
export function applies({ smc }: Method, target: Target): boolean {
  return (smc?.weights !== 'fkc' && smc?.weights !== 'rne') || target.exponents !== undefined
}
