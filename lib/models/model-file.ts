import { setImmediate as breathe } from 'node:timers/promises'
import { isList } from '../base/args.js'
import { describe, FormatError } from '../base/errors.js'
import { parseBounded } from '../base/json.js'
import { isAttribute, type LabelSpec, labelDim } from '../data/dataset.js'
import { type NativeNetwork, type NetworkKind, native, now, run } from '../native/addon.js'
import { type DeviceOptions, type Precision, placement } from '../native/devices.js'
import { configLabelDim, hasClassTable, type NetworkConfig, parseNetworkConfig } from '../networks/config.js'
import { heads } from '../networks/energy-heads.js'
import { edmPreconditioning, type Preconditioning, parsePreconditioning } from '../networks/preconditioning.js'
import { type Tensor, toFloat32, writeSafetensors } from '../weights/safetensors.js'
import { type LogNormaliser, parseLogNormaliser } from './log-normaliser.js'
import { readTables, type StoredTables, storeTables } from './tables.js'
import { parseTrainingRecord, type TrainingRecord } from './training-record.js'

/** Everything about a model but its weights; stored as JSON in the safetensors metadata under `feynkac`. */
export interface ModelInfo {
  /** 'denoiser', the energy head built on the network: 'dot', 'l2', 'norm' (docs/concepts/energies.md), 'residual' (docs/residual.md), or 'joint': both (docs/joint.md). */
  kind: NetworkKind
  /** `a` of the dot and joint heads: Phi = a <u, h(u)>; 1 otherwise. */
  headScale: number
  /** Standard deviation of the data, the preconditioning's sigma_data; 1 where it has none. */
  sigmaData: number
  /** What stands between the network and the denoiser; EDM's for models trained here. */
  preconditioning: Preconditioning
  /** Range of noise levels the model is meant for. */
  sigmaMin: number
  sigmaMax: number
  network: NetworkConfig
  labels: LabelSpec | null
  /**
   * For a network with a class table that came from elsewhere: the row that stands for no class; null: none does, and it takes no sample
   * without a class. Networks that were trained here know zeros as no class.
   */
  nullClass?: number | null
  /** For an energy that was calibrated. */
  calibration?: StoredTables
  /** For an energy whose levels were learnt (docs/levelled.md). */
  logNormaliser?: LogNormaliser
  /** For a model that was trained here. */
  training?: TrainingRecord
}

const FORMAT = 'feynkac-model-1'
/** Numbers handled between two turns of the event loop: about a millisecond. */
const SLICE = 2 ** 19
/** Bytes of a buffer that is worth freeing at once; Node shares small ones. */
const LEAST_SPENT = 2 ** 20
const KINDS: readonly string[] = ['denoiser', ...heads, 'joint']

/** Reads and checks the model description in a file's metadata. */
export function parseModelInfo(metadata: Record<string, string>, path: string): ModelInfo {
  const fail = (what: string): never => {
    throw new FormatError(`${path}: ${what}`, path)
  }
  const json = modelJson(metadata, fail)
  if (json.kind === 'autoencoder') return fail('it holds an autoencoder: load it with Autoencoder.load')
  if (json.kind === 'classifier') return fail('it holds a classifier: load it with Classifier.load')
  return checkModelInfo(
    json,
    parseNetworkConfig(json.network, (json.network as { shape?: unknown } | undefined)?.shape, path),
    fail,
  )
}

/** The description of a model of any kind, with nothing but its format checked; `fail` throws. */
export function modelJson(metadata: Record<string, string>, fail: (what: string) => never): Record<string, unknown> {
  if (metadata.feynkac === undefined)
    return fail("no feynkac model description in the file's metadata: is this a model saved by feynkac?")
  let json: Record<string, unknown>
  try {
    json = parseBounded(metadata.feynkac) as Record<string, unknown>
  } catch {
    return fail('the model description in the metadata is not JSON')
  }
  if (typeof json !== 'object' || json === null) return fail('the model description is not an object')
  if (json.format !== FORMAT) return fail(`model format ${JSON.stringify(json.format)} is not ${FORMAT}`)
  return json
}

