import type { TrainingProgress, TrainingResult } from 'feynkac'
import { runFolder } from '../run-log.js'
import type { DemoContext } from './context.js'

interface Where {
  output: string
  resume: 'auto'
  signal?: AbortSignal
  onProgress(p: TrainingProgress): void
}

/** The model of a stage, trained in a folder of its own, where a demo that was cut off goes on with it. */
export async function learnt<M>(
  context: DemoContext,
  name: string,
  train: (where: Where) => Promise<TrainingResult<M>>,
): Promise<M> {
  const { seed, signal, shorter, stage } = context
  const quick = shorter === 1 ? [] : [`share ${shorter}`]
  const output = runFolder(context, name, `seed ${seed}`, ...quick)!
  context.trained.push(output)
  const onProgress = (p: TrainingProgress) => stage(name, p.images, p.totalImages)
  return (await train({ output, resume: 'auto', signal, onProgress })).model
}
