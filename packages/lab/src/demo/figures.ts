import { type Block, type Figure, gridPng, pictureOf, plotPng } from 'feynkac/internal'
import { type Method, methods, type PlanarResult, problems } from './planar.js'
import type { ShapesResult, ShapesRow } from './shapes.js'

const shownMethods: Method[] = ['exact', 'smc', 'summed']
const POINTS = 1200

export async function figures(plane: PlanarResult, pictures: ShapesResult): Promise<Figure[]> {
  const list: Figure[] = [
    {
      name: 'plane',
      caption: 'Each row is a composition of a learnt ring and a learnt bar; the same number of points everywhere.',
      png: await scatter(plane),
    },
    { name: 'plane-ess', caption: 'Effective sample size of the distilled energies.', png: await essPlot(plane) },
  ]
  for (const { row, samples } of pictures.pictures)
    list.push({
      name: `pictures-${row.wanted.replace(', ', '-')}-${row.target}-${row.method}`,
      caption: `${row.wanted}: ${describeTarget(row.target)}, ${describeMethod(row.method)}`,
      png: await gridPng(samples, [1, pictures.side, pictures.side], { columns: 16, size: 800 }),
    })
  return list
}

const describeTarget = (target: ShapesRow['target']) =>
  target === 'plain' ? 'p(x|shape) p(x|place)' : 'p(x|shape) p(x|place) / p(x)'
const describeMethod = (method: ShapesRow['method']) => (method === 'smc' ? 'SMC' : 'summed scores')

/** The first points of a cloud drawn so that each stands for the same weight (systematic resampling by a fixed offset). */
function points({ clouds }: PlanarResult) {
  return clouds
    .filter(({ method }) => shownMethods.includes(method))
    .flatMap(({ title, method, cloud: { x, weights } }) => {
      let [at, below] = [0, 0]
      return Array.from({ length: POINTS }, (_, t) => {
        while (at < weights.length - 1 && below + weights[at] < (t + 0.5) / POINTS) below += weights[at++]
        return { title, method: methods[method], x: x[2 * at], y: x[2 * at + 1] }
      })
    })
}

function scatter(plane: PlanarResult): Promise<Buffer> {
  const axis = { type: 'quantitative' as const, scale: { domain: [-1.3, 1.3] }, axis: null }
  const header = { title: null, labelFontSize: 13 }
  return plotPng({
    data: { values: points(plane) },
    mark: { type: 'circle', size: 6, opacity: 0.35, clip: true },
    width: 190,
    height: 190,
    encoding: {
      x: { field: 'x', ...axis },
      y: { field: 'y', ...axis },
      row: { field: 'title', sort: problems.map(({ title }) => title), header },
      column: { field: 'method', sort: shownMethods.map((m) => methods[m]), header },
      color: { field: 'method', legend: null, scale: { scheme: 'dark2' } },
    },
  })
}

function essPlot({ ess }: PlanarResult): Promise<Buffer> {
  return plotPng({
    data: { values: ess },
    mark: { type: 'line' },
    width: 560,
    height: 200,
    encoding: {
      x: { field: 'level', type: 'quantitative', title: 'level, from large noise to small' },
      y: { field: 'share', type: 'quantitative', title: 'ESS / particles', scale: { domain: [0, 1] } },
      color: { field: 'problem', type: 'nominal', title: null },
    },
  })
}

const three = (value: number) => value.toFixed(3)
const whole = (value: number | undefined) => (value === undefined ? '' : String(Math.round(value)))

export const planarTable = (rows: DemoResult['plane']['rows']) => ({
  header: ['composition', 'method', 'total variation', '±', 'sliced W2', '±', 'smallest ESS', 'roots'],
  rows: rows.map((row) => [
    row.problem,
    methods[row.method],
    three(row.totalVariation),
    three(row.spread.totalVariation),
    three(row.slicedW2),
    three(row.spread.slicedW2),
    whole(row.smallestEss),
    whole(row.distinctRoots),
  ]),
})

export const shapesTable = (rows: readonly ShapesRow[]) => ({
  header: ['asked for', 'target', 'method', 'both', 'shape', 'place', 'smallest ESS', 'roots'],
  rows: rows.map((row) => [
    row.wanted,
    describeTarget(row.target),
    describeMethod(row.method),
    ...[row.both, row.shape, row.place].map((share) => share.toFixed(2)),
    whole(row.smallestEss),
    whole(row.distinctRoots),
  ]),
})

export function reportBlocks({ plane, pictures, seed, seconds }: DemoResult, drawn: readonly Figure[]): Block[] {
  const of = (prefix: string) => drawn.filter(({ name }) => name.startsWith(prefix)).map(pictureOf)
  return [
    { text: `Seed ${seed}; ${seconds} seconds in all.` },
    { heading: 'In the plane, against the exact answer' },
    {
      text: `A denoiser of a ring and one of a bar were trained and distilled into energies. Distances to the exact density (by quadrature), means over ${plane.seeds} seeds of ${plane.particles} particles; a perfect sampler of as many particles has the distances of "exact draws".`,
    },
    ...of('plane'),
    planarTable(plane.rows),
    { heading: 'Pictures: one attribute AND another' },
    {
      text: `A conditional denoiser of ${pictures.side} x ${pictures.side} pictures was distilled. Each factor knows one attribute only. Shares of ${pictures.particles} samples that a rule reads as asked. SMC moves its particles by MALA at every level.`,
    },
    ...of('pictures'),
    shapesTable(pictures.rows),
  ]
}

export interface DemoResult {
  seed: number
  /** Wall clock. */
  seconds: number
  plane: Pick<PlanarResult, 'particles' | 'seeds' | 'rows'>
  pictures: Pick<ShapesResult, 'side' | 'particles' | 'rows'>
}
