import type { Command } from 'commander'
import type { Head } from '../networks/energy-heads.js'
import type { DistillOptions } from '../training/objectives/distill.js'
import { distilledHeadRows, distillRows, levelRows, pathRows } from '../training/options.js'
import { common, tableFlags, tableValues } from './options.js'
import { given, modelTrainingOptions, runTrainingCommand, type TrainFlags, trainingFlags } from './train-options.js'

interface Flags extends TrainFlags {
  head?: Head
  teacher?: string
}

export function register(program: Command): void {
  const command = program
    .command('distill')
    .description('Distil a denoiser into an energy: the projection of its score on gradient fields.')
    .option('--teacher <file>', 'the denoiser (model.safetensors of a training run)')
  const rows = { ...distillRows, ...distilledHeadRows, ...levelRows, ...pathRows }
  tableFlags(trainingFlags(command), rows)
  common(
    command,
    'feynkac distill --teacher runs/teacher/model.safetensors --data fashion-mnist/train-images-idx3-ubyte.gz \\\n' +
      '    --output runs/energy --minutes 10',
  ).action(async (flags: Flags) => {
    const { distill } = await import('../training/objectives/distill.js')
    const own = { ...given({ teacher: flags.teacher }), ...tableValues(flags, rows) }
    const options = { ...(await modelTrainingOptions(flags)), ...own } as DistillOptions
    await runTrainingCommand('distill', flags, (run, also) => distill({ ...options, ...run, ...also }))
  })
}
