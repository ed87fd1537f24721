import { type EnergyModel, lowTemperature, product, type Target } from 'feynkac'
import { runFolder } from '../run-log.js'
import { byBudget, cell, type ExperimentContext, type Finding, mean, standardError, type Table } from './experiment.js'
import type { Method } from './methods.js'
import { latentSpace, type PictureSpace, pixelSpace } from './picture-spaces.js'
import { drawPictures, share } from './pictures.js'

/** The same choices on learnt energies of pictures, in pixels and in latents, at few particles and many. */

export interface LearntRow {
  space: PictureSpace['name']
  target: string
  method: string
  particles: number
  smallestEss: number
  distinctRoots: number
  /** Share of the pictures that show what was asked for. */
  right: number
  logZ: number
  evaluations: number
  seconds: number
}

export async function learnt(methods: readonly Method[], context: ExperimentContext): Promise<LearntRow[]> {
  const rows: LearntRow[] = []
  for (const open of [pixelSpace, latentSpace]) {
    using space = await open(context)
    rows.push(...(await runsIn(space, methods, context)))
  }
  return rows
}

/** Levels of the table of precisions, as distillation has them. */
const LEVELS = 16

async function runsIn(
  space: PictureSpace,
  methods: readonly Method[],
  context: ExperimentContext,
): Promise<LearntRow[]> {
  const { name, energy, data } = space
  const { seed, signal } = context
  const count = byBudget(context, 8, 256, 2048, 4096)
  context.stage(`calibrating, ${name}`, 0, 1)
  await energy.calibrate({ data, count, levels: LEVELS, seed, signal })
  const rows: LearntRow[] = []
  const steps = byBudget(context, 6, 40, 80, 160)
  const sizes = byBudget(context, [8], [16, 64], [16, 64, 256], [16, 64, 256, 1024])
  const problems = problemsOf(energy)
  const total = problems.length * sizes.length * methods.length
  for (const { target, name: wanted, right } of problems)
    for (const particles of sizes)
      for (const method of methods) {
        context.stage(`a learnt energy, ${name}`, rows.length, total)
        const log = runFolder(context, name, wanted, method.name, particles)
        const { images, ...run } = await drawPictures(target, method, { particles, steps, seed, signal, log })
        const shown = share(await space.seen(images), right)
        rows.push({ space: name, target: wanted, method: method.name, particles, right: shown, ...run })
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
  title: 'Learnt energies of pictures, 144 dimensions',
  note: '12 × 12 pixels, or latents of 4 × 6 × 6 for 24 × 24 pixels; weights down to sigma 0.5. Right: share of the pictures that show what was asked for.',
  header: [
    'space',
    'target',
    'method',
    'particles',
    'smallest ESS',
    'roots',
    'right',
    'log Z',
    'evaluations',
    'seconds',
  ],
  rows: rows.map((r) => [
    r.space,
    r.target,
    r.method,
    String(r.particles),
    cell(r.smallestEss, 1),
    String(r.distinctRoots),
    cell(r.right),
    cell(r.logZ, 1),
    cell(r.evaluations, 0),
    cell(r.seconds, 1),
  ]),
})

export function learntFindings(rows: readonly LearntRow[]): Finding[] {
  const largest = Math.max(...rows.map((r) => r.particles))
  const at = (space: LearntRow['space']) => rows.filter((r) => r.space === space && r.particles === largest)
  const roots = (space: LearntRow['space'], method: string) =>
    at(space)
      .filter((r) => r.method === method)
      .map((r) => r.distinctRoots)
  const methods = [...new Set(rows.map((r) => r.method))]
  const [pixels, latents] = [at('pixels'), at('latents')]
  const more = latents.map((r, i) => r.distinctRoots - pixels[i].distinctRoots)
  const average = (of: readonly LearntRow[], key: 'distinctRoots' | 'smallestEss' | 'right') =>
    cell(mean(of.map((r) => r[key])), key === 'right' ? 2 : 1)
  return [
    {
      claim:
        'On a learnt energy of pixels the calibrated bridge keeps a quarter more roots than the analytic variance.',
      holds: roots('pixels', 'calibrated').every((v, i) => v > 1.25 * roots('pixels', 'analytic')[i]),
      evidence: `${largest} particles: ${methods.map((m) => `${m} ${roots('pixels', m).join(', ')}`).join('; ')}`,
    },
    {
      claim:
        'Weights cost fewer roots in latents than in as many pixels, by two standard errors of the difference over targets and methods.',
      holds: mean(more) > 2 * standardError(more),
      evidence: `${largest} particles, latents against pixels: roots ${average(latents, 'distinctRoots')} against ${average(pixels, 'distinctRoots')}, difference ${cell(mean(more), 1)} with a standard error of ${cell(standardError(more), 1)}; smallest ESS ${average(latents, 'smallestEss')} against ${average(pixels, 'smallestEss')}; right ${average(latents, 'right')} against ${average(pixels, 'right')}; ${methods.map((m) => `${m} ${roots('latents', m).join(', ')}`).join('; ')}`,
    },
  ]
}
