import { loadSharp } from '../base/optional.js'

/** Pictures of samples. */

/**
 * A grid of images as PNG. samples: [n, channels, height, width] in [-1, 1], one channel (grey) or three (RGB); values beyond
 * are clipped. Small images are enlarged by a whole factor, so that a grid is about `size` pixels wide. Throws MissingPackageError.
 */
export async function gridPng(
  samples: Float32Array,
  shape: readonly number[],
  { columns: wanted, size = 1024 }: { columns?: number; size?: number } = {},
): Promise<Buffer> {
  const sharp = await loadSharp('drawing samples')
  const [channels, height, width] = shape as [number, number, number]
  const count = samples.length / (channels * height * width)
  const columns = wanted ?? Math.ceil(Math.sqrt(count))
  const rows = Math.ceil(count / columns)
  const scale = Math.max(1, Math.floor(size / (columns * width)))
  const gap = 1
  const lineWidth = columns * (width + gap) - gap
  const lines = rows * (height + gap) - gap
  const shown = channels >= 3 ? 3 : 1
  const pixels = Buffer.alloc(lineWidth * lines * shown, 255)
  for (let i = 0; i < count; i++) {
    const left = (i % columns) * (width + gap)
    const top = Math.floor(i / columns) * (height + gap)
    for (let c = 0; c < shown; c++)
      for (let y = 0; y < height; y++)
        for (let x = 0; x < width; x++) {
          const value = samples[((i * channels + c) * height + y) * width + x]!
          const at = ((top + y) * lineWidth + left + x) * shown + c
          pixels[at] = Math.round(Math.min(1, Math.max(-1, value)) * 127.5 + 127.5)
        }
  }
  return sharp(pixels, { raw: { width: lineWidth, height: lines, channels: shown } })
    .resize(lineWidth * scale, lines * scale, { kernel: 'nearest' })
    .png()
    .toBuffer()
}
