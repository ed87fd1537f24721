import { existsSync } from 'node:fs'
import { cp, rename } from 'node:fs/promises'
import { join } from 'node:path'
import {
  type Architecture,
  type Dataset,
  type Denoiser,
  distill,
  type EnergyModel,
  type TrainingProgress,
  type TrainingResult,
  trainDenoiser,
} from 'feynkac'
import { byBudget, type ExperimentContext } from './experiment.js'

/** Models of the procedural pictures that the experiments share: trained once, kept in the folder of models, gone on with where cut off. */

type Where = {
  output: string
  resume: 'auto'
  device: string
  signal?: AbortSignal
  onProgress(p: TrainingProgress): void
}

/**
 * Trains into a folder of its own; a finished run is only read, an unfinished one resumed. `after`: the run that it goes on from, whose
 * folder is left as it is.
 */
export async function trained<M>(
  { models, device, signal, stage }: ExperimentContext,
  name: string,
  train: (where: Where) => Promise<TrainingResult<M>>,
  after?: string,
): Promise<M> {
  const output = join(models, name)
  if (after !== undefined && !existsSync(output)) {
    // under another name first: a copy that was cut off is not taken for a run
    await cp(join(models, after), `${output}.part`, { recursive: true, force: true })
    await rename(`${output}.part`, output)
  }
  const onProgress = (p: TrainingProgress) => stage(`training ${name}`, p.images, p.totalImages)
  return (await train({ output, resume: 'auto', device, signal, onProgress })).model
}

export const SIDE = 12
const IMAGES = 8000
export const shapesData = (seed = 0, side = SIDE) => `synthetic:shapes:count=${IMAGES},size=${side},seed=${seed}`

/** The network of all experiments on these pictures. */
export const shapesNetwork = { width: 24, channelMult: [1, 2, 2], blocks: 1, attention: [3] }

/** The pictures as models are trained on them. */
export interface Pictured {
  /** Name of their models. */
  name: string
  data: Dataset | string
  network: Architecture
}
const pixels: Pictured = { name: 'shapes', data: shapesData(), network: shapesNetwork }
/** At a constant rate, on all pictures and single targets, as the published results were taken. */
const common = {
  batchSize: 64,
  decay: 0,
  labelDropout: 0.5,
  references: 0,
  sharpened: 0,
  smallFirst: 0,
  augment: 0,
  holdOut: 0,
}

export const teacherImages = (context: ExperimentContext) => byBudget(context, 640, 32_000, 200_000, 1_000_000)
export const energyImages = (context: ExperimentContext) => byBudget(context, 320, 16_000, 100_000, 500_000)

export function shapesTeacher(
  context: ExperimentContext,
  images = teacherImages(context),
  { name, data, network } = pixels,
): Promise<Denoiser> {
  const { seed } = context
  const options = { ...common, data, images, lr: 2e-3, network, seed }
  return trained(context, `${name}-teacher-${images}-${seed}`, (where) => trainDenoiser({ ...options, ...where }))
}

/** The energy of the teacher of as many images as the budget says, or of another one. */
export async function shapesEnergy(
  context: ExperimentContext,
  { images = energyImages(context), teacherSeen = teacherImages(context), of = pixels } = {},
): Promise<EnergyModel> {
  using teacher = await shapesTeacher(context, teacherSeen, of)
  const { seed } = context
  const options = { ...common, data: of.data, images, lr: 1e-3, teacher, seed }
  return await trained(context, `${of.name}-energy-${teacherSeen}-${images}-${seed}`, (where) =>
    distill({ ...options, ...where }),
  )
}
