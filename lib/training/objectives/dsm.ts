import { knownOptions } from '../../base/args.js'
import { invalid } from '../../base/errors.js'
import { checkOptions } from '../../base/option-table.js'
import type { Dataset } from '../../data/dataset.js'
import { readSamples } from '../../data/samples.js'
import { Denoiser } from '../../models/denoiser.js'
import type { EnergyModel } from '../../models/energy.js'
import { configLabelDim } from '../../networks/config.js'
import type { Opened } from '../checkpointed.js'
import { type Definition, type FrontEnd, trainingOptionNames } from '../definition.js'
import { inRun, openData, openRun } from '../opening.js'
import { denoisingRows, trainedHeadRows } from '../options.js'
import { train } from '../run.js'
import type { Within } from '../speed.js'
import type { TrainingOptions, TrainingResult } from '../types.js'
import { createEnergy, givenHead, headDefaults, headOptionNames, type JointHeadOptions } from './heads.js'

/** Denoising score matching: the target is the clean sample (Vincent 2011; weights and noise levels of Karras et al. 2022). */

export interface DenoisingOptions extends TrainingOptions {
  /** Standard deviation of the data; default 0.5 for images, measured for vectors and latents. */
  sigmaData?: number
  /** Give the network the data's labels (default: where there are any). */
  conditional?: boolean
}

/** Options of `trainEnergy`. */
export interface EnergyOptions extends DenoisingOptions, JointHeadOptions {}

/** Documented in late.ts; `within`: for what more than a training has the minutes. */
export async function trainDenoiser(options: DenoisingOptions, within?: Within): Promise<TrainingResult<Denoiser>> {
  knownOptions('trainDenoiser', options, [...trainingOptionNames, ...Object.keys(denoisingRows)])
  return matchScore(
    options,
    { kind: 'denoiser' },
    { kind: 'denoiser', headScale: 1 },
    ({ network, sigmaData, seed }, labels) =>
      Denoiser.create({ network, sigmaData, labels }, { device: options.device, precision: options.precision, seed }),
    within,
  )
}

/** Documented in late.ts. */
export async function trainEnergy(options: EnergyOptions): Promise<TrainingResult<EnergyModel>> {
  const own = [...Object.keys(denoisingRows), ...headOptionNames, 'energyWeight']
  knownOptions('trainEnergy', options, [...trainingOptionNames, ...own])
  const given = givenHead(options, trainedHeadRows)
  if (options.energyWeight !== undefined && options.head === undefined && !options.resume)
    throw invalid('energyWeight', "nothing without the head 'joint'", options.energyWeight)
  return matchScore(options, given, headDefaults(options), createEnergy(options))
}

async function matchScore<M extends Denoiser | EnergyModel>(
  options: DenoisingOptions,
  given: Partial<Definition>,
  defaults: Pick<Definition, 'kind' | 'headScale'>,
  create: FrontEnd<M>['create'],
  within?: Within,
): Promise<TrainingResult<M>> {
  return inRun(openRun(options), (opened) => matchScoreIn(opened, options, given, defaults, { create, within }))
}

async function matchScoreIn<M extends Denoiser | EnergyModel>(
  opened: Opened,
  options: DenoisingOptions,
  given: Partial<Definition>,
  defaults: Pick<Definition, 'kind' | 'headScale'>,
  front: Pick<FrontEnd<M>, 'create' | 'within'>,
): Promise<TrainingResult<M>> {
  const source = await openData(options, opened)
  const { data } = source
  const { sigmaData, conditional } = options
  checkOptions(denoisingRows, { sigmaData, conditional })
  if (conditional && !data.labels) throw invalid('conditional', 'false, as the data have no labels', conditional)
  const stored = opened.checkpoint?.definition as Definition | undefined
  return train(options, opened, source, {
    objective: 'dsm',
    given: { ...given, ...(sigmaData === undefined ? {} : { sigmaData }) },
    defaults: { ...defaults, sigmaData: stored?.sigmaData ?? sigmaData ?? (await deviation(data)), init: 'random' },
    teacherSource: null,
    conditional: conditional ?? (stored ? configLabelDim(stored.network) > 0 : data.labels !== null),
    ...front,
  })
}

/** Standard deviation over coordinates and the first samples; 0.5 for images in [-1, 1], as in EDM. */
async function deviation(data: Dataset): Promise<number> {
  if (data.shape.length === 3 && !data.latent) return 0.5
  const { x0 } = await readSamples(
    data,
    null,
    Int32Array.from({ length: Math.min(4096, data.size) }, (_, i) => i),
  )
  const mean = x0.reduce((sum, value) => sum + value, 0) / x0.length
  const variance = x0.reduce((sum, value) => sum + (value - mean) ** 2, 0) / x0.length
  if (!(variance > 0) || !Number.isFinite(variance))
    throw invalid('data', 'samples that are finite and not all the same', variance)
  return Number(Math.sqrt(variance).toPrecision(3))
}
