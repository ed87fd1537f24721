import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileError } from '../files.js'

/** Plots by Vega-Lite, drawn as PNG. */

type Spec = Parameters<typeof import('vega-lite').compile>[0]

/**
 * PNG of a Vega-Lite specification at twice its size in points. Text is set in the fonts that the package brings, as machines without
 * a screen often have none: sharp's renderer finds fonts by fontconfig, which reads FONTCONFIG_FILE when it is first used.
 */
export async function plotPng(spec: Spec): Promise<Buffer> {
  const folder = await fontFolder()
  try {
    const [{ compile }, { parse, View }, { default: sharp }] = await Promise.all([
      import('vega-lite'),
      import('vega'),
      import('sharp'),
    ])
    const font = 'DejaVu Sans'
    const config = { font, background: 'white', ...spec.config }
    const view = new View(parse(compile({ ...spec, config }).spec), { renderer: 'none' })
    try {
      return await sharp(Buffer.from(await view.toSVG()), { density: 144 })
        .png()
        .toBuffer()
    } finally {
      view.finalize()
    }
  } finally {
    await rm(folder, { recursive: true, force: true }).catch(() => {})
  }
}

/** A folder of the system's temporary ones, in which fontconfig finds our fonts. Throws FileError. */
async function fontFolder(): Promise<string> {
  try {
    const folder = await mkdtemp(join(tmpdir(), 'feynkac-fonts-'))
    if (process.env.FONTCONFIG_FILE !== undefined) return folder
    const fonts = dirname(createRequire(import.meta.url).resolve('dejavu-fonts-ttf/ttf/DejaVuSans.ttf'))
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
