import type { Command } from 'commander'
import type { Head } from '../networks/energy-heads.js'
import type { DistillOptions } from '../training/objectives/distill.js'
import { pathRows } from '../training/options.js'
import { choice, common, count, tableFlags, tableValues } from './options.js'
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
  tableFlags(command, pathRows).option(
    '--self-play <paths>',
    "also train on states of the energy's own paths, such as 32 (0: none)",
    count(0),
  )
  common(
    command,
    'feynkac distill --teacher runs/teacher/model.safetensors --data fashion-mnist/train-images-idx3-ubyte.gz \\\n' +
      '    --output runs/energy --minutes 10',
  ).action(async (flags: Flags) => {
    const { distill } = await import('../training/objectives/distill.js')
    const { teacher, init, selfPlay } = flags
    const calibrate = flags.calibrate === true ? undefined : flags.calibrate
    const beside = { ...headOptions(flags), ...tableValues(flags, pathRows) }
    const own = { ...given({ teacher, init, calibrate, selfPlay }), ...beside }
    const options = { ...(await modelTrainingOptions(flags)), ...own } as DistillOptions
    await runTrainingCommand('distill', flags, (run, also) => distill({ ...options, ...run, ...also }))
  })
}
