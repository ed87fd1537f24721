import { join } from 'node:path'
import type { Dataset } from '../data/dataset.js'
import { run } from '../native/addon.js'
import type { NetworkWeights } from '../native/types.js'
import type { ImageShape } from '../networks/check.js'
import type { NetworkConfig } from '../networks/config.js'
import { halfNetwork } from '../networks/half.js'
import { HALF } from './folder.js'
import type { Settings } from './settings.js'
import type { TrainingOptions } from './types.js'

/**
 * Pictures of half the height and width before the others (docs/recipe.md): the same convolutions learn from the means of 2 x 2 pixels what
 * shapes there are, at a third to a half of the cost of an image, and their averaged weights begin the run at full size. The order is that of
 * progressive growing (Karras et al. 2018), without its new layers: every level has half of its size.
 */

/** The part of a run at half the size: a run of its own, in the other's folder. */
export interface Half {
  options: TrainingOptions & { images: number }
  data: Dataset
}

/** All of it follows from the run's definition, so that it can be gone on with wherever that is known. */
export function halfOf({
  definition,
  settings,
  options,
  training,
  images,
}: {
  definition: { network: NetworkConfig; data: string }
  settings: Settings
  options: TrainingOptions
  training: Dataset
  images: number
}): Half {
  const { smallFirst, warmUp, emaHalfLife } = settings
  const network = halfNetwork(definition.network)!
  const { device, precision, output, ranks, checkpointEvery, signal, onProgress } = options
  return {
    data: halfPictures(training, definition.data),
    options: {
      ...settings,
      ...{ smallFirst: 0, decay: 0, warmUp: smallFirst * warmUp, emaHalfLife: smallFirst * emaHalfLife },
      images: Math.max(1, Math.round(smallFirst * images)),
      network,
      holdOut: 0,
      previewEvery: 0,
      ...(output !== undefined && { output: join(output, HALF), resume: 'auto' }),
      ...{ device, precision, ranks, checkpointEvery, signal },
      onProgress: (at) => onProgress?.({ ...at, size: network.shape.slice(1) }),
    },
  }
}

/** Pictures as the means of 2 x 2 pixels; `origin`: a text that tells the data. */
export function halfPictures(data: Dataset, origin: string): Dataset {
  const [channels, height, width] = data.shape as ImageShape
  const [h, w] = [height / 2, width / 2]
  const full = new Float32Array(channels * height * width)
  const read = (index: number, out: Float32Array, offset: number) => {
    data.read(index, full, 0)
    for (let row = 0; row < channels * h; row++)
      for (let x = 0, at = 2 * row * width; x < w; x++, at += 2)
        out[offset + row * w + x] = (full[at]! + full[at + 1]! + full[at + width]! + full[at + width + 1]!) / 4
  }
  return {
    name: data.name,
    size: data.size,
    shape: [channels, h, w],
    labels: data.labels,
    origin: `${origin} at ${h} x ${w}`,
    read,
    label: (index) => data.label(index),
  }
}

/** The weights of the network for half the size begin, also as its average, the one of a shape; label maps have each pixel for four. */
export async function beginFromHalf(
  network: NetworkWeights,
  half: NetworkWeights,
  [, height, width]: readonly number[],
): Promise<void> {
  const [values, begun] = [half, network].map((of) => new Float32Array(of.parameterCount())) as [Float32Array, Float32Array] // biome-ignore format: one line
  await run(() => half.read('params', values))
  const found = half.parameters()
  network.parameters().forEach(({ offset, size }, i) => {
    const own = values.subarray(found[i]!.offset, found[i]!.offset + found[i]!.size)
    const enlarged = size === 4 * own.length
    for (let y = 0, pixel = size / height! / width!; enlarged && y < height!; y++)
      for (let x = 0; x < width!; x++) {
        const from = ((y >> 1) * (width! / 2) + (x >> 1)) * pixel
        begun.set(own.subarray(from, from + pixel), offset + (y * width! + x) * pixel)
      }
    if (!enlarged) begun.set(own, offset)
  })
  for (const slot of ['params', 'ema'] as const) await run(() => network.write(slot, begun))
}
