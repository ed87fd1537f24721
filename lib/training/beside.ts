import type { Dataset, LabelSpec } from '../data/dataset.js'
import type { Denoiser } from '../models/denoiser.js'
import type { EnergyModel } from '../models/energy.js'
import type { ModelInfo } from '../models/info.js'
import { run } from '../native/addon.js'
import type { NativeNetwork, NetworkWeights } from '../native/types.js'
import type { Checkpoint } from './checkpoint.js'
import { type LevelSettings, Levels } from './levels.js'
import type { Loop } from './loop.js'
import { PathLoss, type PathSettings, startsWithin, teacherTable } from './path-loss.js'
import { SelfPlay } from './self-play.js'

/** What an energy learns from beside its loss, where the options ask for it: levels, walks, and states of its own. */
export async function lossesBeside(
  definition: LevelSettings & PathSettings & Loop['settings'] & { selfPlay: number },
  about: {
    data: Dataset
    labels: LabelSpec | null
    teacher?: Denoiser
    info: ModelInfo
    /** Noise levels that the network can be told. */
    range: { sigmaMin: number; sigmaMax: number }
    /** Numbers of a sample. */
    dims: number
    trained: NativeNetwork
    /** A model like the one that is trained. */
    create(): Promise<EnergyModel>
    checkpoint: Checkpoint | null
    signal?: AbortSignal
  },
): Promise<Pick<Loop, 'levels' | 'path' | 'own'>> {
  const { data, labels, teacher, range, checkpoint, signal } = about
  const { levelWeight, pathWeight, selfPlay } = definition
  return {
    levels:
      levelWeight > 0
        ? new Levels(definition, about.dims, about.info.sigmaData, range, checkpoint?.loop.levels)
        : undefined,
    path:
      pathWeight > 0
        ? new PathLoss(
            definition,
            range,
            await teacherTable(teacher!, data, labels, definition, range, signal),
            checkpoint?.loop.path,
          )
        : undefined,
    own:
      selfPlay > 0
        ? new SelfPlay(
            selfPlay,
            definition,
            labels,
            startsWithin(definition, range).map(Math.exp) as [number, number],
            () => averaged(about.trained, about.create),
            checkpoint?.tensors,
          )
        : undefined,
  }
}

/** A model like the one that is trained, with its averaged weights as they are. */
export async function averaged<M extends { network: NetworkWeights }>(
  trained: NetworkWeights,
  create: () => Promise<M>,
): Promise<M> {
  const model = await create()
  const values = new Float32Array(trained.parameterCount())
  await run(() => trained.read('ema', values))
  await run(() => model.network.write('params', values))
  return model
}
