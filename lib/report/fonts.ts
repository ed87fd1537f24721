import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileError } from '../base/files.js'
import { loadDrawing } from '../base/optional.js'

/** The font that the package brings, as machines without a screen often have none. */
export const FONT = 'DejaVu Sans'

/** PNG of an SVG at twice its size in points. Throws MissingPackageError, FileError. */
export async function svgPng(svg: string, density = 144): Promise<Buffer> {
  const { font, sharp } = await loadDrawing()
  const folder = await fontFolder(dirname(font))
  try {
    return await sharp(Buffer.from(svg), { density }).png().toBuffer()
  } finally {
    await rm(folder, { recursive: true, force: true }).catch(() => {})
  }
}

/** A folder of the system's temporary ones, by which fontconfig finds our fonts: sharp's renderer reads FONTCONFIG_FILE when it is first used. Throws FileError. */
async function fontFolder(fonts: string): Promise<string> {
  try {
    const folder = await mkdtemp(join(tmpdir(), 'feynkac-fonts-'))
    if (process.env.FONTCONFIG_FILE !== undefined) return folder
    const file = join(folder, 'fonts.conf')
    const entries = `<dir>${fonts}</dir><cachedir>${folder}</cachedir>`
    const head = '<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd">'
    await writeFile(file, `${head}<fontconfig>${entries}</fontconfig>`)
    process.env.FONTCONFIG_FILE = file
    return folder
  } catch (error) {
    throw fileError(error, tmpdir(), 'draw a plot: write to')
  }
}
