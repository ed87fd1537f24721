import { ArgumentError } from '../base/errors.js'
import type { Stream } from '../base/stream.js'
import type { LabelSpec } from '../data/dataset.js'
import { Autoencoder } from '../models/autoencoder.js'
import { Denoiser } from '../models/denoiser.js'
import { EnergyModel } from '../models/energy.js'
import { guidedDenoiser } from '../models/guidance.js'
import { labelSpecOf } from '../models/labels.js'
import { openModel } from '../models/open.js'
import type { Communicator } from '../ranks/communicator.js'
import type { Division } from '../ranks/division.js'
import { sharesOf } from '../ranks/share.js'
import { genealogyPng } from '../report/genealogy.js'
import { describeTarget, type LevelLog } from '../report/level-log.js'
import { composeTarget, type NamedLabels } from '../service/composition.js'
import { type AdaptedSigmas, adaptSigmas } from '../smc/adapt.js'
import type { AdaptSigmasOptions } from '../smc/adapt-options.js'
import { bearableAbove } from '../smc/consistency.js'
import type { EnergyFunction, Target } from '../smc/energy-function.js'
import type { LevelReport } from '../smc/events.js'
import { unweighted as equallyWeighted, SampleResult } from '../smc/result.js'
import { drawRows, type SampleMethod, type SampleOptions, SomeRows, sample } from '../smc/samplers.js'
import { sigmaGrid } from '../smc/schedule.js'
import { smc } from '../smc/smc.js'
import { SmcResult } from '../smc/smc-result.js'
import { asTarget } from '../smc/targets/linear.js'
import { deviceOf, inDashes } from './options.js'
import { progress } from './progress.js'
import { type Drawn, type SampleFlags, smcFlagRows } from './sample-types.js'

/** Who else draws: ranks, or the parts of an array of jobs. */
interface Others {
  ranks: Communicator
  division?: Division
}

/** What the command draws; of several ranks the first has the samples, and the others the summary alone. */
export async function draw(
  file: string,
  flags: SampleFlags,
  others: Others,
  log: LevelLog,
  signal: AbortSignal,
): Promise<Drawn> {
  if (flags.autoencoder === undefined) return drawFrom(file, flags, others, log, signal)
  using autoencoder = await Autoencoder.load(flags.autoencoder, deviceOf(flags))
  log.decodeBy(autoencoder)
  const drawn = await drawFrom(file, flags, others, log, signal, autoencoder.latentShape)
  if (others.ranks.rank > 0) return drawn
  const { result } = drawn
  const fields = { samples: await autoencoder.decode(result.samples, { signal }), shape: autoencoder.shape }
  const decoded = result instanceof SmcResult ? new SmcResult({ ...result, ...fields }) : new SampleResult({ ...result, ...fields }) // biome-ignore format: one line
  return { ...drawn, result: decoded, latents: { samples: result.samples, shape: result.shape } }
}

