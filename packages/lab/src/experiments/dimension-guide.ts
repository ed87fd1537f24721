import { DEFAULT_THRESHOLD, type DimensionRow, measure, type Size } from './dimension-exact.js'
import type { ExactProblem } from './exact-problems.js'
import { cell, type ExperimentContext, type Finding, groupBy, mean, rms, type Table } from './experiment.js'
import type { Method } from './methods.js'

/** What a dimension needs: particles, levels, when to resample and which remedy, read off the runs. */

/** Shares of the particles below which to resample; the default first, as the first of equals is chosen. */
const thresholds = [DEFAULT_THRESHOLD, 0.2, 1]

/** Runs of every method at every size; at the fewest particles, at every threshold. */
export async function sweepOf(
  problems: readonly ExactProblem[],
  methods: readonly Method[],
  sizes: readonly Size[],
  seeds: number,
  context: ExperimentContext,
): Promise<DimensionRow[]> {
  const rows: DimensionRow[] = []
  const fewest = Math.min(...sizes.map(({ particles }) => particles))
  for (const size of sizes)
    for (const method of methods) {
      const usual = await measure(problems, [method], size, seeds, context)
      rows.push(...usual)
      if (size.particles > fewest) continue
      for (const essThreshold of thresholds.filter((t) => t !== DEFAULT_THRESHOLD)) {
        // a run that never resampled is the same at lower thresholds
        const same = essThreshold < DEFAULT_THRESHOLD && usual.every((r) => r.resamplings === 0)
        const other = { ...method, smc: { ...method.smc, essThreshold } }
        rows.push(
          ...(same
            ? usual.map((r) => ({ ...r, threshold: essThreshold }))
            : await measure(problems, [other], size, seeds, context)),
        )
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

/** The runs at the fewest particles, where all thresholds were tried. */
function compared(sweep: readonly DimensionRow[]): DimensionRow[] {
  const fewest = Math.min(...sweep.map((r) => r.particles))
  return sweep.filter((r) => r.particles === fewest)
}

/** Roots and errors by threshold, over both targets and all numbers of levels. */
export function resamplingTable(sweep: readonly DimensionRow[]): Table {
  const rowsCompared = compared(sweep)
  const groups = [...groupBy(rowsCompared, (r) => `${r.d}/${r.method}`).values()]
  return {
    title: 'When to resample',
    note: `Where the ESS is below a share of the particles; 1: at every level. ${rowsCompared[0].particles} particles, means over targets and levels.`,
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
  const rowsCompared = compared(sweep)
  const byDimension = [...groupBy(rowsCompared, (r) => r.d)]
  const goods = (t: number) => at(rowsCompared, t).filter(good).length
  return {
    claim: 'Resampling below half the particles keeps more roots than resampling at every level, in every dimension.',
    holds: byDimension.every(([, rows]) => keptRoots(at(rows, DEFAULT_THRESHOLD)) > keptRoots(at(rows, 1))),
    evidence: `share of roots kept ${byDimension.map(([d, rows]) => `d = ${d}: ${ordered.map((t) => `${cell(keptRoots(at(rows, t)))} below ${t}`).join(', ')}`).join('; ')}; good runs ${ordered.map((t) => `${goods(t)} below ${t}`).join(', ')}, of ${at(rowsCompared, 1).length}`,
  }
}
