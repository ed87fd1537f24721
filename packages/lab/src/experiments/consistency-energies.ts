import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Consistency, EnergyModel } from 'feynkac'
import { type SubjectName, subjectOf, type Training, wayNames } from './consistency-subjects.js'
import { byBudget, cell, type ExperimentContext, mean, type Table } from './experiment.js'
import { heldOut, type Quality, qualityOf } from './held-out.js'

/**
 * Ways to train an energy, each for what the others cost: what they say of themselves (V by octave, the loss), and the plain samples of each beside
 * the teacher's.
 */

export interface EnergyRow {
  energies: SubjectName
  /** The training's seed. */
  seed: number
  /** Unknown where the model was there already. */
  training?: Training
  quality: Quality
  /** Of energies. */
  consistency?: Consistency
}

/** Measures what is not there; each row is kept beside the models. */
export async function energyRows(context: ExperimentContext): Promise<EnergyRow[]> {
  const { models, budget, seed, stage } = context
  const folder = join(models, `consistency-energies-${budget}`)
  await mkdir(folder, { recursive: true })
  const names: SubjectName[] = budget === 'quick' ? ['denoiser', 'dot'] : ['denoiser', ...wayNames]
  const trainings = byBudget(context, 1, 1, 3, 3)
  const data = await heldOut(byBudget(context, 32, 1024, 1024, 2048))
  const particles = byBudget(context, 8, 256, 256, 1024)
  const rows: EnergyRow[] = []
  for (let t = 0; t < trainings; t++)
    for (const energies of names) {
      stage(`plain samples, ${energies}`, rows.length, trainings * names.length)
      const file = join(folder, `${energies.replaceAll(/[ ,]+/g, '-')}-${seed + t}.json`)
      const known: EnergyRow | undefined = await readFile(file, 'utf8').then(JSON.parse, () => undefined)
      const row = known ?? (await measured(energies))
      if (!known) await writeFile(file, JSON.stringify(row))
      rows.push(row)

      async function measured(name: SubjectName): Promise<EnergyRow> {
        const own = { ...context, seed: seed + t }
        using subject = await subjectOf(name, 'independent', own)
        const { model, training } = subject.learnt!
        return {
          ...{ energies: name, seed: own.seed, training },
          quality: await qualityOf(model, data, { particles, seed, signal: context.signal }),
          ...(model instanceof EnergyModel && { consistency: model.calibration?.consistency }),
        }
      }
    }
  return rows
}

/** The octaves that pictures are settled in, and what lies around them. */
const [TOP, BOTTOM] = [12, 0.03]

export function energyTables(rows: readonly EnergyRow[]): Table[] {
  return [
    {
      title: 'Energies of one teacher, for the same work',
      note: 'Images are as many as cost what those of dot do, by the units of work of docs/residual.md. Processor: seconds of training, where it was this run that trained (the tables of precisions included). Loss: of distillation, on pictures held out. Of the plain samples by the probability flow: share that shows a shape, kernel distance of the pixels from pictures held out and its standard error, Fréchet distance of the pixels, share of the held-out pictures that have a sample as near as their fifth neighbour.',
      header: ['energies', 'training', 'images', 'processor', 'loss', 'recognised', 'kernel distance', '±', 'Fréchet', 'coverage'], // biome-ignore format: one line
      rows: rows.map(({ energies, seed, training, quality: q }) => [
        ...[energies, String(seed), training ? String(training.images) : cell(undefined), cell(training?.processor, 0)],
        cell(training?.heldOutLoss ?? undefined, 4),
        ...[cell(q.recognised), cell(q.distance, 3), cell(q.distanceError, 3), cell(q.frechet, 2), cell(q.coverage)],
      ]),
    },
    ...varianceTables(rows),
  ]
}

/** V by octave of those energies that have it; no table where none has. */
export function varianceTables(rows: readonly Pick<EnergyRow, 'energies' | 'consistency'>[]): Table[] {
  const named = wayNames.flatMap((name) => {
    const own = rows.filter((r) => r.energies === name && r.consistency)
    return own.length ? [{ name, of: own.map((r) => r.consistency!) }] : []
  })
  const measured = named.flatMap(({ of }) => of.map(({ bands }) => bands))
  // of those that were measured furthest down
  const bands = measured.toSorted((a, b) => b.length - a.length)[0] ?? []
  const octaves = [...bands.keys()].filter((k) => bands[k].from < TOP && bands[k].to > BOTTOM)
  if (octaves.length === 0) return []
  const cells = (of: readonly Consistency[], where: 'bands' | 'data') => {
    const lists = of.flatMap((c) => (c[where] ? [c[where]] : []))
    // of all trainings or none: those that go on are the better ones
    const known = octaves.filter((k) => lists.every((list) => k < list.length))
    const told = (k: number, name: 'robust' | 'above') => String(Number(mean(lists.map((list) => list[k][name])).toPrecision(2))) // biome-ignore format: one line
    const last = known.at(-1)
    return [
      ...octaves.map((k) => (known.includes(k) ? told(k, 'robust') : cell(undefined))),
      last === undefined ? cell(undefined) : `${told(last, 'above')} to ${cell(bands[last].to)}`,
    ]
  }
  // rows that were kept before it was
  const perOctave = [...new Set(named.flatMap(({ of }) => of.map((c) => c.perOctave ?? 2)))]
  return [
    {
      title: 'Variance of the log-weights at gamma = 1, by octave of noise',
      note: `In nats², by quartiles, by ${perOctave.join(' and ')} levels an octave, mean over trainings; 0 were exact. On the path of the energy’s own samples, and on noised data; below where it is 400 from the top nothing is measured.`,
      header: ['energies', 'on', ...octaves.map((k) => `${cell(bands[k].from)}–${cell(bands[k].to)}`), 'from the top'],
      rows: named.flatMap(({ name, of }) => [
        [name, 'own path', ...cells(of, 'bands')],
        ...(of.some((c) => c.data) ? [[name, 'data', ...cells(of, 'data')]] : []),
      ]),
    },
  ]
}
