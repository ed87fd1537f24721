import type { Command } from 'commander'
import { previewRows } from '../training/options.js'
import { common, count, number, tableFlags } from './options.js'
import {
  dataFlags,
  given,
  givenIfAny,
  levelFlags,
  loopFlags,
  runTrainingCommand,
  type TrainFlags,
  trainingOptions,
} from './train-options.js'

interface Flags extends TrainFlags {
  latentChannels?: number
  midAttention: boolean
  noise?: number
}

export function register(program: Command): void {
  const command = program
    .command('train-autoencoder')
    .description(
      'Train an autoencoder of images: its latents are what train, distill and sample take --autoencoder for.',
    )
  levelFlags(tableFlags(loopFlags(dataFlags(command)), previewRows), '1,2,2')
    .option('--latent-channels <number>', 'network: channels of the latents (4)', count())
    .option('--no-mid-attention', 'network: no attention in the middle')
    .option('--noise <std>', 'standard deviation of the noise on the latents (0.1)', number({ min: 0 }))
  common(
    command,
    'feynkac train-autoencoder --data images.zip --output runs/autoencoder --images 400k\n' +
      '  feynkac train --data images.zip --autoencoder runs/autoencoder/model.safetensors --output runs/teacher --images 400k',
  ).action(async (flags: Flags) => {
    const { trainAutoencoder } = await import('../training/objectives/autoencoder.js')
    const { width, channelMult, blocks, latentChannels, noise } = flags
    const attention = flags.midAttention ? undefined : false
    const own = given({ noise, network: givenIfAny({ width, channelMult, blocks, latentChannels, attention }) })
    await runTrainingCommand('train-autoencoder', flags, (run) =>
      trainAutoencoder({ ...trainingOptions(flags), ...own, ...run }),
    )
  })
}
