import type { Command } from 'commander'
import { prepareFile, refuseOverwriting } from '../base/files.js'
import { readingRows } from '../data/options.js'
import type { Communicator } from '../ranks/communicator.js'
import { calibrateRows, tableRows } from '../smc/precision/calibrate-options.js'
import { interruptible } from './interrupt.js'
import { applyThreads, type CommonOptions, common, deviceOf, tableFlags, tableValues } from './options.js'
import { progress } from './progress.js'
import { openRanks, speaks } from './ranks.js'
import { given } from './train-options.js'

interface Flags extends CommonOptions {
  data: string
  autoencoder?: string
  output?: string
  overwrite?: boolean
}

const rows = { ...calibrateRows, ...tableRows }

export function register(program: Command): void {
  const command = program
    .command('calibrate')
    .description(
      'Measure the mean precisions of an energy on noised data, and how well it agrees with itself between noise levels, and keep both in its file: sample then uses them (--proposal calibrated, --weigh-above auto).',
    )
    .argument('<model>', 'model.safetensors of an energy')
    .requiredOption(
      '--data <spec>',
      'data that the energy is of: IDX, CIFAR-10, zip, .npy, a folder, or synthetic:NAME',
    )
    .option('--autoencoder <file>', 'the energy is of its latents of the data')
  tableFlags(command, { ...readingRows, ...rows })
    .option('--output <file>', 'where the calibrated model goes (in place)')
    .option('--overwrite', 'replace the file of --output')
  common(
    command,
    'feynkac calibrate runs/energy/model.safetensors --data fashion-mnist/train-images-idx3-ubyte.gz --count 1000',
  ).action(async (file: string, flags: Flags) => {
    await applyThreads(flags)
    const ranks = await openRanks(flags)
    const result = await interruptible((signal) => run(file, flags, ranks, signal))
    if (!speaks) return
    if (flags.json) console.log(JSON.stringify(result))
    else
      console.log(
        `${result.model}: ${result.groups} precisions at ${result.levels} noise levels from ${result.draws} draws of data, ${result.seconds.toFixed(1)} s`,
      )
  })
}

async function run(file: string, flags: Flags, ranks: Communicator, signal: AbortSignal) {
  const { EnergyModel } = await import('../models/energy.js')
  const { openData } = await import('../training/opening.js')
  using model = await EnergyModel.load(file, deviceOf(flags))
  const path = flags.output ?? file
  // before the work, so that it is not lost
  if (speaks) await prepareFile(path)
  if (speaks && flags.output !== undefined) await refuseOverwriting([path], flags.overwrite ?? false)
  const dataOptions = given({ ...tableValues(flags, readingRows), autoencoder: flags.autoencoder })
  const { data } = await openData({ data: flags.data, dataOptions, ...deviceOf(flags), signal }, { checkpoint: null })
  const began = performance.now()
  let shown: ReturnType<typeof progress> | undefined
  try {
    await model.calibrate({
      ...{ data, ...tableValues(flags, rows), seed: flags.seed, ranks, signal },
      onProgress: ({ done, total }) => {
        shown ??= progress(total)
        shown.update(done, 'draws at a noise level')
      },
    })
  } finally {
    shown?.end()
  }
  if (speaks) await model.save(path)
  const { groups, count: draws, sigmas } = model.calibration!.data
  const seconds = (performance.now() - began) / 1000
  return { model: path, groups: groups.count, levels: sigmas.length, draws, seconds }
}
