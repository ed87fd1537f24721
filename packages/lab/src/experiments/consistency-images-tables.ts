import type { Accuracy, Consistency } from 'feynkac'
import { varianceTables } from './consistency-energies.js'
import type { Space } from './consistency-models.js'
import type { Weights } from './consistency-problems.js'
import type { Measures } from './consistency-reader.js'
import type { SubjectName, Training } from './consistency-subjects.js'
import { cell, type Finding, groupBy, type Table } from './experiment.js'
import type { OwnImages } from './own-images.js'

/** What the runs of the consistency experiment on images of the user's own say. */

export type Energies = Exclude<SubjectName, 'exact'>

export interface PlainRow extends Measures {
  energies: Energies | 'images'
  training?: Training
  consistency?: Consistency
  /** To held-out images, in the classifier's features. */
  frechet: number
  kernel: number
  kernelError: number
  /** Fréchet distance over the teacher's, and its standard error over samples drawn again; of energies. */
  ratio?: number
  ratioError?: number
  /** To the teacher's plain samples. */
  toTeacher?: number
  kernelToTeacher?: number
}

export interface ControlledRow extends Measures {
  energies: Energies | 'images'
  target: string
  weights: Weights | '–'
  /** Of the first seed, as the other measures. */
  roots: number
  /** Of each seed. */
  logZ: number[]
}

interface Setting {
  particles: number
  steps: number
  plain: number
  space: Space['name']
  accuracy: Accuracy
}

export function tablesOf(
  plain: readonly PlainRow[],
  rows: readonly ControlledRow[],
  { labels, shape, test }: OwnImages,
  setting: Setting,
): Table[] {
  return [
    plainTable(plain, setting),
    ...varianceTables(plain.flatMap(({ energies, consistency }) => (energies === 'images' ? [] : [{ energies, consistency }]))), // biome-ignore format: one line
    ...[...groupBy(rows, (r) => r.target)].map(([target, own], i) => ({
      title: target,
      ...(i === 0 && {
        note: `${setting.particles} particles in ${setting.space} of ${shape[2]} x ${shape[1]}, ${setting.steps} steps, one seed. Right: shows what was asked for, by the classifier. Of the right ones: the share whose features lie among those of held-out images, the share of the held-out images of what was asked for that have one as near as their fifth neighbour, exp(entropy) of the classes of an attribute that was not asked for (the mean over those), root mean square distance per pixel from their mean. log Z of two seeds at gamma = 1. Images: as many that models learnt from.`,
      }),
      header: ['energies', 'weights', 'right', 'recognised', 'coverage', 'kinds', 'spread', 'roots', 'log Z'],
      rows: own.map((r) => [
        ...[r.energies, r.weights, cell(r.right), cell(r.recognised), cell(r.coverage), cell(r.kinds, 1)],
        ...[cell(r.spread), cell(r.roots, 0), r.logZ.length ? r.logZ.map((v) => v.toFixed(1)).join(', ') : '–'],
      ]),
    })),
    {
      title: 'The classifier',
      note: `Its accuracy on ${test.size} images that neither it nor a model learnt from.`,
      header: ['attribute', 'values', 'accuracy'],
      rows: labels.attributes.map(({ name, size }, a) => [name, String(size), cell(setting.accuracy[a] ?? Number.NaN, 3)]), // biome-ignore format: one line
    },
  ]
}

const plainTable = (rows: readonly PlainRow[], { plain }: Setting): Table => ({
  title: 'Energies of one teacher, for the same work',
  note: `Images are as many as cost what those of dot do, by the units of work of docs/residual.md. Processor: seconds of training (the tables of precisions included). Loss: on pictures held out, of distillation for the energies. Then of ${plain} plain samples by ancestral steps, each under the labels of a held-out image: share that shows all of them, by the classifier; Fréchet distance of its features to held-out images, that over the teacher's and its standard error over samples drawn again, kernel distance and its standard error; Fréchet and kernel distance to the teacher's samples; share of the held-out images that have a sample as near as their fifth neighbour. Images: as many that models learnt from.`,
  header: ['energies', 'images', 'processor', 'loss', 'right', 'Fréchet', "over the teacher's", '±', 'kernel distance', '±', 'to the teacher', 'kernel', 'coverage'], // biome-ignore format: one line
  rows: rows.map((r) => [
    ...[r.energies, r.training ? String(r.training.images) : '–', cell(r.training?.processor ?? undefined, 0)],
    ...[cell(r.training?.heldOutLoss ?? undefined, 4), cell(r.right), cell(r.frechet), cell(r.ratio), cell(r.ratioError)], // biome-ignore format: one line
    ...[cell(r.kernel, 3), cell(r.kernelError, 3), cell(r.toTeacher), cell(r.kernelToTeacher, 3), cell(r.coverage)],
  ]),
})

/** Plain samples as near to held-out images as the teacher's. */
const NEAR = 1.1

export function findings(plain: readonly PlainRow[], rows: readonly ControlledRow[], space: Space['name']): Finding[] {
  const energies = plain.filter((r) => r.ratio !== undefined)
  const of = (target: string, weights: Weights) => rows.filter((r) => r.target === target && r.weights === weights)
  const cold = space === 'pixels' ? 'likelihood' : 'none'
  const warm = of('gamma = 1', 'none')
  const share = (r: ControlledRow) => r.coverage / warm.find((w) => w.energies === r.energies)!.coverage
  return [
    {
      claim: "Plain samples of an energy are as near to held-out images as the teacher's, within a tenth of the Fréchet distance.", // biome-ignore format: one line
      holds: energies.some((r) => r.ratio! < NEAR),
      evidence: energies.map((r) => `${r.energies} ${cell(r.ratio)} ± ${cell(r.ratioError)}`).join('; '),
    },
    {
      claim: 'Low temperature (gamma = 2, by the default weights) keeps half of the coverage of gamma = 1.',
      holds: of('gamma = 2', cold).every((r) => share(r) >= 0.5),
      evidence: of('gamma = 2', cold).map((r) => `${r.energies} ${cell(r.coverage)}, ${cell(share(r))} of it`).join('; '), // biome-ignore format: one line
    },
    {
      claim:
        'Weighed to the end by the bridge at gamma = 1, an energy keeps half of the coverage that no weights have.',
      holds: of('gamma = 1', 'bridge').every((r) => share(r) >= 0.5),
      evidence: of('gamma = 1', 'bridge').map((r) => `${r.energies} ${cell(r.coverage)}, ${r.roots} roots`).join('; '), // biome-ignore format: one line
    },
    ...[...groupBy(rows.filter((r) => /^(AND|OR|NOT|guidance)/.test(r.target)), (r) => r.target)].map(([target, own]) => ({
      claim: `${target}: right in nine of ten by every energy, without weights.`,
      holds: own.filter((r) => r.weights === 'none' && r.energies !== 'denoiser').every((r) => r.right >= 0.9),
      evidence: own.filter((r) => r.weights === 'none').map((r) => `${r.energies} ${cell(r.right)}`).join('; '),
    })), // biome-ignore format: one line
  ]
}
