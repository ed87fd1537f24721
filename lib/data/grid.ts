import { float32Array, held, integer, isShape, knownOptions } from '../base/args.js'
import { ArgumentError, invalid } from '../base/errors.js'
import { loadSharp } from '../base/optional.js'
import { sizeOf } from '../base/shape.js'
import { turns } from '../base/turns.js'
import type { GridOptions } from './picture-options.js'

/** Pictures of samples. */

/** Pixels of a side, as PNG by libvips has them. */
const MOST_PIXELS = 2 ** 15

/**
 * A grid of images as PNG. samples: [n, channels, height, width] in [-1, 1], one channel (grey) or three (RGB), of more the first three; values
 * beyond are clipped. Small images are enlarged by a whole factor, so that a grid is about `size` pixels wide. Throws MissingPackageError.
 */
export async function gridPng(
  samples: Float32Array,
  shape: readonly number[],
  options: GridOptions = {},
): Promise<Buffer> {
  knownOptions('gridPng', options, ['columns', 'size'])
  if (!isShape(shape) || shape.length !== 3) throw invalid('shape', '[channels, height, width]', shape)
  const one = sizeOf(shape)
  if (float32Array('samples', samples).length === 0 || samples.length % one !== 0)
    throw invalid('samples', `a Float32Array of images of [${shape}]`, samples)
  const size = integer('size', options.size ?? 1024, 1, MOST_PIXELS)
  const wanted = options.columns === undefined ? undefined : integer('columns', options.columns, 1, 2 ** 16)
  const own = await held('samples', samples)
  const sharp = await loadSharp('drawing samples')
  const [channels, height, width] = shape as [number, number, number]
  const count = own.length / (channels * height * width)
  const columns = wanted ?? Math.ceil(Math.sqrt(count))
  const rows = Math.ceil(count / columns)
  const scale = Math.max(1, Math.floor(size / (columns * width)))
  const gap = 1
  const lineWidth = columns * (width + gap) - gap
  const lines = rows * (height + gap) - gap
  const shown = channels >= 3 ? 3 : 1
  if (Math.max(lineWidth, lines) > MOST_PIXELS)
    throw new ArgumentError(
      `a grid of ${columns} by ${rows} images of [${shape}] is larger than ${MOST_PIXELS} pixels: draw fewer`,
    )
  const pixels = Buffer.alloc(lineWidth * lines * shown, 255)
  const turn = turns()
  for (let i = 0; i < count; i++) {
    const left = (i % columns) * (width + gap)
    const top = Math.floor(i / columns) * (height + gap)
    for (let c = 0; c < shown; c++)
      for (let y = 0; y < height; y++)
        for (let x = 0; x < width; x++) {
          const value = own[((i * channels + c) * height + y) * width + x]!
          const at = ((top + y) * lineWidth + left + x) * shown + c
          pixels[at] = Math.round(Math.min(1, Math.max(-1, value)) * 127.5 + 127.5)
        }
    await turn()
  }
  return sharp(pixels, { raw: { width: lineWidth, height: lines, channels: shown } })
    .resize(lineWidth * scale, lines * scale, { kernel: 'nearest' })
    .png()
    .toBuffer()
}
