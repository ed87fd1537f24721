import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { loadPlotting } from '../optional.js'

/** Plots by Vega-Lite, drawn as PNG. */

type Spec = Parameters<typeof import('vega-lite').compile>[0]

/**
 * PNG of a Vega-Lite specification at twice its size in points. Text is set in the fonts that the package brings, as machines without
 * a screen often have none: sharp's renderer finds fonts by fontconfig, which reads FONTCONFIG_FILE when it is first used. Throws MissingPackageError.
 */
export async function plotPng(spec: Spec): Promise<Buffer> {
  const { font: fontFile, compile, parse, View, sharp } = await loadPlotting()
  const folder = await mkdtemp(join(tmpdir(), 'feynkac-fonts-'))
  try {
    if (process.env.FONTCONFIG_FILE === undefined) {
      const file = join(folder, 'fonts.conf')
      const entries = `<dir>${dirname(fontFile)}</dir><cachedir>${folder}</cachedir>`
      await writeFile(
        file,
        `<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd"><fontconfig>${entries}</fontconfig>`,
      )
      process.env.FONTCONFIG_FILE = file
    }
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
    await rm(folder, { recursive: true, force: true })
  }
}
