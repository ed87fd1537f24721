import { ArgumentError, formatFailure } from '../base/errors.js'
import { isObject, parseBounded } from '../base/json.js'
import { type AutoencoderConfig, checkAutoencoder } from '../networks/autoencoder.js'
import { checkNetworkConfig, hasClassTable, type NetworkConfig } from '../networks/config.js'
import type { Tensor } from '../weights/safetensors.js'
import type { SourceModel } from '../weights/source-model.js'
import { diffusersSchedule } from './diffusers-schedule.js'
import { edmSchedule } from './edm-schedule.js'
import { checkModelInfo, checkNullClass, type ModelInfo, parseModelInfo } from './info.js'
import type { NoiseSchedule } from './noise-schedule.js'

/** From what a file of another framework says to a model of this one: configuration, preconditioning, names of the weights. */

type Fail = (what: string) => never

/** What a source does not say itself. */
export interface ImportOptions {
  /** Class, arguments and shape of the network of a bare state dict, and its preconditioning: as `feynkac inspect --json` prints them. */
  config?: Record<string, unknown>
  /** scheduler_config.json of a diffusers network that came without. */
  scheduler?: Record<string, unknown>
  /** Row of a class table that stands for no class: for samples without labels, and guidance. */
  nullClass?: number
}

export interface ImportedModel {
  info: ModelInfo
  /** By the names of the engine's network. */
  tensors: Map<string, Tensor>
  /** What was assumed. */
  notes: string[]
}

/** EDM's own range of sampling for models of images in [-1, 1] (generate.py): beyond it nothing is left of them. */
const LARGEST_SIGMA = 80
/** diffusers' DDPMScheduler without arguments. */
const DDPM = { _class_name: 'DDPMScheduler' }

/** Throws FormatError that says what is missing, or what is not supported. */
export function importModel(source: SourceModel, options: ImportOptions = {}): ImportedModel {
  const imported = importAny(source, options)
  const { info } = imported
  const { nullClass } = options
  if (nullClass !== undefined)
    info.nullClass = checkNullClass(nullClass, info.network, (what) => {
      throw new ArgumentError(what)
    })
  else if (source.format !== 'feynkac' && info.nullClass === undefined && hasClassTable(info.network))
    info.nullClass = null
  return imported
}

function importAny(source: SourceModel, options: ImportOptions): ImportedModel {
  const fail: Fail = formatFailure(source.path)
  if (source.format === 'feynkac')
    return { info: parseModelInfo(source.metadata, source.path), tensors: source.tensors, notes: [] }
  if (options.config !== undefined) return withConfig(source, options.config, fail)
  const { className, args } = source
  if (className === null || args === null)
    return fail(
      `a state dict of ${source.tensors.size} tensors that does not say what network it is of: give its configuration (--config), ${CONFIG_HELP}`,
    )
  if (className === 'UNet2DModel') return importDiffusers(source, args, options.scheduler, fail)
  if (className === 'SongUNet' || className === 'DhariwalUNet') return importEdm(source, className, args, fail)
  return fail(
    `the network ${className} is not supported: SongUNet, DhariwalUNet of NVlabs/edm, UNet2DModel of diffusers`,
  )
}

/** Fields of a description beside the network's, and what `inspect` shows with it. */
const DESCRIPTION = ['preconditioning', 'sigmaData', 'sigmaMin', 'sigmaMax', 'labels', 'nullClass']
const INSPECTED = ['file', 'notes', 'kind', 'headScale', 'precisions', 'parameters', 'weights', 'batch', 'memory']
const CONFIG_HELP = "an object with class, args and shape, and preconditioning where it is not EDM's"

