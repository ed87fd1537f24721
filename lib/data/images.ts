import sharp from 'sharp'
import { ArgumentError, FeynkacError, FormatError } from '../errors.js'
import { allocateBytes } from './content.js'

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

/** One image as sharp takes it: a file's bytes, or pixels with their layout. */
export interface Picture {
  bytes: Uint8Array
  raw?: { width: number; height: number; channels: 1 | 3 }
  /** For messages: the file, and the entry in it. */
  name: string
}

/** At most this many pixels in an image file: a small file can claim a huge picture. */
const MAX_PIXELS = 2 ** 26
/** Images in work at once: enough to keep libuv's threads busy while this thread goes on. */
const PARALLEL = 8

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
  const { signal, onProgress } = options
  const first = await decode(await picture(0), options)
  const { width, height } = first
  const channels = options.channels ?? first.channels
  const shape: [number, number, number] = [channels, height, width]
  const size = channels * height * width
  const data = allocateBytes(count * size, `${count} images of ${height}x${width}`)
  let next = 0
  let done = 0
  const worker = async () => {
    while (next < count) {
      signal?.throwIfAborted()
      const index = next++
      const source = index === 0 ? null : await picture(index)
      const image = source === null ? first : await decode(source, options)
      if (image.width !== width || image.height !== height)
        throw new FormatError(
          `${source?.name}: ${image.height}x${image.width} pixels but others have ${height}x${width}: give resize`,
          source?.name ?? '',
        )
      if (image.channels > channels)
        throw new FormatError(`${source?.name}: in colour but others are grey: give channels`, source?.name ?? '')
      toPlanes(image, channels, data, index * size)
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
  return { shape, data }
}

interface Decoded {
  pixels: Uint8Array
  width: number
  height: number
  channels: 1 | 3
}

async function decode({ bytes, raw, name }: Picture, options: ImageOptions): Promise<Decoded> {
  try {
    let image = sharp(bytes, { limitInputPixels: MAX_PIXELS, ...(raw ? { raw } : {}) })
    if (!raw) image = image.autoOrient().flatten({ background: '#000' })
    if (options.resize !== undefined) {
      const [height, width] = typeof options.resize === 'number' ? [options.resize, options.resize] : options.resize
      image = image.resize({ height, width, fit: 'cover' })
    }
    if (options.channels === 1 || raw?.channels === 1) image = image.greyscale()
    const { data, info } = await image.raw({ depth: 'uchar' }).toBuffer({ resolveWithObject: true })
    if (info.channels !== 1 && info.channels !== 3)
      throw new FormatError(`${name}: it has ${info.channels} channels`, name)
    return { pixels: data, width: info.width, height: info.height, channels: info.channels }
  } catch (cause) {
    if (cause instanceof FeynkacError) throw cause
    throw new FormatError(`${name}: no image that can be decoded: ${(cause as Error).message.split('\n')[0]}`, name, {
      cause,
    })
  }
}

/** Interleaved pixels to planes; a grey image fills every plane. */
function toPlanes({ pixels, channels: given }: Decoded, channels: number, out: Uint8Array, offset: number): void {
  const area = pixels.length / given
  for (let c = 0; c < channels; c++)
    for (let i = 0; i < area; i++) out[offset + c * area + i] = pixels[i * given + (given === 1 ? 0 : c)]
}

/** Resizes or recolours images in memory; gives back the same when there is nothing to do. */
export async function convertImages(images: Images, name: string, options: ImageOptions): Promise<Images> {
  const [channels, height, width] = images.shape
  const { resize } = options
  const [h, w] = resize === undefined ? [height, width] : typeof resize === 'number' ? [resize, resize] : resize
  if (h === height && w === width && (options.channels ?? channels) === channels) return images
  if (channels !== 1 && channels !== 3)
    throw new ArgumentError(`${name}: images of ${channels} channels cannot be resized or recoloured`)
  const area = height * width
  const size = channels * area
  const picture = async (index: number): Promise<Picture> => {
    const bytes = new Uint8Array(size)
    for (let c = 0; c < channels; c++)
      for (let i = 0; i < area; i++) bytes[i * channels + c] = images.data[index * size + c * area + i]
    return { bytes, raw: { width, height, channels }, name: `${name}, image ${index}` }
  }
  return loadImages(images.data.length / size, picture, options)
}
