import { ArgumentError } from '../base/errors.js'
import type { LabelSpec } from '../data/dataset.js'
import { Autoencoder } from '../models/autoencoder.js'
import { Denoiser } from '../models/denoiser.js'
import { EnergyModel } from '../models/energy.js'
import { guidedDenoiser } from '../models/guidance.js'
import { labelSpecOf } from '../models/labels.js'
import { loadModel } from '../models/load.js'
import type { Communicator } from '../ranks/communicator.js'
import type { Division } from '../ranks/division.js'
import { sharesOf } from '../ranks/share.js'
import { genealogyPng } from '../report/genealogy.js'
import { composeTarget, type NamedLabels } from '../service/composition.js'
import { type AdaptedSigmas, type AdaptSigmasOptions, adaptSigmas } from '../smc/adapt.js'
import { bearableAbove } from '../smc/consistency.js'
import type { EnergyFunction, Target } from '../smc/energy-function.js'
import { resample } from '../smc/resampling.js'
import type { SampleResult } from '../smc/result.js'
import { type SampleMethod, type SampleOptions, SomeRows, sample, sampleRows } from '../smc/samplers.js'
import { sigmaGrid } from '../smc/schedule.js'
import { smc } from '../smc/smc.js'
import { asTarget } from '../smc/targets/linear.js'
import { deviceOf } from './options.js'
import { progress } from './progress.js'
import type { Drawn, SampleFlags } from './sample-types.js'

/** Who else draws: ranks, or the parts of an array of jobs. */
interface Others {
  ranks: Communicator
  division?: Division
}

/** Of several ranks the first has the samples; what the others return has the summary alone. */
export async function draw(file: string, flags: SampleFlags, others: Others, signal: AbortSignal): Promise<Drawn> {
  if (flags.autoencoder === undefined) return drawFrom(file, flags, others, signal)
  using autoencoder = await Autoencoder.load(flags.autoencoder, deviceOf(flags))
  const drawn = await drawFrom(file, flags, others, signal, autoencoder.latentShape)
  if (others.ranks.rank > 0) return drawn
  const { samples, shown, shape } = drawn
  const decoded = await autoencoder.decode(samples, { signal })
  return {
    ...drawn,
    samples: decoded,
    shown: shown === samples ? decoded : await autoencoder.decode(shown, { signal }),
    shape: autoencoder.shape,
    latents: { samples, shape },
  }
}

