import { type EnergyModel, guided, lowTemperature, type ShapeScore, type Target } from 'feynkac'
import { plotPng, shapeLabels } from 'feynkac/internal'
import { runFolder } from '../run-log.js'
import {
  byBudget,
  cell,
  clearlyAbove,
  type Experiment,
  type Finding,
  groupBy,
  mean,
  type Outcome,
  type Table,
} from './experiment.js'
import type { Method } from './methods.js'
import { drawPictures, seenIn } from './pictures.js'
import { SIDE, shapesEnergy } from './trained.js'

/**
 * Adherence to a class against diversity: low temperature by SMC, score scaling, classifier-free guidance with and without weights, at
 * equal evaluations of a model. The class fixes the shape and leaves the place free, so diversity has an exact ideal: four places alike.
 */

const summed: Method = { name: 'summed scores' }
const weighed: Method = { name: 'SMC', smc: {} }

interface Family {
  name: string
  method: Method
  strengths: number[]
  target(energy: EnergyModel, shape: number, strength: number): Target
}

const cold = (energy: EnergyModel, shape: number, gamma: number) =>
  lowTemperature(energy.conditioned([shape, null]), { gamma })
const towards = (energy: EnergyModel, shape: number, scale: number) =>
  guided(energy.conditioned([null, null]), energy.conditioned([shape, null]), { scale })

const families: Family[] = [
  { name: 'low temperature, SMC', method: weighed, strengths: [1, 1.5, 2, 4], target: cold },
  { name: 'score scaling', method: summed, strengths: [1, 1.5, 2, 4], target: cold },
  { name: 'guidance', method: summed, strengths: [1.5, 2, 4], target: towards },
  { name: 'guidance, SMC', method: weighed, strengths: [1.5, 2, 4], target: towards },
]

export interface TemperatureRow {
  family: string
  strength: number
  /** Share of the pictures that show the shape. */
  adherence: number
  /** Mean correlation with the nearest template. */
  match: number
  /** exp(entropy of the places) among the right ones: 4 is all alike. */
  places: number
  /** Root mean square distance per pixel between right pictures of one place: what varies within a mode. */
  spread: number
  distinctRoots: number
  evaluations: number
  seconds: number
}

export const temperature: Experiment = {
  title: 'Low temperature against guidance',
  question:
    'Does low temperature by SMC buy adherence to the class at a smaller price in diversity than guidance and score scaling, at equal evaluations?',
  async run(context) {
    const particles = byBudget(context, 16, 64, 128, 512)
    const steps = byBudget(context, 10, 48, 96, 192)
    using energy = await shapesEnergy(context)
    const shapes = byBudget(context, [2], [0, 1, 2], [0, 1, 2], [0, 1, 2])
    const rows: TemperatureRow[] = []
    const runs = families.flatMap((family) => family.strengths.map((strength) => ({ family, strength })))
    for (const [i, { family, strength }] of runs.entries()) {
      context.stage(family.name, i, runs.length)
      const perShape: Omit<TemperatureRow, 'family' | 'strength'>[] = []
      for (const shape of shapes) {
        const target = family.target(energy, shape, strength)
        // a target of two models has half the levels, so that every method evaluates a model as often
        const options = { particles, steps: Math.round(steps / target.models.length), seed: context.seed }
        const log = runFolder(context, family.name, strength, shapeLabels.attributes[0].values![shape])
        const { images, ...run } = await drawPictures(target, family.method, {
          ...options,
          signal: context.signal,
          log,
        })
        const { distinctRoots, evaluations, seconds } = run
        perShape.push({ ...scores(images, shape), distinctRoots, evaluations, seconds })
      }
      const average = (key: keyof (typeof perShape)[0]) => mean(perShape.map((r) => r[key]))
      rows.push({
        family: family.name,
        strength,
        adherence: average('adherence'),
        match: average('match'),
        places: average('places'),
        spread: average('spread'),
        distinctRoots: average('distinctRoots'),
        evaluations: average('evaluations'),
        seconds: average('seconds'),
      })
    }
    context.stage('done', runs.length, runs.length)
    const note = `${particles} pictures for each of ${shapes.map((s) => shapeLabels.attributes[0].values![s]).join(', ')}.`
    return {
      findings: findings(rows, shapes.length),
      tables: [table(rows, note)],
      figures: [
        { name: 'temperature', caption: 'Adherence against diversity; labels: strength.', png: await plot(rows) },
      ],
      data: { particles, steps, rows },
    } satisfies Outcome
  },
}

