import sharp, { type OutputInfo, type Sharp } from 'sharp'
import { ArgumentError, FormatError } from '../errors.js'
import { allocateBytes, inSlices } from './content.js'
import { resampler } from './resample.js'

/** What is done to every image. */
export interface ImageOptions {
  /** Side of the square, or [height, width]; what does not fit its proportions is cut off evenly. */
  resize?: number | [number, number]
  /** 1 = grey, 3 = colour; as the images are when left out. */
  channels?: 1 | 3
  signal?: AbortSignal
  onProgress?: (progress: { done: number; total: number }) => void
}

export interface Images {
  /** [channels, height, width] */
  shape: [number, number, number]
  /** Image after image, channel by channel. */
  data: Uint8Array<ArrayBuffer>
}

/** One image file. */
export interface Picture {
  bytes: Uint8Array
  /** For messages: the file, and the entry in it. */
  name: string
}

/** At most this many pixels in an image file: a small file can claim a huge picture. */
const MAX_PIXELS = 2 ** 26
/** Images in work at once: enough to keep libuv's threads busy while this thread goes on. */
const PARALLEL = 8
/** Up to this many pixels an image is resampled here: sharp's own resize costs more than a millisecond each. */
const SMALL = 2 ** 16

/** Image file names that sharp reads. */
export function isImageName(name: string): boolean {
  return /\.(png|jpe?g|webp|gif|tiff?|avif)$/i.test(name)
}

/**
 * Decodes `count` images to the same shape, that of the first unless `options` say otherwise. Transparency is laid on black;
 * 16-bit images become 8-bit. Throws FormatError for what cannot be decoded or differs, OutOfMemoryError, the signal's reason.
 */
export async function loadImages(
  count: number,
  picture: (index: number) => Promise<Picture>,
  options: ImageOptions,
): Promise<Images> {
  const { signal, onProgress, resize } = options
  const start = await picture(0)
  const channels = options.channels ?? ((await isGrey(start)) ? 1 : 3)
  const first = await decode(start, channels, resize)
  const { width, height } = first
  const size = channels * height * width
  const data = allocateBytes(count * size, `${count} images of ${height}x${width}`)
  let next = 0
  let done = 0
  const load = async (index: number) => {
    const source = await picture(index)
    if (channels === 1 && options.channels === undefined && !(await isGrey(source)))
      throw new FormatError(`${source.name}: in colour but others are grey: give channels`, source.name)
    const image = await decode(source, channels, resize)
    if (image.width !== width || image.height !== height)
      throw new FormatError(
        `${source.name}: ${image.height}x${image.width} pixels but others have ${height}x${width}: give resize`,
        source.name,
      )
    return image
  }
  const worker = async () => {
    while (next < count) {
      signal?.throwIfAborted()
      const index = next++
      const { planes } = index === 0 ? first : await load(index)
      data.set(planes, index * size)
      done++
      if (done % 64 === 0 || done === count) onProgress?.({ done, total: count })
    }
  }
  const workers = Array.from({ length: Math.min(PARALLEL, count) }, () =>
    worker().catch((error) => {
      next = count // the others stop too
      throw error
    }),
  )
  for (const { reason, status } of (await Promise.allSettled(workers)) as PromiseRejectedResult[])
    if (status === 'rejected') throw reason
  return { shape: [channels, height, width], data }
}

/** What `work` makes of a picture, or FormatError. */
async function decoding<T>({ name }: Picture, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (cause) {
    const what = (cause as Error).message.split('\n')[0]
    throw new FormatError(`${name}: no image that can be decoded: ${what}`, name, { cause })
  }
}

/** Whether a file holds grey levels, with or without transparency; sharp decodes them to colour. */
function isGrey(picture: Picture): Promise<boolean> {
  return decoding(picture, async () => (await sharp(picture.bytes).metadata()).channels <= 2)
}