/** wanted: the shape that the model's samples must have. */
async function drawFrom(
  file: string,
  flags: SampleFlags,
  { ranks, division }: Others,
  signal: AbortSignal,
  wanted?: readonly number[],
): Promise<Drawn> {
  const models = new Map<string, EnergyModel>()
  const own = { ...deviceOf(flags), ...(flags.nullClass !== undefined && { nullClass: flags.nullClass }) }
  const { info, network } = await loadModel(file, own)
  network.dispose()
  if (wanted && wanted.join() !== info.network.shape.join())
    throw new ArgumentError(
      `the autoencoder has latents of [${wanted}] but the model is for samples of [${info.network.shape}]`,
    )
  const base = baseLabels(flags, labelSpecOf(info))
  const method = flags.method ?? (info.kind === 'denoiser' ? 'heun' : 'smc')
  if (ranks.size > 1 && flags.adaptLevels)
    throw new ArgumentError('several processes share particles at given levels, not --adapt-levels')
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
    if (info.kind === 'denoiser') {
      rejectComposition(flags, method)
      using model = await Denoiser.load(file, own)
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
      const path = other ?? file
      const model = models.get(path) ?? (await EnergyModel.load(path, deviceOf(flags)))
      models.set(path, model)
      return model
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
    const { kernel, proposal, controlDrift, resampling, essThreshold, essAfter } = flags
    // levels are placed by what they cost the weights
    const weights = flags.weights ?? (flags.adaptLevels ? 'bridge' : undefined)
    const moves = flags.moves && { kernel: flags.moves }
    const steppers = { seed, signal, weights, kernel, proposal, controlDrift, moves }
    const weighAbove = flags.weighAbove === 'auto' && flags.adaptLevels ? bearableAbove(asTarget(target), sigmas) : flags.weighAbove // biome-ignore format: one line
    const grid = sigmas.filter((sigma) => typeof weighAbove !== 'number' || sigma >= weighAbove)
    const pilot = flags.adaptLevels && grid.length > 1 ? await adapted(target, grid, flags.adaptLevels, steppers) : null
    const levels = pilot ? Float64Array.of(...pilot.sigmas, ...sigmas.slice(grid.length)) : sigmas
    const result = await smc(target, {
      ...steppers,
      ...{ particles, sigmas: levels, weighAbove, resampling, essThreshold, essAfter },
      ...(ranks.size > 1 && { ranks, gather: 'first' as const, device: 'cpu' }),
      onProgress({ level, sigma, ess, distinctRoots, warning }) {
        bar.update(
          level,
          `sigma ${sigma.toPrecision(3)} | ESS ${ess.toFixed(1)} | roots ${distinctRoots} of ${particles}`,
        )
        if (warning) bar.note(`warning: ${warning}`)
      },
    })
    const { samples, logWeights, diagnostics } = result
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
    if (ranks.rank > 0) return { samples, logWeights, shape, summary, shown: samples, report: {} }
    const { roots, warnings, drift } = diagnostics
    return {
      ...{ samples, logWeights, shape, summary },
      shown: byWeight(samples, logWeights, seed ?? 0),
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
    const options = {
      particles,
      sigmas: [...sigmas, 0],
      method: name,
      seed,
      signal,
      onProgress: ({ level, sigma }: { level: number; sigma: number }) =>
        bar.update(Math.min(level, flags.steps), `sigma ${sigma.toPrecision(3)}`),
    }
    const { samples, evaluations, note } = division
      ? await byParts(model, options, division, flags.part!.count)
      : await sample(model, { ...options, ...(ranks.size > 1 && { ranks, gather: 'first' as const }) })
    const summary = { ...(note && { note }), method: name, evaluations }
    return { samples, logWeights: null, shape, shown: samples, summary, report: { ...summary, sigmas: [...sigmas, 0] } }
  }
}

/** A block of the samples by each part. */
async function byParts(
  model: Parameters<typeof sample>[0],
  options: SampleOptions & { particles: number },
  division: Division,
  count: number,
): Promise<Pick<SampleResult, 'samples' | 'evaluations' | 'note'>> {
  const { particles } = options
  if (particles < count) throw new ArgumentError(`--particles: ${particles} are too few for ${count} parts`)
  const starts = sharesOf(particles, count)
  const blocks = await division.share(starts.slice(1), async (end, p) => {
    const rows = new SomeRows(particles, starts[p]!, end - starts[p]!)
    const { samples, evaluations, note } = await sampleRows(model, options, rows)
    return { samples, evaluations, note }
  })
  const size = blocks[0]!.samples.length / starts[1]!
  const samples = new Float32Array(particles * size)
  for (const [p, block] of blocks.entries()) samples.set(block.samples, starts[p]! * size)
  const evaluations = blocks.reduce((sum, block) => sum + block.evaluations, 0)
  return { samples, evaluations, note: blocks[0]!.note }
}

/** The density, in words and exponents. */
function describeTarget(target: Target | EnergyFunction): object {
  const nameOf = (model: object) => ('name' in model ? model.name : 'an energy')
  const { models, exponents } = target as Partial<Target>
  return { name: nameOf(target), ...(models && { models: models.map(nameOf) }), ...(exponents && { exponents }) }
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
const smcOptions = [
  'weights',
  'kernel',
  'proposal',
  'controlDrift',
  'moves',
  'resampling',
  'essThreshold',
  'essAfter',
  'weighAbove',
  'adaptLevels',
] as const satisfies (keyof SampleFlags)[]

/** They are an error where it does not run. */
function rejectSmcOptions(flags: SampleFlags, where: string): void {
  const given = smcOptions.find((name) => flags[name] !== undefined)
  if (given === undefined) return
  const option = given.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`)
  throw new ArgumentError(`--${option} goes with --method smc on an energy, not with ${where}`)
}

/** As many samples, drawn by their weights. */
function byWeight(samples: Float32Array, logWeights: Float64Array, seed: number): Float32Array {
  const size = samples.length / logWeights.length
  const shown = new Float32Array(samples.length)
  resample(logWeights.map(Math.exp), { seed }).forEach((ancestor, i) => {
    shown.set(samples.subarray(ancestor * size, (ancestor + 1) * size), i * size)
  })
  return shown
}