/** A bare state dict with the configuration that the caller gives. */
function withConfig(source: SourceModel, config: Record<string, unknown>, fail: Fail): ImportedModel {
  const wrong: Fail = (what) => fail(`the configuration given: ${what}`)
  // `inspect --json` has the network in a field, and more beside it
  const { network: inner, class: name, args, shape: outer, ...rest } = config
  const { shape, ...json } = isObject(inner) ? inner : { class: name, args, shape: outer }
  for (const key of Object.keys(rest))
    if (![...DESCRIPTION, ...(isObject(inner) ? INSPECTED : [])].includes(key)) wrong(`unknown field '${key}'`)
  const network = checkNetworkConfig(json, shape, wrong)
  const defaults = { sigmaData: 0.5, sigmaMin: 0.002, sigmaMax: LARGEST_SIGMA }
  const info = checkModelInfo({ ...defaults, ...rest, kind: 'denoiser', headScale: 1 }, network, wrong)
  return { info, tensors: renamed(source.tensors, network.class === 'UNet2DModel'), notes: [] }
}

/** Whether a source holds images' latents rather than a model of noise. */
export function isAutoencoder(source: SourceModel): boolean {
  return source.className === 'AutoencoderKL' || ownKind(source) === 'autoencoder'
}

/** Whether a source tells the classes of images. */
export function isClassifier(source: SourceModel): boolean {
  return ownKind(source) === 'classifier'
}

/** What a file of our own says it holds. */
function ownKind({ format, metadata }: SourceModel): unknown {
  const json = format === 'feynkac' ? parseBoundedOrNull(metadata.feynkac) : null
  return isObject(json) ? json.kind : undefined
}

function parseBoundedOrNull(text: string): unknown {
  try {
    return parseBounded(text)
  } catch {
    return null // whoever reads the description says what is wrong with it
  }
}

/** diffusers' AutoencoderKL: its configuration, and its weights by today's names. Throws FormatError. */
export function importAutoencoder(source: SourceModel): {
  network: AutoencoderConfig
  tensors: Map<string, Tensor>
} {
  const fail: Fail = formatFailure(source.path)
  if (source.className !== 'AutoencoderKL' || source.args === null) return fail('it holds no AutoencoderKL')
  const { channels, height, width, args } = diffusersSizes(source.args, fail)
  const network = checkAutoencoder({ class: 'AutoencoderKL', args }, [channels, height, width], fail)
  return { network, tensors: renamed(source.tensors, true) }
}

/** What diffusers' EMAModel writes beside the network's arguments: how the weights were averaged. */
const AVERAGING = [
  ...['decay', 'min_decay', 'optimization_step', 'update_after_step', 'use_ema_warmup', 'inv_gamma', 'power'],
]

/** The arguments of config.json without notes that do not concern the network, and the shape of the images that they say. */
function diffusersSizes(json: Record<string, unknown>, fail: Fail) {
  const args: Record<string, unknown> = Object.fromEntries(
    Object.entries(json).filter(([name]) => !name.startsWith('_') && !AVERAGING.includes(name)),
  )
  const { in_channels: channels, sample_size: size } = args
  if (size === null || size === undefined) fail('its config.json has no sample_size: add the side of its images')
  const [height, width] = Array.isArray(size) ? size : [size, size]
  return { channels, height, width, args }
}

function importEdm(
  source: SourceModel,
  className: 'SongUNet' | 'DhariwalUNet',
  args: Record<string, unknown>,
  fail: Fail,
): ImportedModel {
  const { preconditioning } = source
  const notes = preconditioning === null ? ['no preconditioner found around the network: EDMPrecond assumed'] : []
  const schedule = edmSchedule(preconditioning?.className ?? 'EDMPrecond', preconditioning?.args ?? {}, fail)
  const side = args.img_resolution
  const { tensors, channels } = prediction(source.tensors, args, schedule, fail)
  const own = { ...args, out_channels: channels }
  const network = checkNetworkConfig({ class: className, args: own }, [channels, side, side], fail)
  return { info: denoiser(network, schedule, fail), tensors: renamed(tensors, false), notes }
}

