import { ArgumentError } from '../base/errors.js'

/** Thrown by the parts of an array of jobs that find, when they are through, results of other parts missing: those will go on. */
export class PartDone extends Error {
  constructor(
    readonly part: number,
    readonly of: number,
    readonly missing: number,
    readonly folder: string,
  ) {
    super(`part ${part} of ${of} is done; ${missing} results of other parts are not in ${folder} yet`)
  }
}

/** This process's part of the work: number `index` of `count`, from 0. */
export interface Part {
  index: number
  count: number
}

/**
 * '3/8': the third of eight parts; 'auto': the task of a Slurm array; 'auto/8': of eight, by the index of a Slurm array's task or of a Kubernetes
 * Job's pod. Throws ArgumentError.
 */
export function partOf(text: string, env: NodeJS.ProcessEnv = process.env): Part {
  const match = /^(auto|\d{1,6})(?:\/(\d{1,6}))?$/.exec(text)
  if (!match || (match[1] !== 'auto' && match[2] === undefined))
    throw new ArgumentError(`--part: expected 3/8, the third of eight, or auto, or auto/8, but received ${text}`)
  const whole = (name: string) => (/^\d{1,9}$/.test(env[name] ?? '') ? Number(env[name]) : undefined)
  const task = whole('SLURM_ARRAY_TASK_ID')
  const fromTask = task === undefined ? whole('JOB_COMPLETION_INDEX') : (task - (whole('SLURM_ARRAY_TASK_MIN') ?? 0)) / (whole('SLURM_ARRAY_TASK_STEP') ?? 1) // biome-ignore format: one line
  const index = match[1] === 'auto' ? fromTask : Number(match[1]) - 1
  const count = match[2] === undefined ? whole('SLURM_ARRAY_TASK_COUNT') : Number(match[2])
  if (index === undefined || count === undefined)
    throw new ArgumentError(
      `--part ${text}: ${index === undefined ? 'neither SLURM_ARRAY_TASK_ID nor JOB_COMPLETION_INDEX is set' : 'SLURM_ARRAY_TASK_COUNT is not set: give auto/<count>'}`,
    )
  if (!(Number.isInteger(index) && index >= 0 && index < count))
    throw new ArgumentError(`--part ${text}: number ${index + 1} is none of ${count} parts`)
  return { index, count }
}
