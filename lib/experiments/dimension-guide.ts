import { DEFAULT_THRESHOLD, type DimensionRow, measure, type Size } from './dimension-exact.js'
import type { ExactProblem } from './exact-problems.js'
import { cell, type ExperimentContext, type Finding, groupBy, mean, rms, type Table } from './experiment.js'
import type { Method } from './methods.js'

/** What a dimension needs: particles, levels, when to resample and which remedy, read off the runs. */

/** Shares of the particles below which to resample; the default first, as the first of equals is chosen. */
const thresholds = [DEFAULT_THRESHOLD, 0.2, 1]

/** Runs of every method at every threshold. */
export async function sweepOf(
  problems: readonly ExactProblem[],
  methods: readonly Method[],
  size: Size,
  seeds: number,
  context: ExperimentContext,
): Promise<DimensionRow[]> {
  const rows: DimensionRow[] = []
  for (const problem of problems)
    for (const method of methods) {
      const [usual] = await measure([problem], [method], size, seeds, context)
      for (const essThreshold of thresholds)
        if (essThreshold === DEFAULT_THRESHOLD) rows.push(usual)
        // a run that never resampled is the same at lower thresholds
        else if (essThreshold < DEFAULT_THRESHOLD && usual.resamplings === 0)
          rows.push({ ...usual, threshold: essThreshold })
        else {
          const other = { ...method, smc: { ...method.smc, essThreshold } }
          rows.push(...(await measure([problem], [other], size, seeds, context)))
        }
    }
  return rows
}

/** Good enough to use: log Z to half a nat, the modes' shares to a tenth, and more than a few independent particles. */
const good = (r: DimensionRow) => r.logZ < 0.5 && r.modes < 0.1 && r.distinctRoots >= 16

/** The least work that is good enough; of equal work the most roots, then the first. */
function cheapest(rows: readonly DimensionRow[]): DimensionRow | undefined {
  return rows.filter(good).sort((a, b) => a.evaluations - b.evaluations || b.distinctRoots - a.distinctRoots)[0]
}

const sizeOf = (r: DimensionRow | undefined) => (r ? `${r.particles} particles, ${r.steps} levels` : 'none tried')

/** guided: methods of the sweep; others: runs of more methods, which may be recommended too. */
export function guide(
  sweep: readonly DimensionRow[],
  guided: readonly Method[],
  others: readonly DimensionRow[],
): Table {
  const all = groupBy([...sweep, ...others], (r) => `${r.d}/${r.target}`)
  return {
    title: 'What a dimension needs',
    note:
      'The least work that gives log Z to half a nat, the shares of the modes to a tenth and 16 distinct roots. Recommended: the remedy, of all, ' +
      'that needs the least, and of equals keeps the most roots; without a table: the same of those that need no calibration. ' +
      'Resample: where the ESS is below this share of the particles, for the recommended one.',
    header: [
      'dimension',
      'target',
      ...guided.map((m) => m.name),
      'without a table',
      'recommended',
      'particles',
      'levels',
      'resample',
    ],
    rows: [...groupBy(sweep, (r) => `${r.d}/${r.target}`)].map(([key, [{ d, target }]]) => {
      const tried = all.get(key)!
      const best = cheapest(tried)
      const plain = cheapest(tried.filter((r) => !r.method.startsWith('calibrated')))
      return [
        String(d),
        target,
        ...guided.map(({ name }) => sizeOf(cheapest(tried.filter((r) => r.method === name)))),
        plain ? `${plain.method}, ${sizeOf(plain)}` : 'none tried',
        best?.method ?? 'none tried',
        ...[best?.particles, best?.steps].map((v) => cell(v, 0)),
        best ? `below ${best.threshold}` : '–',
      ]
    }),
  }
}

const at = (rows: readonly DimensionRow[], threshold: number) => rows.filter((r) => r.threshold === threshold)
const keptRoots = (rows: readonly DimensionRow[]) => mean(rows.map((r) => r.distinctRoots / r.particles))
const ordered = thresholds.toSorted((a, b) => a - b)

/** Roots and errors by threshold, over all sizes and both targets of the sweep. */
export function resamplingTable(sweep: readonly DimensionRow[]): Table {
  const groups = [...groupBy(sweep, (r) => `${r.d}/${r.method}`).values()]
  return {
    title: 'When to resample',
    note: 'Where the ESS is below a share of the particles; 1: at every level. Means over targets and sizes.',
    header: [
      'dimension',
      'method',
      ...ordered.map((t) => `roots kept, below ${t}`),
      ...ordered.map((t) => `log Z error, below ${t}`),
      ...ordered.map((t) => `good, below ${t}`),
    ],
    rows: groups.map((rows) => [
      String(rows[0].d),
      rows[0].method,
      ...ordered.map((t) => cell(keptRoots(at(rows, t)))),
      ...ordered.map((t) => cell(rms(at(rows, t).map((r) => r.logZ)))),
      ...ordered.map((t) => `${at(rows, t).filter(good).length} of ${at(rows, t).length}`),
    ]),
  }
}

export function resamplingFinding(sweep: readonly DimensionRow[]): Finding {
  const byDimension = [...groupBy(sweep, (r) => r.d)]
  const goods = (t: number) => at(sweep, t).filter(good).length
  return {
    claim: 'Resampling below half the particles keeps more roots than resampling at every level, in every dimension.',
    holds: byDimension.every(([, rows]) => keptRoots(at(rows, DEFAULT_THRESHOLD)) > keptRoots(at(rows, 1))),
    evidence: `share of roots kept ${byDimension.map(([d, rows]) => `d = ${d}: ${ordered.map((t) => `${cell(keptRoots(at(rows, t)))} below ${t}`).join(', ')}`).join('; ')}; good runs ${ordered.map((t) => `${goods(t)} below ${t}`).join(', ')}, of ${at(sweep, 1).length}`,
  }
}
