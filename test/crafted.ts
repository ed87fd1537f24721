import { zipSync } from 'fflate'

/** Pickles and archives made by hand, opcode by opcode, for what no honest writer writes. */

const buffer = (...parts: (Uint8Array | string | number)[]) =>
  Buffer.concat(
    parts.map((part) =>
      typeof part === 'number' ? Buffer.of(part) : typeof part === 'string' ? Buffer.from(part, 'latin1') : part,
    ),
  )

function number(value: bigint, width: 1 | 4 | 8): Buffer {
  const out = Buffer.alloc(8)
  out.writeBigUInt64LE(BigInt.asUintN(64, value))
  return out.subarray(0, width)
}

/** Each makes the bytes that push one value. */
export const p = {
  raw: buffer,
  none: buffer('N'),
  text: (value: string) => buffer('X', number(BigInt(Buffer.byteLength(value)), 4), Buffer.from(value)),
  bytes: (value: Uint8Array) => buffer('B', number(BigInt(value.length), 4), value),
  /** A claim of some length by an opcode whose length has a width, and nothing after it. */
  claim: (opcode: number, width: 1 | 4 | 8, length: bigint) => buffer(opcode, number(length, width)),
  int: (value: number | bigint) =>
    Number.isSafeInteger(value) && Math.abs(Number(value)) < 2 ** 31
      ? buffer('J', number(BigInt(value), 4))
      : buffer(0x8a, 8, number(BigInt(value), 8)),
  tuple: (...items: Buffer[]) => buffer('(', ...items, 't'),
  list: (...items: Buffer[]) => buffer(']', '(', ...items, 'e'),
  dict: (...pairs: [Buffer, Buffer][]) => buffer('}', '(', ...pairs.flat(), 'u'),
  global: (module: string, name: string) => buffer(`c${module}\n${name}\n`),
  call: (callable: Buffer, ...args: Buffer[]) => buffer(callable, '(', ...args, 't', 'R'),
  persistent: (id: Buffer) => buffer(id, 'Q'),
  pickle: (value: Buffer) => buffer(0x80, 2, value, '.'),
}

export interface CraftedTensor {
  storage?: string
  key?: string
  /** Numbers of the storage. */
  count?: number | bigint
  offset?: number | bigint
  shape?: (number | bigint)[]
  strides?: (number | bigint)[]
}

/** A tensor as torch.save pickles it; by default two float32 of storage '0'. */
export function tensor({
  storage = 'FloatStorage',
  key = '0',
  count = 2,
  offset = 0,
  shape = [2],
  strides = [1],
}: CraftedTensor = {}): Buffer {
  const id = p.tuple(p.text('storage'), p.global('torch', storage), p.text(key), p.text('cpu'), p.int(count))
  const hooks = p.call(p.global('collections', 'OrderedDict'))
  return p.call(
    p.global('torch._utils', '_rebuild_tensor_v2'),
    p.persistent(id),
    p.int(offset),
    p.tuple(...shape.map(p.int)),
    p.tuple(...strides.map(p.int)),
    buffer(0x89),
    hooks,
  )
}

/** A state dict of named tensors. */
export const state = (...tensors: [string, Buffer][]) =>
  p.pickle(p.dict(...tensors.map(([name, value]): [Buffer, Buffer] => [p.text(name), value])))

/** An archive of PyTorch. compress: deflate instead of store. */
export function archive(pickle: Uint8Array, data: Record<string, Uint8Array>, compress = false): Uint8Array {
  const files: Record<string, Uint8Array> = { 'made/data.pkl': pickle, 'made/version': Buffer.from('3\n') }
  for (const [key, bytes] of Object.entries(data)) files[`made/data/${key}`] = bytes
  return zipSync(files, { level: compress ? 6 : 0 })
}

export const floats = (...values: number[]) => new Uint8Array(Float32Array.from(values).buffer)

/** An old file of PyTorch. keys and storages as they stand in the file. */
export function legacy(object: Buffer, keys: string[], storages: [count: bigint, bytes: Uint8Array][]): Buffer {
  const magic = buffer(0x8a, 10, Buffer.from('6cfc9c46f9206aa85019', 'hex'))
  const system = p.dict([p.text('little_endian'), buffer(0x88)])
  return buffer(
    p.pickle(magic),
    p.pickle(p.int(1001)),
    p.pickle(system),
    object,
    p.pickle(p.list(...keys.map(p.text))),
    ...storages.flatMap(([count, bytes]) => [number(count, 8), bytes]),
  )
}
