import { loadDataset } from '../data/load.js'
import type { EnergyModel } from '../models/energy.js'
import { lowTemperature, product, type Target } from '../smc/targets.js'
import { byBudget, cell, type ExperimentContext, type Table } from './experiment.js'
import type { Method } from './methods.js'
import { drawPictures, seenIn, share } from './pictures.js'
import { SIDE, shapesData, shapesEnergy } from './trained.js'

/** The same choices on a learnt energy of pictures, at few particles and many. */

export interface LearntRow {
  target: string
  proposal: string
  particles: number
  smallestEss: number
  distinctRoots: number
  /** Share of the pictures that show what was asked for. */
  right: number
  logZ: number
  evaluations: number
}

const proposals = ['sde', 'analytic', 'analytic-diagonal', 'calibrated'] as const

export async function learnt(context: ExperimentContext): Promise<LearntRow[]> {
  const { seed, signal } = context
  using energy = await shapesEnergy(context)
  const count = byBudget(context, 64, 1024, 4096, 4096)
  context.stage('calibrating', 0, 1)
  await energy.calibrate({ data: await loadDataset(shapesData()), count, seed, signal })
  const rows: LearntRow[] = []
  const steps = byBudget(context, 10, 40, 80, 160)
  const sizes = byBudget(context, [16], [16, 64], [16, 64, 256], [16, 64, 256, 1024])
  const problems = problemsOf(energy)
  const total = problems.length * sizes.length * proposals.length
  for (const { target, name, right } of problems)
    for (const particles of sizes)
      for (const proposal of proposals) {
        context.stage('a learnt energy', rows.length, total)
        const method: Method = { name: proposal, smc: { proposal } }
        const { images, ...run } = await drawPictures(target, method, { particles, steps, seed, signal })
        const { smallestEss, distinctRoots, logZ, evaluations } = run
        const shown = share(seenIn(images, SIDE), right)
        rows.push({ target: name, proposal, particles, smallestEss, distinctRoots, right: shown, logZ, evaluations })
      }
  return rows
}

interface Problem {
  name: string
  target: Target
  right: Parameters<typeof share>[1]
}

function problemsOf(energy: EnergyModel): Problem[] {
  const cross = energy.conditioned([2, null])
  const corner = energy.conditioned([null, 1])
  const prior = energy.conditioned([null, null])
  return [
    {
      name: 'p(x|cross)²',
      target: lowTemperature(cross, { gamma: 2 }),
      right: (seen) => seen.shape === 2,
    },
    {
      name: 'cross AND top right',
      target: product([cross, corner, prior], { weights: [1, 1, -1] }),
      right: (seen) => seen.shape === 2 && seen.place === 1,
    },
  ]
}

export const learntTable = (rows: readonly LearntRow[]): Table => ({
  title: `A learnt energy of pictures, ${SIDE * SIDE} dimensions`,
  note: 'Weights down to sigma 0.5. Right: share of the pictures that show what was asked for.',
  header: ['target', 'proposal', 'particles', 'smallest ESS', 'roots', 'right', 'log Z', 'evaluations'],
  rows: rows.map((r) => [
    r.target,
    r.proposal,
    String(r.particles),
    cell(r.smallestEss, 1),
    String(r.distinctRoots),
    cell(r.right),
    cell(r.logZ, 1),
    cell(r.evaluations, 0),
  ]),
})
