import { knownOptions } from '../../base/args.js'
import { checkOptions, reader } from '../../base/option-table.js'
import { readSamples } from '../../data/samples.js'
import { Autoencoder, autoencoderKL, givenAutoencoder, parseAutoencoderInfo } from '../../models/autoencoder.js'
import type { AutoencoderConfig } from '../../networks/autoencoder.js'
import { groupsFor, levelsOf } from '../architecture.js'
import { Batches } from '../batches.js'
import { averaged } from '../beside.js'
import { type AutoencoderArchitecture, autoencoderRows } from '../network-options.js'
import { previewRows } from '../options.js'
import { Previews } from '../previews.js'
import { autoencoderRecipe } from '../recipe.js'
import { reconstructionsEveryFor, reconstructionsOf } from '../reconstructions.js'
import type { TrainingResult } from '../types.js'
import { type ImageDefinition, type ImageTrainingOptions, imageStep, trainOnImages } from './images.js'

/**
 * `network` may be all of a configuration; `noise` is the standard deviation of the noise on the latents (0.1), which keeps images of
 * neighbouring latents alike.
 */
export interface AutoencoderOptions extends ImageTrainingOptions<AutoencoderArchitecture | AutoencoderConfig> {
  /**
   * Images between previews: eight images of the data above what the averaged weights make of them, drawn into `output` for log.jsonl. Default a
   * tenth of the run, or as many as make them a fiftieth of its work; 0: none. The run's bits do not depend on them.
   */
  previewEvery?: number
}

interface Definition extends ImageDefinition {
  objective: 'autoencoder'
  network: AutoencoderConfig
}

/** Images that shift and scale of the latents are measured on. */
const MEASURED = 4096

/** Documented in late.ts. */
export async function trainAutoencoder(options: AutoencoderOptions): Promise<TrainingResult<Autoencoder>> {
  const { previewEvery, signal } = options ?? {}
  checkOptions(previewRows, { previewEvery })
  return trainOnImages<Autoencoder, Definition>(options, {
    where: 'trainAutoencoder',
    name: 'autoencoder',
    optionNames: ['previewEvery'],
    parse: parseAutoencoderInfo,
    given: {},
    defaults: { noise: 0.1 },
    recipe: autoencoderRecipe,
    configure: (network, { shape }) =>
      'class' in network ? givenAutoencoder(network) : autoencoderFor(shape, network as AutoencoderArchitecture),
    create: ({ network }, _, at) => Autoencoder.create({ network }, at),
    run: (model, definition, data, { images, create }) => {
      const every = previewEvery ?? reconstructionsEveryFor(images)
      const draw = async () => {
        using own = await averaged(model.network, create)
        return await reconstructionsOf(own, data, signal)
      }
      return {
        step: (common) => model.network.train(imageStep(common, definition.noise)),
        batches: new Batches(data, null, definition),
        previews: every > 0 && every <= images ? new Previews(every, draw, signal) : undefined,
        finish: async () => {
          const measured = Int32Array.from({ length: Math.min(MEASURED, data.size) }, (_, i) => i)
          await model.calibrate((await readSamples(data, null, measured)).x0, { signal })
        },
      }
    },
  })
}

/** A deterministic autoencoder for images of a shape. Throws ArgumentError. */
export function autoencoderFor(
  shape: readonly number[],
  architecture: AutoencoderArchitecture = {},
): AutoencoderConfig {
  knownOptions('network', architecture, Object.keys(autoencoderRows))
  const option = reader(autoencoderRows, architecture)
  const { channels, blocks } = levelsOf(architecture, [1, 2, 2])
  return givenAutoencoder(
    autoencoderKL(shape, {
      block_out_channels: channels,
      layers_per_block: blocks,
      latent_channels: option('latentChannels'),
      norm_num_groups: groupsFor(channels),
      mid_block_add_attention: option('attention'),
      scaling_factor: 0.5,
      double_z: false,
    }),
  )
}