function importDiffusers(
  source: SourceModel,
  args: Record<string, unknown>,
  given: Record<string, unknown> | undefined,
  fail: Fail,
): ImportedModel {
  const scheduler = given ?? source.scheduler
  const notes = scheduler ? [] : ['no scheduler_config.json found: the defaults of DDPMScheduler assumed']
  const schedule = diffusersSchedule(scheduler ?? DDPM, args, (what) => fail(`scheduler: ${what}`))
  const { tensors, channels } = prediction(source.tensors, args, schedule, fail)
  const { height, width, args: plain } = diffusersSizes(args, fail)
  // an input that is centred is the preconditioning's matter
  const own: Record<string, unknown> = { ...plain, out_channels: channels, center_input_sample: false }
  const network = checkNetworkConfig({ class: 'UNet2DModel', args: own }, [channels, height, width], fail)
  return { info: denoiser(network, schedule, fail), tensors: renamed(tensors, true), notes }
}

/** The part of a network that predicts the sample, where it predicts variances too: the first half of the output layer's channels. */
function prediction(
  tensors: Map<string, Tensor>,
  { in_channels: input, out_channels: output }: Record<string, unknown>,
  { learnedVariance }: NoiseSchedule,
  fail: Fail,
): { tensors: Map<string, Tensor>; channels: number } {
  const channels = typeof input === 'number' ? input : fail('in_channels is missing from its arguments')
  if (output === undefined || output === channels) return { tensors, channels }
  if (!learnedVariance || output !== 2 * channels)
    return fail(`the network has ${channels} channels at its input but ${output} at its output`)
  const halved = new Map(tensors)
  for (const [name, tensor] of tensors)
    if (/(^|[._])(out_conv|aux_conv|conv_out)\.(weight|bias)$/.test(name)) halved.set(name, firstHalf(tensor))
  return { tensors: halved, channels }
}

function firstHalf({ dtype, shape: [rows, ...rest], data }: Tensor): Tensor {
  return { dtype, shape: [rows / 2, ...rest], data: data.subarray(0, data.length / 2) }
}

function denoiser(network: NetworkConfig, schedule: NoiseSchedule, fail: Fail): ModelInfo {
  const { preconditioning, sigmaMin, sigmaMax } = schedule
  // a chain's last levels are noise to all purposes: cosine schedules end beyond sigma = 20000
  const variance = ['epsilon', 'v', 'sample'].includes(preconditioning.form)
  const largest = variance && sigmaMax > LARGEST_SIGMA ? LARGEST_SIGMA : sigmaMax
  return checkModelInfo(
    { kind: 'denoiser', headScale: 1, preconditioning, sigmaMin, sigmaMax: largest, labels: null },
    network,
    fail,
  )
}

const LEGACY: readonly [RegExp, string][] = [
  [/\.query\.(weight|bias)$/, '.to_q.$1'],
  [/\.key\.(weight|bias)$/, '.to_k.$1'],
  [/\.value\.(weight|bias)$/, '.to_v.$1'],
  [/\.proj_attn\.(weight|bias)$/, '.to_out.0.$1'],
  // before diffusers 0.30 Fourier frequencies have two names, or this one alone
  [/^time_proj\.W$/, 'time_proj.weight'],
]

/** Today's names, without the buffers that follow from the configuration; a linear layer that was a 1x1 convolution is one again. */
function renamed(tensors: ReadonlyMap<string, Tensor>, diffusers: boolean): Map<string, Tensor> {
  const out = new Map<string, Tensor>()
  for (const [name, tensor] of tensors) {
    if (name.endsWith('.resample_filter')) continue
    if (!diffusers) {
      out.set(name, tensor)
      continue
    }
    const [pattern, replacement] = LEGACY.find(([p]) => p.test(name)) ?? [/$^/, '']
    const today = name.replace(pattern, replacement)
    if (today !== name && tensors.has(today)) continue
    const linear = /\.(to_[qkv]|to_out\.0)\.weight$/.test(today) && tensor.shape.length === 4
    out.set(today, linear ? { ...tensor, shape: tensor.shape.slice(0, 2) } : tensor)
  }
  return out
}
