import type { Command } from 'commander'
import { ArgumentError } from '../base/errors.js'
import { common, number } from './options.js'
import {
  given,
  headFlags,
  headOptions,
  modelTrainingOptions,
  runTrainingCommand,
  type TrainFlags,
  trainingFlags,
} from './train-options.js'

interface Flags extends TrainFlags {
  sigmaData?: number
  energyWeight?: number
  labels: boolean
}

export function register(program: Command): void {
  const command = program
    .command('train')
    .description('Train a denoiser by denoising score matching; with --head, an energy.')
  headFlags(trainingFlags(command), 'without: a denoiser; joint: both in one network', ['joint'])
    .option('--energy-weight <number>', "of the energy's part of the joint loss (1)", number({ above: 0 }))
    .option('--sigma-data <number>', 'standard deviation of the data (0.5; vectors: measured)', (text) => Number(text))
    .option('--no-labels', 'ignore the labels of the data')
  common(
    command,
    'feynkac train --data fashion-mnist/train-images-idx3-ubyte.gz --output runs/teacher --minutes 10',
  ).action(async (flags: Flags) => {
    if (flags.headScale !== undefined && !flags.head) throw new ArgumentError('--head-scale needs --head dot')
    if ((flags.levelWeight ?? flags.levels ?? flags.levelBatch) !== undefined && !flags.head)
      throw new ArgumentError('--level-weight needs an energy: choose its --head')
    if (flags.energyWeight !== undefined && !flags.head) throw new ArgumentError('--energy-weight needs --head joint')
    const { trainDenoiser, trainEnergy } = await import('../training/objectives/dsm.js')
    const { energyWeight } = flags
    const own = given({ sigmaData: flags.sigmaData, conditional: flags.labels ? undefined : false })
    const options = { ...(await modelTrainingOptions(flags)), ...own }
    await runTrainingCommand<{ dispose(): void }>('train', flags, (run, { onPlan }) =>
      flags.head
        ? trainEnergy({ ...options, ...headOptions(flags), ...given({ energyWeight }), ...run, onPlan })
        : trainDenoiser({ ...options, ...run, onPlan }),
    )
  })
}
