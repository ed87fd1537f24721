import { ArgumentError } from '../base/errors.js'
import { EventFile } from '../data/event-file.js'
import { run } from '../native/addon.js'
import type { NativeNetwork, NetworkWeights } from '../native/types.js'
import type { Communicator } from '../ranks/communicator.js'
import { BestAverage } from './best.js'
import { type Checkpoint, type CheckpointState, writeCheckpoint } from './checkpoint.js'
import type { RunFolder } from './folder.js'
import { type Loop, trainingLoop } from './loop.js'
import type { Previews } from './previews.js'
import { checkAlike, checkShared, checkWeights } from './together.js'
import { toldOf } from './told.js'
import type { TrainingOptions, TrainingResult } from './types.js'

/** What every run does around its loop: checkpoints, the log, and the averaged weights at the end. */

/** What the objectives differ in. */
export interface Run<M>
  extends Pick<Loop, 'step' | 'drawsSigmas' | 'levels' | 'path' | 'own' | 'batches' | 'smallestLoss'> {
  /** Measured at equal distances of images, and after the last step. */
  heldOut?: { every: number; measure(): Promise<number> }
  previews?: Previews
  /** Its network is what the steps train. */
  model: M
  definition: Loop['settings']
  sources: CheckpointState['sources']
  images: number
  /** Before the first step. */
  begin?: () => Promise<void>
  /** What the log begins with, besides the definition. */
  plan?: object
  /** After the weights are averaged and before the model is saved; heldOutLoss: theirs; averagedAt: the images seen by then. */
  finish?: (heldOutLoss: number | null, averagedAt: number) => Promise<void>
}

/** Trains from where the checkpoint ends, or from the start, and saves the model. */
export async function runWithCheckpoints<
  M extends {
    info: CheckpointState['info']
    network: NetworkWeights & Pick<NativeNetwork, 'device'>
    save(path: string): Promise<void>
  },
>(
  { model, definition, sources, images, plan, heldOut, previews, begin, finish, ...loop }: Run<M>,
  { folder, checkpoint, ranks }: Opened,
  {
    logEvery,
    checkpointEvery,
    tensorboard,
    signal,
    onProgress,
  }: Pick<TrainingOptions, 'logEvery' | 'checkpointEvery' | 'tensorboard' | 'signal' | 'onProgress'>,
): Promise<TrainingResult<M>> {
  const { network } = model
  checkShared(definition, ranks)
  await checkAlike(ranks, network.device())
  // free energies of noise levels belong to the last weights
  const best = heldOut && !loop.levels ? await BestAverage.of(network, checkpoint) : null
  const save = async (state: Checkpoint['loop']) => {
    await checkWeights(ranks, network)
    const all = { info: model.info, definition: { ...definition, images }, sources }
    const kept = { ...state, ...(best?.state && { best: best.state }) }
    await folder?.checkpoint(state.step, (path) =>
      writeCheckpoint(path, { loop: kept, ...all }, network, best?.weights, loop.own?.tensors()),
    )
  }
  const start = checkpoint?.loop ?? { step: 0, watch: { losses: [], means: [] } }
  const seen = start.step * definition.batchSize
  if (checkpoint && Math.ceil(images / definition.batchSize) < start.step)
    throw new ArgumentError(`images: the run to resume has seen ${seen} images already, more than ${images}: give more, or a new output directory`) // biome-ignore format: one line
  await folder?.rewindLog(checkpoint ? start.step : -1)
  if (!checkpoint) {
    const [time, options] = [new Date().toISOString(), { ...definition, images }]
    await folder?.log({ step: 0, time, ...plan, options, sources })
    // it shows before the first step whether there is room for the others
    await save(start)
  }
  if (start.step === 0) await begin?.()
  const events = tensorboard && folder?.writes ? await EventFile.open(folder.path, start.step) : undefined

  const end = await trainingLoop({
    ...loop,
    ranks,
    settings: definition,
    state: start,
    images,
    logEvery: logEvery ?? Math.ceil(images / 200),
    checkpointEvery,
    heldOut: heldOut && {
      every: heldOut.every,
      measure: async (images) => {
        const loss = await heldOut.measure()
        await best?.consider({ loss, images })
        return loss
      },
    },
    previews:
      previews && folder?.writes ? { every: previews.every, draw: (at) => previews.draw(folder.path, at) } : undefined,
    signal,
    onProgress: ranks.rank === 0 ? onProgress : undefined,
    goBack: () => goBack(network, best?.weights ?? null),
    log: async (line) => {
      await folder?.log(line)
      if (events && 'loss' in line) await events.add(line.step, await toldOf(line, folder!.path, definition))
    },
    checkpoint: save,
    lastCheckpoint: () => folder?.lastCheckpoint ?? null,
  })

  if (!best?.weights) await copyAverage(network)
  else await run(() => network.write('params', best.weights!))
  const last = end.step * definition.batchSize
  const averagedAt = best?.state?.images ?? last
  const heldOutLoss = best?.state?.loss ?? (await heldOut?.measure()) ?? null
  await finish?.(heldOutLoss, averagedAt)
  if (folder?.writes) await model.save(folder.model)
  await ranks.barrier() // the file is whole for all
  return {
    model,
    steps: end.step,
    images: last,
    averagedAt,
    loss: end.median,
    heldOutLoss,
    path: folder?.model ?? null,
  }
}

/**
 * Makes the network begin again from average weights, the best or the last. Adam's second moments stay, as large as divergence has made
 * them: the rate rises as they are forgotten. Returns false where they or the weights are not finite.
 */
async function goBack(network: NetworkWeights, best: Float32Array | null): Promise<boolean> {
  const [average, moments] = [best ?? new Float32Array(network.parameterCount()), new Float32Array(network.parameterCount())] // biome-ignore format: one line
  if (!best) await run(() => network.read('ema', average))
  await run(() => network.read('v', moments))
  if (![average, moments].every((values) => values.every(Number.isFinite))) return false
  for (const slot of ['params', 'ema'] as const) await run(() => network.write(slot, average))
  await run(() => network.write('m', moments.fill(0)))
  return true
}

/** The averaged weights become the network's own. */
async function copyAverage(network: NetworkWeights): Promise<void> {
  const values = new Float32Array(network.parameterCount())
  await run(() => network.read('ema', values))
  await run(() => network.write('params', values))
}

/** The directory and the checkpoint to resume from; opened first, as it may name the data and the teacher. */
export interface Opened {
  folder: RunFolder | null
  checkpoint: Checkpoint | null
  ranks: Communicator
}
