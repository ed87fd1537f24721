import type { Dataset } from '../data/dataset.js'
import { gridPng } from '../data/grid.js'
import { readSamples } from '../data/samples.js'
import type { Autoencoder } from '../models/autoencoder.js'
import { SIDE } from './previews.js'

/** Previews of an autoencoder: images of the data, and below them what it makes of them. */

const IMAGES = 8
/** Previews of a run at most. */
const MOST = 10
/** To encode and to decode costs about a third of what training on an image does, and previews may cost a fiftieth of the run. */
const LEAST = Math.ceil((IMAGES / 3) * 50)

/** Images between them where nobody says. */
export const reconstructionsEveryFor = (images: number): number => Math.max(Math.ceil(images / MOST), LEAST)

export async function reconstructionsOf(model: Autoencoder, data: Dataset, signal?: AbortSignal): Promise<Uint8Array> {
  const count = Math.min(IMAGES, data.size)
  const { x0 } = await readSamples(
    data,
    null,
    Int32Array.from({ length: count }, (_, i) => i),
  )
  const again = await model.decode(await model.encode(x0, { signal }), { signal })
  const both = new Float32Array(2 * x0.length)
  both.set(x0)
  both.set(again, x0.length)
  return gridPng(both, data.shape, { columns: count, size: SIDE })
}
