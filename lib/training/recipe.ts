import { allDefaults } from '../base/option-table.js'
import type { AutoencoderConfig } from '../networks/autoencoder.js'
import type { NetworkConfig } from '../networks/config.js'
import { halfNetwork } from '../networks/half.js'
import { type Settings, settingRows } from './settings.js'

/**
 * The parts of a run that follow from its budget, its data and its network, where they are not given. Each rule is short, and each was
 * tried: `packages/lab/studies/recipe.mjs` has the runs, of what lost too. What decides at small budgets is the number of steps, so batches are small and
 * rates high.
 *
 * - batch: grows as the square root of the images (McCandlish et al. 2018: the largest useful batch grows as the loss falls). Smaller ones
 *   reach a lower loss yet, but then labels that say where things are (a bias on channels tells them) are drowned in the gradient's noise.
 * - lr: 4e-3 for pictures at the default width of 32 channels, in inverse proportion to the width above it (Yang et al. 2022), which at 128
 *   channels is EDM's 1e-3. A quarter of it to distil, where the weights begin near their end and the rate hardly matters.
 * - muon: 0.95, the momentum of its authors, for networks of convolutions: as good as Adam with three times the images.
 * - decay: linear to 0 (Defazio et al. 2023), over the last half: earlier it costs small budgets more than it gives.
 * - averaging and warm-up: over a twentieth of the run. At most that share of the images seen, the average is a power function (Karras et
 *   al. 2024, EDM2) of relative width 0.06.
 * - noise levels: EDM's, but for labelled pictures -0.6 +- 1.4, as labels are learnt at high noise alone.
 * - references, sharpened: targets of pictures are means by 1024 of the data, and half of the rows have less noise than their level says, as low
 *   temperatures have (docs/smoothed-targets.md).
 * - half the size first: as many images, which cost a third to a half, of pictures of 16 x 16 and more whose sides and levels halve evenly.
 * - at most so many passes over n pictures: of few, samples become copies, and the loss at high noise rises (docs/fit.md). By minutes alone.
 * - augment: where there is time for a quarter more passes, half of the pictures are seen mirrored or turned, told to the network (Karras et al.
 *   2022), without their labels, which may say where things are. So few pictures are learnt from for three times as long.
 * - label dropout: 0.1 of a single attribute, for guidance (Ho and Salimans 2021); 0.25 of more, so that each is learnt alone and
 *   compositions have what they are made of. More of it makes samples under all labels worse at small budgets.
 */

export type Recipe = Pick<
  Settings,
  | 'batchSize'
  | 'lr'
  | 'muon'
  | 'warmUp'
  | 'decay'
  | 'emaHalfLife'
  | 'labelDropout'
  | 'references'
  | 'sharpened'
  | 'smallFirst'
  | 'augment'
  | 'pMean'
  | 'pStd'
>

/** What the rules look at. */
export interface Situation {
  objective: 'dsm' | 'distill'
  /** Images that the run sees. */
  images: number
  /** Samples of the data. */
  samples: number
  /** Whether these are latents of images. */
  latent: boolean
  /** Attributes of the labels that the network is given; 0: none. */
  attributes: number
  network: NetworkConfig
}

/** given: parts that are chosen by hand. */
export function recipeFor(situation: Situation, given: Partial<Recipe> = {}): Recipe {
  const { images, samples, attributes, network } = situation
  return recipeOf({
    batchSize: Math.min(samples, batchFor(images)),
    lr: rateFor(situation),
    muon: network.class === 'ResidualMLP' ? 0 : 0.95,
    decay: 0.5,
    labelDropout: [0, 0.1][attributes] ?? 0.25,
    ...averagedOver(images),
    ...smoothedFor(situation),
    smallFirst: smallFirstFor(situation),
    augment: 0, // the network has to be made for it: augmentFor
    ...(attributes > 0 && network.class !== 'ResidualMLP' ? { pMean: -0.6, pStd: 1.4 } : edmNoise),
    ...given,
  })
}

/** A power of two: 8 for 3000 images, 16 for 12,000, 32 for 40,000, 64 for 200,000. */
function batchFor(images: number): number {
  return 2 ** Math.min(8, Math.max(3, Math.round(Math.log2(Math.sqrt(images) / 6.5))))
}

/** 4e-3 for pictures and 2e-3 for vectors at the default width; a quarter of it to distil; less in proportion for wider networks. */
function rateFor({ objective, network }: Situation): number {
  const [rate, width] = network.class === 'ResidualMLP' ? [2e-3, 128] : [4e-3, 32]
  return narrowed(objective === 'distill' ? rate / 4 : rate, width, widthOf(network))
}

function narrowed(rate: number, width: number, own: number): number {
  return Number((rate * Math.min(1, width / own)).toPrecision(3))
}

function widthOf({ class: name, args }: NetworkConfig): number {
  if (name === 'ResidualMLP') return args.hidden
  return name === 'UNet2DModel' ? args.block_out_channels[0]! : args.model_channels
}

/** Of pictures alone: nobody has measured what it does to latents. */
function smoothedFor({ objective, network, latent }: Situation) {
  const pictures = network.class !== 'ResidualMLP' && !latent
  return { references: pictures && objective === 'dsm' ? 1024 : 0, sharpened: pictures ? 0.5 : 0 }
}

