import type { Command } from 'commander'
import type { LabelSpec } from '../data/dataset.js'
import type { Accuracy } from '../models/classifier.js'
import { classifierNetworkRows } from '../training/network-options.js'
import { classifierRows, imageNoiseRows } from '../training/options.js'
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
    .command('train-classifier')
    .description(
      'Train a classifier of labelled images, which tells the attributes of samples and gives features of them.',
    )
  const rows = { ...classifierRows, ...imageNoiseRows }
  tableFlags(loopFlags(dataFlags(command)), { ...classifierNetworkRows, ...rows })
  common(
    command,
    'feynkac train-classifier --data images.zip --output runs/classifier --images 400k --noise 0.1',
  ).action(async (flags: TrainFlags) => {
    const { trainClassifier } = await import('../training/objectives/classifier.js')
    const network = givenIfAny(tableValues(flags, classifierNetworkRows))
    const own = { ...tableValues(flags, rows), ...(network && { network }) }
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
