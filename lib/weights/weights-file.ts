import { FormatError } from '../base/errors.js'
import { openFile, readFileChecked, readFully, release } from '../base/files.js'
import { parseJsonObject } from '../base/json.js'
import { standIn } from '../base/stand-ins.js'
import { looksLikeZip } from '../base/zip.js'
import { readPickle, readTorchZip } from './pickled-file.js'
import { readSafetensors } from './safetensors.js'
import { readShards } from './sharded.js'
import { bareModel, type SourceModel, type SourceOptions } from './source-model.js'

/** One file of weights, told apart by its content. */

const MAX_INDEX = 2 ** 24
const TAR = 257

/**
 * Reads a file of weights: safetensors or an index of several, PyTorch's files old and new, pickles of NVlabs/edm. No code of a
 * file is run. Throws FormatError, FileError, OutOfMemoryError; the signal's reason.
 */
export async function readWeightsFile(path: string, options: SourceOptions = {}): Promise<SourceModel> {
  const { network, signal } = options
  signal?.throwIfAborted()
  const { head, size } = await beginning(path)
  if (looksLikeZip(head)) return readTorchZip(path, size, options)
  if (looksLikeSafetensors(head)) {
    onlyNetwork(path, network)
    const { tensors, metadata } = await readSafetensors(path)
    const format = metadata.feynkac === undefined ? 'safetensors' : 'feynkac'
    return { ...bareModel(path, format, tensors), metadata }
  }
  if (looksLikePickle(head)) return readPickle(path, options)
  if (looksLikeJson(head)) {
    onlyNetwork(path, network)
    return readIndex(path, options)
  }
  const what =
    Buffer.from(head.subarray(TAR, TAR + 5)).toString('latin1') === 'ustar'
      ? 'it is a tar archive, as PyTorch before 0.1.10 wrote them: load it in PyTorch and save it anew'
      : (standIn(head) ??
        'the format is not known: expected safetensors or an index of them, a file of torch.save, a pickle of NVlabs/edm, or a folder of diffusers')
  throw new FormatError(`${path}: ${what}`, path)
}

async function beginning(path: string): Promise<{ head: Uint8Array; size: number }> {
  const { handle, size } = await openFile(path)
  try {
    const head = new Uint8Array(Math.min(size, 512))
    await readFully(handle, head, 0, path)
    return { head, size }
  } finally {
    await release(handle)
  }
}

function onlyNetwork(path: string, network: string | undefined): void {
  if (network !== undefined && network !== '')
    throw new FormatError(`${path}: it has no network ${JSON.stringify(network)}: it holds one without a name`, path)
}

/** A length below 2^32 and the beginning of a JSON object. */
function looksLikeSafetensors(head: Uint8Array): boolean {
  return head.length >= 10 && head[8] === 0x7b && head.subarray(4, 8).every((byte) => byte === 0)
}

/** Protocols from 2 begin with their number; below, with a mark, a dict, a list or a global. */
function looksLikePickle(head: Uint8Array): boolean {
  if (head[0] === 0x80) return head[1] >= 2 && head[1] <= 5
  return [0x28, 0x7d, 0x5d, 0x63].includes(head[0])
}

function looksLikeJson(head: Uint8Array): boolean {
  return /^\s*\{/.test(Buffer.from(head).toString('latin1'))
}

async function readIndex(path: string, { signal }: SourceOptions): Promise<SourceModel> {
  const bytes = await readFileChecked(path, { maxBytes: MAX_INDEX, signal })
  const json = parseJsonObject(bytes, path)
  if (typeof json._class_name === 'string')
    throw new FormatError(`${path}: it is the configuration of a model of diffusers: give the folder it is in`, path)
  const read = async (shard: string): Promise<SourceModel> => {
    const { head } = await beginning(shard)
    // an index in an index might never end
    if (looksLikeJson(head)) throw new FormatError(`${shard}: an index of weights in the index ${path}: refused`, shard)
    return readWeightsFile(shard, { signal })
  }
  const { tensors, shards } = await readShards(path, json, read)
  return bareModel(path, shards[0]?.format === 'torch-zip' ? 'torch-zip' : 'safetensors', tensors)
}
