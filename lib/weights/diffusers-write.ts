import { join } from 'node:path'
import { invalid } from '../base/errors.js'
import { fileError, makeFolder, removeFiles, writeFileAtomic } from '../base/files.js'
import { isObject } from '../base/json.js'
import { type WritableTensor, writeSafetensors } from './safetensors.js'

/** Writing folders as diffusers' save_pretrained does, for `UNet2DModel.from_pretrained` and `DiffusionPipeline.from_pretrained`. */

export interface DiffusersModel {
  /** Content of config.json; `_class_name` says which model it is. */
  config: Readonly<Record<string, unknown>>
  tensors: Iterable<readonly [string, WritableTensor]>
}

export interface DiffusersPipeline {
  unet: DiffusersModel
  /** Content of scheduler_config.json; `_class_name` says which scheduler it is. */
  scheduler: Readonly<Record<string, unknown>>
  /** An autoencoder, as a latent pipeline has. */
  vae?: DiffusersModel
  /** The pipeline's class; default DDPMPipeline. */
  className?: string
}

/**
 * Writes a model into a folder, made if need be: its weights, then config.json. Each file is written atomically; the
 * arrays from where they lie. What a model before says of itself, and `before`, goes when the weights are on the disk, so that no weights are ever beside
 * the description of others. Throws ArgumentError, FileError.
 */
export async function writeDiffusersModel(
  folder: string,
  model: DiffusersModel,
  before: readonly string[] = [],
): Promise<void> {
  const config = jsonOf(model.config, 'config')
  const described = join(folder, 'config.json')
  await make(folder)
  await writeSafetensors(join(folder, 'diffusion_pytorch_model.safetensors'), model.tensors, { format: 'pt' }, () =>
    removeFiles([...before, described]),
  )
  await writeFileAtomic(described, config)
}

/** Writes a pipeline into a folder: its parts in folders of their own, and model_index.json last. Throws as writeDiffusersModel. */
export async function writeDiffusersPipeline(folder: string, pipeline: DiffusersPipeline): Promise<void> {
  const { unet, scheduler, vae, className = 'DDPMPipeline' } = pipeline
  const schedulerConfig = jsonOf(scheduler, 'scheduler')
  const part = (config: Readonly<Record<string, unknown>>) => ['diffusers', config._class_name]
  const index = { _class_name: className, scheduler: part(scheduler), unet: part(unet.config) }
  const all = jsonOf(vae ? { ...index, vae: part(vae.config) } : index, 'pipeline')
  const described = join(folder, 'model_index.json')
  await writeDiffusersModel(join(folder, 'unet'), unet, [described])
  if (vae) await writeDiffusersModel(join(folder, 'vae'), vae)
  await make(join(folder, 'scheduler'))
  await writeFileAtomic(join(folder, 'scheduler', 'scheduler_config.json'), schedulerConfig)
  await writeFileAtomic(described, all)
}

async function make(folder: string): Promise<void> {
  try {
    await makeFolder(folder)
  } catch (error) {
    throw fileError(error, folder, 'write')
  }
}

function jsonOf(config: unknown, name: string): string {
  if (!isObject(config) || typeof config._class_name !== 'string')
    throw invalid(name, 'an object with a _class_name', config)
  try {
    return `${JSON.stringify(config, null, 2)}\n`
  } catch {
    throw invalid(name, 'an object that JSON can hold', config)
  }
}
