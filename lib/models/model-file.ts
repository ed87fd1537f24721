import { FormatError, formatFailure } from '../base/errors.js'
import { inPieces, turns } from '../base/turns.js'
import { native, run } from '../native/addon.js'
import { type DeviceOptions, type Precision, placement } from '../native/devices.js'
import type { NativeNetwork, NetworkWeights } from '../native/types.js'
import { type Tensor, toFloat32, writeSafetensors } from '../weights/safetensors.js'
import { type ModelInfo, modelMetadata } from './info.js'

/** Numbers handled between two looks at the clock: half a millisecond, most of it for the memory's first use. */
const SLICE = 2 ** 17
/** Bytes of a buffer that is worth freeing at once; Node shares small ones. */
const LEAST_SPENT = 2 ** 20
/** What `make` makes on the device and with the precision of the options; its errors become this package's. */
export function placed<T>(options: DeviceOptions, make: (device: string, precision: Precision) => T): T {
  const { device, precision } = placement(options)
  return make(device, precision)
}

/** A native network of a model, on a device; weights are zero until written or initialised. */
export function createNetwork(
  { network, preconditioning, kind }: Pick<ModelInfo, 'network' | 'preconditioning'> & Partial<Pick<ModelInfo, 'kind'>>,
  options: DeviceOptions,
): NativeNetwork {
  return placed(options, (device, precision) =>
    native.createNetwork(network, preconditioning, device, precision, kind === 'joint'),
  )
}

/** Types of weights. Those of 8 bits, and integers, mean something by scales only that a file does not say. */
const FLOATS = ['F64', 'F32', 'F16', 'BF16']

/**
 * The flat float32 weights of a network from named tensors (prefix + the network's names), with every shape checked and
 * nothing left over but the same numbers under another name. `ignore`: other tensors of the file. `spend`: nobody needs the tensors any more, and their memory is freed on the way.
 */
export async function flatten(
  network: NetworkWeights,
  tensors: ReadonlyMap<string, Tensor>,
  path: string,
  prefix = '',
  ignore: (name: string) => boolean = () => false,
  spend = false,
): Promise<Float32Array> {
  const turn = turns()
  const parameters = network.parameters()
  const names = new Set(parameters.map((p) => prefix + p.name))
  // a network that has one vector under two names is saved with both
  const known = () => parameters.map((p) => tensors.get(prefix + p.name))
  if (tensors.has(`params.${parameters[0]?.name}`) && prefix === '')
    formatFailure(path)('it is a checkpoint, which a training run goes on from: give the model.safetensors beside it')
  for (const [name, tensor] of tensors)
    if (!names.has(name) && !ignore(name) && !known().some((other) => other && sameNumbers(tensor, other)))
      throw new FormatError(`${path}: tensor '${name}' is not part of this network`, path)
  for (const p of parameters) {
    const tensor = tensors.get(prefix + p.name)
    if (!tensor) throw new FormatError(`${path}: tensor '${prefix + p.name}' is missing`, path)
    if (tensor.shape.length !== p.shape.length || tensor.shape.some((n, i) => n !== p.shape[i]))
      throw new FormatError(
        `${path}: tensor '${prefix + p.name}' has shape [${tensor.shape}] but the network needs [${p.shape}]`,
        path,
      )
    if (!FLOATS.includes(tensor.dtype))
      throw new FormatError(
        `${path}: tensor '${prefix + p.name}' is ${tensor.dtype}: weights of 8 bits or of integers are not read`,
        path,
      )
  }
  const flat = new Float32Array(network.parameterCount())
  await turn() // V8 collects where that much is allocated
  const views = new Map<ArrayBufferLike, number>() // that are still to be copied
  if (spend) for (const { data } of tensors.values()) views.set(data.buffer, (views.get(data.buffer) ?? 0) + 1)
  let copied = 0
  for (const p of parameters) {
    const tensor = tensors.get(prefix + p.name)!
    for (let at = 0; at < p.size; at += SLICE) {
      const size = Math.min(SLICE, p.size - at)
      flat.set(toFloat32({ ...tensor, data: tensor.data.subarray(at, at + size) }), p.offset + at)
      copied += size
      if (copied < SLICE) continue
      copied = 0
      await turn()
    }
    const { buffer } = tensor.data
    const left = (views.get(buffer) ?? 0) - 1
    if (left === 0 && buffer.byteLength >= LEAST_SPENT) await free(tensor.data)
    views.set(buffer, left)
  }
  return flat
}

function sameNumbers(a: Tensor, b: Tensor): boolean {
  if (a.dtype !== b.dtype || `${a.shape}` !== `${b.shape}`) return false
  const [left, right] = [a, b].map(({ data }) => Buffer.from(data.buffer, data.byteOffset, data.byteLength))
  return left.equals(right)
}

/** Frees the buffer of an array that nobody needs: its pages on another thread, as 10 MB of them take a millisecond. */
async function free(array: ArrayBufferView): Promise<void> {
  await run(() => native.discard(array))
  native.detach(array)
}

/** Views of a flat array as named tensors, for saving. */
export function* unflatten<B extends ArrayBufferLike>(
  network: NetworkWeights,
  flat: Float32Array<B>,
  prefix = '',
): Generator<[string, { shape: number[]; data: Float32Array<B> }]> {
  for (const p of network.parameters())
    yield [prefix + p.name, { shape: p.shape, data: flat.subarray(p.offset, p.offset + p.size) }]
}

/** Gives a network the weights of a model file; `spend` as for flatten. Throws FormatError where they do not fit or are not finite. */
export async function writeWeights(
  network: NetworkWeights,
  tensors: ReadonlyMap<string, Tensor>,
  path: string,
  spend = false,
): Promise<void> {
  const flat = await flatten(network, tensors, path, '', undefined, spend)
  await inPieces(flat.length, turns(), (first, end) => {
    for (let i = first; i < end; i++)
      if (!Number.isFinite(flat[i])) throw new FormatError(`${path}: the weights contain NaN or infinity`, path)
  })
  await run(() => network.write('params', flat))
  await free(flat)
}

/** Writes a model file atomically. */
export async function saveModel(
  path: string,
  info: object,
  network: NetworkWeights,
  flat?: Float32Array,
): Promise<void> {
  let weights = flat
  if (!weights) {
    weights = new Float32Array(network.parameterCount())
    const out = weights
    await run(() => network.read('params', out))
  }
  await writeSafetensors(path, unflatten(network, weights), modelMetadata(info))
  if (!flat) await free(weights)
}