function scores(images: Float32Array, shape: number) {
  const seen = seenIn(images, SIDE)
  const right = seen.map((s, i) => ({ ...s, i })).filter((s) => s.shape === shape)
  const byPlace = [...groupBy(right, (s) => s.place).values()]
  const entropy = byPlace.reduce((sum, g) => sum - (g.length / right.length) * Math.log(g.length / right.length), 0)
  return {
    adherence: right.length / seen.length,
    match: mean(seen.map((s: ShapeScore) => s.match)),
    places: right.length ? Math.exp(entropy) : 0,
    spread: within(
      images,
      byPlace.map((g) => g.map(({ i }) => i)),
    ),
  }
}

/** Standard deviation per pixel about the mean picture of each group. */
function within(images: Float32Array, groups: number[][]): number {
  const size = SIDE * SIDE
  let [squares, count] = [0, 0]
  for (const group of groups.filter((g) => g.length > 1))
    for (let k = 0; k < size; k++) {
      const values = group.map((i) => images[i * size + k])
      const centre = mean(values)
      squares += values.reduce((sum, v) => sum + (v - centre) ** 2, 0) / (group.length - 1)
      count++
    }
  return count ? Math.sqrt(squares / count) : 0
}

/** The strength at which ways are compared: one for all, chosen beforehand. */
const COMPARED = 2

function findings(rows: readonly TemperatureRow[], shapes: number): Finding[] {
  const of = (family: string, strength = COMPARED) => rows.find((r) => r.family === family && r.strength === strength)!
  const above = (a: TemperatureRow, b: TemperatureRow) =>
    clearlyAbove(a.adherence, a.distinctRoots * shapes, b.adherence, b.distinctRoots * shapes)
  const [smc, warm] = [of('low temperature, SMC'), of('low temperature, SMC', 1)]
  const [scaling, plain, guidance] = [of('score scaling'), of('score scaling', 1), of('guidance')]
  const say = (r: TemperatureRow) =>
    `${r.family} ${r.strength}: adherence ${cell(r.adherence)}, places ${cell(r.places, 1)}, spread ${cell(r.spread, 3)}`
  return [
    {
      claim:
        'Weights raise adherence: at gamma = 1, SMC shows the class more often than plain sampling of the same density.',
      holds: above(warm, plain),
      evidence: `${cell(warm.adherence)} against ${cell(plain.adherence)}`,
    },
    {
      claim: 'Low temperature raises it further: gamma = 2 against gamma = 1, both by SMC.',
      holds: above(smc, warm),
      evidence: `${cell(smc.adherence)} against ${cell(warm.adherence)}`,
    },
    {
      claim: 'At strength 2, low temperature by SMC adheres more than score scaling and than guidance.',
      holds: above(smc, scaling) && above(smc, guidance),
      evidence: [smc, scaling, guidance].map(say).join('; '),
    },
    {
      claim: 'There it keeps as many places as guidance does.',
      holds: smc.places >= guidance.places,
      evidence: `${cell(smc.places)} against ${cell(guidance.places)} of 4`,
    },
  ]
}

const table = (rows: readonly TemperatureRow[], note: string): Table => ({
  title: 'Adherence and diversity',
  note: `${note} Places: exp(entropy) among the right pictures, 4 is ideal. Spread: standard deviation per pixel among pictures of one place. Evaluations of a model per picture.`,
  header: ['way', 'strength', 'adherence', 'match', 'places', 'spread', 'roots', 'evaluations', 'seconds'],
  rows: rows.map((r) => [
    r.family,
    String(r.strength),
    ...[r.adherence, r.match, r.places].map((v) => cell(v)),
    cell(r.spread, 3),
    ...[r.distinctRoots, r.evaluations].map((v) => cell(v, 0)),
    cell(r.seconds, 1),
  ]),
})

function plot(rows: readonly TemperatureRow[]): Promise<Buffer> {
  const encoding = {
    x: { field: 'adherence', type: 'quantitative', title: 'share that shows the class', scale: { zero: false } },
    y: { field: 'places', type: 'quantitative', title: 'places kept, of 4', scale: { zero: false } },
    color: { field: 'family', type: 'nominal', title: null },
  } as const
  return plotPng({
    data: { values: [...rows] },
    width: 520,
    height: 340,
    encoding,
    layer: [
      { mark: { type: 'line', opacity: 0.5 }, encoding: { order: { field: 'strength' } } },
      { mark: { type: 'point', filled: true, size: 60 } },
      { mark: { type: 'text', dx: 10, dy: -8 }, encoding: { text: { field: 'strength' } } },
    ],
    config: { legend: { labelLimit: 300 } },
  })
}
