import { readdir } from 'node:fs/promises'
import { type Command, InvalidArgumentError } from 'commander'
import { ArgumentError } from '../base/errors.js'
import { readFileChecked } from '../base/files.js'
import { isObject, parseJsonObject } from '../base/json.js'
import { readingRows } from '../data/options.js'
import type { NetworkConfig } from '../networks/config.js'
import type { Head } from '../networks/energy-heads.js'
import { Stopped } from '../ranks/stopped.js'
import type { TrainingProgress } from '../training/events.js'
import { architectureRows } from '../training/network-options.js'
import type { DistillOptions } from '../training/objectives/distill.js'
import {
  holdOutRows,
  type LevelOptions,
  lengthRows,
  type PathOptions,
  previewRows,
  recordRows,
} from '../training/options.js'
import { loopRows, noiseRows, type Settings, settingRows } from '../training/settings.js'
import type { TrainingOptions, TrainingPlan, TrainingResult } from '../training/types.js'
import { Interrupted, interruptible } from './interrupt.js'
import { applyThreads, type CommonOptions, deviceOf, tableFlags, tableValues } from './options.js'
import { progress } from './progress.js'
import { openRanks, speaks } from './ranks.js'
import { sameBits } from './same-bits.js'
import { watchFlag, whileWatched } from './watch.js'

/** What the commands that train share. Options have no defaults here: those given must not contradict a resumed run. */

export interface TrainFlags
  extends CommonOptions,
    Partial<Omit<Settings, 'batchSize' | 'seed'>>,
    LevelOptions,
    PathOptions {
  data?: string
  autoencoder?: string
  output: string
  images?: number
  minutes?: number
  batch?: number
  network?: string
  head?: Head | 'joint'
  headScale?: number
  watch?: number | true
  resume?: boolean | 'auto'
}

/** What to train on and where to. */
export function dataFlags(command: Command): Command {
  const data = command.option('--data <spec>', 'training data: IDX, CIFAR-10, zip, .npy, a folder, or synthetic:NAME')
  return tableFlags(data, readingRows).requiredOption(
    '--output <directory>',
    'where checkpoints, log.jsonl and model.safetensors go',
  )
}

function resumeOf(value: string): 'auto' {
  if (value === 'auto') return value
  throw new InvalidArgumentError('Expected nothing, or auto.')
}

/** The loop of any training run. */
export function loopFlags(command: Command): Command {
  return watchFlag(tableFlags(command, { images: lengthRows.images, ...loopRows, ...recordRows })).option(
    '--resume [auto]',
    'go on from the newest checkpoint in the output directory; auto: begin where there is none',
    resumeOf,
  )
}

/** The options of training denoisers and energies. */
export function trainingFlags(command: Command): Command {
  tableFlags(loopFlags(dataFlags(command)), { minutes: lengthRows.minutes, ...holdOutRows, ...previewRows }).option(
    '--autoencoder <file>',
    'train on its latents of the data (train-autoencoder makes it)',
  )
  return tableFlags(command, { ...noiseRows, ...architectureRows }).option(
    '--network <file>',
    'network: JSON with class and args, such as NCSN++ or UNet2DModel, instead of the above',
  )
}

/** Options of the library from the flags, but for the network; what was not given is left out. */
export function trainingOptions(flags: TrainFlags): Omit<TrainingOptions, 'network'> {
  const dataOptions = givenIfAny({ ...tableValues(flags, readingRows), autoencoder: flags.autoencoder })
  const rows = { ...lengthRows, ...holdOutRows, ...previewRows, ...recordRows, ...settingRows }
  return given({
    data: flags.data,
    dataOptions,
    ...tableValues(flags, rows),
    output: flags.output,
    resume: flags.resume,
    ...deviceOf(flags),
  })
}

/** A configuration of a network, whose class and arguments the run checks; without a shape, for the shape that its arguments say. */
async function networkFile(path: string): Promise<NetworkConfig> {
  const json = parseJsonObject(await readFileChecked(path, { maxBytes: 2 ** 22 }), path)
  const network = isObject(json.network) ? json.network : json
  const args = isObject(network.args) ? network.args : {}
  const side = args.img_resolution ?? args.sample_size
  const [height, width] = Array.isArray(side) ? side : [side, side]
  const shape = network.shape ?? [args.in_channels, height, width]
  return { ...network, shape } as NetworkConfig
}

/** The same with the network of a denoiser or an energy. */
export async function modelTrainingOptions(flags: TrainFlags): Promise<TrainingOptions> {
  const own = tableValues(flags, architectureRows)
  if (flags.network !== undefined && Object.keys(own).length)
    throw new ArgumentError(`--network describes the whole network: leave out ${Object.keys(own).join(', ')}`)
  const network = flags.network === undefined ? own : await networkFile(flags.network)
  return { ...trainingOptions(flags), ...(Object.keys(network).length > 0 && { network }) }
}

