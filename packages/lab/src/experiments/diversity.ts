import { gaussianMixture, lowTemperature, type ResamplingScheme, sigmaGrid } from 'feynkac'
import { plotPng, resamplingSchemes } from 'feynkac/internal'
import { runFolder } from '../run-log.js'
import { byBudget, cell, type Experiment, type Finding, mean, type Outcome } from './experiment.js'
import { type Method, runMethod } from './methods.js'
import { type DiagonalMixture, marginal, modeWeights, productOf, totalVariation } from './mixtures.js'

/**
 * Many modes and few particles: which schemes of resampling keep the modes (the paper's open question 3). The target is a power of a
 * mixture of 25 modes with unequal weights, so that weights matter and every lost mode shows.
 */

const SIGMA = { min: 0.02, max: 80 }
const SIDE = 5
const DIMENSIONS = 24

/** Modes on a grid of the first two coordinates; the others have a falling spectrum. */
function modes(): DiagonalMixture {
  const places = Array.from({ length: SIDE * SIDE }, (_, i) =>
    [i % SIDE, Math.floor(i / SIDE)].map((v) => 1.5 * (v - 2)),
  )
  const weights = places.map((_, i) => 1 + (i % 4))
  const total = weights.reduce((a, b) => a + b)
  const variances = Array.from({ length: DIMENSIONS }, (_, k) => (k < 2 ? 0.06 : 0.4 / (k - 1)))
  return {
    weights: weights.map((w) => w / total),
    means: places.map((place) => [...place, ...new Array(DIMENSIONS - 2).fill(0)]),
    covariances: places.map(() => variances),
  }
}

export interface DiversityRow {
  scheme: string
  threshold: number
  remedy: string
  /** Modes with at least a quarter of their share, of 25. */
  covered: number
  /** Total variation between the modes' shares. */
  modes: number
  distinctRoots: number
  /** Different samples after the weights have been made even. */
  distinctSamples: number
  resamplings: number
  evaluations: number
}

export const diversity: Experiment = {
  title: 'Diversity: resampling and remedies',
  question:
    'Which scheme of resampling, how often, and which remedy keeps most of the modes and roots at equal quality?',
  async run(context) {
    const particles = 256
    const seeds = byBudget(context, 1, 8, 32, 128)
    const sigmas = sigmaGrid({ steps: 48, ...SIGMA })
    const mixture = modes()
    const target = lowTemperature(gaussianMixture(mixture), { gamma: 2 })
    const answer = productOf(mixture, mixture, SIGMA.min)
    const centres = mixture.means
    const plane = gaussianMixture(marginal(answer, [0, 1])).sample(200_000, { seed: 1 })
    const shares = modeWeights(plane, new Float64Array(200_000).fill(1 / 200_000), centres)
    const rows = await context.division.share(cases, async ({ method, ...names }, i): Promise<DiversityRow> => {
      context.stage('schemes', i, cases.length)
      const runs: Omit<DiversityRow, keyof typeof names>[] = []
      for (let s = 0; s < seeds; s++) {
        const log = s === 0 ? runFolder(context, ...Object.values(names)) : undefined
        const options = { particles, sigmas, seed: context.seed + s, signal: context.signal, log }
        const run = await runMethod(target, { ...method, smc: { ...method.smc, finalResample: true } }, options)
        const found = modeWeights(run.samples, run.weights, centres)
        runs.push({
          covered: found.filter((share, c) => share >= shares[c] / 4).length,
          modes: totalVariation(found, shares),
          distinctRoots: run.distinctRoots,
          distinctSamples: distinctRows(run.samples, particles),
          resamplings: run.result!.diagnostics.resamplings,
          evaluations: run.evaluations,
        })
      }
      const average = (key: keyof (typeof runs)[0]) => mean(runs.map((r) => r[key]))
      return {
        ...names,
        covered: average('covered'),
        modes: average('modes'),
        distinctRoots: average('distinctRoots'),
        distinctSamples: average('distinctSamples'),
        resamplings: average('resamplings'),
        evaluations: average('evaluations'),
      }
    })
    context.stage('schemes', cases.length, cases.length)
    return {
      findings: findings(rows),
      tables: [table(rows, particles, seeds)],
      figures: [{ name: 'diversity', caption: 'Modes kept against distinct roots.', png: await plot(rows) }],
      data: { particles, seeds, rows },
    } satisfies Outcome
  },
}

