import { setImmediate as breathe } from 'node:timers/promises'
import type { Metadata, Sharp } from 'sharp'
import { ArgumentError, FormatError } from '../base/errors.js'
import { loadSharp } from '../base/optional.js'
import { standIn } from '../base/stand-ins.js'
import { inPieces, turns } from '../base/turns.js'
import { colourOf } from './background.js'
import { rgbOfCmyk } from './cmyk.js'
import { allocateBytes } from './content.js'
import { withoutTexts } from './png.js'
import { resampler } from './resize.js'
import { checkTiff } from './tiff.js'

/** What is done to every image. */
export interface ImageOptions {
  /** Side of the square, or [height, width]; what does not fit its proportions is cut off evenly. */
  resize?: number | [number, number]
  /** 1 = grey, by Rec. 601 on the stored values; 3 = colour; as the images are when left out. */
  channels?: 1 | 3
  /** Convert colours to sRGB by the profile in the file. Default false: the stored values, as Pillow and so most training sets have them. */
  icc?: boolean
  /** What transparent parts are laid on: black, white, or #rrggbb. Default black, with a warning where there are any. */
  background?: string
  signal?: AbortSignal
  onProgress?: (progress: { done: number; total: number }) => void
}

export interface Images {
  /** [channels, height, width] */
  shape: [number, number, number]
  /** Image after image, channel by channel. */
  data: Uint8Array<ArrayBuffer>
}

/** Pictures of one set differ in what `option` would make the same. */
export class MixedPictures extends FormatError {
  constructor(
    message: string,
    path: string,
    readonly option: 'resize' | 'channels',
  ) {
    super(message, path)
  }
}

/** One image file. */
export interface Picture {
  bytes: Uint8Array
  /** For messages: the file, and the entry in it. */
  name: string
}

type Loaded = Awaited<ReturnType<typeof loadSharp>>

/** At most this many pixels in an image file: a small file can claim a huge picture. */
const MAX_PIXELS = 2 ** 26
/** Images in work at once: enough to keep libuv's threads busy while this thread goes on; and pixels, as decoded ones take memory. */
const PARALLEL = 8
const PARALLEL_PIXELS = 2 ** 24
/** Up to this many pixels an image is resampled here: sharp's own resize costs more than a millisecond each. */
const SMALL = 2 ** 16
/** Pixels whose channels are sorted between two turns of the event loop. */
const PIECE = 2 ** 18

/** Image file names that sharp reads. */
export function isImageName(name: string): boolean {
  return /\.(a?png|jpe?g|jpe|jfif|webp|gif|tiff?|avif)$/i.test(name)
}

/** How pictures begin; sharp would read more, such as SVG, which is a program. */
const BEGINNINGS = [
  /^\x89PNG/,
  /^\xff\xd8/,
  /^RIFF....WEBP/s,
  /^GIF8/,
  /^(II[*+]\0|MM\0[*+])/,
  /^....ftyp(avif|avis|mif1)/s,
]

/** What is told of the pictures of one set at its end, in a warning each. */
interface Notes {
  /** Defects that were passed over. */
  defects: number
  firstDefect: string
  /** The first that is transparent somewhere, where nobody said what it is laid on. */
  transparent: string
}

/**
 * Decodes `count` images to the same shape, that of the first unless `options` say otherwise. Transparency is laid on `background`;
 * 16-bit images become 8-bit. Throws FormatError for what cannot be decoded or differs, OutOfMemoryError, MissingPackageError,
 * the signal's reason.
 */
