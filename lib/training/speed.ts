import type { NetworkWeights } from '../native/types.js'
import type { Communicator } from '../ranks/communicator.js'
import { Stopped } from '../ranks/stopped.js'
import type { Run } from './checkpointed.js'
import { trainingLoop } from './loop.js'

/** How fast a run will be, and what it can see in a given time. */

/** The measurement takes this share of the time given, within these seconds, and steps enough to leave the first one out. */
const SHARE = 0.03
const [SHORTEST, LONGEST] = [0.5, 15]
const FEWEST_STEPS = 3
/** More than any run sees, so that the schedule stays at its beginning. */
const ENDLESS = 2 ** 40
/** The share of the time left that steps get: the rest is for the held-out loss, checkpoints and what a speed is off by. */
const STEPS = 0.95

/** What a speed is measured with first: about what the recipe is for. */
const TRIAL_IMAGES = 10_000
/** Speeds that are measured, each in its share of the time. */
const MOST_TRIALS = 3

/** What bounds the images that a time allows, besides the speed. */
export interface Within {
  /** What comes after a training of so many images in the same time, in images of it, of which so many are seen in a second. */
  after?: (images: number, rate: number) => number
  /** At the least. */
  least?: number
  /** How many of so many it is to see. */
  bound?: (images: number) => number
}

/**
 * The images that the time left allows, and the speed that they follow from. Larger batches see more images in a second: where those that a speed leads to
 * have another batch, the speed is measured again with that one. bounded: whether `bound` is what bounds them.
 */
export async function imagesOf(
  /** Minutes, at the time of the call; the same in all ranks. */
  left: () => number | Promise<number>,
  batchOf: (images: number) => number,
  speedOf: (images: number) => Promise<number>,
  within: Within = {},
): Promise<{ images: number; rate: number; bounded: boolean }> {
  let [images, rate, batch] = [within.bound?.(TRIAL_IMAGES) ?? TRIAL_IMAGES, 0, 0]
  for (let trials = 0; trials < MOST_TRIALS && batch !== batchOf(images); trials++) {
    batch = batchOf(images)
    rate = await speedOf(images)
    images = imagesWithin(await left(), rate, within)
  }
  return { images, rate, bounded: images < imagesWithin(await left(), rate, { ...within, bound: undefined }) }
}

/** Images that a run trains on in a second, by steps of it that are thrown away with its model. */
export async function imagesPerSecond<M extends { network: NetworkWeights }>(
  { definition, previews: _, ...run }: Omit<Run<M>, 'sources' | 'images'> & { ranks: Communicator },
  minutes: number,
  signal?: AbortSignal,
): Promise<number> {
  const seconds = Math.min(LONGEST, Math.max(SHORTEST, SHARE * 60 * minutes))
  const enough = new AbortController()
  const began = performance.now()
  let first: { images: number; at: number } | undefined
  let rate = 0
  const loop = trainingLoop({
    ...run,
    settings: definition,
    state: { step: 0, watch: { losses: [], means: [] } },
    images: ENDLESS,
    logEvery: ENDLESS,
    checkpointEvery: ENDLESS,
    signal: signal ? AbortSignal.any([signal, enough.signal]) : enough.signal,
    onProgress: ({ step, images }) => {
      const at = performance.now()
      first ??= { images, at }
      rate = (images - first.images) / ((at - first.at) / 1000)
      if (step >= FEWEST_STEPS && at - began > seconds * 1000) enough.abort(enough)
    },
    log: async () => {},
    checkpoint: async () => {},
    goBack: async () => false,
    lastCheckpoint: () => null,
  })
  await loop.catch((reason) => {
    if (reason !== enough && reason !== signal?.reason && !(reason instanceof Stopped)) throw reason
  })
  // the user's signal is each rank's own: all leave together
  if (await run.ranks.any(signal?.aborted ?? false)) throw signal?.aborted ? signal.reason : new Stopped()
  return rate
}

/** The images that a number of minutes allows at a speed: rounded down to three digits, to be given again by hand; 1 at least. */
export function imagesWithin(minutes: number, rate: number, { after, least = 1, bound }: Within = {}): number {
  const all = Math.max(1, STEPS * rate * 60 * minutes)
  let [few, many] = [least, Math.max(least, all)]
  for (let i = 0; after && i < 50; i++) {
    const images = (few + many) / 2
    if (images + after(images, rate) <= all) few = images
    else many = images
  }
  const images = bound?.(many) ?? many
  const unit = 10 ** Math.max(0, Math.floor(Math.log10(images)) - 2)
  return Math.floor(images / unit) * unit
}
