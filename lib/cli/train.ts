import type { Command } from 'commander'
import { ArgumentError } from '../base/errors.js'
import { denoisingRows, levelRows, trainedHeadRows } from '../training/options.js'
import { common, tableFlags, tableValues } from './options.js'
import { modelTrainingOptions, runTrainingCommand, type TrainFlags, trainingFlags } from './train-options.js'

interface Flags extends TrainFlags {
  energyWeight?: number
}

export function register(program: Command): void {
  const command = program
    .command('train')
    .description('Train a denoiser by denoising score matching; with --head, an energy.')
  const energyRows = { ...trainedHeadRows, ...levelRows }
  tableFlags(trainingFlags(command), { ...energyRows, ...denoisingRows })
  common(
    command,
    'feynkac train --data fashion-mnist/train-images-idx3-ubyte.gz --output runs/teacher --minutes 10',
  ).action(async (flags: Flags) => {
    if (flags.headScale !== undefined && !flags.head) throw new ArgumentError('--head-scale needs --head dot')
    if ((flags.levelWeight ?? flags.levels ?? flags.levelBatch) !== undefined && !flags.head)
      throw new ArgumentError('--level-weight needs an energy: choose its --head')
    if (flags.energyWeight !== undefined && !flags.head) throw new ArgumentError('--energy-weight needs --head joint')
    const { trainDenoiser, trainEnergy } = await import('../training/objectives/dsm.js')
    const options = { ...(await modelTrainingOptions(flags)), ...tableValues(flags, denoisingRows) }
    await runTrainingCommand<{ dispose(): void }>('train', flags, (run, { onPlan }) =>
      flags.head
        ? trainEnergy({ ...options, ...tableValues(flags, energyRows), ...run, onPlan })
        : trainDenoiser({ ...options, ...run, onPlan }),
    )
  })
}
