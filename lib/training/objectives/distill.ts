import { knownOptions } from '../../base/args.js'
import { ArgumentError, invalid, NumericsError, OutOfMemoryError } from '../../base/errors.js'
import { checkOptions } from '../../base/option-table.js'
import { labelledAs } from '../../data/relabel.js'
import { Denoiser } from '../../models/denoiser.js'
import type { EnergyModel } from '../../models/energy.js'
import { labelSpecOf } from '../../models/labels.js'
import type { ModelCalibrateOptions } from '../../models/measured-tables.js'
import type { CalibrateOptions } from '../../smc/precision/calibrate-options.js'
import type { Opened } from '../checkpointed.js'
import { trainingOptionNames } from '../definition.js'
import { inRun, openData, openRun } from '../opening.js'
import { distillRows, type PathOptions } from '../options.js'
import { givenPath, pathOptionNames } from '../path-loss.js'
import { train } from '../run.js'
import type { Within } from '../speed.js'
import type { TrainingOptions, TrainingResult } from '../types.js'
import { createEnergy, givenHead, type HeadOptions, headDefaults, headOptionNames } from './heads.js'

/** Options of `distill`. */
export interface DistillOptions extends TrainingOptions, HeadOptions, PathOptions {
  /** The denoiser whose score is projected, or its file. Only a resumed run can do without: its checkpoint knows the file. */
  teacher?: Denoiser | string
  /**
   * Paths of the energy's own without weights, of each of a few targets, four times in the second half of the run: 32, say; their states are
   * then two fifths of what is trained on (docs/residual.md). 0, the default: none.
   */
  selfPlay?: number
  /** Begin with the teacher's weights ('teacher', the default where the networks agree) or new ones ('random'). */
  init?: 'teacher' | 'random'
  /**
   * Draws of data to calibrate the energy with at the end (EnergyModel.calibrate), for the proposal 'calibrated' of smc; false: not to. To be given again where the run is resumed.
   * Default: what costs about a twentieth of the training, from 16 (vectors: 256; fewer of short trainings of pictures) to 1024.
   */
  calibrate?: number | false
  /** Progress of that. */
  onCalibration?: CalibrateOptions['onProgress']
}

/** `a` of the head of pictures that begin with their teacher's weights (docs/recipe.md). */
const PICTURES_SCALE = 1
/** Noise levels of the table. */
const LEVELS = 16
/** Of pictures there are no fewer draws than one for so many images, lest 16 take longer than a short training. */
const SHORT = 40
/** A draw for one table takes as long as so many images of the training (docs/fit.md). */
const DRAW_COST = 25

/** Documented in late.ts; `within`: for what more than a training has the minutes. */
export async function distill(options: DistillOptions, within: Within = {}): Promise<TrainingResult<EnergyModel>> {
  const own = [...headOptionNames, ...pathOptionNames, ...Object.keys(distillRows), 'teacher', 'onCalibration']
  knownOptions('distill', options, [...trainingOptionNames, ...own])
  const { onCalibration } = options
  checkOptions(distillRows, options)
  if (onCalibration !== undefined && typeof onCalibration !== 'function')
    throw invalid('onCalibration', 'a function', onCalibration)
  return inRun(openRun(options), (opened) => distillIn(opened, options, within))
}

async function distillIn(
  opened: Opened,
  options: DistillOptions,
  { after, ...bounds }: Within,
): Promise<TrainingResult<EnergyModel>> {
  const { calibrate: draws, onCalibration } = options
  const given = options.teacher ?? opened.checkpoint?.sources.teacher ?? undefined
  if (given === undefined) throw invalid('teacher', 'a denoiser or its file', given)
  if (typeof given !== 'string' && !(given instanceof Denoiser))
    throw invalid('teacher', 'a denoiser or its file', given)
  const teacher =
    typeof given === 'string'
      ? await Denoiser.load(given, { device: options.device, precision: options.precision })
      : given
  try {
    const { shape, info } = teacher
    const opening = await openData(options, opened)
    const spec = labelSpecOf(info)
    const data = spec ? labelledAs(spec, opening.data) : opening.data
    const source = { ...opening, data }
    const { sigmaMin, sigmaMax, preconditioning } = info
    if (shape.join() !== data.shape.join())
      throw new ArgumentError(`the teacher is for samples of [${shape}] but the data are [${data.shape}]`)
    const init = options.network === undefined ? 'teacher' : 'random'
    const drawsOf = (images: number) => (draws === false ? 0 : (draws ?? usualDraws(images, teacher)))
    return await train(options, opened, source, {
      objective: 'distill',
      given: {
        ...givenHead(options),
        ...givenPath(options),
        ...(options.selfPlay !== undefined && { selfPlay: options.selfPlay }),
        ...(options.init && { init: options.init }),
      },
      defaults: {
        ...headDefaults(
          options,
          shape.length === 3 && (options.init ?? init) === 'teacher' ? PICTURES_SCALE : undefined,
        ),
        sigmaData: info.sigmaData,
        init,
      },
      teacher,
      teacherSource: typeof given === 'string' ? given : (opened.checkpoint?.sources.teacher ?? null),
      conditional: teacher.labelDim > 0,
      create: createEnergy(options, { sigmaMin, sigmaMax, preconditioning, nullClass: info.nullClass }),
      finish: async (model, samples, { images, seed }) => {
        if (draws === false) return
        await calibrated(model, {
          data: samples,
          count: drawsOf(images),
          levels: LEVELS,
          seed,
          signal: options.signal,
          onProgress: onCalibration,
        })
      },
      within: {
        ...bounds,
        after: (images, rate) => DRAW_COST * tablesOf(teacher) * drawsOf(images) + (after?.(images, rate) ?? 0),
      },
    })
  } finally {
    if (typeof given === 'string') teacher.dispose()
  }
}

/**
 * In evaluations of a network without its adjoint, training costs 7 an image (6 the student's, 1 the teacher's), and a draw 4 a level and
 * table: two points, with their gradients.
 */
function usualDraws(images: number, teacher: Denoiser): number {
  const affordable = Math.round((images * 7) / 20 / (4 * LEVELS * tablesOf(teacher)))
  const fewest = teacher.shape.length === 3 ? Math.min(16, Math.max(4, Math.round(images / SHORT))) : 256
  return Math.min(1024, Math.max(affordable, fewest))
}

/** Without labels and, where there are any, with them. */
function tablesOf({ labelDim: dims }: Denoiser): number {
  return dims > 0 ? 2 : 1
}

/** A table is no reason to lose a model: where its gradient is not finite somewhere, or memory runs out, it is saved without. */
async function calibrated(model: EnergyModel, options: ModelCalibrateOptions): Promise<void> {
  try {
    await model.calibrate(options)
  } catch (error) {
    if (!(error instanceof NumericsError || error instanceof OutOfMemoryError)) throw error
    process.emitWarning(`the energy is not calibrated: ${error.message}`, 'FeynkacWarning')
  }
}