function distinctRows(samples: Float32Array, n: number): number {
  const d = samples.length / n
  return new Set(Array.from({ length: n }, (_, i) => samples.subarray(i * d, (i + 1) * d).join())).size
}

interface Case extends Pick<DiversityRow, 'scheme' | 'threshold' | 'remedy'> {
  method: Method
}

function caseOf(scheme: ResamplingScheme, threshold: number, remedy: string, smc: Method['smc'] = {}): Case {
  const method = { name: scheme, smc: { resampling: scheme, essThreshold: threshold, ...smc } }
  return { scheme, threshold, remedy, method }
}

const cases: Case[] = [
  ...resamplingSchemes.flatMap((scheme) => [0.5, 1].map((t) => caseOf(scheme, t, 'none'))),
  ...[0.1, 0.25, 0.75, 0.9].map((t) => caseOf('systematic', t, 'none')),
  caseOf('systematic', 0.5, 'partial', { essAfter: 0.75 }),
  caseOf('systematic', 0.5, 'MALA', { moves: { kernel: 'mala' } }),
  caseOf('systematic', 0.5, 'variance per coordinate', { proposal: 'analytic-diagonal' }),
  caseOf('systematic', 0.5, 'both', { proposal: 'analytic-diagonal', moves: { kernel: 'mala' } }),
]

function findings(rows: readonly DiversityRow[]): Finding[] {
  const of = (scheme: string, threshold = 0.5, remedy = 'none') =>
    rows.find((r) => r.scheme === scheme && r.threshold === threshold && r.remedy === remedy)!
  const [systematic, multinomial] = [of('systematic'), of('multinomial')]
  const always = of('systematic', 1)
  const best = of('systematic', 0.5, 'variance per coordinate')
  return [
    {
      claim: 'Systematic resampling keeps more roots and modes than multinomial.',
      holds: systematic.distinctRoots > multinomial.distinctRoots && systematic.covered >= multinomial.covered,
      evidence: `roots ${cell(systematic.distinctRoots, 1)} against ${cell(multinomial.distinctRoots, 1)}, modes ${cell(systematic.covered, 1)} against ${cell(multinomial.covered, 1)} of 25`,
    },
    {
      claim: 'Resampling only where the ESS is low keeps more roots than at every level.',
      holds: systematic.distinctRoots > always.distinctRoots,
      evidence: `roots ${cell(systematic.distinctRoots, 1)} at a threshold of 0.5, ${cell(always.distinctRoots, 1)} at 1`,
    },
    {
      claim: 'Better kernels keep more than any scheme of resampling does.',
      holds: rows.every((r) => r.remedy !== 'none' || r.distinctRoots < best.distinctRoots),
      evidence: `roots ${cell(best.distinctRoots, 1)} with a variance per coordinate; best scheme without: ${cell(Math.max(...rows.filter((r) => r.remedy === 'none').map((r) => r.distinctRoots)), 1)}`,
    },
  ]
}

const table = (rows: readonly DiversityRow[], particles: number, seeds: number) => ({
  title: 'Schemes and remedies',
  note: `${particles} particles, 25 modes in ${DIMENSIONS} dimensions, means over ${seeds} seeds. Covered: modes with at least a quarter of their share.`,
  header: [
    'scheme',
    'remedy',
    'threshold',
    'covered',
    'modes',
    'roots',
    'distinct samples',
    'resamplings',
    'evaluations',
  ],
  rows: rows.map((r) => [
    r.scheme,
    r.remedy,
    String(r.threshold),
    cell(r.covered, 1),
    cell(r.modes),
    cell(r.distinctRoots, 1),
    cell(r.distinctSamples, 1),
    cell(r.resamplings, 1),
    cell(r.evaluations, 0),
  ]),
})

function plot(rows: readonly DiversityRow[]): Promise<Buffer> {
  return plotPng({
    data: { values: rows.map((r) => ({ ...r, kind: r.remedy === 'none' ? r.scheme : r.remedy })) },
    mark: { type: 'point', filled: true, size: 90 },
    width: 520,
    height: 320,
    encoding: {
      x: { field: 'distinctRoots', type: 'quantitative', title: 'distinct roots' },
      y: { field: 'covered', type: 'quantitative', title: 'modes kept, of 25', scale: { zero: false } },
      color: { field: 'kind', type: 'nominal', title: null, scale: { scheme: 'tableau10' } },
      shape: { field: 'threshold', type: 'nominal', title: 'threshold' },
    },
    config: { legend: { labelLimit: 300 } },
  })
}
