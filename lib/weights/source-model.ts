import { plainObject } from '../base/args.js'
import { invalid } from '../base/errors.js'
import type { Tensor } from './safetensors.js'

/** What a file or folder of weights says, in the words of the framework that wrote it. */
export interface SourceModel {
  format: 'feynkac' | 'safetensors' | 'diffusers' | 'edm-pickle' | 'torch-zip' | 'torch-legacy'
  /** The file or folder that was asked for. */
  path: string
  /**
   * The class of the raw network: 'SongUNet' and 'DhariwalUNet' of NVlabs/edm, 'UNet2DModel' and 'AutoencoderKL' of diffusers;
   * null if the file does not say, as a state dict never does.
   */
  className: string | null
  /**
   * The arguments of the raw network by the names of its own framework, with defaults filled in for NVlabs/edm; the content of
   * config.json for diffusers. Null if the file does not say.
   */
  args: Record<string, unknown> | null
  /** The wrapper of NVlabs/edm ('EDMPrecond', 'VPPrecond', ...) with its arguments: sigma_min, sigma_max, sigma_data, ... */
  preconditioning: { className: string; args: Record<string, unknown> } | null
  /** scheduler_config.json of diffusers. */
  scheduler: Record<string, unknown> | null
  /** The metadata of safetensors. */
  metadata: Record<string, string>
  /** By the names of the raw network's state dict, without the prefixes of wrappers. */
  tensors: Map<string, Tensor>
  /** Which network was read, and which ones the source holds ('ema', 'state_dict', 'unet', ...); '' is the whole. */
  network: string
  networks: string[]
  /** Folder of the autoencoder of a diffusers pipeline. */
  extra: { vae?: string }
}

export interface SourceOptions {
  /** Which network of a source that holds several: its place in the pickle ('ema', 'net'), or its folder ('unet', 'vae'). */
  network?: string
  signal?: AbortSignal
}

/** A source that a caller passes on. Throws ArgumentError where it is none. */
export function checkSource(source: SourceModel): SourceModel {
  const { path, metadata, tensors } = plainObject('source', source)
  if (typeof path !== 'string') throw invalid('path of the source', 'a text', path)
  plainObject('metadata of the source', metadata)
  if (!(tensors instanceof Map)) throw invalid('tensors of the source', 'a Map', tensors)
  return source
}

/** A source with nothing said but its tensors. */
export function bareModel(path: string, format: SourceModel['format'], tensors: Map<string, Tensor>): SourceModel {
  return {
    format,
    path,
    className: null,
    args: null,
    preconditioning: null,
    scheduler: null,
    metadata: {},
    tensors,
    network: '',
    networks: [''],
    extra: {},
  }
}
