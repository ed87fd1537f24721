import { stat } from 'node:fs/promises'
import { checkSignal } from '../base/args.js'
import { invalid } from '../base/errors.js'
import { fileError } from '../base/files.js'
import { readDiffusers } from './diffusers.js'
import type { SourceModel, SourceOptions } from './source-model.js'
import { readWeightsFile } from './weights-file.js'

export type { SourceModel, SourceOptions } from './source-model.js'

/**
 * Reads the weights of a diffusion model in any format that is known, told apart by content: safetensors (also in shards), files
 * of torch.save, pickled networks of NVlabs/edm, folders of diffusers. No code of a file is run, and what a file may cost in
 * time and memory is bounded by its size. Throws FormatError that says what is wrong, FileError, OutOfMemoryError; the signal's
 * reason.
 */
export async function readSource(path: string, options: SourceOptions = {}): Promise<SourceModel> {
  if (typeof path !== 'string' || path === '') throw invalid('path', 'a file or folder', path)
  checkSignal(options.signal)
  options.signal?.throwIfAborted()
  const found = await stat(path).catch((error) => {
    throw fileError(error, path, 'read')
  })
  const model = found.isDirectory() ? await readDiffusers(path, options) : await readWeightsFile(path, options)
  const named = model.className !== null && model.format !== 'diffusers'
  if (named || model.format === 'feynkac') return model
  return { ...model, tensors: withoutWrappers(model.tensors) }
}

const MOST_WRAPPERS = 8
/** What data-parallel training, torch.compile and NVlabs/edm's preconditioners put before all names of a state dict. */
const WRAPPERS = ['module.', '_orig_mod.', 'model.']
/** What PyTorch's AveragedModel counts beside the network that it wraps. */
const COUNTER = 'n_averaged'

/**
 * Names without what comes before all of them because the network was an attribute of something when it was saved: of a wrapper, or of a trainer's
 * object (`ema_model.`, `unet.`). No network has all of its parts in one.
 */
function withoutWrappers<T>(tensors: Map<string, T>): Map<string, T> {
  let inner = tensors
  for (let depth = 0; depth < MOST_WRAPPERS; depth++) {
    const names = [...inner.keys()].filter((name) => name !== COUNTER)
    const prefix = /^\w+\./.exec(names[0] ?? '')?.[0]
    if (prefix === undefined || !names.every((name) => name.startsWith(prefix) && name.length > prefix.length)) break
    if (!WRAPPERS.includes(prefix) && !names.some((name) => name.includes('.', prefix.length))) break
    inner = new Map(names.map((name) => [name.slice(prefix.length), inner.get(name)!]))
  }
  return inner
}
