import { knownOptions } from '../base/args.js'
import { ArgumentError, invalid } from '../base/errors.js'
import { checkOptions } from '../base/option-table.js'
import { loadDrawing } from '../base/optional.js'
import { sizeOf } from '../base/shape.js'
import { type Dataset, labelDim } from '../data/dataset.js'
import { fingerprintData } from '../data/fingerprint.js'
import { readSamples } from '../data/samples.js'
import { findCopies } from '../metrics/copies.js'
import { pixelFeatures } from '../metrics/features.js'
import type { Classifier } from '../models/classifier.js'
import type { Denoiser } from '../models/denoiser.js'
import type { EnergyModel } from '../models/energy.js'
import { deviceOptionNames } from '../native/devices.js'
import { networkFor } from '../training/architecture.js'
import type { TrainingProgress } from '../training/events.js'
import { holdOut, type Split } from '../training/hold-out.js'
import { trainClassifier } from '../training/objectives/classifier.js'
import { distill } from '../training/objectives/distill.js'
import { trainDenoiser } from '../training/objectives/dsm.js'
import { holdOutFor, type Recipe, recipeFor } from '../training/recipe.js'
import type { DataOptions, TrainingPlan } from '../training/types.js'
import { type Budget, budgetFor, energyWithin, shareBefore, teacherWithin, workOf } from './budget.js'
import { drawRow } from './draw.js'
import { type Findings, findingsOf } from './findings.js'
import { FitFolder, type Stage } from './folder.js'
import { judge } from './judge.js'
import { type FitOptions, fitRows } from './options.js'
import { fitPictures } from './pictures.js'
import { reportFiles, writeFitReport } from './report.js'
import type { DrawnGroup, FitResult, Learnt } from './result.js'
import { type Layout, layoutOf, rowGroups } from './rows.js'

/** A teacher that sees fewer images than this learns nothing that is worth to be looked at. */
const FEWEST_IMAGES = 500
/** Share of the minutes that a training is planned in, though there be less left. */
const LEAST_LEFT = 0.1
/** Evaluations that are timed. */
const EVALUATIONS = 9
/** Pictures that were held out, of which the nearest training picture is looked for. */
const MOST_COMPARED = 128

/** A small classifier, and samples are a little noisy. */
const classifierRecipe = { noise: 0.1, network: { width: 16 }, holdOut: 0.1 }

/** Documented in late.ts. */
export async function fit(options: FitOptions): Promise<FitResult> {
  const began = performance.now()
  const { minutes, images, energyImages } = checked(options)
  const { output, overwrite = false, seed = 0, signal } = options
  await loadDrawing() // what is missing for the pictures must stop a fit before its work
  const { data, changes } = await fitPictures(options)
  const findings = await findingsOf(data, changes, signal)
  options.onFindings?.(findings)
  const layout = layoutOf(findings.attributes)
  const asked = {
    data: await fingerprintData(data),
    minutes: minutes ?? null,
    images: images ?? null,
    energyImages: energyImages ?? null,
    seed,
  }
  const folder = await FitFolder.open(output, asked, reportFiles(data, layout), overwrite)
  try {
    return await fitIn(folder, options, { minutes, images, energyImages, data, findings, layout, asked, began })
  } finally {
    await folder.close()
  }
}

interface Given extends Pick<FitOptions, 'minutes' | 'images' | 'energyImages'> {
  data: Dataset
  findings: Findings
  layout: Layout
  asked: FitResult['asked']
  /** When the call began, as performance.now() says. */
  began: number
}

