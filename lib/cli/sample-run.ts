import { ArgumentError } from '../errors.js'
import { Denoiser } from '../models/denoiser.js'
import { EnergyModel } from '../models/energy.js'
import type { Labels } from '../models/labels.js'
import { loadModel } from '../models/model-file.js'
import { native, run } from '../native.js'
import { resample } from '../smc/resampling.js'
import { type ResidentDenoiser, type SampleMethod, sample } from '../smc/samplers.js'
import { sigmaGrid } from '../smc/schedule.js'
import { smc } from '../smc/smc.js'
import { host } from '../smc/space.js'
import { composeTarget, type NamedLabels } from './composition.js'
import { deviceOf } from './options.js'
import { progress } from './progress.js'
import type { SampleFlags } from './sample.js'

/** What the command `sample` draws. */
export interface Drawn {
  samples: Float32Array
  /** Normalised; null for the methods without weights. */
  logWeights: Float64Array | null
  shape: readonly number[]
  /** The samples for a picture: as many, drawn by their weights. */
  shown: Float32Array
  /** For people, and all of the diagnostics for samples.json. */
  summary: Record<string, number | string | boolean>
  report: object
}

export async function draw(file: string, flags: SampleFlags, signal: AbortSignal): Promise<Drawn> {
  const models = new Map<string, EnergyModel>()
  const { info, network } = await loadModel(file, deviceOf(flags))
  network.dispose()
  const { labels } = info
  const base = baseLabels(flags, labels)
  const method = flags.method ?? (info.kind === 'denoiser' ? 'heun' : 'smc')
  const sigmas = sigmaGrid({
    steps: flags.steps,
    min: flags.sigmaMin ?? info.sigmaMin,
    max: flags.sigmaMax ?? info.sigmaMax,
    rho: flags.rho,
  })
  const { particles, seed } = flags
  const shape = info.network.shape
  const bar = progress(sigmas.length - 1)
  try {
    if (info.kind === 'denoiser') {
      rejectComposition(flags, method)
      using model = await Denoiser.load(file, deviceOf(flags))
      return await unweighted(guidedDenoiser(model, base, flags.guidance), method as Exclude<typeof method, 'smc'>)
    }
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
      if (flags.weighAbove !== undefined) throw new ArgumentError('--weigh-above goes with --method smc')
      return await unweighted(target, method)
    }
    const weighed = sigmas.filter((sigma) => sigma >= (flags.weighAbove ?? 0))
    if (weighed.length < 2)
      throw new ArgumentError(`--weigh-above ${flags.weighAbove} leaves no step from the largest noise, ${sigmas[0]}`)
    const result = await smc(target, {
      particles,
      sigmas: weighed,
      seed,
      signal,
      weights: flags.weights,
      kernel: flags.kernel,
      proposal: flags.proposal,
      resampling: flags.resampling,
      essThreshold: flags.essThreshold,
      moves: flags.moves && { kernel: flags.moves },
      onProgress: ({ level, sigma, ess }) =>
        bar.update(level, `sigma ${sigma.toPrecision(3)} | ESS ${ess.toFixed(1)} of ${particles}`),
    })
    const { logWeights, logZ, diagnostics } = result
    const samples =
      flags.weighAbove === undefined ? result.samples : await settled(target, result.samples, weighed.length)
    const summary = {
      method,
      logZ,
      ess: result.ess.at(-1)!,
      smallestEss: Math.min(...result.ess),
      resamplings: diagnostics.resamplings,
      distinctRoots: diagnostics.distinctRoots,
      evaluations: diagnostics.evaluations,
    }
    const { levels, roots } = diagnostics
    return {
      ...{ samples, logWeights, shape, summary },
      shown: byWeight(samples, logWeights, seed ?? 0),
      report: { ...summary, sigmas: [...sigmas], levels, roots: [...roots] },
    }
  } finally {
    bar.end()
    for (const model of models.values()) model.dispose()
  }

  /** Goes on without weights from the last weighed level, as `ancestral` does, to noise 0. */
  async function settled(
    target: Parameters<typeof sample>[0],
    initial: Float32Array,
    weighed: number,
  ): Promise<Float32Array> {
    const rest = [...sigmas.slice(weighed - 1), 0]
    const options = { particles, sigmas: rest, initial, method: 'ancestral', seed, signal } as const
    return (await sample(target, options)).samples
  }

  async function unweighted(
    model: Parameters<typeof sample>[0],
    method: Exclude<NonNullable<SampleFlags['method']>, 'smc'>,
  ): Promise<Drawn> {
    const name: SampleMethod = method === 'sde' ? 'euler-maruyama' : method
    const { samples, evaluations } = await sample(model, {
      particles,
      sigmas: [...sigmas, 0],
      method: name,
      seed,
      signal,
      onProgress: ({ level, sigma }) => bar.update(Math.min(level, flags.steps), `sigma ${sigma.toPrecision(3)}`),
    })
    const summary = { method: name, evaluations }
    return { samples, logWeights: null, shape, shown: samples, summary, report: { ...summary, sigmas: [...sigmas, 0] } }
  }
}

function baseLabels(flags: SampleFlags, labels: { attributes: { name: string }[] } | null): NamedLabels | null {
  if (flags.class === undefined) return flags.attributes ?? null
  if (flags.attributes) throw new ArgumentError('give --class or --attributes, not both')
  const names = labels?.attributes.map(({ name }) => name) ?? []
  if (names.length !== 1)
    throw new ArgumentError(
      names.length
        ? `the model has ${names.length} attributes (${names.join(', ')}): give --attributes instead of --class`
        : 'the model is unconditional: --class does not apply',
    )
  return { [names[0]!]: flags.class }
}

function rejectComposition(flags: SampleFlags, method: string): void {
  const { gamma, box, dividePrior, not, weights, kernel, proposal, moves, weighAbove } = flags
  if (
    method === 'smc' ||
    gamma !== 1 ||
    box ||
    dividePrior ||
    flags.with ||
    not ||
    weights ||
    kernel ||
    proposal ||
    moves ||
    weighAbove
  )
    throw new ArgumentError('a denoiser has no energy to compose and weigh: distil it first (feynkac distill)')
}

/** (1 - w) D(x) + w D(x | labels): classifier-free guidance without weights. */
function guidedDenoiser(model: Denoiser, labels: Labels | null, scale: number): ResidentDenoiser {
  if (!labels && scale !== 1)
    throw new ArgumentError('--guidance needs labels to guide towards: give --class or --attributes')
  if (!labels) return model
  const { shape, residence } = model
  const denoiseIn: ResidentDenoiser['denoiseIn'] = async (space, x, sigma, options = {}) => {
    const conditional = await model.denoiseIn(space, x, sigma, { ...options, labels })
    if (scale === 1) return conditional
    const terms = [await model.denoiseIn(space, x, sigma, options), conditional]
    const out = space.floats(x.length)
    const coefficients = Float64Array.of(1 - scale, scale)
    const rows = x.length / shape.reduce((a, b) => a * b, 1)
    await run(() => native.combine({ out, terms, coefficients, rows }), options.signal)
    return out
  }
  const denoise = (x: Float32Array, sigma: number, options?: { signal?: AbortSignal }) =>
    denoiseIn(host, x, sigma, options) as Promise<Float32Array>
  return { shape, residence, denoiseIn, denoise }
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