/** Halves of less than this have lost what the pictures show (12 x 12 are learnt better without). */
const SMALLEST_HALF = 8

/** Of pictures whose network has a half of its size. */
function smallFirstFor({ objective, network, latent }: Situation): number {
  const half = objective === 'dsm' && !latent ? halfNetwork(network) : undefined
  return half && Math.min(...half.shape.slice(1)) >= SMALLEST_HALF ? 1 : 0
}

/** EDM's, table 1 of Karras et al. 2022. */
const edmNoise = { pMean: -1.2, pStd: 1.2 }

/** EDM's warm-up and half-life, or a twentieth of a run that is too short for them. */
function averagedOver(images: number) {
  const twentieth = Math.round(images / 20)
  return { warmUp: Math.min(10_000, twentieth), emaHalfLife: Math.min(500_000, twentieth) }
}

/** As denoisers, but for what is about noise levels: a third to a hundredth of the error of batches of 128 and Adam (docs/recipe.md). */
export function autoencoderRecipe(images: number, { args }: Pick<AutoencoderConfig, 'args'>): Recipe {
  return {
    ...plain(images),
    batchSize: batchFor(images),
    lr: narrowed(4e-3, 32, args.block_out_channels[0]!),
    muon: 0.95,
  }
}

/** Muon, small batches, and a high rate that falls from the start: half of the errors of a constant rate of Adam's (docs/recipe.md). */
export function classifierRecipe(images: number): Recipe {
  return { ...plain(images), batchSize: 32, lr: 1e-2, muon: 0.95, decay: 1 }
}

/** Networks that know no noise levels have none of what is about them. */
function plain(images: number) {
  return {
    decay: 0.5,
    labelDropout: 0,
    references: 0,
    sharpened: 0,
    smallFirst: 0,
    augment: 0,
    ...averagedOver(images),
    ...edmNoise,
  }
}

/** So few samples are all trained on. */
const ENOUGH_TO_HOLD_OUT = 100

/** Share of the samples that is held out. */
export function holdOutFor(samples: number): number {
  return samples < ENOUGH_TO_HOLD_OUT ? 0 : 0.1
}

/** The recipe's part of a run's settings. */
export function recipeOf(all: Recipe): Recipe {
  const { batchSize, lr, muon, warmUp, decay, emaHalfLife, labelDropout, references, sharpened, smallFirst, augment, pMean, pStd } = all // biome-ignore format: one line
  return { batchSize, lr, muon, warmUp, decay, emaHalfLife, labelDropout, references, sharpened, smallFirst, augment, pMean, pStd } // biome-ignore format: one line
}

/** Passes over n pictures, in n^0.8: 49 of 54, 127 of 180, 265 of 450. */
const PASSES = 2
/** With fewer images samples are not yet of the data. */
const LEAST_BOUND = 3000

/** Turned pictures win from so many times those passes on, and allow so many times as many. */
const [AUGMENTED_FROM, AUGMENTED_MOST] = [1.25, 3]
const AUGMENT = 0.5

/** The most images that a denoiser of so many pictures sees, where minutes choose their number. */
export function mostImages(pictures: number, augmented = false): number {
  const most = Math.max(LEAST_BOUND, Math.ceil(PASSES * pictures ** 1.8))
  return augmented ? AUGMENTED_MOST * most : most
}

/** Of a network that can be made for it. pictures: those trained on. */
export function augmentFor(images: number, pictures: number): number {
  return images >= AUGMENTED_FROM * mostImages(pictures) ? AUGMENT : 0
}

/** In a line. */
export function describeRecipe({
  batchSize,
  lr,
  muon,
  warmUp,
  decay,
  emaHalfLife,
  labelDropout,
  references,
  sharpened,
  smallFirst,
  augment,
  pMean,
  pStd,
}: Recipe): string {
  return [
    `batch ${batchSize}`,
    `lr ${lr}${decay > 0 ? ` falling to 0 over the last ${Number((100 * decay).toPrecision(3))} %` : ''}`,
    ...(muon > 0 ? [`Muon with a momentum of ${muon}`] : []),
    `warm-up ${warmUp} images`,
    `average with a half-life of ${emaHalfLife}`,
    `ln sigma ${pMean} ± ${pStd}`,
    ...(labelDropout > 0 ? [`label dropout ${labelDropout}`] : []),
    ...(references > 0 ? [`targets averaged over up to ${references} samples`] : []),
    ...(sharpened > 0 ? [`${Number((100 * sharpened).toPrecision(3))} % sharpened`] : []),
    ...(smallFirst > 0 ? [`after ${Number((100 * smallFirst).toPrecision(3))} % as many at half the size`] : []),
    ...(augment > 0 ? [`${Number((100 * augment).toPrecision(3))} % mirrored or turned, and told so`] : []),
  ].join(', ')
}

/** Defaults of what no rule chooses (recipe.ts has the rules). */
export const generalSettings = { ...allDefaults(settingRows), dropout: 0 } as Omit<
  Settings,
  keyof Recipe | 'microBatch'
>
