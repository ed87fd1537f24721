import { formatBytes } from '../base/files.js'
import { run } from '../native/addon.js'
import type { ConvolutionInfo, NativeNetwork } from '../native/types.js'

/** The convolutions of one shape. */
export interface ConvolutionShape extends ConvolutionInfo {
  layers: number
  /** Bytes of the weights of all of them; packedBytes is of all of them, too. */
  weightBytes: number
}

/** The shapes of convolutions that a network has at a batch, in the order of their first use, and how its device does each. */
export async function convolutionShapes(
  network: Pick<NativeNetwork, 'convolutions'>,
  batch: number,
): Promise<ConvolutionShape[]> {
  const shapes = new Map<string, ConvolutionShape>()
  for (const c of await run(() => network.convolutions(batch))) {
    const key = [c.kernel, c.in, c.out, c.height, c.width].join()
    const shape = shapes.get(key) ?? { ...c, layers: 0, weightBytes: 0, packedBytes: 0 }
    shape.layers++
    shape.weightBytes += 4 * c.kernel ** 2 * c.in * c.out
    shape.packedBytes += c.packedBytes
    shapes.set(key, shape)
  }
  return [...shapes.values()]
}

export function describeConvolutions(shapes: readonly ConvolutionShape[]): string[] {
  const sum = (key: 'weightBytes' | 'packedBytes') =>
    formatBytes(shapes.reduce((total, shape) => total + shape[key], 0))
  return [
    ...shapes.map(
      (s) =>
        `convolution ${s.layers} of ${s.kernel} x ${s.kernel}, ${s.in} > ${s.out} channels at ${s.height} x ${s.width}: ${algorithms(s)}; ` +
        `${formatBytes(s.packedBytes)} for ${formatBytes(s.weightBytes)} of weights`,
    ),
    `packed      ${sum('packedBytes')} as the algorithms want them, besides the ${sum('weightBytes')} of their weights`,
  ]
}

function algorithms({ forward, dataGrad, weightGrad }: ConvolutionShape): string {
  if (forward === dataGrad && forward === weightGrad) return forward
  return `forward ${forward}, data gradient ${dataGrad}, weight gradient ${weightGrad}`
}
