import { Opaque, PickleGlobal, type PickleHost } from './pickle.js'
import type { Dtype } from './safetensors.js'
import { rebuildTensor, TorchTensor } from './torch-tensor.js'

/**
 * What the classes and functions mean that files of weights name. Everything else is refused. Torch's own list of this kind is
 * that of torch.load(weights_only=True); NVlabs/edm adds `torch_utils.persistence`, whose meaning here is the description of the
 * network without the source that comes with it.
 */

type Meaning = (args: unknown[], host: PickleHost) => unknown

/** A type of numbers: `torch.float32`, or the storage of them `torch.FloatStorage`. null: untyped bytes. */
export class TorchType extends PickleGlobal {
  constructor(
    name: string,
    readonly dtype: Dtype | null,
    readonly isStorage: boolean,
  ) {
    super(name, (_, host) => host.fail(`it calls ${name}, which weights do not need: refused`))
  }
}

/** An object that torch_utils.persistence saved: a network, with its attributes as the state. Its source is dropped. */
export class PersistentObject extends Opaque {}

const STORAGES: Record<string, Dtype> = {
  Double: 'F64',
  Float: 'F32',
  Half: 'F16',
  BFloat16: 'BF16',
  Long: 'I64',
  Int: 'I32',
  Short: 'I16',
  Char: 'I8',
  Byte: 'U8',
  Bool: 'BOOL',
}

const DTYPES: Record<string, Dtype> = {
  float64: 'F64',
  float32: 'F32',
  float16: 'F16',
  bfloat16: 'BF16',
  float8_e5m2: 'F8_E5M2',
  float8_e4m3fn: 'F8_E4M3',
  int64: 'I64',
  int32: 'I32',
  int16: 'I16',
  int8: 'I8',
  uint64: 'U64',
  uint32: 'U32',
  uint16: 'U16',
  uint8: 'U8',
  bool: 'BOOL',
}

/** dict(...) and its kin: of nothing, of a dict (which is shared, not copied) or of pairs. */
const dict: Meaning = ([content], host) => {
  if (content === undefined || content === null) return new Map()
  if (content instanceof Map) return content
  if (!Array.isArray(content)) return host.fail('a dict is made of what is no dict')
  if (!host.budget.object(content.length)) return host.fail('it has more objects than weights need')
  const made = new Map()
  for (const pair of content) {
    if (!Array.isArray(pair) || pair.length !== 2) return host.fail('a dict is made of what are no pairs')
    made.set(pair[0], pair[1])
  }
  return made
}

const list: Meaning = ([content = []], host) =>
  Array.isArray(content) ? content : host.fail('a list or tuple is made of what is none')

const set: Meaning = ([content = []], host) => {
  if (content instanceof Set) return content
  if (!Array.isArray(content)) return host.fail('a set is made of what is no list')
  if (!host.budget.object(content.length)) return host.fail('it has more objects than weights need')
  return new Set(content)
}

/** Protocols below 3 write bytes as text of the characters 0 to 255. */
const bytes: Meaning = ([content, encoding = 'latin1'], host) => {
  if (content === undefined) return new Uint8Array(0)
  if (content instanceof Uint8Array) return content
  if (typeof content !== 'string' || (encoding !== 'latin1' && encoding !== 'latin-1'))
    return host.fail('bytes are made of what is no text in latin1')
  if (!host.budget.copy(content.length)) return host.fail('it has more encoded bytes than weights need')
  return new Uint8Array(Buffer.from(content, 'latin1'))
}

const first: Meaning = ([content], host) =>
  content instanceof TorchTensor ? content : host.fail('a parameter has no tensor')

/** What calls another global must not be called by one: the calls would go as deep as a file likes. */
const CALLERS = ['copyreg._reconstructor', 'copyreg.__newobj__', 'torch._tensor._rebuild_from_type_v2']

const isClass = (value: unknown, host: PickleHost): PickleGlobal => {
  if (!(value instanceof PickleGlobal)) return host.fail('it makes an object of what is no class')
  return CALLERS.includes(value.name) ? host.fail(`it makes an object of ${value.name}, which is no class`) : value
}

/** An object of an old-style protocol: its class, the built-in class below it, that one's value. */
const reconstruct: Meaning = ([type, , content], host) => {
  const made = isClass(type, host).call([], host)
  return made instanceof Map && content instanceof Map ? content : made
}

/** `_rebuild_tensor_v3(storage, offset, size, stride, requires_grad, hooks, dtype)`. */
const typedTensor: Meaning = ([storage, offset, shape, strides, , , type], host) =>
  type instanceof TorchType && !type.isStorage
    ? rebuildTensor(storage, offset, shape, strides, host, type.dtype!)
    : host.fail('a tensor has no type')

