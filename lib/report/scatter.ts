import { finiteNumber, float32Array, float64Array, integer, knownOptions, numberList } from '../base/args.js'
import { invalid } from '../base/errors.js'
import type { ScatterOptions } from '../data/picture-options.js'
import { resample } from '../smc/resampling.js'
import { plotPng } from './plots.js'

/** Pictures of samples in the plane. */

/** Documented in late.ts. */
export async function scatterPng(samples: Float32Array, options: ScatterOptions = {}): Promise<Buffer> {
  knownOptions('scatterPng', options, ['dim', 'axes', 'weights', 'most', 'size', 'seed'])
  const dim = integer('dim', options.dim ?? 2, 2, 2 ** 24)
  const count = float32Array('samples', samples).length / dim
  if (!Number.isInteger(count) || count === 0) throw invalid('samples', `a Float32Array of rows of ${dim}`, samples)
  const axes = numberList('axes', options.axes ?? [0, 1], { length: 2, min: 0 })
  for (const axis of axes) integer('axes', axis, 0, dim - 1)
  const most = integer('most', options.most ?? 5000, 1, 100_000)
  const side = finiteNumber('size', options.size ?? 420, { min: 50, max: 4000 })
  const weights = options.weights ?? new Float64Array(count).fill(1)
  float64Array('weights', weights, count)
  const n = Math.min(count, most)
  const drawn = options.weights || n < count ? resample(weights, { n, seed: options.seed ?? 0 }) : undefined
  const values = Array.from({ length: n }, (_, i) => {
    const row = (drawn?.[i] ?? i) * dim
    return { x: samples[row + axes[0]!]!, y: samples[row + axes[1]!]! }
  }).filter(({ x, y }) => Number.isFinite(x) && Number.isFinite(y))
  const axis = (field: 'x' | 'y', coordinate: number) => ({
    field,
    type: 'quantitative' as const,
    scale: { zero: false, nice: true },
    axis: { title: `x${coordinate}`, grid: false },
  })
  return plotPng({
    width: side,
    height: side,
    data: { values },
    mark: { type: 'circle', size: 12, color: '#1f5fa8', opacity: Math.max(0.15, Math.min(0.8, 200 / n)) },
    encoding: { x: axis('x', axes[0]!), y: axis('y', axes[1]!) },
    config: { view: { stroke: '#ccc' } },
  })
}
