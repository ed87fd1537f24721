import { float32Array } from '../base/args.js'
import { invalid } from '../base/errors.js'
import type { LabelSpec } from './dataset.js'

/**
 * Procedural grey pictures with two attributes: one bright shape in one quarter of a dark image. The attributes are functions of the
 * picture, so p(x | A) p(x | B) / p(x) is p(x | A and B) exactly, and both live in the same pixels: what one knows about a place the other
 * must respect. A shape is about half the side wide, which is enough pixels to tell the shapes apart at 16 x 16.
 */
export const shapeLabels: LabelSpec = {
  attributes: [
    { name: 'shape', size: 3, values: ['ring', 'square', 'cross'] },
    { name: 'place', size: 4, values: ['top-left', 'top-right', 'bottom-left', 'bottom-right'] },
  ],
}

const SHAPES = 3
const PLACES = 4
/** In parts of the side: where the quarters' centres lie, a shape's radius, and how far they vary. */
const NEAR = 0.3125
const RADIUS = 0.25
const SHIFT = 0.045
const STRETCH = 0.09

interface Drawing {
  shape: number
  x: number
  y: number
  radius: number
}

/** Signed distance to the outline, negative inside; dx, dy from the centre. */
function distance({ shape, radius }: Drawing, dx: number, dy: number): number {
  const ax = Math.abs(dx)
  const ay = Math.abs(dy)
  if (shape === 0) return Math.abs(Math.hypot(dx, dy) - 0.8 * radius) - 0.22 * radius
  if (shape === 1) return Math.max(ax, ay) - 0.88 * radius
  const arm = 0.33 * radius
  return Math.max(Math.max(ax, ay) - 1.1 * radius, Math.min(ax, ay) - arm)
}

/** How much of each pixel a shape covers, 0 to 1: the edge is one pixel soft. */
function cover(drawing: Drawing, side: number, out: Float32Array): void {
  for (let row = 0; row < side; row++)
    for (let column = 0; column < side; column++) {
      const d = distance(drawing, column + 0.5 - drawing.x, row + 0.5 - drawing.y)
      out[row * side + column] = Math.min(1, Math.max(0, 0.5 - d))
    }
}

function centre(place: number, side: number): [x: number, y: number] {
  return [(place % 2 ? 1 - NEAR : NEAR) * side, (place >= 2 ? 1 - NEAR : NEAR) * side]
}

/**
 * Draws one picture into side * side bytes from six uniforms in (0, 1) and returns its classes [shape, place].
 * correlation: 0 = shape and place are independent; towards 1 each shape is more often in a place of its own.
 */
export function drawShape(u: readonly number[], side: number, correlation: number, out: Uint8Array): [number, number] {
  const shape = Math.floor(u[0] * SHAPES)
  // the first part of the uniform decides whether the place is free, the rest is uniform again
  const place = u[1] < correlation ? shape : Math.floor(((u[1] - correlation) / (1 - correlation)) * PLACES)
  const [x, y] = centre(place, side)
  const vary = (v: number, by: number) => (2 * v - 1) * by
  const radius = RADIUS * side * (1 + vary(u[4], STRETCH))
  const coverage = new Float32Array(side * side)
  cover({ shape, x: x + vary(u[2], SHIFT * side), y: y + vary(u[3], SHIFT * side), radius }, side, coverage)
  const light = 255 * (brightness.min + (brightness.max - brightness.min) * u[5])
  for (let i = 0; i < coverage.length; i++) out[i] = Math.round(light * coverage[i])
  return [shape, place]
}

/**
 * How much of each pixel a shape at a place covers: what the pictures are drawn of. shiftX, shiftY, stretch: from -1 to 1, as far as they vary,
 * in each of which a picture is uniform.
 */
export function shapeCoverage(
  kind: { shape: number; place: number },
  { shiftX, shiftY, stretch }: { shiftX: number; shiftY: number; stretch: number },
  side: number,
  out: Float32Array,
): void {
  const [x, y] = centre(kind.place, side)
  const radius = RADIUS * side * (1 + stretch * STRETCH)
  cover({ shape: kind.shape, x: x + shiftX * SHIFT * side, y: y + shiftY * SHIFT * side, radius }, side, out)
}

/** Between which a picture's brightness is uniform. */
export const brightness = { min: 0.8, max: 1 }

/** What `scoreShapes` recognises in one image. */
export interface ShapeScore {
  /** Class indices, null where the picture shows no such shape. */
  shape: number | null
  place: number | null
  /** Correlation with the best template, 1 = the shape itself. */
  match: number
}

/** A picture below this correlation shows none of the shapes: noise, a blend of two, an empty image. */
const RECOGNISED = 0.8

interface Template {
  shape: number
  place: number
  /** Mean 0, norm 1. */
  values: Float32Array
}

const templatesBySide = new Map<number, Template[]>()

/** Every shape at every place, at a grid of positions and sizes finer than what they vary by. */
function templates(side: number): Template[] {
  const known = templatesBySide.get(side)
  if (known) return known
  const steps = [-1, -0.5, 0, 0.5, 1]
  const list: Template[] = []
  for (let shape = 0; shape < SHAPES; shape++)
    for (let place = 0; place < PLACES; place++)
      for (const sx of steps)
        for (const sy of steps)
          for (const sr of [-1, 0, 1]) {
            const values = new Float32Array(side * side)
            shapeCoverage({ shape, place }, { shiftX: sx, shiftY: sy, stretch: sr }, side, values)
            list.push({ shape, place, values: standardise(values) })
          }
  templatesBySide.set(side, list)
  return list
}

function standardise(values: Float32Array): Float32Array {
  const mean = values.reduce((a, b) => a + b, 0) / values.length
  const norm = Math.sqrt(values.reduce((sum, v) => sum + (v - mean) ** 2, 0)) || 1
  return values.map((v) => (v - mean) / norm)
}

/**
 * Tells the attributes of a picture by the template it correlates best with, whatever its brightness and contrast.
 * image: side * side numbers, in [-1, 1] as a data set gives them; may be noisy. shape: [1, side, side]. Throws ArgumentError.
 * @example
 * ```js
 * import { loadDataset, scoreShapes } from 'feynkac'
 *
 * const data = await loadDataset('synthetic:shapes:count=1')
 * const image = new Float32Array(16 * 16)
 * data.read(0, image, 0)
 * console.log(scoreShapes(image, [1, 16, 16])) // its shape and place, match near 1
 * ```
 */
export function scoreShapes(image: Float32Array, shape: readonly number[]): ShapeScore {
  const side = shape?.[2]
  if (!Array.isArray(shape) || shape.length !== 3 || shape[0] !== 1 || shape[1] !== side)
    throw invalid('shape', '[1, side, side]', shape)
  float32Array('image', image, side * side)
  const picture = standardise(image)
  let best: Template | null = null
  let match = RECOGNISED
  let highest = -1
  for (const template of templates(side)) {
    let dot = 0
    for (let i = 0; i < picture.length; i++) dot += picture[i] * template.values[i]
    highest = Math.max(highest, dot)
    if (dot > match) {
      match = dot
      best = template
    }
  }
  return { shape: best?.shape ?? null, place: best?.place ?? null, match: highest }
}
