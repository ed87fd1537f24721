import {
  bounded,
  distill,
  type EnergyFunction,
  type EnergyModel,
  gaussianMixture,
  lowTemperature,
  negation,
  product,
  sample,
  sigmaGrid,
  smc,
  type Target,
  trainDenoiser,
} from 'feynkac'
import { RunLog, runFolder } from '../run-log.js'
import type { DemoContext } from './context.js'
import { type Cloud, type Distance, GridDensity, uniformWeights } from './density.js'
import { learnt } from './learnt.js'

/**
 * The plane: a ring and a bar are learnt separately, distilled, and composed by Feynman–Kac sampling. Both are known in closed form at
 * every noise level, so every composition has an exact answer by quadrature.
 */

const RING = { modes: 8, radius: 0.55, std: 0.1 }
const BAR = { width: 0.2828, height: 0.99 }
const SIGMA = { min: 0.05, max: 5 }
const STEPS = 64

const spec = (name: string, parameters: Record<string, number>) =>
  `synthetic:${name}:count=50000,${Object.entries(parameters).map(([key, value]) => `${key}=${value}`)}`

interface Problem {
  name: string
  title: string
  target(ring: EnergyFunction, bar: EnergyFunction): Target
}

export const problems: readonly Problem[] = [
  {
    name: 'low temperature',
    title: 'bar³',
    target: (_ring, bar) => lowTemperature(bar, { gamma: 3 }),
  },
  { name: 'AND', title: 'ring AND bar', target: (ring, bar) => product([ring, bar]) },
  {
    name: 'NOT',
    title: 'ring NOT bar',
    target: (ring, bar) => negation(ring, bar, { strength: 0.4, floor: 0.2 }),
  },
  {
    name: 'bounded',
    title: 'ring in a box',
    target: (ring) => bounded(ring, { lower: [-0.2, -2], upper: [2, 0.3], softness: 0.02 }),
  },
]

export const methods = {
  exact: 'exact draws',
  smcExact: 'SMC, exact energies',
  smc: 'SMC, distilled energies',
  summedExact: 'summed scores, exact',
  summed: 'summed scores, distilled',
} as const
export type Method = keyof typeof methods

export interface PlanarRow extends Distance {
  problem: string
  method: Method
  /** Standard deviations of the distances over the seeds. */
  spread: Distance
  /** By SMC: means over the seeds. */
  smallestEss?: number
  distinctRoots?: number
}

export interface PlanarResult {
  particles: number
  seeds: number
  rows: PlanarRow[]
  /** For the figure, of the first seed. */
  clouds: { title: string; method: Method; cloud: Cloud }[]
  /** For the figure: effective sample size per level of the distilled energies. */
  ess: { problem: string; level: number; share: number }[]
}

/** Ring and bar in closed form: Gaussians stay Gaussians under noise, and a noised box is a product of normal distribution functions. */
function exactEnergies(): { ring: EnergyFunction; bar: EnergyFunction } {
  const angles = Array.from({ length: RING.modes }, (_, k) => (2 * Math.PI * k) / RING.modes)
  const flat: EnergyFunction = {
    shape: [2],
    energyGrad: async (x) => ({ energy: new Float64Array(x.length / 2), grad: new Float32Array(x.length) }),
  }
  return {
    ring: gaussianMixture({
      weights: angles.map(() => 1),
      means: angles.map((a) => [RING.radius * Math.cos(a), RING.radius * Math.sin(a)]),
      covariances: angles.map(() => RING.std ** 2),
    }),
    bar: bounded(flat, { lower: [-BAR.width, -BAR.height], upper: [BAR.width, BAR.height], lambda: 1 }),
  }
}

async function learn(name: string, data: string, context: DemoContext): Promise<EnergyModel> {
  const { seed, shorter } = context
  const common = { data, pStd: 1.5, seed }
  const images = Math.round(1_800_000 * shorter)
  using teacher = await learnt(context, `plane: denoiser of the ${name}`, (where) =>
    trainDenoiser({ ...common, images, network: { width: 64, blocks: 3 }, ...where }),
  )
  return await learnt(context, `plane: energy of the ${name}`, (where) =>
    distill({ ...common, images: images / 5, teacher, ...where }),
  )
}