/** wanted: the shape that the model's samples must have. */
async function drawFrom(
  file: string,
  flags: SampleFlags,
  { ranks, division }: Others,
  log: LevelLog,
  signal: AbortSignal,
  wanted?: readonly number[],
): Promise<Drawn> {
  const models = new Map<string, EnergyModel>() // beside it
  const own = { ...deviceOf(flags), ...(flags.nullClass !== undefined && { nullClass: flags.nullClass }) }
  using model = await openModel(file, own)
  const { info } = model
  if (wanted && wanted.join() !== info.network.shape.join())
    throw new ArgumentError(
      `the autoencoder has latents of [${wanted}] but the model is for samples of [${info.network.shape}]`,
    )
  const base = baseLabels(flags, labelSpecOf(info))
  const method = flags.method ?? (info.kind === 'denoiser' ? 'ancestral' : 'smc')
  if (ranks.size > 1 && flags.adaptLevels) throw new ArgumentError('--adapt-levels needs a single process')
  if (division && method === 'smc')
    throw new ArgumentError('--part goes with methods without weights: the particles of smc need one another. Give each task a --seed and --output of its own') // biome-ignore format: one line
  const sigmas = sigmaGrid({
    steps: flags.steps,
    min: flags.sigmaMin ?? info.sigmaMin,
    max: flags.sigmaMax ?? info.sigmaMax,
    rho: flags.rho,
  })
  const { particles, seed } = flags
  const shape = info.network.shape
  let bar = progress(sigmas.length - 1)
  try {
    if (model instanceof Denoiser) {
      rejectComposition(flags, method)
      const { guidance: scale, guidanceInterval: interval } = flags
      if (!base && scale !== 1)
        throw new ArgumentError('--guidance needs labels to guide towards: give --class or --attributes')
      if (interval && scale === 1) throw new ArgumentError('--guidance-interval needs --guidance')
      const guided = base ? guidedDenoiser(model, { labels: base, scale, interval }) : model
      return await unweighted(guided, method as Exclude<typeof method, 'smc'>)
    }
    if (flags.guidanceInterval)
      throw new ArgumentError('--guidance-interval goes with a denoiser: an energy is guided at every noise level')
    const load = async (other: string | null): Promise<EnergyModel> => {
      if (other === null || other === file) return model
      const found = models.get(other) ?? (await EnergyModel.load(other, deviceOf(flags)))
      models.set(other, found)
      return found
    }
    const composition = {
      base,
      also: flags.with ?? [],
      not: flags.not ?? [],
      strength: flags.strength,
      dividePrior: flags.dividePrior ?? false,
      guidance: flags.guidance,
      gamma: flags.gamma,
      box: flags.box ?? null,
    }
    const target = await composeTarget(composition, load)
    if (method !== 'smc') {
      rejectSmcOptions(flags, `--method ${method}`)
      const drawn = await unweighted(target, method)
      return { ...drawn, report: { target: describeTarget(target), ...drawn.report } }
    }
    const { kernel, proposal, controlDrift, resampling, essThreshold, essAfter, finalResample, draws } = flags
    // levels are placed by what they cost the weights
    const weights = flags.weights ?? (flags.adaptLevels ? 'bridge' : undefined)
    const moves = flags.moves && { kernel: flags.moves }
    const steppers = { seed, signal, weights, kernel, proposal, controlDrift, moves }
    const weighAbove = flags.weighAbove === 'auto' && flags.adaptLevels ? bearableAbove(asTarget(target), sigmas) : flags.weighAbove // biome-ignore format: one line
    const grid = sigmas.filter((sigma) => typeof weighAbove !== 'number' || sigma >= weighAbove)
    const pilot = flags.adaptLevels && grid.length > 1 ? await adapted(target, grid, flags.adaptLevels, steppers) : null
    const levels = pilot ? Float64Array.of(...pilot.sigmas, ...sigmas.slice(grid.length)) : sigmas
    await log.begin({ method, target: describeTarget(target), shape, lastLevel: levels.length - 1 })
    const shown = ({ level, sigma, ess, distinctRoots, warning }: LevelReport) => {
      bar.update(
        level,
        `sigma ${sigma.toPrecision(3)} | ESS ${ess.toFixed(1)} | roots ${distinctRoots} of ${particles}`,
      )
      if (warning) bar.note(`warning: ${warning}`)
    }
    const all = {
      ...steppers,
      particles,
      sigmas: levels,
      weighAbove,
      draws,
      resampling,
      essThreshold,
      essAfter,
      finalResample,
    }
    const result = await (ranks.size > 1
      ? smc(target, {
          ...all,
          ...{ ranks, gather: 'first', device: 'cpu' },
          onProgress: async (report) => {
            shown(report)
            await log.level(report)
          },
        })
      : heard(smc.stream(target, all), async (level) => {
          shown(level)
          await log.level(level)
        }))
    const { diagnostics } = result
    const { distinctRoots, resamplings, families } = diagnostics
    const weighed = {
      logZ: result.logZ,
      logZError: result.logZError,
      ess: result.ess.at(-1)!,
      smallestEss: Math.min(...result.ess),
      ...{ resamplings, distinctRoots, families },
    }
    const summary = {
      ...{ collapsed: result.collapsed, ...(result.note && { note: result.note }) },
      ...{ method, weights: result.scheme! },
      ...(result.scheme !== 'none' && weighed),
      evaluations: diagnostics.evaluations + (pilot?.evaluations ?? 0),
    }
    if (ranks.rank > 0) return { result, summary, report: {} }
    const { roots, warnings, drift } = diagnostics
    return {
      ...{ result, summary },
      genealogy: () => genealogyPng(result),
      report: {
        target: describeTarget(target),
        ...summary,
        warnings,
        sigmas: [...levels],
        levels: diagnostics.levels,
        roots: [...roots],
        drift: drift.map((theta) => [...theta]),
      },
    }
  } finally {
    bar.end()
    for (const model of models.values()) model.dispose()
  }

  /** The levels of a grid put where pilot runs say; `wanted`: true, or the conditional ESS that each step is to keep. */
  async function adapted(
    target: Target | EnergyFunction,
    grid: Float64Array,
    wanted: true | number,
    options: Pick<AdaptSigmasOptions, 'seed' | 'signal' | 'weights' | 'kernel' | 'proposal' | 'controlDrift' | 'moves'>,
  ): Promise<AdaptedSigmas> {
    const levels = await adaptSigmas(target, {
      ...options,
      ...(wanted === true ? { steps: grid.length - 1 } : { conditionalEss: wanted, pilotSteps: grid.length - 1 }),
      ...{ min: grid.at(-1), max: grid[0], rho: flags.rho },
      onProgress: ({ level, lastLevel, sigma }) =>
        bar.update(Math.floor((level / lastLevel) * sigmas.length), `pilot run: sigma ${sigma.toPrecision(3)}`),
    })
    bar.end()
    const steps = levels.sigmas.length - 1
    bar = progress(steps)
    bar.note(`${steps} steps where ${levels.evaluations} evaluations say that the weights need them`)
    return levels
  }

  async function unweighted(
    model: Parameters<typeof sample>[0],
    method: Exclude<NonNullable<SampleFlags['method']>, 'smc'>,
  ): Promise<Drawn> {
    const name: SampleMethod = method === 'sde' ? 'euler-maruyama' : method
    await log.begin({ method: name, target: describeTarget(model), shape, lastLevel: sigmas.length })
    const options = { particles, sigmas: [...sigmas, 0], method: name, seed, signal }
    const hear = async (step: { level: number; lastLevel: number; sigma: number }) => {
      bar.update(Math.min(step.level, flags.steps), `sigma ${step.sigma.toPrecision(3)}`)
      await log.level(step)
    }
    const result = division
      ? await byParts(model, { ...options, onProgress: hear }, division, flags.part!.count)
      : ranks.size > 1
        ? await sample(model, { ...options, onProgress: hear, ranks, gather: 'first' })
        : await heard(sample.stream(model, options), hear)
    const { note, evaluations } = result
    const summary = { ...(note && { note }), method: name, evaluations }
    return { result, summary, report: { ...summary, sigmas: [...sigmas, 0] } }
  }
}

