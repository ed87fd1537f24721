import { join } from 'node:path'
import { makeFolder, writeFileAtomic } from '../base/files.js'
import { sizeOf } from '../base/shape.js'
import { type Decoder, encodeLabel, type LabelSpec, labelDim } from '../data/dataset.js'
import { gridPng } from '../data/grid.js'
import { pointsOf } from '../data/points.js'
import type { ModelInfo } from '../models/info.js'
import { type DenoiserFunction, sample } from '../smc/samplers.js'
import { sigmaGrid } from '../smc/schedule.js'
import type { Preview } from './events.js'
import { PREVIEWS } from './folder.js'

/** What a training run shows of its averaged weights as it goes: samples, always from the same noise. To look at, and nothing depends on it. */

/** Pixels of a picture's side, about. */
export const SIDE = 512
/** Samples of a preview: pictures, and points where the data are vectors. */
const SAMPLES = 16
const POINTS = 64
/** Noise levels that Heun's method goes through. */
const LEVELS = 9
/** Less noise than this is not seen in pictures, and is taken off in one step. */
const LEAST_NOISE = 0.02
/** Most previews of a run. */
const MOST = 10
/** An evaluation costs about a third of what training on an image does. */
const COST = 1 / 3
/** Share of the run that previews may cost. */
const SHARE = 1 / 50

const countFor = (shape: readonly number[]) => (shape.length === 3 ? SAMPLES : POINTS)

/** Images between previews where nobody says: a tenth of the run, or as many as make them a fiftieth of its work. */
export function previewEveryFor(images: number, shape: readonly number[]): number {
  const evaluations = countFor(shape) * (2 * LEVELS - 1)
  return Math.ceil(Math.max(images / MOST, (evaluations * COST) / SHARE))
}

/** What samples are drawn of. */
interface Sampled {
  readonly shape: readonly number[]
  readonly info: ModelInfo
  denoise(x: Float32Array, sigma: number, options: object): Promise<Float32Array>
  dispose(): void
}

/** Draws previews; `preview`: points, or a picture of PNG. */
export class Previews {
  #failed = false
  readonly #preview: () => Promise<Exclude<Preview, string> | Uint8Array>
  readonly #signal?: AbortSignal

  constructor(
    readonly every: number,
    preview: () => Promise<Exclude<Preview, string> | Uint8Array>,
    signal?: AbortSignal,
  ) {
    this.#preview = preview
    this.#signal = signal
  }

  /** One preview, with its picture in the folder. What keeps it from being drawn is a warning, once: the run goes on. */
  async draw(folder: string, images: number): Promise<Preview | undefined> {
    if (this.#failed) return undefined
    try {
      const drawn = await this.#preview()
      if (!(drawn instanceof Uint8Array)) return drawn
      const name = `${PREVIEWS}/${String(images).padStart(9, '0')}.png`
      await makeFolder(join(folder, PREVIEWS))
      await writeFileAtomic(join(folder, name), [drawn])
      return name
    } catch (error) {
      if (this.#signal?.aborted) return undefined // the loop says so
      this.#failed = true
      process.emitWarning(`the run goes on without previews: ${(error as Error).message}`, 'FeynkacWarning')
    }
  }
}

/** Samples of a denoiser or an energy; of latents the images that they stand for. */
export async function samplesOf(
  model: Sampled,
  {
    labels: spec,
    decoder,
    seed,
    signal,
  }: { labels: LabelSpec | null; decoder?: Decoder; seed: number; signal?: AbortSignal },
): Promise<Exclude<Preview, string> | Uint8Array> {
  const { shape, info } = model
  const pictures = shape.length === 3
  const count = countFor(shape)
  const labels = labelsOf(spec, count)
  const asked: DenoiserFunction = {
    shape,
    denoise: (x, sigma, { part, signal } = {}) => model.denoise(x, sigma, { labels, part, signal }),
  }
  const min = pictures ? Math.min(Math.max(info.sigmaMin, LEAST_NOISE), info.sigmaMax / 2) : info.sigmaMin
  const sigmas = [...sigmaGrid({ steps: LEVELS - 1, min, max: info.sigmaMax }), 0]
  const { samples } = await sample(asked, { particles: count, sigmas, seed, signal })
  if (!pictures) return pointsOf(samples, sizeOf(shape))
  if (!decoder) return gridPng(samples, shape, { size: SIDE })
  return gridPng(await decoder.decode(samples, { signal }), decoder.shape, { size: SIDE })
}

/** Vectors of labels that go through the classes of every attribute in turn. */
function labelsOf(spec: LabelSpec | null, count: number): Float32Array | undefined {
  if (!spec) return undefined
  const dim = labelDim(spec)
  const vectors = new Float32Array(count * dim)
  for (let i = 0; i < count; i++)
    encodeLabel(spec, spec.attributes.map(({ size }) => i % size), vectors, i * dim) // biome-ignore format: one line
  return vectors
}
