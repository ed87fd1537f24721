import { setImmediate as breathe } from 'node:timers/promises'
import { type Dataset, MemoryDataset } from '../data/dataset.js'
import { MixedPictures } from '../data/images.js'
import { readSamples } from '../data/samples.js'
import { openData } from '../training/opening.js'
import type { DataOptions, TrainingOptions } from '../training/types.js'

/**
 * Pictures in the form in which a first fit learns them: of one size, no larger than a processor learns in minutes, and in one channel where
 * they are grey. Only of data that are given by name, and only what the caller's `dataOptions` leave open.
 */

/** Longer sides take long to learn on a processor. */
export const LARGE = 64
/** The side that such pictures get. */
const SIDE = 32
const BATCH = 256

export interface FitPictures {
  data: Dataset
  /** What was done to them, a sentence each. */
  changes: string[]
}

/** Throws what `loadDataset` throws. */
export async function fitPictures(
  options: Pick<TrainingOptions, 'data' | 'dataOptions' | 'signal'>,
): Promise<FitPictures> {
  const { data: spec, dataOptions: given = {}, signal } = options
  const chosen: Pick<DataOptions, 'resize' | 'channels'> = {}
  const open = async (more: DataOptions = {}) =>
    (await openData({ data: spec, dataOptions: { ...given, ...chosen, ...more }, signal }, { checkpoint: null })).data
  if (typeof spec !== 'string') return { data: await open(), changes: [] }

  const changes: string[] = []
  const resizeTo = (side: number, why: string) => {
    chosen.resize = side
    changes.push(`${why}: they are learnt at ${side} x ${side} (give resize for another size)`)
  }
  const told = { background: given.background ?? 'black' } // what transparent parts are laid on is said once
  const first = await open({ ...told, limit: 1 })
  const [, height, width] = first.shape
  const pictures = first.shape.length === 3 && MemoryDataset.holdsBytes(first)
  if (pictures && given.resize === undefined && Math.max(height, width) > LARGE)
    resizeTo(SIDE, `pictures of ${width} x ${height} take long to learn on a processor`)
  let data: Dataset | undefined
  while (!data)
    try {
      data = await open()
    } catch (error) {
      if (!(error instanceof MixedPictures) || { ...given, ...chosen }[error.option] !== undefined) throw error
      if (error.option === 'resize') resizeTo(sideLike(height, width), 'the pictures differ in size')
      else {
        chosen.channels = 3
        changes.push('some pictures are grey and some in colour: all are learnt in colour (give channels for grey)')
      }
    }
  if (pictures && given.channels === undefined && (await allGrey(data, signal))) {
    chosen.channels = 1
    changes.push('the pictures are stored in colour but grey: they are learnt in one channel (give channels for three)')
    data = await open(told)
  }
  return { data, changes }
}

/** A side near that of one of the pictures, and one that halves twice. */
function sideLike(height: number, width: number): number {
  return Math.min(SIDE, 4 * Math.ceil(Math.min(height, width) / 4))
}

async function allGrey(data: Dataset, signal?: AbortSignal): Promise<boolean> {
  if (data.shape[0] !== 3) return false
  for (let first = 0; first < data.size; first += BATCH) {
    signal?.throwIfAborted()
    const count = Math.min(BATCH, data.size - first)
    const { x0 } = await readSamples(
      data,
      null,
      Int32Array.from({ length: count }, (_, i) => first + i),
    )
    const size = x0.length / count
    for (let row = 0; row < count; row++)
      if (!isGrey(x0.subarray(row * size, (row + 1) * size), data.shape)) return false
    await breathe()
  }
  return true
}

/** Whether all channels of a picture in colour are the same. */
export function isGrey(picture: Float32Array, [channels]: readonly number[]): boolean {
  const area = picture.length / channels
  return channels === 3 && picture.every((value, k) => value === picture[k % area])
}
