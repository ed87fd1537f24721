import type { Classifier } from '../models/classifier.js'
import type { Asked } from './rows.js'

/** How many samples show what they were asked to. */
export interface Shown {
  samples: number
  /** By the classifier; null where there is none. */
  right: number | null
}

/** asked: of each sample; attributes not asked for do not count. */
export async function judge(
  classifier: Classifier | null,
  samples: Float32Array,
  asked: readonly Asked[],
  signal?: AbortSignal,
): Promise<Shown> {
  if (!classifier) return { samples: asked.length, right: null }
  const { classes } = await classifier.classify(samples, { signal })
  const width = classes.length / asked.length
  const right = asked.filter((wanted, i) =>
    wanted.every((value, a) => value === null || value === classes[i * width + a]),
  )
  return { samples: asked.length, right: right.length }
}
