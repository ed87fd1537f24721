/**
 * What each stage gets, from the images that the teacher sees alone, so that these fix all of a fit. Costs are in images of the teacher's
 * training; they were measured at 12x12x1 to 32x32x3 with the default network (docs/fit.md), and hardly depend on it as all stages grow with it.
 */
export interface Budget {
  /** Share of the teacher's work that is of half the size. */
  atHalf: number
  energyImages: number
  classifierImages: number
  /** Samples in a row of a picture. */
  columns: number
  /** Work of each stage. */
  work: { teacher: number; energy: number; calibration: number; classifier: number; pictures: number }
}

/** An image of half the size. */
const HALF_COST = 0.4
/** The energy begins with the teacher's weights, and an image of its training costs more than twice as much. */
const ENERGY_SHARE = 1 / 4
const ENERGY_COST = 2.6
/** Share of the energy's work that its calibration takes; the fewest draws cost as much as FEWEST_CALIBRATION_IMAGES images of it. */
const CALIBRATION_SHARE = 0.1
const FEWEST_CALIBRATION_IMAGES = 750
const CLASSIFIER_COST = 0.05
/** It sees so many times the teacher's images, but each of the data no more often than EPOCHS; one that has seen fewer than FEWEST tells little. */
const CLASSIFIER_SHARE = 2
const CLASSIFIER_EPOCHS = 40
const FEWEST_CLASSIFIER_IMAGES = 4000
/** A sample: 36 gradients. */
const SAMPLE_COST = 22
/** Share of the teacher's work that pictures may cost. */
const PICTURES_SHARE = 0.15
const [FEWEST_COLUMNS, MOST_COLUMNS] = [4, 12]

/** Share of the time of a fit that the teacher gets. */
export const TEACHER_SHARE =
  1 / (1 + ENERGY_SHARE * ENERGY_COST * (1 + CALIBRATION_SHARE) + CLASSIFIER_SHARE * CLASSIFIER_COST + PICTURES_SHARE)

/**
 * teacher: images that it sees, and what share of these at half the size before. pictures: of the data. rows: of samples that are drawn, in
 * evaluations of the energy. labelled: whether a classifier is trained.
 */
export function budgetFor(
  teacher: { images: number; smallFirst: number },
  pictures: number,
  rows: number,
  labelled: boolean,
): Budget {
  const atHalf = teacher.images * teacher.smallFirst * HALF_COST
  const images = teacher.images + atHalf
  const energyImages = Math.ceil(images * ENERGY_SHARE)
  const enough = Math.min(CLASSIFIER_SHARE * images, CLASSIFIER_EPOCHS * pictures)
  const classifierImages = labelled ? Math.max(FEWEST_CLASSIFIER_IMAGES, enough) : 0
  const affordable = Math.floor((images * PICTURES_SHARE) / SAMPLE_COST / rows)
  const columns = Math.min(MOST_COLUMNS, Math.max(FEWEST_COLUMNS, affordable))
  const calibrationImages = Math.max(FEWEST_CALIBRATION_IMAGES, energyImages * CALIBRATION_SHARE)
  return {
    atHalf: atHalf / images,
    energyImages,
    classifierImages,
    columns,
    work: {
      teacher: images,
      energy: energyImages * ENERGY_COST,
      calibration: calibrationImages * ENERGY_COST,
      classifier: classifierImages * CLASSIFIER_COST,
      pictures: columns * rows * SAMPLE_COST,
    },
  }
}
