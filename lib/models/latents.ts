import { knownOptions } from '../base/args.js'
import { ArgumentError, invalid } from '../base/errors.js'
import { requireMemory } from '../base/memory.js'
import { sizeOf } from '../base/shape.js'
import { checkDataset, type Dataset, type Decoder, MemoryDataset } from '../data/dataset.js'
import { Autoencoder } from './autoencoder.js'

/** Options of `latentDataset`. */
export interface LatentOptions {
  signal?: AbortSignal
  onProgress?: (progress: { done: number; total: number }) => void
}

/** Images that are read and encoded at a time. */
const BATCH = 256

/**
 * The latents of a data set of images, encoded once and kept in memory, with the labels of the images: models trained on it are models of
 * latents. Previews of their training are decoded by the autoencoder, so keep it for as long. Throws ArgumentError where the images do not fit the autoencoder; OutOfMemoryError; the signal's reason when aborted.
 * @example
 * ```js
 * import { Autoencoder, latentDataset, loadDataset, trainDenoiser } from 'feynkac'
 *
 * const autoencoder = await Autoencoder.load('autoencoder.safetensors')
 * const data = await latentDataset(await loadDataset('images.zip'), autoencoder)
 * const { model } = await trainDenoiser({ data, images: 400_000 })
 * ```
 */
export async function latentDataset(
  data: Dataset,
  autoencoder: Autoencoder,
  options: LatentOptions = {},
): Promise<Dataset> {
  knownOptions('latentDataset', options, ['signal', 'onProgress'])
  return encoded(data, autoencoder, options)
}

/** decoder: by what previews are decoded; default the autoencoder. */
export async function encoded(
  data: Dataset,
  autoencoder: Autoencoder,
  { decoder = autoencoder, ...options }: LatentOptions & { decoder?: Decoder },
): Promise<Dataset> {
  if (!(autoencoder instanceof Autoencoder)) throw invalid('autoencoder', 'an Autoencoder', autoencoder)
  checkDataset(data)
  const { shape, latentShape } = autoencoder
  if (shape.join() !== data.shape.join())
    throw new ArgumentError(`the autoencoder is for images of [${shape}] but the data are [${data.shape}]`)
  const [width, latents] = [sizeOf(shape), sizeOf(latentShape)]
  requireMemory(4 * data.size * latents, `the latents of ${data.size} images`)
  const encoded = new Float32Array(data.size * latents)
  const attributes = data.labels?.attributes.length ?? 0
  const classes = new Int32Array(data.size * attributes)
  for (let first = 0; first < data.size; first += BATCH) {
    const count = Math.min(BATCH, data.size - first)
    const x = new Float32Array(count * width)
    for (let i = 0; i < count; i++) {
      data.read(first + i, x, i * width)
      if (attributes > 0)
        classes.set(
          data.label(first + i).map((c) => c ?? -1),
          (first + i) * attributes,
        )
    }
    encoded.set(await autoencoder.encode(x, { signal: options.signal }), first * latents)
    options.onProgress?.({ done: first + count, total: data.size })
  }
  const { fingerprintData, fingerprintNetwork } = await import('../data/fingerprint.js') // node:crypto is large
  return new MemoryDataset({
    name: `latents of ${data.name}`,
    shape: [...latentShape],
    data: encoded,
    labels: data.labels,
    classes,
    latent: true,
    decoder,
    // devices and instruction sets round the latents differently
    origin: `${await fingerprintData(data)} by ${await fingerprintNetwork(autoencoder.network)}`,
  })
}
