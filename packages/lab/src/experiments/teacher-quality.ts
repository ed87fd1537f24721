import { conservativity, type Denoiser } from 'feynkac'
import { plotPng } from 'feynkac/internal'
import { byBudget, cell, type Experiment, type Finding, type Outcome } from './experiment.js'
import {
  denoisingErrors,
  distanceOf,
  type HeldOut,
  heldOut,
  levelNames,
  type Quality,
  qualityOf,
  qualityTable,
  visitedMean,
} from './held-out.js'
import { energyImages, shapesEnergy, shapesTeacher, teacherImages } from './trained.js'

/** Teachers stopped at several lengths of training: what each lacks as a gradient, and what its student makes of it. */

export interface TeacherRow {
  /** Images the teacher has seen. */
  images: number
  /** ||J - J^T|| / ||J|| of the teacher per noise level. */
  asymmetry: number[]
  /** lambda |D_student - D_teacher|^2 / d on held-out pictures per noise level. */
  gap: number[]
  teacherError: number[]
  studentError: number[]
  teacher: Quality
  student: Quality
}

export const teacherQuality: Experiment = {
  title: 'Teachers of different quality, and their students',
  question:
    'How far is a denoiser from a gradient, does training bring it nearer, and is a student as good as its teacher?',
  async run(context) {
    const whole = teacherImages(context)
    const lengths = [whole / 16, whole / 4, whole]
    const particles = byBudget(context, 8, 64, 256, 1024)
    const data = await heldOut(byBudget(context, 32, 192, 1024, 2048))
    const probes = byBudget(context, 1, 2, 8, 8)
    const rows: TeacherRow[] = []
    for (const images of lengths) {
      using teacher = await shapesTeacher(context, images)
      using student = await shapesEnergy(context, { images: energyImages(context), teacherSeen: images })
      rows.push({
        images,
        asymmetry: await asymmetries(teacher, data, probes, context.signal),
        gap: await denoisingErrors(student, data, teacher),
        teacherError: await denoisingErrors(teacher, data),
        studentError: await denoisingErrors(student, data),
        teacher: await qualityOf(teacher, data, { particles, ...context }),
        student: await qualityOf(student, data, { particles, ...context }),
      })
    }
    return {
      findings: findings(rows),
      tables: [errorTable(rows), samplesTable(rows), levelTable(rows)],
      figures: [
        {
          name: 'teacher-quality',
          caption: 'Asymmetry of the teachers’ Jacobians, and the students’ gaps.',
          png: await plot(rows),
        },
      ],
      data: { particles, rows },
    } satisfies Outcome
  },
}

async function asymmetries(teacher: Denoiser, data: HeldOut, probes: number, signal?: AbortSignal): Promise<number[]> {
  const out: number[] = []
  const denoiser = {
    shape: teacher.shape,
    denoise: (x: Float32Array, sigma: number) => teacher.denoise(x, sigma, { labels: data.labels, signal }),
  }
  for (const { sigma, noisy } of data.levels)
    out.push(await conservativity(denoiser, { x: noisy, sigma, probes, signal }))
  return out
}

function findings(rows: readonly TeacherRow[]): Finding[] {
  const [worst, best] = [rows[0], rows.at(-1)!]
  return [
    {
      claim: 'A denoiser is not a gradient, and becomes more of one by training.',
      holds: visitedMean(worst.asymmetry) > visitedMean(best.asymmetry) && visitedMean(best.asymmetry) > 0.01,
      evidence: rows.map((r) => `${r.images} images: ${cell(visitedMean(r.asymmetry), 3)}`).join(', '),
    },
    {
      claim: 'The distillation gap follows the teacher’s asymmetry.',
      holds: visitedMean(worst.gap) > visitedMean(best.gap),
      evidence: rows.map((r) => `${r.images} images: gap ${cell(visitedMean(r.gap), 4)}`).join(', '),
    },
    {
      claim: 'A student denoises held-out pictures as well as its teacher, within five percent.',
      holds: rows.every((r) => visitedMean(r.studentError) < 1.05 * visitedMean(r.teacherError)),
      evidence: rows
        .map(
          (r) =>
            `${r.images} images: teacher ${cell(visitedMean(r.teacherError), 3)}, student ${cell(visitedMean(r.studentError), 3)}`,
        )
        .join('; '),
    },
    {
      claim: 'Its samples are as near to held-out pictures as its teacher’s, within two standard errors.',
      holds: rows.every(
        ({ teacher: t, student: s }) => s.distance - t.distance < 2 * Math.hypot(s.distanceError, t.distanceError),
      ),
      evidence: rows
        .map(
          ({ images, teacher: t, student: s }) =>
            `${images} images: teacher ${distanceOf(t)}, student ${distanceOf(s)}`,
        )
        .join('; '),
    },
  ]
}

const errorTable = (rows: readonly TeacherRow[]) => ({
  title: 'Teachers and students',
  note: 'Means over the noise levels within two standard deviations of training’s. Error: lambda |D - x0|² / d on held-out pictures.',
  header: ['images', 'asymmetry', 'gap', 'teacher error', 'student error'],
  rows: rows.map((r) => [
    String(r.images),
    cell(visitedMean(r.asymmetry), 3),
    cell(visitedMean(r.gap), 4),
    cell(visitedMean(r.teacherError), 3),
    cell(visitedMean(r.studentError), 3),
  ]),
})

const samplesTable = (rows: readonly TeacherRow[]) =>
  qualityTable(
    'Samples of teachers and students',
    ['images', ''],
    rows.flatMap((r) =>
      (['teacher', 'student'] as const).map((who) => ({ names: [String(r.images), who], quality: r[who] })),
    ),
  )

const levelTable = (rows: readonly TeacherRow[]) => ({
  title: 'Per noise level',
  header: ['images', '', ...levelNames],
  rows: rows.flatMap((r) => [
    [String(r.images), 'asymmetry', ...r.asymmetry.map((v) => cell(v, 3))],
    [String(r.images), 'gap', ...r.gap.map((v) => cell(v, 4))],
  ]),
})

function plot(rows: readonly TeacherRow[]): Promise<Buffer> {
  const values = rows.flatMap((r) =>
    r.asymmetry.flatMap((value, k) => [
      { images: String(r.images), level: levelNames[k], measure: 'asymmetry of the teacher', value },
      { images: String(r.images), level: levelNames[k], measure: 'gap of the student', value: r.gap[k] },
    ]),
  )
  return plotPng({
    data: { values },
    mark: { type: 'line', point: true },
    width: 320,
    height: 260,
    encoding: {
      x: { field: 'level', type: 'nominal', sort: levelNames, title: 'noise' },
      y: { field: 'value', type: 'quantitative', scale: { type: 'log' }, title: null },
      color: { field: 'images', type: 'nominal', title: 'images seen', sort: rows.map((r) => String(r.images)) },
      column: { field: 'measure', title: null },
    },
    resolve: { scale: { y: 'independent' } },
  })
}
