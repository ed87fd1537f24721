import sharp from 'sharp'

/** A grey picture of noise; the same seed, the same picture. */
export async function writePng(file, side, seed) {
  const raw = Uint8Array.from({ length: side * side }, (_, i) => 128 + 127 * Math.sin(seed * 1000 + i * i))
  await sharp(raw, { raw: { width: side, height: side, channels: 1 } })
    .png()
    .toFile(file)
}
