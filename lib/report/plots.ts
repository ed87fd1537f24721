import { loadPlotting } from '../base/optional.js'
import { FONT, svgPng } from './fonts.js'

/** Plots by Vega-Lite, drawn as PNG. */

type Spec = Parameters<typeof import('vega-lite').compile>[0]

/** PNG of a Vega-Lite specification at twice its size in points. Throws MissingPackageError. */
export async function plotPng(spec: Spec): Promise<Buffer> {
  const { compile, parse, View } = await loadPlotting()
  const config = { font: FONT, background: 'white', ...spec.config }
  const view = new View(parse(compile({ ...spec, config }).spec), { renderer: 'none' })
  try {
    return await svgPng(await view.toSVG())
  } finally {
    view.finalize()
  }
}
