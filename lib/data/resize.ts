/** Lanczos resampling of small images in memory, separable: one matrix per axis (Duchon 1979; the filter that sharp uses). */

const LOBES = 3

interface Axis {
  /** First source pixel of each target pixel. */
  starts: Int32Array
  taps: number
  /** [targets * taps], each row of sum 1. */
  weights: Float32Array
}

function lanczos(x: number): number {
  if (x === 0) return 1
  if (Math.abs(x) >= LOBES) return 0
  const p = Math.PI * x
  return (LOBES * Math.sin(p) * Math.sin(p / LOBES)) / (p * p)
}

/** Weights that map the part [offset, offset + extent) of an axis of `size` pixels to `target` pixels; edges are repeated. */
function axis(size: number, offset: number, extent: number, target: number): Axis {
  const scale = extent / target
  const stretch = Math.max(1, scale) // when shrinking, the filter widens to what a target pixel covers
  const taps = Math.min(size, Math.ceil(2 * LOBES * stretch) + 1)
  const starts = new Int32Array(target)
  const weights = new Float32Array(target * taps)
  for (let t = 0; t < target; t++) {
    const centre = offset + (t + 0.5) * scale
    const first = Math.floor(centre - LOBES * stretch)
    const last = Math.ceil(centre + LOBES * stretch)
    const start = Math.min(Math.max(0, first), size - taps)
    starts[t] = start
    let sum = 0
    for (let s = first; s < last; s++) sum += lanczos((s + 0.5 - centre) / stretch)
    for (let s = first; s < last; s++) {
      const at = Math.min(Math.max(s, 0), size - 1) - start
      weights[t * taps + at] += lanczos((s + 0.5 - centre) / stretch) / sum
    }
  }
  return { starts, taps, weights }
}

/**
 * A function that resamples one plane of bytes, height x width, to a target shape. What does not fit the target's proportions is cut off
 * evenly at both sides.
 */
export function resampler(from: readonly [number, number], to: readonly [number, number]): Resampler {
  const key = `${from} ${to}`
  if (last?.key !== key) last = { key, resample: makeResampler(from, to) }
  return last.resample
}

export type Resampler = (plane: Uint8Array, out: Uint8Array) => void

/** Images of a set are alike, and the weights cost more than their use. */
let last: { key: string; resample: Resampler } | null = null

function makeResampler(
  [height, width]: readonly [number, number],
  [targetHeight, targetWidth]: readonly [number, number],
): Resampler {
  const scale = Math.min(height / targetHeight, width / targetWidth)
  const [h, w] = [scale * targetHeight, scale * targetWidth]
  const across = axis(width, (width - w) / 2, w, targetWidth)
  const down = axis(height, (height - h) / 2, h, targetHeight)
  const rows = new Float32Array(height * targetWidth)
  return (plane, out) => {
    for (let y = 0; y < height; y++)
      for (let x = 0; x < targetWidth; x++) {
        let sum = 0
        const from = y * width + across.starts[x]
        for (let k = 0; k < across.taps; k++) sum += across.weights[x * across.taps + k] * plane[from + k]
        rows[y * targetWidth + x] = sum
      }
    for (let y = 0; y < targetHeight; y++)
      for (let x = 0; x < targetWidth; x++) {
        let sum = 0
        for (let k = 0; k < down.taps; k++)
          sum += down.weights[y * down.taps + k] * rows[(down.starts[y] + k) * targetWidth + x]
        out[y * targetWidth + x] = Math.min(255, Math.max(0, Math.round(sum)))
      }
  }
}
