import type { Command } from 'commander'
import type { DistillOptions } from '../training/distill.js'
import { choice, common } from './options.js'
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
  head?: 'dot' | 'l2' | 'norm'
  teacher?: string
  init?: 'teacher' | 'random'
}

export function register(program: Command): void {
  const command = program
    .command('distill')
    .description('Distil a denoiser into an energy: the projection of its score on gradient fields.')
    .option('--teacher <file>', 'the denoiser (model.safetensors of a training run)')
    .addOption(
      choice('--init <weights>', "begin with the teacher's weights or new ones (teacher)", ['teacher', 'random']),
    )
  headFlags(trainingFlags(command), 'dot')
  common(
    command,
    'feynkac distill --teacher runs/teacher/model.safetensors --data fashion-mnist/train-images-idx3-ubyte.gz \\\n' +
      '    --output runs/energy --images 200k',
  ).action(async (flags: Flags) => {
    const { distill } = await import('../training/distill.js')
    const own = given({ teacher: flags.teacher, init: flags.init })
    const options = { ...(await modelTrainingOptions(flags)), ...own, ...headOptions(flags) } as DistillOptions
    await runTrainingCommand('distill', flags, (run) => distill({ ...options, ...run }))
  })
}
