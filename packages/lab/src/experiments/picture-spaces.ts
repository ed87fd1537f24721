import {
  type Autoencoder,
  type Dataset,
  type EnergyModel,
  latentDataset,
  loadDataset,
  type ShapeScore,
  trainAutoencoder,
} from 'feynkac'
import { byBudget, type ExperimentContext } from './experiment.js'
import { seenIn } from './pictures.js'
import { type Pictured, SIDE, shapesData, shapesEnergy, trained } from './trained.js'

/**
 * Learnt energies of the procedural pictures in spaces of 144 values: of 12 x 12 pixels, and of the latents of 24 x 24 pixels. Both are sampled
 * at the noise levels of drawPictures: latents are normalised to the standard deviation 0.5, pixels have 0.59, and what a picture shows is
 * settled by the same noise. The mean of the clean picture given the noised one shows shape and place in all of 256 pictures at sigma 0.7 and
 * below in both; in .98 of pixels and 1.00 of latents at 1, .88 and .86 at 1.5, .48 and .41 at 3.
 */

export interface PictureSpace extends Disposable {
  name: 'pixels' | 'latents'
  energy: EnergyModel
  /** What the energy was trained on. */
  data: Dataset
  /** What samples [n, ...energy.shape] show. */
  seen(samples: Float32Array): Promise<ShapeScore[]>
}

export async function pixelSpace(context: ExperimentContext): Promise<PictureSpace> {
  const data = await loadDataset(shapesData())
  const energy = await shapesEnergy(context)
  return {
    name: 'pixels',
    energy,
    data,
    seen: async (samples) => seenIn(samples, SIDE),
    [Symbol.dispose]: () => energy.dispose(),
  }
}

const IMAGE_SIDE = 24

export async function latentSpace(context: ExperimentContext): Promise<PictureSpace> {
  const pictures = await loadDataset(shapesData(0, IMAGE_SIDE), { limit: byBudget(context, 512, 8000, 8000, 8000) })
  const autoencoder = await shapesAutoencoder(pictures, context)
  try {
    const { signal } = context
    const data = await latentDataset(pictures, autoencoder, { signal })
    // the network of the pixels without its first level
    const network = { width: 48, channelMult: [1, 1], blocks: 1, attention: [3] }
    const of: Pictured = { name: `latents-${autoencoderImages(context)}`, data, network }
    const energy = await shapesEnergy(context, { of })
    return {
      name: 'latents',
      energy,
      data,
      seen: async (samples) => seenIn(await autoencoder.decode(samples, { signal }), IMAGE_SIDE),
      [Symbol.dispose]: () => {
        energy.dispose()
        autoencoder.dispose()
      },
    }
  } catch (error) {
    autoencoder.dispose()
    throw error
  }
}

const autoencoderImages = (context: ExperimentContext) => byBudget(context, 320, 16_000, 64_000, 256_000)

/** An autoencoder of 24 x 24 pixels with latents of 4 x 6 x 6. */
function shapesAutoencoder(data: Dataset, context: ExperimentContext): Promise<Autoencoder> {
  const { seed } = context
  const images = autoencoderImages(context)
  const network = { width: 16, channelMult: [1, 2, 2], latentChannels: 4, attention: false }
  // a constant rate of Adam's, as the published results were taken
  const options = { data, images, batchSize: 32, lr: 2e-3, muon: 0, decay: 0, network, seed }
  return trained(context, `shapes-autoencoder-${images}-${seed}`, (where) => trainAutoencoder({ ...options, ...where }))
}