async function fitIn(
  folder: FitFolder,
  { output, seed = 0, device, precision, tensorboard, signal, onPlan, onProgress }: FitOptions,
  { minutes, images, energyImages, data, findings, layout, asked, began }: Given,
): Promise<FitResult> {
  const place = { device, precision }
  const labelled = findings.attributes.length > 0
  const shared = { ...place, data, seed, tensorboard, signal, resume: 'auto' as const }
  const run = (stage: Stage) => ({ ...shared, output: folder.run(stage) })

  let plan: TrainingPlan | undefined
  let energyPlan: TrainingPlan | undefined
  let budget: Budget | undefined
  let tooFew: ArgumentError | undefined
  const report = progressOf(() => budget!, onProgress)
  const budgetOf = (count: number, { smallFirst }: Pick<Recipe, 'smallFirst'>, whole?: number) =>
    budgetFor({ images: count, smallFirst }, findings.pictures, layout.cost, labelled, whole)
  const spent = () => (performance.now() - began) / 60_000
  const left = (before: number) => Math.max(minutes! - before, minutes! * LEAST_LEFT)
  const teacher = await trainDenoiser(
    {
      ...run('teacher'),
      ...(minutes === undefined ? { images } : { minutes: left(spent()) }),
      onPlan: (found) => {
        tooFew = tooFewImages(found, minutes, findings)
        if (tooFew) throw tooFew
        plan = found
        budget = budgetOf(found.images, found.recipe, 60 * (minutes ?? 0) * (found.imagesPerSecond ?? 0))
        onPlan?.(found, 'teacher')
      },
      onProgress: report('teacher'),
    },
    minutes === undefined ? {} : teacherWithin(minutes, (count) => budgetOf(count, recipeOfTeacher(data, count))),
  ).catch(async (error) => {
    if (error === tooFew) await folder.forget() // for the next try has other options
    throw error
  })
  const evaluation = await secondsOf(teacher.model, budget!.columns).finally(() => teacher.model.dispose())
  const trained = labelled
    ? await trainClassifier({
        ...run('classifier'),
        ...classifierRecipe,
        images: budget!.classifierImages,
        onProgress: report('classifier'),
      })
    : null
  const classifier = trained?.model ?? null
  try {
    // nobody knows how long a fit took that was stopped
    const before = minutes && folder.resumed ? Math.max(spent(), minutes * shareBefore(budget!)) : spent()
    const energy = await distill(
      {
        ...run('energy'),
        teacher: teacher.path!,
        ...(minutes === undefined ? { images: energyImages ?? budget!.energyImages } : { minutes: left(before) }),
        onPlan: (found) => {
          energyPlan = found
          onPlan?.(found, 'energy')
        },
        onProgress: report('energy'),
        onCalibration: ({ done, total }) => report('calibration')({ images: done, totalImages: total }),
      },
      energyWithin(budget!, evaluation, layout.cost),
    )
    using model = energy.model
    const groups = await drawAll(model, classifier, data, { layout, budget: budget!, seed, signal, report })
    const copies = await copiesAmong(groups[0], data, seed, signal)
    signal?.throwIfAborted()
    const stages: Stage[] = ['teacher', ...(labelled ? (['classifier'] as const) : []), 'energy']
    const files = await folder.takeModels(stages)
    const learnt = ({ images: seen, steps, loss, heldOutLoss, averagedAt }: Learnt): Learnt => ({
      images: seen,
      steps,
      loss,
      heldOutLoss,
      averagedAt,
    })
    const result: FitResult = {
      asked,
      finished: true,
      seconds: Math.round((performance.now() - began) / 1000),
      output,
      model: folder.model('energy'),
      images: plan!.images,
      energyImages: energyPlan!.images,
      findings,
      recipe: plan!.recipe,
      teacher: learnt(teacher),
      energy: { ...learnt(energy), recipe: model.info.training ?? null },
      classifier:
        classifier &&
        Object.fromEntries(classifier.labels.attributes.map(({ name }, a) => [name, classifier.accuracy[a]])),
      classifierHeldOut: classifier && heldOutOf(data, findings, seed),
      samples: groups.map(({ name, caption, rows }) => ({
        name,
        caption,
        rows: rows.map(({ label, shown }) => ({ label, ...shown })),
      })),
      copies,
      files: [],
    }
    result.files = [...files, ...(await writeFitReport(folder.path, result, groups, data))]
    result.files.push(await folder.write(result))
    await folder.removeCheckpoints(stages)
    return result
  } finally {
    classifier?.dispose()
  }
}

const optionNames = [
  ...['data', 'dataOptions', 'output', 'signal', ...Object.keys(fitRows), ...deviceOptionNames],
  ...['onFindings', 'onPlan', 'onProgress'],
]

function checked(options: FitOptions): Pick<FitOptions, 'minutes' | 'images' | 'energyImages'> {
  knownOptions('fit', options, optionNames)
  const { minutes, images, energyImages, output, dataOptions } = options
  checkOptions(fitRows, options)
  if (images !== undefined && minutes !== undefined) throw invalid('minutes', 'nothing beside images', minutes)
  if (energyImages !== undefined && images === undefined)
    throw invalid('energyImages', 'nothing without images', energyImages)
  if (typeof output !== 'string' || output === '') throw invalid('output', 'the name of a directory', output)
  for (const name of ['onFindings', 'onPlan', 'onProgress'] as const)
    if (options[name] !== undefined && typeof options[name] !== 'function')
      throw invalid(name, 'a function', options[name])
  if ((dataOptions as DataOptions | undefined)?.autoencoder !== undefined)
    throw invalid('autoencoder', 'nothing, as fit learns pictures', (dataOptions as DataOptions).autoencoder)
  return { images, energyImages, minutes: images === undefined ? (minutes ?? fitRows.minutes.default!) : undefined }
}

