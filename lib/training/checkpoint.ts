import { isShape } from '../base/args.js'
import { FormatError, formatFailure } from '../base/errors.js'
import { isObject, parseBounded } from '../base/json.js'
import type { AutoencoderInfo } from '../models/autoencoder.js'
import type { ClassifierInfo } from '../models/classifier.js'
import { type ModelInfo, modelMetadata, parseModelInfo } from '../models/info.js'
import { flatten, unflatten } from '../models/model-file.js'
import { run } from '../native/addon.js'
import type { NetworkWeights, ParameterSlot } from '../native/types.js'
import { readSafetensors, type Tensor, writeSafetensors } from '../weights/safetensors.js'
import type { LevelState } from './levels.js'
import { checkSettings, type Settings } from './settings.js'
import type { DataOptions, LoopState } from './types.js'

/**
 * Checkpoints: safetensors with the weights, their average and Adam's moments as `slot.name`, and the rest of the run as
 * JSON in the metadata. All random numbers are functions of the seed and the step, so there is no other state.
 */

export interface CheckpointState {
  loop: LoopState
  info: ModelInfo | AutoencoderInfo | ClassifierInfo
  /** Everything that defines the run, as `settle` compares it. */
  definition: Record<string, unknown>
  /** Where the data and the teacher came from, when they were given by name. */
  sources: { data: DataSource | null; teacher: string | null }
}

/** What `loadDataset` is given. */
export interface DataSource {
  spec: string
  options: DataOptions
}

export interface Checkpoint extends CheckpointState {
  path: string
  tensors: ReadonlyMap<string, Tensor>
}

const FORMAT = 'feynkac-checkpoint-1'
const slots: readonly ParameterSlot[] = ['params', 'ema', 'm', 'v']
/** Prefix of the averaged weights with the lowest held-out loss so far. */
const BEST = 'best'

/** best: all weights of the model, where `state.loop` says that there are any; own: states of the run, beside the network's. */
export async function writeCheckpoint(
  path: string,
  state: CheckpointState,
  network: NetworkWeights,
  best?: Float32Array | null,
  own: [string, { shape: number[]; data: Float32Array }][] = [],
): Promise<void> {
  const tensors = [...own]
  for (const slot of slots) {
    const values = new Float32Array(network.parameterCount())
    await run(() => network.read(slot, values))
    tensors.push(...unflatten(network, values, `${slot}.`))
  }
  if (best) tensors.push(...unflatten(network, best, `${BEST}.`))
  const { info, ...rest } = state
  await writeSafetensors(path, tensors, {
    ...modelMetadata(info),
    training: JSON.stringify({ format: FORMAT, ...rest }),
  })
}

/** `parse` checks the model's description. Throws FileError, or FormatError where the file is not a whole checkpoint. */
export async function readCheckpoint(
  path: string,
  parse: (metadata: Record<string, string>, path: string) => CheckpointState['info'] = parseModelInfo,
): Promise<Checkpoint> {
  const { metadata, tensors } = await readSafetensors(path)
  const info = parse(metadata, path)
  const fail = (what: string): never => {
    throw new FormatError(`${path}: ${what}`, path)
  }
  let json: Partial<CheckpointState> & { format?: unknown }
  try {
    json = parseBounded(metadata.training ?? 'null') as typeof json
  } catch {
    return fail('the state of the training in the metadata is not JSON')
  }
  if (json?.format !== FORMAT) return fail('not a checkpoint of a training run (is it a model file?)')
  const { loop, definition, sources } = json
  const numbers = (value: unknown) => Array.isArray(value) && value.every(Number.isFinite)
  if (
    !Number.isSafeInteger(loop?.step) ||
    loop!.step < 0 ||
    !numbers(loop!.watch?.losses) ||
    !numbers(loop!.watch?.means)
  )
    return fail('the state of the training has no valid step and losses')
  if (
    loop!.levels !== undefined &&
    !['increments', 'average', 'm', 'v'].every((name) => numbers(loop!.levels![name as keyof LevelState]))
  )
    return fail('the state of the training has no valid free energies')
  if (loop!.path !== undefined && !(numbers(loop!.path?.means) && numbers(loop!.path?.seen)))
    return fail('the state of the training has no valid constants of the path loss')
  const { best, slowed = 0 } = loop!
  if (!Number.isSafeInteger(slowed) || slowed < 0)
    return fail('the state of the training does not say how often it was slowed')
  if (best !== undefined && !(Number.isFinite(best.loss) && Number.isSafeInteger(best.images)))
    return fail('the state of the training does not say how good its best weights are')
  if (!isObject(definition) || !isObject(sources)) return fail('the state of the training lacks its options')
  const { data, teacher } = sources as Partial<CheckpointState['sources']>
  const named = data === null || (typeof data?.spec === 'string' && isObject(data.options))
  if (!named || (teacher !== null && typeof teacher !== 'string'))
    return fail('the state of the training does not say where its data and its teacher came from')
  return { path, tensors, info, loop: loop!, definition, sources }
}

/** The options in a checkpoint, as far as every kind of run has them. Throws FormatError where they cannot be gone on with. */
export function checkDefinition({ path, definition }: Checkpoint): void {
  const fail: (what: string) => never = formatFailure(path)
  try {
    checkSettings(definition as Partial<Settings>)
  } catch (error) {
    fail(`the options of the training: ${(error as Error).message}`)
  }
  const { network, images, data } = definition
  if (!isObject(network) || !isShape(network.shape)) fail('the options of the training have no network')
  if (!Number.isSafeInteger(images) || (images as number) < 1 || typeof data !== 'string')
    fail('the options of the training lack images and data')
}

/** Fills all of a network's slots. Throws FormatError where names or shapes do not fit. */
export async function restore(network: NetworkWeights, checkpoint: Checkpoint): Promise<void> {
  for (const slot of slots) {
    const values = await weightsOf(network, checkpoint, slot)
    await run(() => network.write(slot, values))
  }
}

/** The best weights of a checkpoint; null where it has none. Throws FormatError where names or shapes do not fit. */
export async function bestWeights(network: NetworkWeights, checkpoint: Checkpoint): Promise<Float32Array | null> {
  return checkpoint.loop.best ? weightsOf(network, checkpoint, BEST) : null
}

function weightsOf(network: NetworkWeights, { path, tensors }: Checkpoint, slot: string): Promise<Float32Array> {
  const known = [...slots, BEST, 'own']
  return flatten(network, tensors, path, `${slot}.`, (name) => known.some((other) => name.startsWith(`${other}.`)))
}
