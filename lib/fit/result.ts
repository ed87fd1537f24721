import type { CopiesResult } from '../metrics/copies.js'
import type { TrainingRecord } from '../models/training-record.js'
import type { Recipe } from '../training/recipe.js'
import type { TrainingResult } from '../training/types.js'
import type { Budget } from './budget.js'
import type { Findings } from './findings.js'
import type { Shown } from './judge.js'

/** Where a fit is. */
export interface FitProgress {
  stage: keyof Budget['work']
  /** Work of all stages, in images of the teacher's training. */
  done: number
  total: number
  /** While training: the running median of the loss; where it was measured, that of the pictures held out. */
  loss?: number
  heldOutLoss?: number
}

/** What a training of a fit came to: images seen, steps, losses, and the step whose average was kept. */
export type Learnt = Pick<TrainingResult<unknown>, 'images' | 'steps' | 'loss' | 'heldOutLoss' | 'averagedAt'>

/** A group of rows with their samples. */
export interface DrawnGroup {
  name: string
  caption: string
  rows: { label: string; samples: Float32Array; shown: Shown }[]
}

/** What fit.json holds. */
export interface FitResult {
  asked: { data: string; minutes: number | null; images: number | null; energyImages: number | null; seed: number }
  finished: boolean
  seconds: number
  output: string
  /** File of the energy. */
  model: string
  /** That the teacher and the energy were to see: given instead of a time, they lead to the same bits. */
  images: number
  energyImages: number
  findings: Findings
  /** The teacher's. */
  recipe: Recipe
  teacher: Learnt
  /** Its losses are against the teacher's answers. */
  energy: Learnt & { recipe: TrainingRecord | null }
  /** Share of held-out pictures whose value it tells, by attribute; null without labels. */
  classifier: Record<string, number | null> | null
  /** Of how many held-out pictures that is the share. */
  classifierHeldOut: Record<string, number> | null
  samples: { name: string; caption: string; rows: ({ label: string } & Shown)[] }[]
  /** Whether the plain samples are copies. */
  copies: CopiesResult
  /** What was written. */
  files: string[]
}