interface Decoded {
  /** Channel by channel. */
  planes: Uint8Array
  width: number
  height: number
}

async function decode(picture: Picture, channels: 1 | 3, resize: ImageOptions['resize']): Promise<Decoded> {
  const { data, info } = await decoding(picture, async () => {
    const file = sharp(picture.bytes, { limitInputPixels: MAX_PIXELS }).autoOrient().flatten({ background: '#000' })
    const decoded = await rawPixels(file, channels)
    const { width, height } = decoded.info
    if (resize === undefined || width * height <= SMALL) return decoded
    const [h, w] = sides(resize)
    const large = sharp(decoded.data, { raw: { width, height, channels } })
    return rawPixels(large.resize({ height: h, width: w, fit: 'cover' }), channels)
  })
  const { width, height } = info
  const planes = toPlanes(data, channels)
  const [h, w] = resize === undefined ? [height, width] : sides(resize)
  if (h === height && w === width) return { planes, width, height }
  const out = new Uint8Array(channels * h * w)
  const resample = resampler([height, width], [h, w])
  const area = width * height
  for (let c = 0; c < channels; c++)
    resample(planes.subarray(c * area, (c + 1) * area), out.subarray(c * h * w, (c + 1) * h * w))
  return { planes: out, width: w, height: h }
}

type Pixels = { data: Buffer; info: OutputInfo }

function rawPixels(image: Sharp, channels: 1 | 3): Promise<Pixels> {
  return image
    .toColourspace(channels === 1 ? 'b-w' : 'srgb')
    .raw({ depth: 'uchar' })
    .toBuffer({ resolveWithObject: true })
}

function sides(resize: number | [number, number]): [height: number, width: number] {
  return typeof resize === 'number' ? [resize, resize] : resize
}

/** Interleaved pixels, channel by channel. */
function toPlanes(pixels: Uint8Array, channels: number): Uint8Array {
  if (channels === 1) return pixels
  const area = pixels.length / channels
  const planes = new Uint8Array(pixels.length)
  for (let c = 0; c < channels; c++) for (let i = 0; i < area; i++) planes[c * area + i] = pixels[i * channels + c]
  return planes
}

/** Resizes or recolours images in memory; gives back the same when there is nothing to do. Grey is Rec. 601's luma. */
export async function convertImages(images: Images, name: string, options: ImageOptions): Promise<Images> {
  const [given, height, width] = images.shape
  const { resize = [height, width], channels = given, signal } = options
  const [h, w] = sides(resize)
  if (h === height && w === width && channels === given) return images
  if (channels !== given && given !== 1 && given !== 3)
    throw new ArgumentError(`${name}: images of ${given} channels cannot be made grey or coloured`)
  const area = height * width
  const count = images.data.length / (given * area)
  const data = allocateBytes(count * channels * h * w, `${count} images of ${h}x${w}`)
  const resample = resampler([height, width], [h, w])
  const grey = new Uint8Array(area)
  const convert = (from: number, to: number) => {
    for (let i = from; i < to; i++)
      for (let c = 0; c < channels; c++) {
        const start = (i * given + (channels === given ? c : 0)) * area
        const plane = channels < given ? grey : images.data.subarray(start, start + area)
        if (channels < given) luma(images.data.subarray(start, start + 3 * area), grey)
        const at = (i * channels + c) * h * w
        const out = data.subarray(at, at + h * w)
        if (h === height && w === width) out.set(plane)
        else resample(plane, out)
      }
  }
  await inSlices(count, Math.max(1, Math.floor(2 ** 15 / (given * area))), convert, signal)
  return { shape: [channels, h, w], data }
}

function luma(planes: Uint8Array, out: Uint8Array): void {
  const area = out.length
  for (let i = 0; i < area; i++)
    out[i] = Math.round(0.299 * planes[i] + 0.587 * planes[area + i] + 0.114 * planes[2 * area + i])
}
