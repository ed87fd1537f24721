import { performance } from 'node:perf_hooks'
import { NumericsError } from '../base/errors.js'
import type { Batch } from '../data/samples.js'
import { run } from '../native/addon.js'
import type { NativeJob, TrainRequest } from '../native/types.js'
import type { Communicator } from '../ranks/communicator.js'
import { Stopped } from '../ranks/stopped.js'
import type { Batches } from './batches.js'
import type { LogLine, Preview, TrainingProgress } from './events.js'
import type { Levels } from './levels.js'
import type { PathLoss } from './path-loss.js'
import { emaDecay, learningRate } from './schedule.js'
import type { SelfPlay } from './self-play.js'
import type { Settings } from './settings.js'
import { ownRows, tellExchange } from './together.js'
import type { LoopState } from './types.js'
import { LossWatch, SigmaBins } from './watch.js'

/** One training run's loop, the same for every objective: they differ in their step. */

/** What every objective's step is given. */
export type CommonStep = Batch &
  Pick<
    TrainRequest,
    | ('microBatch' | 'seed' | 'step' | 'lr' | 'beta1' | 'beta2' | 'eps' | 'muon' | 'clip' | 'emaDecay')
    | ('levels' | 'walks' | 'states' | 'targets' | 'augment' | 'losses' | 'sigmas' | 'shared')
  >

export interface Loop {
  /** One step of the objective: what the common part is given to. */
  step(common: CommonStep): NativeJob<{ loss: number; gradNorm: number; energyLoss?: number }>
  /** Whether the step draws noise levels, and fills `sigmas`. */
  drawsSigmas: boolean
  settings: Settings
  /** They do the steps together: each has a part of the micro-batches. */
  ranks: Communicator
  /** Classified besides (docs/levelled.md). */
  levels?: Levels
  /** Learnt from besides (docs/residual.md). */
  path?: PathLoss
  /** The sampler's own states beside the data (docs/residual.md). */
  own?: SelfPlay
  batches: Batches
  /** Measured at equal distances of images, and after the last step. */
  heldOut?: { every: number; measure(images: number): Promise<number> }
  /** Drawn at equal distances of images, for the log. */
  previews?: { every: number; draw(images: number): Promise<Preview | undefined> }
  /** Losses below this count as this where divergence is watched for (1e-3). */
  smallestLoss?: number
  state: LoopState
  images: number
  /** Images between lines of the log. */
  logEvery: number
  /** Images between checkpoints; undefined: two minutes. */
  checkpointEvery?: number
  signal?: AbortSignal
  /** Awaited. */
  onProgress?: (progress: TrainingProgress) => unknown
  log: (line: LogLine | { step: number; diverged: string }) => Promise<void>
  /** Saves the state and the network; resolves after it is safely on disk. */
  checkpoint: (state: LoopState) => Promise<void>
  /** After the loss has diverged: puts average weights in the place of the weights; false: there are none that are finite. */
  goBack: () => Promise<boolean>
  /** Path of the last checkpoint that is known to be good, for messages. */
  lastCheckpoint: () => string | null
}

const CHECKPOINT_MS = 120_000
/** A run that diverges at a quarter of its rate diverges for another reason. */
const MOST_SLOWED = 2

/**
 * Runs until `images` have been seen. An aborted signal, of any rank, lets the step in progress finish, saves a checkpoint and throws the
 * signal's reason. Where the loss diverges (docs/concepts/distillation.md), the run goes on from average weights at half of the rate. The third time,
 * and where the loss or the gradient is not finite, it throws NumericsError, before anything is saved.
 */
