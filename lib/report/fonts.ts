import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { loadDrawing } from '../optional.js'

/** The font that the package brings, as machines without a screen often have none. */
export const FONT = 'DejaVu Sans'

/** PNG of an SVG at twice its size in points: sharp's renderer finds fonts by fontconfig, which reads FONTCONFIG_FILE when it is first used. Throws MissingPackageError. */
export async function svgPng(svg: string, density = 144): Promise<Buffer> {
  const { font, sharp } = await loadDrawing()
  const folder = await mkdtemp(join(tmpdir(), 'feynkac-fonts-'))
  try {
    if (process.env.FONTCONFIG_FILE === undefined) {
      const file = join(folder, 'fonts.conf')
      const entries = `<dir>${dirname(font)}</dir><cachedir>${folder}</cachedir>`
      await writeFile(
        file,
        `<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd"><fontconfig>${entries}</fontconfig>`,
      )
      process.env.FONTCONFIG_FILE = file
    }
    return await sharp(Buffer.from(svg), { density }).png().toBuffer()
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}