/** Why a plan is refused. */
function tooFewImages({ images }: TrainingPlan, minutes: number | undefined, { shape }: Findings) {
  if (minutes === undefined || images >= FEWEST_IMAGES) return undefined
  const enough = Math.ceil((minutes * FEWEST_IMAGES) / images)
  return new ArgumentError(
    `in ${minutes} min the teacher sees ${images} pictures of ${shape[2]} x ${shape[1]} here, of which nothing is learnt: it takes ${enough} min, or smaller pictures (give resize)`,
  )
}

type Reporter = (stage: keyof Budget['work']) => (at: Pick<TrainingProgress, 'images' | 'totalImages' | 'size'>) => void

/** Progress of all stages by their work. */
function progressOf(budget: () => Budget, onProgress: FitOptions['onProgress']): Reporter {
  return (stage) => (at) => {
    const { work, atHalf } = budget()
    const stages = Object.keys(work) as (typeof stage)[]
    const before = stages.slice(0, stages.indexOf(stage)).reduce((sum, name) => sum + work[name], 0)
    const total = workOf(work)
    const part = at.images / at.totalImages
    const first = stage === 'teacher' ? atHalf : 0
    const { median, heldOutLoss } = at as Partial<TrainingProgress>
    onProgress?.({
      stage,
      done: before + work[stage] * (at.size ? first * part : first + (1 - first) * part),
      total,
      ...(median !== undefined && { loss: median }),
      ...(heldOutLoss !== undefined && { heldOutLoss }),
    })
  }
}

async function drawAll(
  model: EnergyModel,
  classifier: Classifier | null,
  data: Dataset,
  {
    layout,
    budget,
    seed,
    signal,
    report,
  }: { layout: Layout; budget: Budget; seed: number; signal?: AbortSignal; report: Reporter },
): Promise<DrawnGroup[]> {
  const groups = rowGroups(data, layout, budget.columns, seed)
  const total = groups.reduce((sum, { rows }) => sum + rows.length, 0)
  const drawn: DrawnGroup[] = []
  let done = 0
  for (const { rows, ...group } of groups) {
    const list: DrawnGroup['rows'] = []
    for (const row of rows) {
      const samples = await drawRow(model, row, {
        seed: seed + done,
        signal,
        onProgress: (level, of) => report('pictures')({ images: done + level / of, totalImages: total }),
      })
      list.push({ label: row.label, samples, shown: await judge(classifier, samples, row.asked, signal) })
      done++
    }
    drawn.push({ ...group, rows: list })
  }
  return drawn
}

/** How many of the pictures that the classifier was not trained on have a known value, by attribute. */
function heldOutOf(data: Dataset, { attributes }: Findings, seed: number): Record<string, number> {
  const labels = Array.from(holdOut(data, classifierRecipe.holdOut, seed).held, (i) => data.label(i))
  return Object.fromEntries(attributes.map(({ name }, a) => [name, labels.filter((label) => label[a] !== null).length]))
}

/** What the rules choose for the teacher. */
function recipeOfTeacher({ size, shape, labels }: Dataset, images: number): Recipe {
  const network = networkFor(shape, labels ? labelDim(labels) : 0)
  const attributes = labels?.attributes.length ?? 0
  return recipeFor({ objective: 'dsm', images, samples: size, latent: false, attributes, network })
}

/** What the trainings learn from, and what they hold out. */
function splitOf(data: Dataset, seed: number): Split {
  const share = holdOutFor(data.size)
  return share > 0 ? holdOut(data, share, seed) : { training: data, held: new Int32Array(0) }
}

/** Seconds that a model takes for a batch at one noise level: the median of a few. */
async function secondsOf(model: Denoiser, batch: number): Promise<number> {
  const x = new Float32Array(batch * sizeOf(model.shape))
  const seconds: number[] = []
  for (let i = 0; i < EVALUATIONS; i++) {
    const began = performance.now()
    await model.denoise(x, model.info.sigmaMax)
    seconds.push((performance.now() - began) / 1000)
  }
  return seconds.sort((a, b) => a - b)[EVALUATIONS >> 1]!
}

/** Copies among the plain samples, against what the runs held out. */
async function copiesAmong({ rows }: DrawnGroup, data: Dataset, seed: number, signal?: AbortSignal) {
  const { training, held } = splitOf(data, seed)
  const size = sizeOf(data.shape)
  const samples = new Float32Array(rows.reduce((sum, row) => sum + row.samples.length, 0))
  rows.forEach((row, i) => {
    samples.set(row.samples, i * row.samples.length)
  })
  const { x0 } = await readSamples(data, null, held.subarray(0, MOST_COMPARED))
  const heldOut = x0.length >= size ? x0 : null
  return findCopies({ samples, heldOut, training, extractor: pixelFeatures(data.shape), signal })
}