export async function trainingLoop(loop: Loop): Promise<LoopState & { median: number }> {
  const { settings, ranks, batches, levels, path, own, signal } = loop
  const { batchSize, seed } = settings
  const steps = Math.ceil(loop.images / batchSize)
  const watched = (losses?: number[], means?: number[]) =>
    new LossWatch(batchSize, settings.divergence, losses, means, loop.smallestLoss)
  let watch = watched(loop.state.watch.losses, loop.state.watch.means)
  let slowed = loop.state.slowed ?? 0
  const bins = loop.drawsSigmas ? new SigmaBins(settings.pMean, settings.pStd) : null
  const losses = new Float64Array(batchSize)
  const sigmas = new Float64Array(batchSize)
  const firstStep = loop.state.step
  let step = firstStep
  const state = (): LoopState => ({
    step,
    watch: watch.state(),
    ...(levels && { levels: levels.stored() }),
    ...(path && { path: path.stored() }),
    ...(slowed > 0 && { slowed }),
  })
  const rows = ownRows(settings, [batchSize, levels?.rows ?? 0, path?.rows ?? 0], ranks)
  const began = performance.now()
  let saved = { step, at: began }
  // signals and clocks are each rank's own: all stop, and save, after the same step
  let stops = await ranks.any(signal?.aborted ?? false)
  let batch = step < steps ? await batches.prepare(step + 1, rows) : undefined

  while (batch && step < steps) {
    if (stops) {
      if (saved.step !== step) await loop.checkpoint(state())
      throw signal?.aborted ? signal.reason : new Stopped()
    }
    const imagesBefore = step * batchSize
    step++
    const decay = emaDecay(settings.emaHalfLife, imagesBefore, batchSize)
    const states = joined(own?.mix(batch, step), batch.states)
    const lr = learningRate(settings, imagesBefore + batchSize, steps * batchSize) / 2 ** slowed
    const job = run(() =>
      loop.step({
        ...batch!,
        microBatch: settings.microBatch,
        seed,
        step,
        lr,
        beta1: settings.beta1,
        beta2: settings.beta2,
        eps: settings.eps,
        muon: settings.muon,
        clip: settings.clip,
        emaDecay: decay,
        levels: levels?.prepare(step),
        walks: path?.prepare(step, states),
        states,
        losses,
        sigmas,
        shared: ranks.size > 1,
      }),
    )
    // the next batch is put together while the step runs on the addon's threads
    const [{ loss, gradNorm, energyLoss }, next] = await both(
      job,
      step < steps ? batches.prepare(step + 1, rows) : undefined,
    )
    batch = next
    if (ranks.size > 1 && step === firstStep + 1) tellExchange(ranks)
    if (watch.diverged(loss) || !Number.isFinite(gradNorm)) {
      const what = describeDivergence(loop, { step, loss, gradNorm, median: watch.median() }, bins, losses, sigmas)
      const finite = Number.isFinite(loss) && Number.isFinite(gradNorm)
      if (!finite || slowed === MOST_SLOWED || !(await loop.goBack())) throw divergence(loop, what)
      slowed++
      watch = watched([], watch.state().means.slice(0, -1))
      const next = `${what}: going on from average weights at 1/${2 ** slowed} of the rate`
      await loop.log({ step, diverged: next })
      process.emitWarning(next, 'FeynkacWarning')
    }
    const levelLoss = levels?.learn(step, decay)
    const pathLoss = path?.learn()
    await own?.after(step, steps, signal)

    bins?.add(losses, sigmas)
    const images = step * batchSize
    const measured = loop.heldOut && (step === steps || passes(loop.heldOut.every, images, batchSize))
    const heldOutLoss = measured ? await loop.heldOut!.measure(images) : undefined
    const shown = loop.previews && passes(loop.previews.every, images, batchSize)
    const preview = shown ? await loop.previews!.draw(images) : undefined
    const now = performance.now()
    const progress: TrainingProgress = {
      step,
      images,
      totalImages: steps * batchSize,
      loss,
      ...(energyLoss === undefined ? {} : { energyLoss }),
      ...(levelLoss === undefined ? {} : { levelLoss }),
      ...(pathLoss === undefined ? {} : { pathLoss }),
      median: watch.median(),
      ...(heldOutLoss === undefined ? {} : { heldOutLoss }),
      gradNorm,
      lr,
      imagesPerSecond: ((step - firstStep) * batchSize * 1000) / (now - began),
    }
    if (measured || preview || passes(loop.logEvery, images, batchSize) || step === steps)
      await loop.log({
        ...progress,
        time: new Date().toISOString(),
        ...(bins && { binLosses: bins.take() }),
        ...(path && { pathResiduals: path.take() }),
        ...(preview && { preview }),
      })
    await loop.onProgress?.(progress)
    const due = loop.checkpointEvery ? passes(loop.checkpointEvery, images, batchSize) : now - saved.at > CHECKPOINT_MS
    if ((await ranks.any(due)) && step < steps) {
      await loop.checkpoint(state())
      saved = { step, at: performance.now() }
    }
    stops = await ranks.any(signal?.aborted ?? false)
  }
  if (saved.step !== step) await loop.checkpoint(state())
  return { ...state(), median: watch.median() }
}

/** Whether the last `batchSize` images up to `images` passed a multiple of `every`. */
function passes(every: number, images: number, batchSize: number): boolean {
  return Math.floor(images / every) > Math.floor((images - batchSize) / every)
}

/** Noise levels of a batch's states; its own ones are in the place of others. */
function joined(own?: Float64Array, states?: Float64Array): Float64Array | undefined {
  return own && states ? own.map((sigma, row) => sigma || states[row]!) : (own ?? states)
}

/** Waits for both even where one fails: the step must not outlive the loop. */
async function both<A, B>(first: Promise<A>, second: B | Promise<B>): Promise<[A, B]> {
  const [a, b] = await Promise.allSettled([first, second])
  if (a.status === 'rejected') throw a.reason
  if (b.status === 'rejected') throw b.reason
  return [a.value, b.value]
}

function describeDivergence(
  loop: Loop,
  { step, loss, gradNorm, median }: { step: number; loss: number; gradNorm: number; median: number },
  bins: SigmaBins | null,
  losses: Float64Array,
  sigmas: Float64Array,
): string {
  let worst = 0
  losses.forEach((value, i) => {
    if (Number.isNaN(losses[worst]!)) return
    if (Number.isNaN(value) || value > losses[worst]!) worst = i
  })
  const what = !Number.isFinite(loss)
    ? 'the loss is not finite'
    : !Number.isFinite(gradNorm)
      ? 'the gradient is not finite'
      : `the loss ${loss.toPrecision(4)} is above ${loop.settings.divergence} times its running median ${median.toPrecision(4)}`
  return `training diverged at step ${step}: ${what}${bins ? `; the worst sample has ${bins.describe(sigmas[worst]!)}` : ''}`
}

function divergence(loop: Loop, what: string): NumericsError {
  const checkpoint = loop.lastCheckpoint()
  return new NumericsError(
    `${what}. ` +
      (checkpoint ? `The last good checkpoint is ${checkpoint}. ` : 'There is no checkpoint. ') +
      'A lower learning rate, a longer warm-up or stronger clipping may help',
  )
}
