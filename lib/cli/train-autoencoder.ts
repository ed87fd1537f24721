import type { Command } from 'commander'
import { autoencoderRows } from '../training/network-options.js'
import { latentNoiseRows, previewRows } from '../training/options.js'
import { common, tableFlags, tableValues } from './options.js'
import {
  dataFlags,
  givenIfAny,
  loopFlags,
  runTrainingCommand,
  type TrainFlags,
  trainingOptions,
} from './train-options.js'

export function register(program: Command): void {
  const command = program
    .command('train-autoencoder')
    .description(
      'Train an autoencoder of images: its latents are what train, distill and sample take --autoencoder for.',
    )
  tableFlags(loopFlags(dataFlags(command)), { ...previewRows, ...autoencoderRows, ...latentNoiseRows })
  common(
    command,
    'feynkac train-autoencoder --data images.zip --output runs/autoencoder --images 400k\n' +
      '  feynkac train --data images.zip --autoencoder runs/autoencoder/model.safetensors --output runs/teacher --images 400k',
  ).action(async (flags: TrainFlags) => {
    const { trainAutoencoder } = await import('../training/objectives/autoencoder.js')
    const network = givenIfAny(tableValues(flags, autoencoderRows))
    const own = { ...tableValues(flags, latentNoiseRows), ...(network && { network }) }
    await runTrainingCommand('train-autoencoder', flags, (run) =>
      trainAutoencoder({ ...trainingOptions(flags), ...own, ...run }),
    )
  })
}
