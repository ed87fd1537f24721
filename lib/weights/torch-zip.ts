import { formatFailure } from '../base/errors.js'
import { withZip, type ZipContent } from '../base/zip.js'
import { type PickleHost, unpickle } from './pickle.js'
import { PickleBudget } from './pickle-bytes.js'
import { findGlobal } from './pickle-globals.js'
import { ARRAYS, type Dtype } from './safetensors.js'
import { nestedStream } from './torch-legacy.js'
import { StorageTable } from './torch-storage.js'
import { type StorageData, swapBytes } from './torch-tensor.js'

/**
 * PyTorch's files since version 1.6: a zip archive of one folder with `data.pkl`, a pickle that refers to storages by their keys,
 * `data/<key>` with the numbers of each, and `byteorder` (https://pytorch.org/docs/stable/notes/serialization.html).
 */

/** A pickle without its numbers. */
const MAX_PICKLE = 2 ** 28
/** Storages, and a few beside them. */
const MAX_FILES = 200_000
/** The most that compressed storages may unfold to, as a multiple of the file and beside it. */
const MAX_RATIO = 32
const MIN_UNPACKED = 2 ** 26

/**
 * Opens a file, hands the object in its pickle to `use`, and closes it: the tensors in it can be loaded in the meantime. Only the
 * storages of the tensors that are loaded are read. Throws FileError, FormatError; the signal's reason.
 */
export function withTorchZip<T>(
  path: string,
  fileBytes: number,
  use: (value: unknown) => Promise<T>,
  signal?: AbortSignal,
): Promise<T> {
  const fail: (what: string) => never = formatFailure(path)
  const open = async (zip: ZipContent): Promise<T> => {
    const folder = topFolder(zip, fail)
    const order = zip.sizes.has(`${folder}byteorder`)
      ? Buffer.from(await zip.read(`${folder}byteorder`, 100)).toString()
      : 'little'
    if (order !== 'little' && order !== 'big') fail(`its byte order ${JSON.stringify(order)} is not little or big`)
    let unpacked = 0
    const data = (key: string, dtype: Dtype | null, count: number): StorageData => {
      const name = `${folder}data/${key}`
      const size = dtype === null ? 1 : ARRAYS[dtype].BYTES_PER_ELEMENT
      const held = zip.sizes.get(name)
      if (held === undefined) return fail(`'${name}' is missing: the archive is incomplete`)
      if (held !== count * size)
        fail(`'${name}' has ${held} bytes but its storage of ${count} ${dtype ?? 'bytes'} needs ${count * size}`)
      if (order === 'big' && dtype === null) fail(`'${name}' is big-endian of no type: convert the file`)
      const load = async (): Promise<Uint8Array<ArrayBuffer>> => {
        unpacked += held
        if (unpacked > MAX_RATIO * fileBytes + MIN_UNPACKED)
          fail(`its storages unfold to more than ${MAX_RATIO} times its size: store them uncompressed`)
        let bytes = await zip.read(name, held)
        if (bytes.byteOffset % 8 !== 0) bytes = bytes.slice()
        if (order === 'big') swapBytes(bytes, size)
        return bytes
      }
      let loaded: Promise<Uint8Array<ArrayBuffer>> | undefined
      return {
        name,
        load() {
          loaded ??= load()
          return loaded
        },
      }
    }
    const storages = new StorageTable(data)
    const host: PickleHost = {
      budget: new PickleBudget(),
      find: findGlobal,
      persistent: (id) => storages.persistent(id, host),
      fail,
    }
    host.nested = nestedStream(host)
    const pickle = await zip.read(`${folder}data.pkl`, MAX_PICKLE)
    return use(unpickle(pickle, 0, host).value)
  }
  return withZip(path, open, { signal, maxFiles: MAX_FILES })
}

/** The folder of the archive, with its '/'; empty where the files lie at the top. */
function topFolder({ sizes }: ZipContent, fail: (what: string) => never): string {
  const pickles = [...sizes.keys()].filter((name) => /^([^/]+\/)?data\.pkl$/.test(name))
  if (pickles.length === 0) fail('a zip archive, but not one of PyTorch: it has no data.pkl')
  if (pickles.length > 1) fail(`it holds ${pickles.length} pickles: ${pickles.slice(0, 3).join(', ')}`)
  const folder = pickles[0].slice(0, -'data.pkl'.length)
  if (sizes.has(`${folder}constants.pkl`))
    fail('it is a TorchScript program, which is not run here: save the state dict of the model instead')
  return folder
}
