import { ArgumentError } from '../base/errors.js'
import { purpose, uniformAt } from '../base/random.js'
import { inPieces, turns } from '../base/turns.js'
import { allocateBytes } from './content.js'
import type { DatasetParts } from './dataset.js'
import { type PlanarSet, planarSets } from './planar.js'
import { drawShape, shapeLabels } from './shapes.js'

/** A step that no training run reaches, so that data and the order of training never share random numbers. */
const STEP = 0xffffffff
const SHAPES = { count: 4000, seed: 0, size: 16, correlation: 0 }

/** Generates `NAME[:key=value,...]`: the same text gives the same data everywhere. Throws ArgumentError. */
export async function syntheticDataset(spec: string, signal?: AbortSignal): Promise<DatasetParts> {
  const [name, text, ...rest] = spec.split(':')
  const planar = Object.hasOwn(planarSets, name) ? planarSets[name] : null
  if ((planar === null && name !== 'shapes') || rest.length > 0)
    throw new ArgumentError(
      `expected synthetic:NAME or synthetic:NAME:key=value,... with one of ${Object.keys(planarSets).join(', ')}, shapes but received synthetic:${spec}`,
    )
  const values = parameters(name, text, planar ? { count: 10_000, seed: 0, ...planar.parameters } : SHAPES)
  return planar ? points(name, planar, values, signal) : shapes(values as typeof SHAPES, signal)
}

/** Parameters that count something, with their least and largest value. */
const WHOLE: Record<string, [number, number]> = {
  count: [1, 2 ** 24],
  seed: [0, Number.MAX_SAFE_INTEGER],
  size: [8, 256],
  modes: [1, 1000],
  cells: [2, 1000],
}

function parameters(name: string, text: string | undefined, defaults: Record<string, number>): Record<string, number> {
  const values = { ...defaults }
  for (const pair of text === undefined ? [] : text.split(',')) {
    const [key, given, ...rest] = pair.split('=')
    if (!Object.hasOwn(defaults, key) || given === undefined || rest.length > 0)
      throw new ArgumentError(
        `synthetic:${name} has the parameters ${Object.keys(defaults).join(', ')}; received '${pair}'`,
      )
    const value = given.trim() === '' ? NaN : Number(given)
    const [min, max] = WHOLE[key] ?? (key === 'centre' ? [-100, 100] : key === 'correlation' ? [0, 0.99] : [1e-6, 100])
    if (!(value >= min && value <= max) || (Object.hasOwn(WHOLE, key) && !Number.isSafeInteger(value)))
      throw new ArgumentError(
        `expected ${Object.hasOwn(WHOLE, key) ? 'an integer' : 'a number'} from ${min} to ${max} for ${key} of synthetic:${name} but received '${given}'`,
      )
    values[key] = value
  }
  return values
}

function uniforms(seed: number, sample: number, count: number): number[] {
  return Array.from({ length: count }, (_, i) => uniformAt(seed, purpose.data, STEP, sample, i))
}

async function points(
  name: string,
  set: PlanarSet,
  values: Record<string, number>,
  signal?: AbortSignal,
): Promise<DatasetParts> {
  const data = new Float32Array(2 * values.count)
  const fill = (from: number, to: number) => {
    for (let i = from; i < to; i++) data.set(set.point(uniforms(values.seed, i, 4), values), 2 * i)
  }
  await inPieces(values.count, turns(signal), fill, 256)
  return { name: `synthetic:${name}`, shape: [2], data, labels: null }
}

async function shapes({ count, seed, size, correlation }: typeof SHAPES, signal?: AbortSignal): Promise<DatasetParts> {
  const area = size * size
  const data = allocateBytes(count * area, `${count} images of ${size}x${size}`)
  const classes = new Int32Array(2 * count)
  const fill = (from: number, to: number) => {
    for (let i = from; i < to; i++)
      classes.set(drawShape(uniforms(seed, i, 6), size, correlation, data.subarray(i * area, (i + 1) * area)), 2 * i)
  }
  await inPieces(count, turns(signal), fill, Math.max(1, Math.floor(16384 / area)))
  return { name: 'synthetic:shapes', shape: [1, size, size], data, labels: shapeLabels, classes }
}