const tensor: Meaning = ([storage, offset, shape, strides], host) =>
  rebuildTensor(storage, offset, shape, strides, host)

const storageStream: Meaning = ([content], host) =>
  content instanceof Uint8Array && host.nested
    ? host.nested(content)
    : host.fail('a storage within the pickle is none that can be read')

const persistent: Meaning = ([meta], host) => {
  const type = meta instanceof Map ? meta.get('class_name') : undefined
  if (!(meta instanceof Map) || meta.get('type') !== 'class' || typeof type !== 'string')
    return host.fail('an object of torch_utils.persistence has no class name')
  const object = new PersistentObject(type, [])
  object.state = meta.get('state')
  return object
}

const MEANINGS: Record<string, Meaning> = {
  'collections.OrderedDict': dict,
  'collections.defaultdict': () => new Map(),
  'collections.Counter': dict,
  'builtins.dict': dict,
  'builtins.list': list,
  'builtins.tuple': list,
  'builtins.set': set,
  'builtins.frozenset': set,
  'builtins.bytes': bytes,
  'builtins.bytearray': bytes,
  '_codecs.encode': bytes,
  'copyreg._reconstructor': reconstruct,
  'copyreg.__newobj__': ([type, ...args], host) => isClass(type, host).call(args, host),
  'torch._utils._rebuild_tensor': tensor,
  'torch._utils._rebuild_tensor_v2': tensor,
  'torch._utils._rebuild_tensor_v3': typedTensor,
  'torch._utils._rebuild_parameter': first,
  'torch._utils._rebuild_parameter_with_state': first,
  'torch.nn.parameter.Parameter': first,
  'torch.nn.parameter.Buffer': first,
  'torch._tensor._rebuild_from_type_v2': ([make, , args], host) =>
    Array.isArray(args) ? isClass(make, host).call(args, host) : host.fail('a tensor is made of no arguments'),
  'torch.Size': list,
  'torch.storage._load_from_bytes': storageStream,
  'torch_utils.persistence._reconstruct_persistent_obj': persistent,
  'dnnlib.util.EasyDict': dict,
  'dnnlib.EasyDict': dict,
}

/** Classes of which only the name and the arguments are kept. */
const OPAQUE = [
  ...['object', 'int', 'float', 'bool', 'str', 'complex', 'slice', 'range'].map((name) => `builtins.${name}`),
  ...['multiarray._reconstruct', 'multiarray.scalar', 'numeric._frombuffer'].flatMap((name) => [
    `numpy.core.${name}`,
    `numpy._core.${name}`,
  ]),
  ...['dtype', 'ndarray', 'float64', 'float32', 'float16', 'int64', 'int32', 'int16', 'int8', 'uint8', 'bool_'].map(
    (name) => `numpy.${name}`,
  ),
  ...['device', 'Tensor', 'FloatTensor', 'strided', 'contiguous_format', 'channels_last'].map(
    (name) => `torch.${name}`,
  ),
  ...['PosixPath', 'WindowsPath', 'PurePosixPath', 'PureWindowsPath'].map((name) => `pathlib.${name}`),
  'argparse.Namespace',
  'types.SimpleNamespace',
]

/** Modules of PyTorch, and its functions as values of their attributes. */
const TORCH_NN = /^torch\.(nn\.modules\.[\w.]+|nn\.functional\.\w+|_C\._nn\.\w+)$/

const opaque = (name: string) => new PickleGlobal(name, (args) => new Opaque(name, args))

const GLOBALS = new Map<string, PickleGlobal>([
  ...Object.entries(MEANINGS).map(([name, meaning]) => [name, new PickleGlobal(name, meaning)] as const),
  ...OPAQUE.map((name) => [name, opaque(name)] as const),
  ...Object.entries(DTYPES).map(
    ([name, dtype]) => [`torch.${name}`, new TorchType(`torch.${name}`, dtype, false)] as const,
  ),
  ...Object.entries(STORAGES).flatMap(([name, dtype]) =>
    ['torch', 'torch.cuda'].map((module) => {
      const full = `${module}.${name}Storage`
      return [full, new TorchType(full, dtype, true)] as const
    }),
  ),
  ...['torch.UntypedStorage', 'torch.storage.UntypedStorage', 'torch.storage._UntypedStorage'].map(
    (name) => [name, new TorchType(name, null, true)] as const,
  ),
])

/** The meaning of a global in a file of weights, or undefined. */
export function findGlobal(name: string): PickleGlobal | undefined {
  return GLOBALS.get(name) ?? (TORCH_NN.test(name) ? opaque(name) : undefined)
}
