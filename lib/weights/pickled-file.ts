import { formatFailure } from '../base/errors.js'
import { formatBytes, openFile, readFully, release } from '../base/files.js'
import { allocate } from '../base/memory.js'
import { type PickleHost, unpickle } from './pickle.js'
import { PickleBudget } from './pickle-bytes.js'
import { findGlobal } from './pickle-globals.js'
import { chooseModel } from './pickled-model.js'
import { bareModel, type SourceModel, type SourceOptions } from './source-model.js'
import { MAGIC, nestedStream, readTorchLegacy } from './torch-legacy.js'
import { loadTensors } from './torch-tensor.js'
import { withTorchZip } from './torch-zip.js'

/**
 * Files of weights that are pickles: PyTorch's, old and new, and plain ones as NVlabs/edm writes. No code of a file is run.
 * Throws FormatError, FileError, OutOfMemoryError; the signal's reason.
 */

/** Plain pickles and old files are read as a whole. */
const MAX_FILE = 2 ** 32 - 1

/** A zip archive of PyTorch. */
export async function readTorchZip(path: string, size: number, options: SourceOptions): Promise<SourceModel> {
  return withTorchZip(path, size, (value) => finish(value, 'torch-zip', path, size, options), options.signal)
}

/** An old file of PyTorch, or a plain pickle. */
export async function readPickle(path: string, options: SourceOptions): Promise<SourceModel> {
  const fail: (what: string) => never = formatFailure(path)
  const bytes = await readWhole(path, fail)
  options.signal?.throwIfAborted()
  const host: PickleHost = { budget: new PickleBudget(), find: findGlobal, fail }
  host.nested = nestedStream(host)
  const { value } = unpickle(bytes, 0, host)
  if (value !== MAGIC) return finish(value, 'edm-pickle', path, bytes.length, options)
  return finish(readTorchLegacy(bytes, host), 'torch-legacy', path, bytes.length, options)
}

async function finish(
  value: unknown,
  format: SourceModel['format'],
  path: string,
  size: number,
  options: SourceOptions,
): Promise<SourceModel> {
  const { tensors, ...said } = chooseModel(value, options.network, formatFailure(path))
  return { ...bareModel(path, format, await loadTensors(tensors, path, size, options.signal)), ...said }
}

async function readWhole(path: string, fail: (what: string) => never): Promise<Uint8Array<ArrayBuffer>> {
  const { handle, size } = await openFile(path)
  try {
    if (size > MAX_FILE)
      fail(
        `a pickle of ${formatBytes(size)} is more than the limit of ${formatBytes(MAX_FILE)}: save it by a newer torch.save`,
      )
    const bytes = allocate(size, path)
    await readFully(handle, bytes, 0, path)
    return bytes
  } finally {
    await release(handle)
  }
}
