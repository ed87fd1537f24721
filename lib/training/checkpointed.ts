import { ArgumentError } from '../errors.js'
import type { NetworkWeights } from '../models/model-file.js'
import { run } from '../native.js'
import { type Checkpoint, type CheckpointState, writeCheckpoint } from './checkpoint.js'
import { type Loop, trainingLoop } from './loop.js'
import type { Opened, TrainingOptions, TrainingResult } from './run.js'

/** What every run does around its loop: checkpoints, the log, and the averaged weights at the end. */

/** What the objectives differ in. */
export interface Run<M>
  extends Pick<
    Loop,
    | 'teacher'
    | 'kind'
    | 'headScale'
    | 'energyWeight'
    | 'levels'
    | 'path'
    | 'own'
    | 'range'
    | 'batches'
    | 'heldOut'
    | 'smallestLoss'
  > {
  model: M
  /** Steps of training; its weights are those of the model's network. */
  steps: Loop['network']
  definition: Loop['settings']
  sources: CheckpointState['sources']
  images: number
  /** What the log begins with. */
  plan?: object
  /** After the weights are averaged and before the model is saved; heldOutLoss: theirs. */
  finish?: (heldOutLoss: number | null) => Promise<void>
}

/** Trains from where the checkpoint ends, or from the start, and saves the model. */
export async function runWithCheckpoints<
  M extends { info: CheckpointState['info']; network: NetworkWeights; save(path: string): Promise<void> },
>(
  { model, steps, definition, sources, images, plan, finish, ...loop }: Run<M>,
  { folder, checkpoint }: Opened,
  {
    logEvery,
    checkpointEvery,
    signal,
    onProgress,
  }: Pick<TrainingOptions, 'logEvery' | 'checkpointEvery' | 'signal' | 'onProgress'>,
): Promise<TrainingResult<M>> {
  const { network } = model
  const save = async (state: Checkpoint['loop']) =>
    folder?.checkpoint(state.step, (path) =>
      writeCheckpoint(
        path,
        { loop: state, info: model.info, definition: { ...definition, images }, sources },
        network,
        loop.own?.tensors(),
      ),
    )
  const start = checkpoint?.loop ?? { step: 0, watch: { losses: [], means: [] } }
  const seen = start.step * definition.batchSize
  if (checkpoint && Math.ceil(images / definition.batchSize) < start.step)
    throw new ArgumentError(`images: the run to resume has seen ${seen} images already, more than ${images}: give more, or a new output directory`) // biome-ignore format: one line
  // the first checkpoint shows before the first step whether there is room for the others
  if (!checkpoint) await save(start)
  await folder?.rewindLog(start.step)
  if (!checkpoint && plan) await folder?.log({ step: 0, ...plan })

  const end = await trainingLoop({
    ...loop,
    network: steps,
    settings: definition,
    state: start,
    images,
    logEvery: logEvery ?? Math.ceil(images / 200),
    checkpointEvery,
    signal,
    onProgress,
    log: async (line) => folder?.log(line),
    checkpoint: save,
    lastCheckpoint: () => folder?.lastCheckpoint ?? null,
  })

  await averageInto(network)
  const heldOutLoss = (await loop.heldOut?.measure()) ?? null
  await finish?.(heldOutLoss)
  if (folder) await model.save(folder.model)
  return {
    model,
    steps: end.step,
    images: end.step * definition.batchSize,
    loss: end.median,
    heldOutLoss,
    path: folder?.model ?? null,
  }
}

/** The averaged weights become the network's own. */
async function averageInto(network: NetworkWeights): Promise<void> {
  const values = new Float32Array(network.parameterCount())
  await run(() => network.read('ema', values))
  await run(() => network.write('params', values))
}
