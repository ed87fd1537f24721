import sharp from 'sharp'
import { writeFileAtomic } from '../files.js'

/** Files that the command line writes: arrays for NumPy and pictures of samples. */

/** NumPy's .npy format, version 1.0 (little-endian, row-major). */
export async function writeNpy(
  path: string,
  data: Float32Array | Float64Array,
  shape: readonly number[],
): Promise<void> {
  const dtype = data instanceof Float32Array ? '<f4' : '<f8'
  const text = `{'descr': '${dtype}', 'fortran_order': False, 'shape': (${shape.map((n) => `${n},`).join(' ')}), }`
  const length = Math.ceil((10 + text.length + 1) / 64) * 64 - 10
  const header = Buffer.alloc(10 + length, ' ')
  header.write('\x93NUMPY\x01\x00', 0, 'latin1')
  header.writeUInt16LE(length, 8)
  header.write(text, 10, 'latin1')
  header[header.length - 1] = 0x0a
  await writeFileAtomic(path, [header, new Uint8Array(data.buffer, data.byteOffset, data.byteLength)])
}

/**
 * A grid of images as PNG. samples: [n, channels, height, width] in [-1, 1], one channel (grey) or three (RGB); values beyond
 * are clipped. Small images are enlarged by a whole factor so that they can be seen.
 */
export async function writeGrid(path: string, samples: Float32Array, shape: readonly number[]): Promise<void> {
  const [channels, height, width] = shape as [number, number, number]
  const count = samples.length / (channels * height * width)
  const columns = Math.ceil(Math.sqrt(count))
  const rows = Math.ceil(count / columns)
  const scale = Math.max(1, Math.floor(1024 / (columns * width)))
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
  const image = sharp(pixels, { raw: { width: lineWidth, height: lines, channels: shown } })
  const png = await image
    .resize(lineWidth * scale, lines * scale, { kernel: 'nearest' })
    .png()
    .toBuffer()
  await writeFileAtomic(path, png)
}