/** A block of the samples by each part. */
async function byParts(
  model: Parameters<typeof sample>[0],
  options: SampleOptions,
  division: Division,
  count: number,
): Promise<SampleResult> {
  const { particles } = options
  if (particles < count) throw new ArgumentError(`--particles: ${particles} are too few for ${count} parts`)
  const starts = sharesOf(particles, count)
  const blocks = await division.share(starts.slice(1), async (end, p) => {
    const rows = new SomeRows(particles, starts[p]!, end - starts[p]!)
    const { samples, evaluations, note } = await drawRows(model, options, rows)
    return { samples, evaluations, note }
  })
  const size = blocks[0]!.samples.length / starts[1]!
  const samples = new Float32Array(particles * size)
  for (const [p, block] of blocks.entries()) samples.set(block.samples, starts[p]! * size)
  const evaluations = blocks.reduce((sum, block) => sum + block.evaluations, 0)
  const { note } = blocks[0]!
  return new SampleResult({ ...equallyWeighted(samples, model.shape), evaluations, ...(note && { note }) })
}

/** Has all that a stream tells heard; what it ends with. */
async function heard<E, R>(stream: Stream<E, R>, hear: (event: E) => Promise<void>): Promise<R> {
  for await (const event of stream) await hear(event)
  return stream.result
}

/** The command's own labels. Other models of a composition may have labels where its own has none. */
function baseLabels(flags: SampleFlags, spec: LabelSpec | null): NamedLabels | null {
  if (!spec) {
    const given = {
      '--class': flags.class !== undefined,
      '--attributes': flags.attributes !== undefined,
      '--guidance': flags.guidance !== 1 && !flags.with,
    }
    for (const [option, is] of Object.entries(given))
      if (is) throw new ArgumentError(`the model is unconditional: ${option} does not apply`)
    return null
  }
  if (flags.class === undefined) return flags.attributes ?? null
  if (flags.attributes) throw new ArgumentError('give --class or --attributes, not both')
  const names = spec.attributes.map(({ name }) => name)
  if (names.length !== 1)
    throw new ArgumentError(
      `the model has ${names.length} attributes (${names.join(', ')}): give --attributes instead of --class`,
    )
  return { [names[0]!]: flags.class }
}

function rejectComposition(flags: SampleFlags, method: string): void {
  const { gamma, box, dividePrior, not } = flags
  if (method === 'smc' || gamma !== 1 || box || dividePrior || flags.with || not)
    throw new ArgumentError('a denoiser has no energy to compose and weigh: distil it first (feynkac distill)')
  rejectSmcOptions(flags, 'a denoiser')
}

/** Options that say how smc works. */
const smcOptions = [...Object.keys(smcFlagRows), 'adaptLevels'] as (keyof SampleFlags)[]

/** They are an error where it does not run. */
function rejectSmcOptions(flags: SampleFlags, where: string): void {
  const given = smcOptions.find((name) => flags[name] !== undefined)
  if (given === undefined) return
  throw new ArgumentError(`--${inDashes(given)} goes with --method smc on an energy, not with ${where}`)
}
