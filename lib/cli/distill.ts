import type { Command } from 'commander'
import type { Head } from '../networks/energy-heads.js'
import type { DistillOptions } from '../training/objectives/distill.js'
import { choice, common, count, number } from './options.js'
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
  head?: Head
  teacher?: string
  init?: 'teacher' | 'random'
  selfPlay?: number
  calibrate?: number | boolean
}

export function register(program: Command): void {
  const command = program
    .command('distill')
    .description('Distil a denoiser into an energy: the projection of its score on gradient fields.')
    .option('--teacher <file>', 'the denoiser (model.safetensors of a training run)')
    .addOption(
      choice('--init <weights>', "begin with the teacher's weights or new ones (teacher)", ['teacher', 'random']),
    )
    .option(
      '--calibrate <number>',
      "draws of data for the energy's table of precisions (a twentieth of the run)",
      count(),
    )
    .option('--no-calibrate', 'make no table: feynkac calibrate can do it later')
  headFlags(trainingFlags(command), 'dot')
    .option(
      '--path-weight <number>',
      'of the path loss, which makes noise levels agree, such as 0.5 (0: none)',
      number({ min: 0 }),
    )
    .option('--path-batch <number>', 'walks per step (half the batch)', count())
    .option('--path-steps <number>', 'steps of a walk (3)', count(1, 64))
    .option('--path-step <length>', 'of a step in ln sigma (0.1)', number({ min: 1e-3, max: 1 }))
    .option('--self-play <paths>', "also train on states of the energy's own paths, such as 32 (0: none)", count(0))
  common(
    command,
    'feynkac distill --teacher runs/teacher/model.safetensors --data fashion-mnist/train-images-idx3-ubyte.gz \\\n' +
      '    --output runs/energy --minutes 10',
  ).action(async (flags: Flags) => {
    const { distill } = await import('../training/objectives/distill.js')
    const { teacher, init, selfPlay } = flags
    const calibrate = flags.calibrate === true ? undefined : flags.calibrate
    const { pathWeight, pathBatch, pathSteps, pathStep } = flags
    const path = given({ pathWeight, pathBatch, pathSteps, pathStep })
    const own = { ...given({ teacher, init, calibrate, selfPlay }), ...headOptions(flags), ...path }
    const options = { ...(await modelTrainingOptions(flags)), ...own } as DistillOptions
    await runTrainingCommand('distill', flags, (run, also) => distill({ ...options, ...run, ...also }))
  })
}