export async function planarDemo(context: DemoContext): Promise<PlanarResult> {
  const ring = await learn('ring', spec('ring', RING), context)
  const bar = await learn('bar', spec('bar', { ...BAR }), context)
  try {
    return await compare({ ring, bar }, context)
  } finally {
    ring.dispose()
    bar.dispose()
  }
}

type Energies = ReturnType<typeof exactEnergies>

async function compare(
  own: Energies,
  { seed, signal, shorter, stage, runs: folder }: DemoContext,
): Promise<PlanarResult> {
  const exact = exactEnergies()
  const particles = shorter < 1 ? 512 : 2048
  const seeds = shorter < 1 ? 1 : 2
  const sigmas = sigmaGrid({ steps: STEPS, ...SIGMA })
  const result: PlanarResult = { particles, seeds, rows: [], clouds: [], ess: [] }
  const runs = problems.length * seeds
  for (const [p, { name, title, target }] of problems.entries()) {
    const [known, distilled] = [target(exact.ring, exact.bar), target(own.ring, own.bar)]
    const density = await GridDensity.of(known, SIGMA.min)
    const found = new Map<Method, (Distance & { smallestEss?: number; distinctRoots?: number })[]>()
    for (let s = 0; s < seeds; s++) {
      stage('plane: compositions', p * seeds + s, runs)
      const options = { particles, sigmas, seed: seed + s, signal }
      const weighted = async (t: Target, method: 'smcExact' | 'smc') => {
        const log = s === 0 ? runFolder({ runs: folder }, title, methods[method]) : undefined
        const about = {
          name: title,
          method: 'smc',
          target: t,
          particles,
          lastLevel: STEPS,
          options: { seed: seed + s },
        }
        const run = await new RunLog(log).follow(smc.stream(t, options), about)
        const cloud = { x: run.samples, weights: run.logWeights.map(Math.exp) }
        return { cloud, ess: run.ess, distinctRoots: run.diagnostics.distinctRoots }
      }
      const summed = async (t: Target) => {
        const { samples } = await sample(t, { ...options, method: 'ancestral' })
        return { cloud: { x: samples, weights: uniformWeights(particles) } }
      }
      const all: Record<Method, { cloud: Cloud; ess?: Float64Array; distinctRoots?: number }> = {
        exact: { cloud: density.draw(particles, seed + s) },
        smcExact: await weighted(known, 'smcExact'),
        smc: await weighted(distilled, 'smc'),
        summedExact: await summed(known),
        summed: await summed(distilled),
      }
      for (const [method, { cloud, ess, distinctRoots }] of Object.entries(all) as [Method, (typeof all)[Method]][]) {
        const row = {
          ...(await density.distance(cloud)),
          ...(ess && { smallestEss: Math.min(...ess), distinctRoots }),
        }
        found.set(method, [...(found.get(method) ?? []), row])
        if (s === 0) result.clouds.push({ title, method, cloud })
        if (s === 0 && method === 'smc')
          for (const [level, value] of (ess ?? []).entries())
            result.ess.push({ problem: name, level, share: value / particles })
      }
    }
    for (const [method, rows] of found) result.rows.push(summary(name, method, rows))
  }
  stage('plane: compositions', runs, runs)
  return result
}

function summary(
  problem: string,
  method: Method,
  rows: (Distance & { smallestEss?: number; distinctRoots?: number })[],
): PlanarRow {
  const mean = (key: keyof (typeof rows)[0]) => rows.reduce((sum, row) => sum + row[key]!, 0) / rows.length
  const spread = (key: keyof Distance) =>
    Math.sqrt(rows.reduce((sum, row) => sum + (row[key] - mean(key)) ** 2, 0) / Math.max(1, rows.length - 1))
  return {
    problem,
    method,
    totalVariation: mean('totalVariation'),
    slicedW2: mean('slicedW2'),
    spread: { totalVariation: spread('totalVariation'), slicedW2: spread('slicedW2') },
    ...(rows[0].smallestEss !== undefined && {
      smallestEss: mean('smallestEss'),
      distinctRoots: mean('distinctRoots'),
    }),
  }
}
