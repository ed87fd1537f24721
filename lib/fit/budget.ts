import type { Within } from '../training/speed.js'

/**
 * What each stage gets, from the images that the teacher sees; in a fit of minutes the energy gets what is left of them instead. Costs are in images of the
 * teacher's training; they were measured at 12x12x1 to 32x32x3 with the default network (docs/fit.md), and hardly depend on it as all stages grow with it.
 */
export interface Budget {
  /** Share of the teacher's work that is of half the size. */
  atHalf: number
  energyImages: number
  classifierImages: number
  /** Samples in a row of a picture. */
  columns: number
  /** Work of each stage, in their order. */
  work: { teacher: number; classifier: number; energy: number; calibration: number; pictures: number }
}

/** An image of half the size. */
const HALF_COST = 0.4
/** The energy begins with the teacher's weights, and an image of its training costs more than twice as much. */
const ENERGY_SHARE = 1 / 4
const ENERGY_COST = 2.6
/** Share of the energy's work that its calibration takes; of few images a larger one, up to FEW_CALIBRATION_IMAGES of them. */
const [CALIBRATION_SHARE, FEW_CALIBRATION_SHARE] = [0.1, 1.25]
const FEW_CALIBRATION_IMAGES = 750
const CLASSIFIER_COST = 0.05
/** It sees so many times the teacher's images, but each of the data no more often than EPOCHS; one that has seen fewer than FEWEST tells little. */
const CLASSIFIER_SHARE = 2
const CLASSIFIER_EPOCHS = 40
const FEWEST_CLASSIFIER_IMAGES = 4000
/** A sample: a gradient at each of LEVELS. */
const SAMPLE_COST = 22
/** A gradient of the energy, in evaluations of the teacher. */
const GRADIENT_COST = 2
/** Seconds for the search for copies and the report. */
const REPORT = 2
/** Noise levels of a sample: as many evaluations as the 18 levels of Heun's method that EDM has for CIFAR-10. */
export const LEVELS = 36
/** Share of the minutes that a teacher gets where they are too few for what has to be done besides. */
const LEAST_TEACHER_SHARE = 0.35
/** Share of the teacher's work that pictures may cost. */
const PICTURES_SHARE = 0.15
const [FEWEST_COLUMNS, MOST_COLUMNS] = [4, 12]

/**
 * teacher: images that it sees, and what share of these at half the size before. pictures: of the data. rows: of samples that are drawn, in
 * evaluations of the energy. labelled: whether a classifier is trained. whole: images of the teacher that the time would allow in all, where
 * one is given.
 */
export function budgetFor(
  teacher: { images: number; smallFirst: number },
  pictures: number,
  rows: number,
  labelled: boolean,
  whole = 0,
): Budget {
  const atHalf = teacher.images * teacher.smallFirst * HALF_COST
  const images = teacher.images + atHalf
  const energyImages = Math.ceil(images * ENERGY_SHARE)
  const enough = Math.ceil(Math.min(CLASSIFIER_SHARE * images, CLASSIFIER_EPOCHS * pictures))
  const classifierImages = labelled ? Math.max(FEWEST_CLASSIFIER_IMAGES, enough) : 0
  const affordable = Math.floor((images * PICTURES_SHARE) / SAMPLE_COST / rows)
  const columns = Math.min(MOST_COLUMNS, Math.max(FEWEST_COLUMNS, affordable))
  const calibrationImages = Math.max(
    energyImages * CALIBRATION_SHARE,
    Math.min(FEW_CALIBRATION_IMAGES, energyImages * FEW_CALIBRATION_SHARE),
  )
  const classifier = classifierImages * CLASSIFIER_COST
  const calibration = calibrationImages * ENERGY_COST
  const drawing = columns * rows * SAMPLE_COST
  const left = whole * (images / teacher.images) - images - classifier - calibration - drawing
  return {
    atHalf: atHalf / images,
    energyImages,
    classifierImages,
    columns,
    work: {
      teacher: images,
      classifier,
      energy: Math.max(energyImages * ENERGY_COST, left),
      calibration,
      pictures: drawing,
    },
  }
}

/** Share of a fit's work that is done before its energy. */
export function shareBefore({ work }: Budget): number {
  const { teacher, classifier } = work
  return (teacher + classifier) / workOf(work)
}

export function workOf(work: Budget['work']): number {
  return Object.values(work).reduce((sum, part) => sum + part, 0)
}

/** What bounds a teacher's images in a fit of minutes: all that follows from them has part of these. */
export function teacherWithin(minutes: number, budget: (images: number) => Budget): Within {
  const after = (images: number, rate: number) => {
    const { work } = budget(images)
    const rest = images * (workOf(work) / work.teacher - 1)
    return Math.min(rest, (1 - LEAST_TEACHER_SHARE) * 60 * minutes * rate)
  }
  return { after }
}

/** What bounds those of its energy. evaluation: seconds of the teacher for a row of samples, at one noise level; rows: as of `budgetFor`. */
export function energyWithin({ energyImages }: Budget, evaluation: number, rows: number): Within {
  const drawing = LEVELS * GRADIENT_COST * evaluation * rows
  return { after: (_, rate) => (drawing + REPORT) * rate, least: Math.ceil(energyImages / 2) }
}
