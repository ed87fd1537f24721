import type { Command } from 'commander'
import type { EvaluationResult } from '../metrics/evaluate.js'
import { type EvaluateOptions, evaluateRows, featureRows, sideRows } from '../metrics/options.js'
import { type MetricName, measures, metricNames } from '../metrics/registry.js'
import type { Division } from '../ranks/division.js'
import type { Part } from '../ranks/part.js'
import { type NamedLabels, parseAttributes } from '../service/composition.js'
import { interruptible } from './interrupt.js'
import {
  applyThreads,
  type CommonOptions,
  common,
  deviceOf,
  partOption,
  tableFlags,
  tableValues,
  usage,
} from './options.js'
import { progress } from './progress.js'
import { divisionOf, speaks } from './ranks.js'
import { given, givenIfAny } from './train-options.js'

interface Flags extends CommonOptions, Pick<EvaluateOptions, 'weights'> {
  samples: string
  data: string
  training?: string
  features: string
  attributes?: NamedLabels
  metrics?: MetricName[]
  part?: Part
  parts: string
}

export function register(program: Command): void {
  const command = program
    .command('evaluate')
    .description('Compare samples with data: Fréchet and kernel distance, precision and recall, coverage, and others.')
    .requiredOption(
      '--samples <path>',
      "sample's output folder or samples.npy, or any data: a folder or zip of images ...",
    )
    .requiredOption('--data <spec>', 'what to compare with: IDX, CIFAR-10, zip, .npy, a folder, or synthetic:NAME')
    .option('--training <spec>', 'what the model was trained on, where --data was held out: are the samples copies?')
    .option('--weights <file>', 'weights.npy of the samples (the one in it, where --samples is a folder)')
    .option('--features <name>', 'pixels, an .onnx network by onnxruntime-node, or a classifier.safetensors', 'pixels')
    .option(
      '--attributes <list>',
      'what the samples should show, such as hair=3,pose=front, by a classifier',
      usage(parseAttributes),
    )
    .option(
      '--metrics <list>',
      `of ${metricNames.slice(0, -1).join(', ')} and ${metricNames.at(-1)} (all)`,
      (text) => text.split(',') as MetricName[],
    )
  tableFlags(command, { ...sideRows, ...evaluateRows, ...featureRows })
  partOption(command, 'the folder of --parts').option(
    '--parts <directory>',
    'of --part: where the features go until all are there',
    'evaluation-parts',
  )
  common(
    command,
    'feynkac evaluate --samples out/cold --data fashion-mnist/train-images-idx3-ubyte.gz --limit 10k',
  ).action(async (flags: Flags) => {
    await applyThreads(flags)
    const { part, parts, threads, verbose, json, device, ...work } = flags
    const division = await divisionOf(flags, parts, { evaluate: work })
    const result = await interruptible((signal) => run(flags, division, signal))
    await division.close()
    if (!speaks) return
    if (flags.json) console.log(JSON.stringify(result))
    else console.log(describe(flags, result).join('\n'))
  })
}

async function run(flags: Flags, division: Division, signal: AbortSignal): Promise<EvaluationResult> {
  const { evaluateBy } = await import('../metrics/evaluate.js')
  const { samples, data, training, features, attributes, metrics, weights } = flags
  const featureOptions = givenIfAny(tableValues(flags, featureRows))
  let bar: ReturnType<typeof progress> | undefined
  try {
    const options: EvaluateOptions = {
      ...{ samples, data, features, dataOptions: tableValues(flags, sideRows), ...tableValues(flags, evaluateRows) },
      ...given({ training, attributes, metrics, weights, featureOptions }),
      ...deviceOf(flags),
      signal,
      onProgress: ({ done, total, stage }) => {
        bar ??= progress(total)
        bar.update(done, stage)
      },
    }
    return await evaluateBy(options, division)
  } finally {
    bar?.end()
  }
}

function describe(flags: Flags, result: EvaluationResult): string[] {
  const { samples, data, weighted, features, dim, values, attributes, copies, notes } = result
  const line = (name: string, value: string) => `${name.padEnd(20)}${value}`
  const shown = measures.flatMap((measure) =>
    measure.shown.flatMap(({ name, key, error }) => {
      if (values[key] === undefined) return []
      const value = values[key].toPrecision(5)
      return line(name, error ? `${value} ± ${values[error]!.toPrecision(2)}` : value)
    }),
  )
  return [
    line('samples', `${flags.samples} (${samples}${weighted ? ', weighted' : ''})`),
    line('data', `${flags.data} (${data})`),
    line('features', `${features} (${dim})`),
    ...shown,
    ...Object.entries<number>(attributes ?? {}).map(([name, share]) => line(`shows ${name}`, share.toFixed(3))),
    ...(copies ? [line('copies', copies.text)] : []),
    ...notes.map((note) => line('note', note)),
  ]
}
