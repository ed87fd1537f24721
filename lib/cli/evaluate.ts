import type { Command } from 'commander'
import type { EvaluateOptions, EvaluationProgress, EvaluationResult } from '../metrics/evaluate.js'
import { type MetricName, measures, metricNames } from '../metrics/registry.js'
import type { Division } from '../ranks/division.js'
import type { Part } from '../ranks/part.js'
import { type NamedLabels, parseAttributes } from '../service/composition.js'
import { interruptible } from './interrupt.js'
import { applyThreads, type CommonOptions, common, count, number, partOption, usage } from './options.js'
import { progress } from './progress.js'
import { divisionOf, speaks } from './ranks.js'
import { given } from './train-options.js'

interface Flags extends CommonOptions {
  samples: string
  data: string
  training?: string
  resize?: number
  channels?: 1 | 3
  icc?: boolean
  limit?: number
  weights?: string
  features: string
  attributes?: NamedLabels
  featureSize?: number
  featureRange?: [number, number]
  featureMean?: number[]
  featureStd?: number[]
  featureOutput?: string
  metrics?: MetricName[]
  pairs?: number
  batch?: number
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
    .option('--resize <side>', 'resize the images of both sides to this side', count(1, 4096))
    .option('--channels <number>', 'of both sides: 1: to grey, 3: to colour', count(1, 3))
    .option('--icc', 'convert the colours of pictures to sRGB by the profiles in their files')
    .option('--limit <number>', 'only the first so many of either side', count())
    .option('--weights <file>', 'weights.npy of the samples (the one in it, where --samples is a folder)')
    .option('--features <name>', 'pixels, an .onnx network by onnxruntime-node, or a classifier.safetensors', 'pixels')
    .option(
      '--attributes <list>',
      'what the samples should show, such as hair=3,pose=front, by a classifier',
      usage(parseAttributes),
    )
    .option('--feature-size <side>', 'of an .onnx network: side of the images that it takes (its own)', count(1, 4096))
    .option('--feature-range <lo,hi>', 'of an .onnx network: its black and white (0,1)', numbers)
    .option('--feature-mean <list>', 'of an .onnx network: subtracted from the channels (0)', numbers)
    .option('--feature-std <list>', 'of an .onnx network: divides the channels (1)', numbers)
    .option('--feature-output <name>', 'of an .onnx network: the output that has the features (the first)')
    .option(
      '--metrics <list>',
      `of ${metricNames.slice(0, -1).join(', ')} and ${metricNames.at(-1)} (all)`,
      (text) => text.split(',') as MetricName[],
    )
    .option('--pairs <number>', 'most samples of either side for metrics of pairs, drawn at random (5000)', count(6))
    .option('--batch <number>', 'samples whose features are computed at once (64)', count())
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

function numbers(text: string): number[] {
  return text.split(',').map(number())
}

async function run(flags: Flags, division: Division, signal: AbortSignal): Promise<EvaluationResult> {
  const { evaluateBy } = await import('../metrics/evaluate.js')
  const {
    samples,
    data,
    training,
    features,
    attributes,
    device,
    precision,
    metrics,
    limit,
    weights,
    pairs,
    batch,
    seed,
    resize,
    channels,
  } = flags
  const featureOptions = given({
    size: flags.featureSize,
    range: flags.featureRange,
    mean: flags.featureMean,
    std: flags.featureStd,
    output: flags.featureOutput,
  })
  let bar: ReturnType<typeof progress> | undefined
  try {
    const options = {
      ...given({
        samples,
        data,
        training,
        features,
        attributes,
        device,
        precision,
        featureOptions: Object.keys(featureOptions).length > 0 ? featureOptions : undefined,
        metrics,
        limit,
        weights,
        pairs,
        batchSize: batch,
        seed,
      }),
      dataOptions: given({ resize, channels, icc: flags.icc }),
      signal,
      onProgress: ({ done, total, stage }: EvaluationProgress) => {
        bar ??= progress(total)
        bar.update(done, stage)
      },
    } satisfies EvaluateOptions
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
