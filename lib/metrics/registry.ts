import { ArgumentError } from '../base/errors.js'
import { frechetDistance } from './frechet.js'
import { kernelDistance } from './kernel.js'
import { compareManifolds } from './manifolds.js'
import { mmd } from './mmd.js'
import type { SideFeatures } from './side-features.js'
import { slicedWasserstein } from './sliced-wasserstein.js'

/** The metrics of `evaluate`: a new one is a file of its own, an entry here and a field of MetricValues. */

/** Values of the metrics asked for. */
export interface MetricValues {
  frechet?: number
  kernel?: number
  kernelStandardError?: number
  precision?: number
  recall?: number
  density?: number
  coverage?: number
  slicedWasserstein?: number
  /** Squared, with the Gaussian kernel of bandwidth `mmdBandwidth`. */
  mmd?: number
  mmdBandwidth?: number
}

/** What metrics see. */
export interface Sides {
  samples: SideFeatures
  data: SideFeatures
  /** Rows of the samples, drawn by their weights where they have any. */
  equal: Float32Array
  /** Features of a row. */
  dim: number
  seed: number
  signal?: AbortSignal
}

/** Numbers of samples and data, and of the features of a row. */
export interface Counts {
  samples: number
  data: number
  dim: number
}

interface Measure<Name extends string = string> {
  /** Metrics that are computed in one go, of which `wanted` are asked for. */
  names: readonly Name[]
  /** Sees the moments of all samples; the others see the features of pairs. */
  moments?: true
  /** Has a form for weighted samples; the others see samples drawn by their weights. */
  weighted?: true
  /** What is shown of it: a name, a value, and its standard error where there is one. */
  shown: readonly { name: string; key: keyof MetricValues; error?: keyof MetricValues }[]
  measure(sides: Sides, wanted: readonly string[]): Promise<{ values: MetricValues; note?: string }>
  /** What to know of its value. */
  notes?(counts: Counts): string[]
}

const all = <Name extends string>(...measures: Measure<Name>[]) => measures

/** In the order in which they are computed and shown. */
export const measures = all(
  {
    names: ['frechet'],
    moments: true,
    shown: [{ name: 'frechet', key: 'frechet' }],
    async measure({ samples, data, signal }) {
      return { values: { frechet: await frechetDistance(samples.moments!, data.moments!, { signal }) } }
    },
    notes({ samples, data, dim }) {
      const notes: string[] = []
      if (Math.min(samples, data) <= dim)
        notes.push(`frechet: no more samples than features (${dim}), so that the fitted covariances are singular`)
      if (samples !== data)
        notes.push('frechet depends on the numbers of samples: compare it only with values at the same ones')
      return notes
    },
  },
  {
    names: ['kernel'],
    shown: [{ name: 'kernel', key: 'kernel', error: 'kernelStandardError' }],
    async measure({ equal, data, dim, seed, signal }) {
      const { mean, standardError } = await kernelDistance(equal, data.rows, { dim, seed, signal })
      return { values: { kernel: mean, kernelStandardError: standardError } }
    },
  },
  {
    names: ['precision-recall', 'coverage'],
    shown: [
      { name: 'precision', key: 'precision' },
      { name: 'recall', key: 'recall' },
      { name: 'density', key: 'density' },
      { name: 'coverage', key: 'coverage' },
    ],
    async measure({ equal, data, dim, signal }, wanted) {
      const { precisionRecall, densityCoverage } = await compareManifolds(equal, data.rows, {
        ...{ dim, signal },
        ...(wanted.includes('precision-recall') && { precisionRecall: 3 }),
        ...(wanted.includes('coverage') && { densityCoverage: 5 }),
      })
      return { values: { ...precisionRecall, ...densityCoverage } }
    },
  },
  {
    names: ['sliced-wasserstein'],
    weighted: true,
    shown: [{ name: 'sliced-wasserstein', key: 'slicedWasserstein' }],
    async measure(sides) {
      const { samples, data } = sides
      return { values: { slicedWasserstein: await slicedWasserstein(samples.rows, data.rows, weightedCall(sides)) } }
    },
  },
  {
    names: ['mmd'],
    weighted: true,
    shown: [{ name: 'mmd', key: 'mmd' }],
    async measure(sides) {
      const { samples, data } = sides
      try {
        const { squared, bandwidths } = await mmd(samples.rows, data.rows, weightedCall(sides))
        return { values: { mmd: squared, mmdBandwidth: bandwidths[0] } }
      } catch (error) {
        // samples that collapsed are no reason to lose the other metrics
        if (!(error instanceof ArgumentError)) throw error
        return { values: {}, note: `mmd: ${error.message}` }
      }
    },
  },
)

/** The metrics of `evaluate`, by name. */
export type MetricName = (typeof measures)[number]['names'][number]
export const metricNames: readonly MetricName[] = measures.flatMap(({ names }) => names)

function weightedCall({ samples: { weights }, dim, seed, signal }: Sides) {
  return { dim, signal, seed, ...(weights && { weightsA: weights }) }
}