export function given<T extends object>(values: T): T {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as T
}

/** The same, or nothing where there is none. */
export function givenIfAny<T extends object>(values: T): T | undefined {
  const some = given(values)
  return Object.keys(some).length ? some : undefined
}

/** Runs training with progress, stops it on SIGINT and SIGTERM with a checkpoint, and prints the result. */
export async function runTrainingCommand<M extends { dispose(): void }>(
  command: 'train' | 'distill' | 'train-autoencoder' | 'train-classifier',
  flags: TrainFlags,
  start: (
    run: Pick<TrainingOptions, 'signal' | 'onProgress' | 'ranks' | 'device'>,
    also: Required<Pick<DistillOptions, 'onPlan' | 'onCalibration'>>,
  ) => Promise<TrainingResult<M>>,
  more: (model: M) => { json: object; text: string } = () => ({ json: {}, text: '' }),
): Promise<void> {
  await applyThreads(flags)
  const ranks = await openRanks(flags)
  let shown: ReturnType<typeof progress> | undefined
  const began = performance.now()
  let [plan, heldOut, part] = [undefined as TrainingPlan | undefined, '', '']
  const onPlan = (found: TrainingPlan) => {
    plan = found
    if (speaks) process.stderr.write(`${describePlan(found, flags.minutes, process.argv.slice(2))}\n`)
  }
  const onProgress = (at: TrainingProgress) => {
    const first = at.size ? `${at.size.join(' x ')} first | ` : ''
    if (first !== part) shown = void shown?.end()
    part = first
    shown ??= progress(at.totalImages, at.images)
    if (at.heldOutLoss !== undefined) heldOut = `held out ${at.heldOutLoss.toPrecision(4)} | `
    const speed = `${at.imagesPerSecond.toPrecision(3)} images/s`
    shown.update(at.images, `${first}loss ${at.median.toPrecision(4)} | ${heldOut}${speed}`)
  }
  let calibrating: ReturnType<typeof progress> | undefined
  const onCalibration = ({ done, total }: { done: number; total: number }) => {
    shown?.end()
    shown = undefined
    calibrating ??= progress(total)
    calibrating.update(done, 'calibrating')
  }
  try {
    const result = await whileWatched(flags, speaks, () =>
      interruptible((signal) => start({ signal, onProgress, ranks, device: flags.device }, { onPlan, onCalibration })),
    )
    calibrating?.end()
    shown?.end()
    const { json, text } = more(result.model)
    result.model.dispose()
    if (!speaks) return
    const { steps, images, loss, heldOutLoss, averagedAt, path } = result
    const seconds = (performance.now() - began) / 1000
    const { recipe } = plan ?? {}
    const found = { model: path, steps, images, loss, heldOutLoss, averagedAt, seconds, recipe, ...json }
    if (flags.json) console.log(JSON.stringify(found))
    else {
      const losses = `loss ${loss.toPrecision(4)}${heldOutLoss === null ? '' : `, held out ${heldOutLoss.toPrecision(4)}`}`
      const what = `${images} images in ${steps} steps, ${losses}, ${seconds.toFixed(1)} s`
      const kept =
        averagedAt === images ? '' : `, kept the weights of ${averagedAt} images, whose held-out loss is lower`
      console.log(`${path}: ${what}${kept}${text}`)
    }
  } catch (error) {
    calibrating?.end()
    shown?.end()
    if (!(error instanceof Interrupted || error instanceof Stopped)) throw error
    const how = speaks ? await howToResume(command, flags.output) : ''
    const stopped = new Interrupted(error instanceof Interrupted ? error.signal : 'SIGTERM', how)
    process.exitCode = stopped.exitCode // of all, where a rank hangs and does not leave
    ranks.end() // all stopped after the same step
    throw stopped
  }
}

/** What a run is going to do; where its images were chosen by the time, also the command that gives the same bits again. */
export function describePlan(
  { text, images, imagesPerSecond }: TrainingPlan,
  minutes: number | undefined,
  words: string[],
) {
  if (imagesPerSecond === null) return text
  const speed = `${minutes} minutes at ${imagesPerSecond.toPrecision(3)} images/s`
  return `${text}\n${speed}; ${sameBits(words, ['--images', String(images)])}`
}

async function howToResume(command: string, output: string): Promise<string> {
  const names = await readdir(output).catch(() => [])
  return names.some((name) => name.startsWith('checkpoint-'))
    ? `stopped; resume with: feynkac ${command} --resume --output ${JSON.stringify(output)}`
    : 'stopped before the first checkpoint'
}
