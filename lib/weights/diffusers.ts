import { readdir } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { formatFailure } from '../base/errors.js'
import { fileError, readFileChecked } from '../base/files.js'
import { parseJsonObject } from '../base/json.js'
import { bareModel, type SourceModel, type SourceOptions } from './source-model.js'
import { readWeightsFile } from './weights-file.js'

/**
 * Folders as diffusers' save_pretrained writes them: of a model (config.json and its weights), or of a pipeline, with
 * model_index.json and a folder for each of its parts, or all in one as in its first versions.
 */

const MAX_JSON = 2 ** 22
const CONFIG = 'config.json'
const INDEX = 'model_index.json'
const SCHEDULER = 'scheduler_config.json'
const AUTOENCODERS = ['vae', 'vqvae', 'movq']
/** Files of weights in the order of preference; `.fp16` and the like may stand before any of the endings. */
const WEIGHTS = ['.safetensors', '.safetensors.index.json', '.bin', '.bin.index.json']
const STEM = 'diffusion_pytorch_model'

/** Reads a model or a pipeline; of a pipeline `unet`, or the part that the option network names. Throws FormatError, FileError. */
export async function readDiffusers(path: string, options: SourceOptions): Promise<SourceModel> {
  const { network, signal } = options
  const fail: (what: string) => never = formatFailure(path)
  const names = await list(path)
  const scheduler = await readScheduler(path, names, signal)
  if (names.includes(INDEX)) {
    const index = await readJson(join(path, INDEX), signal)
    const networks = await parts(path, index, names)
    const chosen = network ?? 'unet'
    if (networks.includes(chosen)) {
      const vae = AUTOENCODERS.find((name) => networks.includes(name))
      const extra = vae === undefined ? {} : { vae: join(path, vae) }
      return { ...(await readModel(join(path, chosen), signal)), path, scheduler, network: chosen, networks, extra }
    }
    if (network !== undefined && network !== 'unet')
      fail(`it has no network ${JSON.stringify(network)}: it holds ${networks.join(', ') || 'none'}`)
    if (!names.includes(CONFIG))
      fail(`a pipeline without a folder unet: it holds ${networks.join(', ') || 'no models'}`)
  } else if (network !== undefined && network !== '')
    fail(`it has no network ${JSON.stringify(network)}: it is one model, not a pipeline`)
  if (!names.includes(CONFIG)) {
    const files = names.filter((name) => name.endsWith('.safetensors'))
    const model = files.find((name) => name === 'model.safetensors') ?? files[0]
    const within = await models(path, names)
    const advice =
      model !== undefined
        ? `give its file, ${join(path, model)}`
        : within.length > 0
          ? `give one of those in it, ${within.map((name) => join(path, name)).join(' or ')}`
          : 'expected one of diffusers'
    fail(`a folder without ${CONFIG} or ${INDEX}: ${advice}`)
  }
  return { ...(await readModel(path, signal)), scheduler: scheduler ?? (await schedulerBeside(path, signal)) }
}

/** The scheduler of the pipeline that a folder of a model is a part of; null: of none. */
async function schedulerBeside(path: string, signal?: AbortSignal): Promise<SourceModel['scheduler']> {
  const home = dirname(resolve(path))
  const names = await list(home).catch((): string[] => [])
  return names.includes(INDEX) ? readScheduler(home, names, signal) : null
}

async function list(path: string): Promise<string[]> {
  try {
    return await readdir(path)
  } catch (error) {
    throw fileError(error, path, 'read')
  }
}

async function readJson(path: string, signal?: AbortSignal): Promise<Record<string, unknown>> {
  return parseJsonObject(await readFileChecked(path, { maxBytes: MAX_JSON, signal }), path)
}

/** The parts of a pipeline that are models: folders of its index with a config.json. */
async function parts(path: string, index: Record<string, unknown>, names: string[]): Promise<string[]> {
  const found: string[] = []
  for (const name of Object.keys(index)) {
    // a folder's own name: nothing that leads out of the pipeline
    if (!/^[A-Za-z]\w*$/.test(name) || !names.includes(name)) continue
    if ((await list(join(path, name)).catch((): string[] => [])).includes(CONFIG)) found.push(name)
  }
  return found
}

/** A few folders in a folder that hold a model or a pipeline, as trainers leave them: checkpoint-500/unet_ema. */
async function models(path: string, names: readonly string[]): Promise<string[]> {
  const found: string[] = []
  for (const name of names.slice(0, 100)) {
    const inner = await list(join(path, name)).catch((): string[] => [])
    if (found.length < 3 && (inner.includes(CONFIG) || inner.includes(INDEX))) found.push(name)
  }
  return found
}

async function readScheduler(path: string, names: string[], signal?: AbortSignal): Promise<SourceModel['scheduler']> {
  if (names.includes(SCHEDULER)) return readJson(join(path, SCHEDULER), signal)
  if (!names.includes('scheduler')) return null
  const folder = join(path, 'scheduler')
  return (await list(folder)).includes(SCHEDULER) ? readJson(join(folder, SCHEDULER), signal) : null
}

async function readModel(path: string, signal?: AbortSignal): Promise<SourceModel> {
  const fail: (what: string) => never = formatFailure(path)
  const args = await readJson(join(path, CONFIG), signal)
  const className = args._class_name
  if (typeof className !== 'string') return fail(`${CONFIG} has no _class_name: expected a model of diffusers`)
  const file = join(path, chooseWeights(await list(path), fail))
  const { tensors, metadata } = await readWeightsFile(file, { signal })
  return { ...bareModel(path, 'diffusers', tensors), className, args, metadata }
}

/** The file of weights of a model: full precision before variants (fp16), safetensors before pickles, one file before shards. */
function chooseWeights(names: string[], fail: (what: string) => never): string {
  const full = WEIGHTS.map((ending) => STEM + ending).find((name) => names.includes(name))
  if (full !== undefined) return full
  const variants = new Map<string, string[]>()
  for (const name of names) {
    const variant = variantOf(name)
    if (variant !== null) variants.set(variant, [...(variants.get(variant) ?? []), name])
  }
  if (variants.size === 0)
    return fail(`it has no weights: expected ${STEM}.safetensors, an index of shards, or ${STEM}.bin`)
  if (variants.size > 1)
    fail(`it has weights of several variants only, ${[...variants.keys()].join(', ')}: leave one of them`)
  const [files] = variants.values()
  return WEIGHTS.map((ending) => files.find((name) => endingOf(name) === ending)).find((name) => name !== undefined)!
}

/** 'fp16' of `diffusion_pytorch_model.fp16.safetensors` and of `diffusion_pytorch_model.safetensors.index.fp16.json`; null for others. */
function variantOf(name: string): string | null {
  const match =
    /^diffusion_pytorch_model\.(?:(\w+)\.(?:safetensors|bin)(?:\.index\.json)?|(?:safetensors|bin)\.index\.(\w+)\.json)$/.exec(
      name,
    )
  return match ? (match[1] ?? match[2]) : null
}

function endingOf(name: string): string {
  const kind = name.includes('.safetensors') ? '.safetensors' : '.bin'
  return name.endsWith('.json') ? `${kind}.index.json` : kind
}
