import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'

/** Plots by Vega-Lite, drawn as PNG. */

type Spec = Parameters<typeof import('vega-lite').compile>[0]

/**
 * PNG of a Vega-Lite specification at twice its size in points. Text is set in the fonts that the package brings, as machines without
 * a screen often have none: sharp's renderer finds fonts by fontconfig, which reads FONTCONFIG_FILE when it is first used.
 */
export async function plotPng(spec: Spec): Promise<Buffer> {
  const folder = await mkdtemp(join(tmpdir(), 'feynkac-fonts-'))
  try {
    if (process.env.FONTCONFIG_FILE === undefined) {
      const fonts = dirname(createRequire(import.meta.url).resolve('dejavu-fonts-ttf/ttf/DejaVuSans.ttf'))
      const file = join(folder, 'fonts.conf')
      const entries = `<dir>${fonts}</dir><cachedir>${folder}</cachedir>`
      await writeFile(
        file,
        `<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd"><fontconfig>${entries}</fontconfig>`,
      )
      process.env.FONTCONFIG_FILE = file
    }
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
    await rm(folder, { recursive: true, force: true })
  }
}
