import type { Command } from 'commander'
import type { LabelSpec } from '../data/dataset.js'
import type { Accuracy } from '../models/classifier.js'
import { classifierRows } from '../training/options.js'
import { common, number, tableFlags } from './options.js'
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
  noise?: number
  holdOut?: number
}

export function register(program: Command): void {
  const command = program
    .command('train-classifier')
    .description(
      'Train a classifier of labelled images, which tells the attributes of samples and gives features of them.',
    )
  tableFlags(levelFlags(loopFlags(dataFlags(command)), '1,2,4,8'), classifierRows).option(
    '--noise <std>',
    'largest standard deviation of the noise on the images (0)',
    number({ min: 0 }),
  )
  common(
    command,
    'feynkac train-classifier --data images.zip --output runs/classifier --images 400k --noise 0.1',
  ).action(async (flags: Flags) => {
    const { trainClassifier } = await import('../training/objectives/classifier.js')
    const { width, channelMult, blocks, noise, holdOut } = flags
    const own = given({ noise, holdOut, network: givenIfAny({ width, channelMult, blocks }) })
    await runTrainingCommand(
      'train-classifier',
      flags,
      (run) => trainClassifier({ ...trainingOptions(flags), ...own, ...run }),
      ({ labels, accuracy }) => ({
        json: { accuracy: Object.fromEntries(labels.attributes.map(({ name }, i) => [name, accuracy[i]])) },
        text: `, held out: ${describeAccuracy(labels, accuracy)}`,
      }),
    )
  })
}

/** Such as `hair 98.2 %, pose 99.9 %`. */
export function describeAccuracy({ attributes }: LabelSpec, accuracy: Accuracy): string {
  const percent = (share: number | null) => (share === null ? 'not measured' : `${(100 * share).toFixed(1)} %`)
  return attributes.map(({ name }, i) => `${name} ${percent(accuracy[i])}`).join(', ')
}
