import { inPieces, turns } from '../base/turns.js'
import { indices } from '../smc/diagnostics.js'
import type { SmcResult } from '../smc/smc-result.js'
import { plotPng } from './plots.js'

/** A picture of who descends from whom in a run of SMC. */

/** Lines that the picture's height holds before they blur into each other: more particles than this are thinned out. */
const MOST_LINES = 192

/** One piece of a particle's line, from a level to a later one; heights are places among the particles, from 0 to 1. */
export interface Branch {
  from: number
  to: number
  y: number
  yTo: number
  /** Whether a final particle descends from it. */
  survives: boolean
}

/**
 * The lines of a genealogy. Particles stand in the order of their ancestors, so that lines never cross. Of more than `most` particles
 * one in so many of the final ones is drawn with all its ancestors, and one in so many of those without descendants.
 * @param ancestors per level, null where there was no resampling
 */
export async function branches(
  ancestors: readonly (Int32Array | null)[],
  particles: number,
  most = MOST_LINES,
): Promise<Branch[]> {
  const turn = turns()
  // a generation lives from the resampling that made it to the next one, or to the last level
  const births = ancestors.flatMap((parents, level) => (parents ? [{ level, parents }] : []))
  const places = [await indices(particles, turn)]
  for (const { parents } of births) places.push(await placesBelow(places.at(-1)!, parents, turn))
  const every = Math.ceil(particles / most)
  const isDrawn = (g: number, i: number) => places[g][i] % every === 0
  const final = new Uint8Array(particles)
  await inPieces(particles, turn, (first, end) => {
    for (let i = first; i < end; i++) final[i] = Number(isDrawn(births.length, i))
  })
  const parentsOf = births.map(({ parents }) => parents)
  const drawn = await ancestry(parentsOf, final, turn)
  const alive = await ancestry(parentsOf, new Uint8Array(particles).fill(1), turn)

  const lines: Branch[] = []
  const height = (g: number, i: number) => (particles === 1 ? 0.5 : places[g][i] / (particles - 1))
  for (let g = 0; g <= births.length; g++) {
    const birth = births[g - 1]
    const death = births[g]?.level ?? ancestors.length - 1
    await inPieces(particles, turn, (first, end) => {
      for (let i = first; i < end; i++) {
        const survives = drawn[g][i] === 1
        if (!survives && (alive[g][i] === 1 || !isDrawn(g, i))) continue
        const y = height(g, i)
        const settled = birth ? Math.min(birth.level + 1, death) : 0
        if (birth && settled > birth.level)
          lines.push({ from: birth.level, to: settled, y: height(g - 1, birth.parents[i]), yTo: y, survives })
        if (death > settled) lines.push({ from: settled, to: death, y, yTo: y, survives })
      }
    })
    await turn()
  }
  return lines
}

/** Places in the order of the parents' places, and of children of one parent in that of their numbers. */
async function placesBelow(
  above: Int32Array,
  parents: Int32Array,
  turn: () => Promise<void>,
): Promise<Int32Array<ArrayBuffer>> {
  const n = parents.length
  const next = new Int32Array(n + 1) // where the next child of the parent at a place stands
  await inPieces(n, turn, (first, end) => {
    for (let i = first; i < end; i++) next[above[parents[i]] + 1]++
  })
  await inPieces(n, turn, (first, end) => {
    for (let place = first; place < end; place++) next[place + 1] += next[place]
  })
  const here = new Int32Array(n)
  await inPieces(n, turn, (first, end) => {
    for (let i = first; i < end; i++) here[i] = next[above[parents[i]]]++
  })
  return here
}

/** Whether a particle of each generation is one of the `final` ones, or has one among its descendants. */
async function ancestry(
  parentsOf: readonly Int32Array[],
  final: Uint8Array,
  turn: () => Promise<void>,
): Promise<Uint8Array[]> {
  const marks = [final]
  for (let g = parentsOf.length - 1; g >= 0; g--) {
    const before = new Uint8Array(final.length)
    const parents = parentsOf[g]
    const after = marks[0]
    await inPieces(parents.length, turn, (first, end) => {
      for (let i = first; i < end; i++) before[parents[i]] |= after[i]
    })
    marks.unshift(before)
    await turn()
  }
  return marks
}

/**
 * The genealogy of a run as PNG. Below, the lines of the particles through the levels: dark with descendants among the final particles, pale
 * without, and a dotted line where the population was resampled. Above, as shares of the particles: the effective sample sizes and the roots.
 */
export async function genealogyPng({
  ancestors,
  logWeights,
  diagnostics: { levels },
}: Pick<SmcResult, 'ancestors' | 'logWeights' | 'diagnostics'>): Promise<Buffer> {
  const n = logWeights.length
  const last = levels.length - 1
  const [width, axisTitle] = [900, 'level, from large noise to small']
  const ticks = Array.from({ length: 9 }, (_, t) => Math.round((t * last) / 8))
  const sigmas = levels.map(({ sigma }) => (Number.isNaN(sigma) ? '' : sigma.toPrecision(2)))
  const x = (title: string | null) => ({
    type: 'quantitative' as const,
    scale: { domain: [0, Math.max(1, last)], nice: false },
    axis: {
      title,
      values: [...new Set(ticks)],
      grid: false,
      labelExpr: `${JSON.stringify(sigmas)}[datum.value] ? [datum.label, 'σ ' + ${JSON.stringify(sigmas)}[datum.value]] : datum.label`,
    },
  })
  const share = { type: 'quantitative' as const, scale: { domain: [0, 1] } }
  const series = ['effective sample size', 'of the step alone (conditional)', 'roots']
  const curves = levels.flatMap(({ level, ess, conditionalEss, distinctRoots }) =>
    [ess, conditionalEss, distinctRoots].map((value, s) => ({ level, share: value / n, of: series[s] })),
  )
  const lines = await branches(ancestors, n)
  const resampled = (title: string | null) => ({
    data: { values: levels.filter((l) => l.resampled) },
    mark: { type: 'rule' as const, color: '#c44', opacity: 0.55, strokeDash: [2, 3], strokeWidth: 0.8 },
    encoding: { x: { field: 'level', ...x(title) } },
  })
  const drawn = (survives: boolean, color: string, strokeWidth: number) => ({
    data: { values: lines.filter((line) => line.survives === survives) },
    mark: { type: 'rule' as const, color, strokeWidth },
    encoding: {
      x: { field: 'from', ...x(axisTitle) },
      x2: { field: 'to' },
      y: { field: 'y', type: 'quantitative' as const, scale: { domain: [-0.02, 1.02], nice: false }, axis: null },
      y2: { field: 'yTo' },
    },
  })
  return plotPng({
    vconcat: [
      {
        width,
        height: 140,
        layer: [
          resampled(null),
          {
            data: { values: curves },
            mark: { type: 'line', strokeWidth: 1.6 },
            encoding: {
              x: { field: 'level', ...x(null) },
              y: { field: 'share', ...share, axis: { title: `share of ${n} particles`, tickCount: 5 } },
              color: {
                field: 'of',
                type: 'nominal',
                sort: series,
                scale: { domain: series, range: ['#1f5fa8', '#e08a1e', '#222'] },
                legend: { title: null, orient: 'top', symbolType: 'stroke', labelLimit: 300, offset: 4 },
              },
            },
          },
        ],
      },
      {
        width,
        height: 440,
        layer: [drawn(false, '#bcc1c9', 0.6), drawn(true, '#1b2a41', n > 64 ? 0.7 : 1.1), resampled(axisTitle)],
      },
    ],
    config: { view: { stroke: '#ccc' } },
  })
}
