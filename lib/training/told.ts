import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Told } from '../data/event-file.js'
import type { LogLine } from './events.js'
import { binNames } from './watch.js'

/** A line of log.jsonl as TensorBoard is told it. folder: the run's, for the preview's picture. */
export async function toldOf(line: LogLine, folder: string, noise: { pMean: number; pStd: number }): Promise<Told> {
  const { loss, median, heldOutLoss, energyLoss, levelLoss, pathLoss, gradNorm, lr, imagesPerSecond, binLosses, preview } = line // biome-ignore format: one line
  const names = binLosses ? binNames(noise) : []
  const bins = Object.fromEntries(binLosses?.map((mean, i) => [`loss by noise/${names[i]}`, mean]) ?? [])
  const losses = { step: loss, median, 'held out': heldOutLoss, energy: energyLoss, level: levelLoss, path: pathLoss }
  const scalars = {
    ...Object.fromEntries(Object.entries(losses).map(([name, value]) => [`loss/${name}`, value])),
    ...bins,
    ...{ 'run/gradient norm': gradNorm, 'run/learning rate': lr, 'run/images per second': imagesPerSecond },
  }
  return typeof preview === 'string' ? { scalars, images: { samples: await readFile(join(folder, preview)) } } : { scalars } // biome-ignore format: one line
}
