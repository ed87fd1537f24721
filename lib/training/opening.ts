import { knownOptions } from '../base/args.js'
import { ArgumentError, FileError, invalid } from '../base/errors.js'
import { checkDataset, type Dataset, type Decoder } from '../data/dataset.js'
import { loadDataset } from '../data/load.js'
import { readingRows } from '../data/options.js'
import { Autoencoder } from '../models/autoencoder.js'
import { encoded } from '../models/latents.js'
import { checkedRanks } from '../ranks/communicator.js'
import { fromFirst } from '../ranks/share.js'
import { type Checkpoint, checkDefinition, type DataSource, readCheckpoint } from './checkpoint.js'
import type { Opened } from './checkpointed.js'
import { RunFolder } from './folder.js'
import { recordRows } from './options.js'
import type { TrainingOptions } from './types.js'

/** The folder and the data of a run, of a resumed one as its checkpoint names them. */

/** Runs `work` with the directory of a run, which other runs may have afterwards. */
export async function inRun<T>(opening: Promise<Opened>, work: (opened: Opened) => Promise<T>): Promise<T> {
  const opened = await opening
  try {
    return await work(opened)
  } finally {
    await opened.folder?.close()
  }
}

/** `read` reads a checkpoint of the run's kind. */
export async function openRun(
  options: Pick<TrainingOptions, 'output' | 'resume' | 'tensorboard' | 'ranks'>,
  read: (path: string) => Promise<Checkpoint> = (path) => readCheckpoint(path),
): Promise<Opened> {
  const { resume, tensorboard } = options
  if (tensorboard !== undefined) recordRows.tensorboard.check('tensorboard', tensorboard)
  if (tensorboard && options.output === undefined)
    throw invalid('tensorboard', 'false without an output directory', true)
  if (resume !== undefined && resume !== 'auto' && typeof resume !== 'boolean')
    throw invalid('resume', "true, false or 'auto'", resume)
  const ranks = checkedRanks(options.ranks)
  if (options.output === undefined) {
    if (options.resume) throw invalid('output', 'the directory of the run to resume', undefined)
    return { folder: null, checkpoint: null, ranks }
  }
  if (typeof options.output !== 'string' || options.output === '')
    throw invalid('output', 'the name of a directory', options.output)
  // the first makes the directory and tidies it before the others look, and writes when all have
  if (ranks.rank > 0) await ranks.barrier()
  const folder = ranks.rank > 0 ? RunFolder.read(options.output) : await RunFolder.open(options.output)
  try {
    if (ranks.rank === 0) await ranks.barrier()
    if (!resume && (await folder.checkpoints()).length)
      throw new ArgumentError(
        `${options.output} holds the checkpoints of a run: resume it, or choose another directory`,
      )
    const whole = async (path: string) => {
      const found = await read(path)
      checkDefinition(found)
      return found
    }
    const checkpoint = resume ? await folder.newest(whole) : null
    if (!checkpoint && resume === true)
      throw new FileError(`there is no checkpoint to resume from in ${options.output}`, options.output)
    const step = checkpoint?.loop.step ?? -1
    const first = await fromFirst(ranks, step)
    if (first !== step)
      throw new FileError(
        `rank 0 goes on from step ${first} and rank ${ranks.rank} from ${step} (-1: there is no checkpoint): all ranks need the same ${options.output}`,
        options.output,
      )
    return { folder, checkpoint, ranks }
  } catch (error) {
    await folder.close()
    throw error
  }
}

/** The data and, where they were named, by what. A resumed run reads what its checkpoint names. */
export async function openData(
  options: Pick<TrainingOptions, 'data' | 'dataOptions' | 'device' | 'precision' | 'signal'>,
  { checkpoint }: Pick<Opened, 'checkpoint'>,
): Promise<{ data: Dataset; source: DataSource | null }> {
  const { data, dataOptions = {}, signal } = options
  knownOptions('dataOptions', dataOptions, [...Object.keys(readingRows), 'autoencoder'])
  if (data !== undefined && typeof data !== 'string') {
    if (dataOptions.autoencoder !== undefined)
      throw invalid(
        'autoencoder',
        'nothing where the data are a data set: latentDataset encodes it',
        dataOptions.autoencoder,
      )
    return { data: checkDataset(data), source: checkpoint?.sources.data ?? null }
  }
  const source = data === undefined ? checkpoint?.sources.data : { spec: data, options: dataOptions }
  if (!source) throw invalid('data', 'a data set or its specification', data)
  const { autoencoder: file, ...loading } = source.options
  const images = await loadDataset(source.spec, { ...loading, signal })
  if (file === undefined) return { data: images, source }
  const open = () => Autoencoder.load(file, { device: options.device, precision: options.precision })
  using autoencoder = await open()
  const { shape } = autoencoder
  // previews are few: in memory only while one is decoded
  const decode: Decoder['decode'] = async (latents, call) => {
    using decoder = await open()
    return await decoder.decode(latents, call)
  }
  return { data: await encoded(images, autoencoder, { signal, decoder: { shape, decode } }), source }
}
