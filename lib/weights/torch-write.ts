import { FileError, invalid } from '../base/errors.js'
import { formatBytes, writeFileAtomic } from '../base/files.js'
import { sizeOf } from '../base/shape.js'
import { ARRAYS, type Dtype, type Tensor, type TensorData } from './safetensors.js'

/**
 * Writing state dicts as torch.save does: an archive of `data.pkl` and the numbers of each tensor, uncompressed and aligned, that
 * torch.load reads, also with weights_only.
 */

/** A tensor to write; without a dtype its array says it (Float32Array, Float64Array and the integers). */
export type TorchTensorData = Tensor | { shape: readonly number[]; data: TensorData; dtype?: undefined }

const FOLDER = 'archive'
const ALIGNMENT = 64
/** What the archive can hold without its 64-bit form, which fflate does not write. */
const MAX_BYTES = 2 ** 32 - 2 ** 20
const MAX_FILES = 65_000
/** Numbers per piece, so that neither a checksum nor a write holds the event loop for long. */
const PIECE = 2 ** 22
/** PyTorch's mark of bytes that only fill up. */
const PADDING = 0x4246
/** The same bytes for the same tensors, whenever they are written. */
const DATE = new Date(1980, 0, 1)

const STORAGES: Partial<Record<Dtype, string>> = {
  F64: 'DoubleStorage',
  F32: 'FloatStorage',
  F16: 'HalfStorage',
  BF16: 'BFloat16Storage',
  I64: 'LongStorage',
  I32: 'IntStorage',
  I16: 'ShortStorage',
  I8: 'CharStorage',
  U8: 'ByteStorage',
  BOOL: 'BoolStorage',
}

interface Entry {
  name: string
  storage: string
  key: string
  shape: readonly number[]
  data: TensorData
}

/**
 * Writes a state dict atomically, for `torch.load(path)`. The arrays are written from where they lie: leave them unchanged until
 * the promise settles. Names that share an array share a storage in PyTorch. Throws ArgumentError when a shape does not fit its
 * data, a name comes twice or PyTorch has no such type; FileError, also for more than 4 GB (write safetensors instead).
 */
export async function writeTorchStateDict(
  path: string,
  tensors: Iterable<readonly [string, TorchTensorData]>,
  ready?: () => Promise<void>,
): Promise<void> {
  const keys = new Map<TensorData, string>()
  const entries = new Map<string, Entry>()
  for (const [name, tensor] of tensors) {
    if (typeof name !== 'string' || entries.has(name)) throw invalid('tensors', 'a new name for every tensor', name)
    const { shape, data } = tensor
    const dtype = tensor.dtype ?? dtypeOf(data)
    const storage = STORAGES[dtype]
    if (storage === undefined || !(data instanceof ARRAYS[dtype]))
      throw invalid(`tensor '${name}'`, 'numbers of a type that PyTorch saves', tensor.dtype ?? data)
    if (shape.some((n) => !Number.isSafeInteger(n) || n < 0) || sizeOf(shape) !== data.length)
      throw invalid(`tensor '${name}'`, `a shape of ${data.length} elements`, shape)
    const key = keys.get(data) ?? String(keys.size)
    keys.set(data, key)
    entries.set(name, { name, storage, key, shape, data })
  }
  const bytes = [...keys.keys()].reduce((sum, data) => sum + data.byteLength, 0)
  if (bytes > MAX_BYTES || keys.size > MAX_FILES)
    throw new FileError(
      `cannot write ${path}: ${keys.size} tensors of ${formatBytes(bytes)} are more than an archive of torch.save can hold here (${formatBytes(MAX_BYTES)}): write safetensors`,
      path,
    )
  await writeFileAtomic(path, archive(await import('fflate'), statePickle([...entries.values()]), keys), {
    bytes,
    ready,
  })
}

/** The type that an array alone stands for. */
function dtypeOf(data: TensorData): Dtype {
  const natural: Dtype[] = ['F64', 'F32', 'I64', 'I32', 'I16', 'I8', 'U8']
  return natural.find((dtype) => data instanceof ARRAYS[dtype]) ?? 'U16'
}

/** The archive piece by piece. */
function* archive(
  { Zip, ZipPassThrough }: typeof import('fflate'),
  pickle: Uint8Array,
  storages: ReadonlyMap<TensorData, string>,
): Generator<Uint8Array> {
  let written = 0
  let pieces: Uint8Array[] = []
  const zip = new Zip((error, piece) => {
    if (error) throw error
    pieces.push(piece)
    written += piece.length
  })
  const taken = () => {
    const list = pieces
    pieces = []
    return list
  }
  function* file(name: string, bytes: Uint8Array): Generator<Uint8Array> {
    const entry = new ZipPassThrough(`${FOLDER}/${name}`)
    entry.mtime = DATE
    const begin = written + 30 + Buffer.byteLength(entry.filename) + 4
    entry.extra = { [PADDING]: new Uint8Array((ALIGNMENT - (begin % ALIGNMENT)) % ALIGNMENT) }
    zip.add(entry)
    for (let at = 0; at < bytes.length; at += PIECE) {
      entry.push(bytes.subarray(at, at + PIECE))
      yield* taken()
    }
    entry.push(new Uint8Array(0), true)
    yield* taken()
  }
  yield* file('data.pkl', pickle)
  yield* file('byteorder', Buffer.from('little'))
  for (const [data, key] of storages)
    yield* file(`data/${key}`, new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
  yield* file('version', Buffer.from('3\n'))
  zip.end()
  yield* taken()
}

/** An OrderedDict of names and tensors, in the operations that PyTorch's own restricted reader knows. */
function statePickle(entries: readonly Entry[]): Uint8Array {
  const parts: (string | Uint8Array)[] = []
  const put = (...some: (string | Uint8Array)[]) => parts.push(...some)
  const number = (value: number, width: number) => {
    const bytes = Buffer.alloc(8)
    bytes.writeBigInt64LE(BigInt(value))
    return bytes.subarray(0, width)
  }
  const text = (value: string) => {
    const bytes = Buffer.from(value)
    put('X', number(bytes.length, 4), bytes)
  }
  // BININT; LONG1 of eight bytes
  const int = (value: number) => (value < 2 ** 31 ? put('J', number(value, 4)) : put('\x8a\x08', number(value, 8)))
  const ints = (values: readonly number[]) => {
    put('(')
    for (const value of values) int(value)
    put('t')
  }
  const emptyDict = 'ccollections\nOrderedDict\n)R'
  put('\x80\x02', emptyDict, '(')
  for (const { name, storage, key, shape, data } of entries) {
    text(name)
    put('ctorch._utils\n_rebuild_tensor_v2\n((')
    text('storage')
    put(`ctorch\n${storage}\n`)
    text(key)
    text('cpu')
    int(data.length)
    put('tQ') // the storage, by its persistent id
    int(0)
    ints(shape)
    ints(shape.map((_, i) => shape.slice(i + 1).reduce((a, b) => a * Math.max(b, 1), 1)))
    put('\x89', emptyDict, 'tR') // requires_grad, hooks
  }
  put('u.')
  return Buffer.concat(parts.map((part) => (typeof part === 'string' ? Buffer.from(part, 'latin1') : part)))
}