/** A model's description with every field checked; `fail` throws. */
export function checkModelInfo(
  json: { [K in keyof ModelInfo]?: unknown },
  network: NetworkConfig,
  fail: (what: string) => never,
): ModelInfo {
  const positive = (name: 'headScale' | 'sigmaData' | 'sigmaMin' | 'sigmaMax'): number => {
    const value = json[name]
    return typeof value === 'number' && Number.isFinite(value) && value > 0
      ? value
      : fail(`expected a positive number for ${name} in the model description`)
  }
  if (!KINDS.includes(json.kind as string)) fail(`the kind ${describe(json.kind)} is not one of ${KINDS.join(', ')}`)
  const labels = parseLabels(json.labels, fail)
  if (labels !== null && labelDim(labels) !== configLabelDim(network))
    fail(`the labels have ${labelDim(labels)} entries but the network takes ${configLabelDim(network)}`)
  // files of before there was a choice have sigmaData alone
  const preconditioning =
    json.preconditioning === undefined
      ? edmPreconditioning(positive('sigmaData'))
      : parsePreconditioning(json.preconditioning, fail)
  return {
    kind: json.kind as NetworkKind,
    headScale: positive('headScale'),
    sigmaData: preconditioning.sigmaData,
    preconditioning,
    sigmaMin: positive('sigmaMin'),
    sigmaMax: positive('sigmaMax'),
    network,
    labels,
    ...(json.nullClass !== undefined && { nullClass: checkNullClass(json.nullClass, network, fail) }),
    ...(json.calibration !== undefined && {
      calibration: storeTables(readTables(json.calibration, network.shape, fail)),
    }),
    ...(json.logNormaliser !== undefined && { logNormaliser: parseLogNormaliser(json.logNormaliser, fail) }),
    ...(json.training !== undefined && { training: parseTrainingRecord(json.training, fail) }),
  }
}

/** Which row of a class table stands for no class; `fail` throws. */
export function checkNullClass(value: unknown, network: NetworkConfig, fail: (what: string) => never): number | null {
  if (!hasClassTable(network)) return fail('nullClass goes with a class table, which the network has not')
  const rows = configLabelDim(network)
  if (value === null || (Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) < rows))
    return value as number | null
  return fail(`expected a row of the table, 0 to ${rows - 1}, for nullClass but received ${describe(value)}`)
}

/** The attributes of a model's labels; `fail` throws. */
export function parseLabels(json: unknown, fail: (what: string) => never): LabelSpec | null {
  if (json === null || json === undefined) return null
  const attributes: unknown = (json as LabelSpec).attributes
  if (!isList(attributes)) return fail('expected attributes in the labels of the model description')
  if (!attributes.every(isAttribute)) fail('expected a name and a size for every label attribute')
  return { attributes: attributes as LabelSpec['attributes'] }
}

/** The metadata entry that `parseModelInfo` reads. */
export function modelMetadata(info: object): Record<string, string> {
  return { feynkac: JSON.stringify({ format: FORMAT, ...info }) }
}

/** What `make` makes on the device and with the precision of the options; its errors become this package's. */
export function placed<T>(options: DeviceOptions, make: (device: string, precision: Precision) => T): T {
  const { device, precision } = placement(options)
  return now(() => make(device, precision))
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

/** What writes and reads the weights of a network of any kind. */
export type NetworkWeights = Pick<NativeNetwork, 'parameters' | 'parameterCount' | 'write' | 'read'>

/**
 * The flat float32 weights of a network from named tensors (prefix + the network's names), with every shape checked and
 * nothing left over. `ignore`: other tensors of the file. `spend`: nobody needs the tensors any more, and their memory is freed on the way.
 */
export async function flatten(
  network: NetworkWeights,
  tensors: ReadonlyMap<string, Tensor>,
  path: string,
  prefix = '',
  ignore: (name: string) => boolean = () => false,
  spend = false,
): Promise<Float32Array> {
  const parameters = now(() => network.parameters())
  const names = new Set(parameters.map((p) => prefix + p.name))
  for (const name of tensors.keys())
    if (!names.has(name) && !ignore(name))
      throw new FormatError(`${path}: tensor '${name}' is not part of this network`, path)
  for (const p of parameters) {
    const tensor = tensors.get(prefix + p.name)
    if (!tensor) throw new FormatError(`${path}: tensor '${prefix + p.name}' is missing`, path)
    if (tensor.shape.length !== p.shape.length || tensor.shape.some((n, i) => n !== p.shape[i]))
      throw new FormatError(
        `${path}: tensor '${prefix + p.name}' has shape [${tensor.shape}] but the network needs [${p.shape}]`,
        path,
      )
    if (tensor.dtype.startsWith('F8'))
      throw new FormatError(
        `${path}: tensor '${prefix + p.name}' is ${tensor.dtype}: weights of 8 bits are not read`,
        path,
      )
  }
  const flat = new Float32Array(network.parameterCount())
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
      await breathe()
    }
    const { buffer } = tensor.data
    const left = (views.get(buffer) ?? 0) - 1
    if (left === 0 && buffer.byteLength >= LEAST_SPENT) native.detach(tensor.data)
    views.set(buffer, left)
  }
  return flat
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
  for (let i = 0; i < flat.length; i++) {
    if (i % SLICE === SLICE - 1) await breathe()
    if (!Number.isFinite(flat[i])) throw new FormatError(`${path}: the weights contain NaN or infinity`, path)
  }
  await run(() => network.write('params', flat))
  native.detach(flat)
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
    weights = new Float32Array(now(() => network.parameterCount()))
    const out = weights
    await run(() => network.read('params', out))
  }
  await writeSafetensors(path, unflatten(network, weights), modelMetadata(info))
}