export async function loadImages(
  count: number,
  picture: (index: number) => Promise<Picture>,
  options: ImageOptions,
): Promise<Images> {
  const { signal, onProgress } = options
  const sharp = await loadSharp('reading image files')
  const notes: Notes = { defects: 0, firstDefect: '', transparent: '' }
  const decoded = gate(PARALLEL_PIXELS)
  const load = async (index: number, wanted: 1 | 3 | undefined) => {
    const found = await picture(index)
    const source = { ...found, bytes: withoutTexts(found.bytes, options.icc === true, found.name) }
    const head = await look(sharp, source, options.background)
    const own = head.grey ? 1 : 3
    if (wanted === 1 && options.channels === undefined && own === 3)
      throw new MixedPictures(`${source.name}: in colour but others are grey: give channels`, source.name, 'channels')
    const channels = wanted ?? own
    return {
      source,
      channels,
      image: await decoded(head.pixels, () => decode(sharp, source, head, channels, options, notes)),
    }
  }
  const first = await load(0, options.channels)
  const { channels } = first
  const { width, height } = first.image
  const size = channels * height * width
  const data = allocateBytes(count * size, `${count} images of ${height}x${width}`)
  let next = 0
  let done = 0
  const worker = async () => {
    while (next < count) {
      signal?.throwIfAborted()
      const index = next++
      const { image, source } = index === 0 ? first : await load(index, channels)
      if (image.width !== width || image.height !== height)
        throw new MixedPictures(
          `${source.name}: ${image.height}x${image.width} pixels but others have ${height}x${width}: give resize`,
          source.name,
          'resize',
        )
      data.set(image.planes, index * size)
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
  const { defects, firstDefect, transparent } = notes
  if (defects > 0)
    process.emitWarning(
      `${defects} of ${count} pictures have defects that were passed over, the first: ${firstDefect}`,
      'FeynkacWarning',
    )
  if (transparent !== '')
    process.emitWarning(
      `transparent parts are laid on black, as of ${transparent}: give background for another colour`,
      'FeynkacWarning',
    )
  return { shape: [channels, height, width], data }
}

/** Lets work begin where there is room for its pixels beside what is going on, or nothing is. */
function gate(room: number) {
  let inside = 0
  const waiting: (() => void)[] = []
  return async <T>(pixels: number, work: () => Promise<T>): Promise<T> => {
    while (inside > 0 && inside + pixels > room) await new Promise<void>((go) => waiting.push(go))
    inside += pixels
    try {
      return await work()
    } finally {
      inside -= pixels
      for (const go of waiting.splice(0)) go()
    }
  }
}

/** What a decoder says first; where sharp has made an error of a warning, that. */
function firstLine({ message }: Error): string {
  const [first, second] = message.trim().split('\n')
  return first.startsWith('Warning treated as error') ? (second ?? first) : first
}

function undecodable({ name }: Picture, cause: unknown): never {
  const what = firstLine(cause as Error)
  throw new FormatError(`${name}: no image that can be decoded: ${what}`, name, { cause })
}

interface Head {
  /** Grey levels, with or without transparency; sharp decodes them to colour. */
  grey: boolean
  /** Inks for print in bytes; whether a profile says which colours they are. */
  inks: { profile: boolean } | null
  /** It may be transparent somewhere. */
  alpha: boolean
  /** It has grey levels, but is laid on a colour. */
  onColour: boolean
  pixels: number
}

/** What a file says of its picture, by its content, whatever it is called. Throws FormatError where that is none that can be read. */
async function look(sharp: Loaded, picture: Picture, background?: string): Promise<Head> {
  const { bytes, name } = picture
  const begin = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(16, bytes.length)).toString('latin1')
  if (!BEGINNINGS.some((pattern) => pattern.test(begin))) {
    const what = standIn(bytes) ?? 'it is no png, jpg, webp, gif, tiff or avif'
    throw new FormatError(`${name}: no image that can be decoded: ${what}`, name)
  }
  checkTiff(bytes, name)
  const found: Metadata = await sharp(bytes)
    .metadata()
    .catch((cause) => undecodable(picture, cause))
  const { width, height, channels, depth, space } = found
  if (depth !== 'uchar' && depth !== 'ushort')
    throw new FormatError(
      `${name}: its pixels are of type ${depth}, of which nothing says what is black and white: save it with 8 or 16 bits, or as .npy`,
      name,
    )
  if (channels > 4)
    throw new FormatError(
      `${name}: it has ${channels} channels, which are no colours: save it as RGB, or as .npy`,
      name,
    )
  const inks = space === 'cmyk' && channels === 4 && depth === 'uchar' ? { profile: found.hasProfile === true } : null
  const alpha = found.hasAlpha === true
  const onColour = channels === 2 && new Set(colourOf(background)).size > 1
  return { grey: channels <= 2 && !onColour, inks, alpha, onColour, pixels: width * height }
}

interface Decoded {
  /** Channel by channel. */
  planes: Uint8Array
  width: number
  height: number
}

async function decode(
  sharp: Loaded,
  picture: Picture,
  { grey, inks, alpha, onColour }: Head,
  channels: 1 | 3,
  { resize, icc = false, background, signal }: ImageOptions,
  notes: Notes,
): Promise<Decoded> {
  const asInks = inks !== null && !(icc && inks.profile)
  const { data, info } = await tolerantly(picture, notes, (bytes, failOn) => {
    const file = sharp(bytes, { limitInputPixels: MAX_PIXELS, ignoreIcc: !icc, failOn }).autoOrient()
    if (asInks) return rawPixels(file.pipelineColourspace('cmyk'), 'cmyk')
    const space = grey ? 'b-w' : 'srgb'
    const [r, g, b] = colourOf(background)
    const coloured = onColour ? file.pipelineColourspace(space) : file
    return rawPixels(coloured.flatten({ background: { r, g, b } }), space)
  })
  if (alpha && background === undefined && notes.transparent === '' && (await isTransparent(sharp, picture)))
    notes.transparent ||= picture.name
  const { width, height } = info
  const pixels = asInks ? await rgbOfCmyk(data, signal) : data
  const planes = await sorted(pixels, grey ? 1 : 3, channels, signal)
  if (resize === undefined) return { planes, width, height }
  const [h, w] = sides(resize)
  if (h === height && w === width) return { planes, width, height }
  const out = new Uint8Array(channels * h * w)
  if (width * height > SMALL) {
    await resampleLarge(sharp, planes, [height, width], [h, w], out).catch((cause) => undecodable(picture, cause))
    return { planes: out, width: w, height: h }
  }
  const resample = resampler([height, width], [h, w])
  const area = width * height
  for (let c = 0; c < channels; c++)
    resample(planes.subarray(c * area, (c + 1) * area), out.subarray(c * h * w, (c + 1) * h * w))
  return { planes: out, width: w, height: h }
}

/** Whether anything of it is transparent: many files have a channel for that and no use of it. */
function isTransparent(sharp: Loaded, { bytes }: Picture): Promise<boolean> {
  const stats = sharp(bytes, { limitInputPixels: MAX_PIXELS, failOn: 'none' }).stats()
  return stats.then(
    ({ isOpaque }) => !isOpaque,
    () => false, // of defects that decoding passed over
  )
}

/**
 * What libraries warn of although nothing of the picture is lost: bytes between the markers of a JPEG and numbers in them that decoders pass over
 * as its baseline needs none, and all that libtiff warns of, which calls what is lost an error.
 */
const HARMLESS =
  /extraneous bytes before marker|invalid SOS parameters|unknown JFIF revision|unknown Adobe color|inconsistent progression/i
const TIFF = /^(II|MM)/

/** Planes, one after the other, of a picture that is not small. */
async function resampleLarge(
  sharp: Loaded,
  planes: Uint8Array,
  [height, width]: [number, number],
  [h, w]: [number, number],
  out: Uint8Array,
): Promise<void> {
  const raw = { raw: { width, height, channels: 1 as const } }
  const plane = async (_: unknown, c: number) => {
    const area = planes.subarray(c * width * height, (c + 1) * width * height)
    const image = sharp(area, raw).resize({ height: h, width: w, fit: 'cover' })
    out.set((await rawPixels(image, 'b-w')).data, c * h * w)
  }
  await Promise.all(Array.from({ length: out.length / (h * w) }, plane))
}

/** What ends a JPEG: where it alone is missing, nothing of the picture is. */
const END_OF_JPEG = Buffer.of(0xff, 0xd9)

async function tolerantly<T>(
  picture: Picture,
  notes: Notes,
  work: (bytes: Uint8Array, failOn: 'warning' | 'error') => Promise<T>,
): Promise<T> {
  const { bytes } = picture
  try {
    return await work(bytes, 'warning')
  } catch (cause) {
    const message = firstLine(cause as Error)
    const endless = /premature end of JPEG image/i.test(message)
    const isTiff = TIFF.test(String.fromCharCode(bytes[0], bytes[1]))
    if (!endless && !isTiff && !HARMLESS.test(message)) return undecodable(picture, cause)
    const again = endless ? work(Buffer.concat([bytes, END_OF_JPEG]), 'warning') : work(bytes, 'error')
    const result = await again.catch((error) => undecodable(picture, endless ? cause : error))
    notes.defects++
    notes.firstDefect ||= `${picture.name}: ${message}`
    return result
  }
}

function rawPixels(image: Sharp, space: 'b-w' | 'srgb' | 'cmyk') {
  return image.toColourspace(space).raw({ depth: 'uchar' }).toBuffer({ resolveWithObject: true })
}

/** Interleaved pixels, channel by channel, in as many channels as are wanted. */
async function sorted(pixels: Uint8Array, given: 1 | 3, wanted: 1 | 3, signal?: AbortSignal): Promise<Uint8Array> {
  if (given === 1 && wanted === 1) return pixels
  const area = pixels.length / given
  const planes = new Uint8Array(wanted * area)
  for (let from = 0; from < area; from += PIECE) {
    if (from > 0) {
      await breathe()
      signal?.throwIfAborted()
    }
    const to = Math.min(area, from + PIECE)
    if (given === 1) for (let c = 0; c < wanted; c++) planes.set(pixels.subarray(from, to), c * area + from)
    else if (wanted === 1)
      for (let i = from; i < to; i++) planes[i] = luma(pixels[3 * i], pixels[3 * i + 1], pixels[3 * i + 2])
    else for (let c = 0; c < 3; c++) for (let i = from; i < to; i++) planes[c * area + i] = pixels[3 * i + c]
  }
  return planes
}

function sides(resize: number | [number, number]): [height: number, width: number] {
  return typeof resize === 'number' ? [resize, resize] : resize
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
  const planeOf = (i: number, c: number) => {
    const start = (i * given + (channels === given ? c : 0)) * area
    if (channels < given) toGrey(images.data.subarray(start, start + 3 * area), grey)
    return channels < given ? grey : images.data.subarray(start, start + area)
  }
  const outOf = (i: number, c: number) => data.subarray((i * channels + c) * h * w, (i * channels + c + 1) * h * w)
  if (area > SMALL && !(h === height && w === width)) {
    // as pictures of that size in files are
    const sharp = await loadSharp('resizing large images')
    for (let i = 0; i < count; i++)
      for (let c = 0; c < channels; c++) {
        signal?.throwIfAborted()
        await resampleLarge(sharp, planeOf(i, c), [height, width], [h, w], outOf(i, c))
      }
    return { shape: [channels, h, w], data }
  }
  const convert = (from: number, to: number) => {
    for (let i = from; i < to; i++)
      for (let c = 0; c < channels; c++)
        if (h === height && w === width) outOf(i, c).set(planeOf(i, c))
        else resample(planeOf(i, c), outOf(i, c))
  }
  await inPieces(count, turns(signal), convert, Math.max(1, Math.floor(2 ** 15 / (given * area))))
  return { shape: [channels, h, w], data }
}

function toGrey(planes: Uint8Array, out: Uint8Array): void {
  const area = out.length
  for (let i = 0; i < area; i++) out[i] = luma(planes[i], planes[area + i], planes[2 * area + i])
}

/** Rec. 601's luma on the stored values, in Pillow's rounding. */
function luma(r: number, g: number, b: number): number {
  return (19595 * r + 38470 * g + 7471 * b + 0x8000) >> 16
}
