import { ArgumentError } from '../base/errors.js'
import { removeFiles, writeFileAtomic } from '../base/files.js'
import { run } from '../native/addon.js'
import type { NativeAutoencoder, NativeNetwork } from '../native/types.js'
import type { DhariwalUNetArgs, SongUNetArgs } from '../networks/edm.js'
import { writeDiffusersModel, writeDiffusersPipeline } from '../weights/diffusers-write.js'
import { writeTorchStateDict } from '../weights/torch-write.js'
import type { AutoencoderInfo } from './autoencoder.js'
import { schedulerOf } from './diffusers-export.js'
import type { ModelInfo } from './info.js'
import { saveModel, unflatten } from './model-file.js'

/** Writing models so that other frameworks, and feynkac itself, can use them. */

export const exportFormats = ['feynkac', 'diffusers', 'edm'] as const
export type ExportFormat = (typeof exportFormats)[number]

/**
 * Writes a model: 'feynkac': one safetensors file with the whole description; 'diffusers': a folder for `from_pretrained` (a pipeline of
 * network and scheduler; denoisers of class UNet2DModel only); 'edm': a state dict for `net.model.load_state_dict(torch.load(path))` of
 * NVlabs/edm (SongUNet and DhariwalUNet), beside it the constructor's arguments as JSON. Every file atomically.
 * Throws ArgumentError where the format has no such model; FileError.
 */
export async function exportModel(
  path: string,
  format: ExportFormat,
  { info, network }: { info: ModelInfo; network: NativeNetwork },
): Promise<void> {
  if (format === 'feynkac') return saveModel(path, info, network)
  if (info.kind !== 'denoiser')
    throw new ArgumentError(`an energy (head '${info.kind}') can be written as feynkac's own format only`)
  const flat = new Float32Array(network.parameterCount())
  await run(() => network.read('params', flat))
  const tensors = [...unflatten(network, flat)]
  return format === 'diffusers' ? toDiffusers(path, info, tensors) : toEdm(path, info, tensors)
}

/** Writes an autoencoder: 'feynkac' as above; 'diffusers': a folder for `AutoencoderKL.from_pretrained`. Throws ArgumentError, FileError. */
export async function exportAutoencoder(
  path: string,
  format: ExportFormat,
  { info, network }: { info: AutoencoderInfo; network: NativeAutoencoder },
): Promise<void> {
  if (format === 'feynkac') return saveModel(path, info, network)
  if (format === 'edm') throw new ArgumentError('NVlabs/edm has no autoencoders: write it for diffusers')
  const { double_z: moments, ...args } = info.network.args
  if (!moments) throw new ArgumentError('diffusers has no autoencoders without variance (double_z false)')
  const flat = new Float32Array(network.parameterCount())
  await run(() => network.read('params', flat))
  const config = { _class_name: 'AutoencoderKL', ...args }
  await writeDiffusersModel(path, { config, tensors: unflatten(network, flat) })
}

type Tensors = [string, { shape: number[]; data: Float32Array<ArrayBuffer> }][]

async function toDiffusers(path: string, info: ModelInfo, tensors: Tensors): Promise<void> {
  const { network } = info
  if (network.class !== 'UNet2DModel')
    throw new ArgumentError(`diffusers has no ${network.class}: only models of class UNet2DModel can be written for it`)
  const { scheduler, centred, pipeline } = schedulerOf(info)
  const config = { _class_name: 'UNet2DModel', ...network.args, center_input_sample: centred }
  await writeDiffusersPipeline(path, { unet: { config, tensors }, scheduler, className: pipeline })
}

async function toEdm(path: string, info: ModelInfo, tensors: Tensors): Promise<void> {
  const { network, preconditioning, sigmaMin, sigmaMax, labels } = info
  if (network.class !== 'SongUNet' && network.class !== 'DhariwalUNet')
    throw new ArgumentError(
      `NVlabs/edm has no ${network.class}: only models of class SongUNet and DhariwalUNet can be written for it`,
    )
  if (network.class === 'SongUNet' && network.args.label_maps)
    throw new ArgumentError('NVlabs/edm has no label_maps: train with labelMaps: false to write a model for it')
  const description = { ...network, preconditioning, sigmaMin, sigmaMax, ...(labels && { labels }) }
  // the weights last: they are what counts as the output, and never beside the arguments of others
  await writeTorchStateDict(path, [...tensors, ...resampleFilters(network, tensors)], async () => {
    await removeFiles([path])
    await writeFileAtomic(`${path}.json`, `${JSON.stringify(description, null, 2)}\n`)
  })
}

/** The buffers f f^T / sum(f)^2 of every layer that resamples, which a strict load_state_dict wants. */
function* resampleFilters(
  network: { class: 'SongUNet'; args: SongUNetArgs } | { class: 'DhariwalUNet'; args: DhariwalUNetArgs },
  tensors: Tensors,
): Generator<Tensors[number]> {
  const taps = network.class === 'SongUNet' ? network.args.resample_filter : [1, 1]
  const sum = taps.reduce((a, b) => a + b, 0)
  const data = Float32Array.from(taps.flatMap((a) => taps.map((b) => (a * b) / sum ** 2)))
  const filter = { shape: [1, 1, taps.length, taps.length], data }
  const skipDecoder = network.class === 'SongUNet' && network.args.decoder_type === 'skip'
  const deepest = network.args.img_resolution >> (network.args.channel_mult.length - 1)
  for (const [name] of tensors) {
    const block = /^(.*_(?:up|down)\.)conv0\.weight$/.exec(name)
    if (block) for (const layer of ['conv0', 'skip']) yield [`${block[1]}${layer}.resample_filter`, filter]
    if (name.endsWith('aux_residual.weight')) yield [name.replace(/weight$/, 'resample_filter'), filter]
    if (name.endsWith('aux_skip.weight')) yield [name.replace(/aux_skip\.weight$/, 'aux_down.resample_filter'), filter]
    if (skipDecoder && name.endsWith('aux_norm.weight') && !name.startsWith(`dec.${deepest}x`))
      yield [name.replace(/aux_norm\.weight$/, 'aux_up.resample_filter'), filter]
  }
}
