import { isList } from '../base/args.js'
import { describe, FormatError } from '../base/errors.js'
import { parseBounded } from '../base/json.js'
import { isAttribute, type LabelSpec, labelDim } from '../data/dataset.js'
import type { NetworkKind } from '../native/types.js'
import { configLabelDim, hasClassTable, type NetworkConfig, parseNetworkConfig } from '../networks/config.js'
import { heads } from '../networks/energy-heads.js'
import { edmPreconditioning, type Preconditioning, parsePreconditioning } from '../networks/preconditioning.js'
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
  /** For a model of an autoencoder's latents, not of pixels, that was trained here. */
  latent?: true
  /** For an energy that was calibrated. */
  calibration?: StoredTables
  /** For an energy whose levels were learnt (docs/levelled.md). */
  logNormaliser?: LogNormaliser
  /** For a model that was trained here. */
  training?: TrainingRecord
}

const FORMAT = 'feynkac-model-1'

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
    ...(json.latent === true && { latent: true }),
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
