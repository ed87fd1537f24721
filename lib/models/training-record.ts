import { isObject } from '../base/json.js'

/** How a model was trained, kept with it. */
export interface TrainingRecord {
  /** Seen in all. */
  images: number
  batchSize: number
  lr: number
  /** Momentum of Muon; 0: Adam moved all. */
  muon: number
  warmUp: number
  decay: number
  emaHalfLife: number
  labelDropout: number
  /** Samples that targets were averaged over; 0: they were single ones. */
  references: number
  /** Share of the rows that had less noise than their level says. */
  sharpened: number
  /** Images seen at half the size before the others, as a share of these. */
  smallFirst: number
  /** Probability that a picture was seen mirrored or turned, and the network told so. */
  augment: number
  pMean: number
  pStd: number
  /** The loss of its weights on samples held out, in units of c_out^2; null where none were. */
  heldOut: number | null
  /** The images seen when they were averaged; models of before this was chosen have none. */
  averagedAt?: number
}

const NUMBERS = [
  'images',
  'batchSize',
  'lr',
  'warmUp',
  'decay',
  'emaHalfLife',
  'labelDropout',
  'pMean',
  'pStd',
] as const

const SINCE = ['muon', 'references', 'sharpened', 'smallFirst', 'augment'] as const

/** Reads a record out of JSON; `fail` throws. */
export function parseTrainingRecord(json: unknown, fail: (what: string) => never): TrainingRecord {
  const record = isObject(json) ? json : fail('expected an object for how the model was trained')
  const number = (name: string): number => {
    const value = record[name]
    return typeof value === 'number' && Number.isFinite(value)
      ? value
      : fail(`expected a number for ${name} of how the model was trained`)
  }
  const numbers = Object.fromEntries(NUMBERS.map((name) => [name, number(name)]))
  const heldOut = record.heldOut === null ? null : number('heldOut')
  const averaged = record.averagedAt !== undefined && { averagedAt: number('averagedAt') }
  // models of before there were these say nothing of them
  const later = (name: string) => (record[name] === undefined ? 0 : number(name))
  const since = Object.fromEntries(SINCE.map((name) => [name, later(name)]))
  return { ...numbers, ...since, heldOut, ...averaged } as TrainingRecord
}
