import { types } from 'node:util'
import { isList } from '../base/args.js'
import { ArgumentError } from '../base/errors.js'
import { isObject } from '../base/json.js'
import { checkDataset, type Dataset, encodeLabel } from '../data/dataset.js'
import { labelledAs } from '../data/relabel.js'
import { type Consistency, type ConsistencyBand, measureConsistency } from '../smc/consistency.js'
import type { EnergyFunction } from '../smc/energy-function.js'
import { sizeOf } from '../smc/evaluation.js'
import { type CalibrateOptions, calibrate, measure } from '../smc/precision/calibrate.js'
import { basisOf, Calibration, coordinateGroups, frequencyBands, type Groups } from '../smc/precision/calibration.js'
import { evenLevels } from '../smc/schedule.js'
import { type Labels, labelSpecOf } from './labels.js'
import type { ModelInfo } from './model-file.js'

/** The tables of precisions of a model (smc/precision/calibration.ts), and how its file keeps them: as JSON of its description. */

/** One table; frequencies of images are in the bands that `edges` part, coordinates of vectors by themselves or in the groups of `pool`. */
export interface StoredTable {
  edges?: number[]
  pool?: number[]
  sigmas: number[]
  /** [levels][groups] */
  variances: number[][]
  count: number
  seed: number
  consistency?: Consistency
}

/** The table of p(x), and for conditional models that of p(x | labels) with the data's labels. */
export interface StoredTables {
  unconditional: StoredTable
  conditional?: StoredTable
}

export interface ModelTables {
  unconditional: Calibration
  conditional?: Calibration
}

export function storeTables({ unconditional, conditional }: ModelTables): StoredTables {
  return { unconditional: store(unconditional), ...(conditional && { conditional: store(conditional) }) }
}

function store({ data: { groups, sigmas, variances, count, seed, consistency } }: Calibration): StoredTable {
  const { edges, of } = groups
  const pooled = !edges && groups.count < of.length
  // six digits are far more than there are
  const rounded = Array.from(variances, (v) => Number(v.toPrecision(6)))
  return {
    ...(edges && { edges: [...edges] }),
    ...(pooled && { pool: [...of] }),
    sigmas: [...sigmas],
    variances: Array.from(sigmas, (_, k) => rounded.slice(k * groups.count, (k + 1) * groups.count)),
    count,
    seed,
    ...(consistency && { consistency: shortened(consistency) }),
  }
}

const shortened = ({ bands, particles }: Consistency): Consistency => ({
  bands: bands.map((band) => bandOf((name) => Number(band[name].toPrecision(4)))),
  particles,
})

const bandOf = (value: (name: keyof ConsistencyBand) => number): ConsistencyBand => ({
  ...{ from: value('from'), to: value('to'), variance: value('variance') },
  ...{ robust: value('robust'), steps: value('steps'), above: value('above') },
})

function readConsistency(json: unknown, wrong: (what: string) => never): Consistency {
  const { bands, particles } = isObject(json) ? json : {}
  if (!Array.isArray(bands) || bands.length > 1000 || !Number.isSafeInteger(particles)) return wrong('consistency')
  const read = (bands as unknown[]).map((band) =>
    bandOf((name) => {
      const value = isObject(band) ? band[name] : undefined
      return typeof value === 'number' && value >= 0 && Number.isFinite(value) ? value : wrong('consistency')
    }),
  )
  return { bands: read, particles: particles as number }
}

/** Tables of a file's description for samples of a shape; `fail` throws. */
export function readTables(json: unknown, shape: readonly number[], fail: (what: string) => never): ModelTables {
  if (!isObject(json)) return fail('the calibration in the model description is not an object')
  const { unconditional, conditional } = json
  return {
    unconditional: read(unconditional, shape, fail),
    ...(conditional !== undefined && { conditional: read(conditional, shape, fail) }),
  }
}

function numbers(value: unknown, least = 0): value is number[] {
  return isList(value) && value.every((v) => Number.isFinite(v) && (v as number) >= least)
}

function read(json: unknown, shape: readonly number[], fail: (what: string) => never): Calibration {
  const wrong = (what: string): never => fail(`the calibration in the model description has no valid ${what}`)
  const { edges, pool, sigmas, variances, count, seed, consistency } = isObject(json) ? json : {}
  const falling =
    numbers(sigmas) && sigmas.length > 0 && sigmas.every((s, k) => s > 0 && (k === 0 || s < sigmas[k - 1]!))
  if (!falling) return wrong('noise levels')
  const groups = groupsOf(shape, edges, pool, wrong)
  const rows =
    Array.isArray(variances) && variances.length === sigmas.length ? (variances as unknown[]) : wrong('levels')
  if (!isList(rows) || !rows.every((row) => numbers(row) && row.length === groups.count)) return wrong('variances')
  for (const [name, value] of Object.entries({ count, seed })) if (!Number.isSafeInteger(value)) return wrong(name)
  return new Calibration({
    shape,
    groups,
    sigmas: Float64Array.from(sigmas),
    variances: Float64Array.from((rows as number[][]).flat()),
    count: count as number,
    seed: seed as number,
    ...(consistency !== undefined && { consistency: readConsistency(consistency, wrong) }),
  })
}

function groupsOf(shape: readonly number[], edges: unknown, pool: unknown, wrong: (what: string) => never): Groups {
  if (basisOf(shape) === 'dct') {
    const rising =
      numbers(edges, -Infinity) && edges.length < 1000 && edges.every((e, i) => i === 0 || e > edges[i - 1])
    return rising ? frequencyBands(shape, edges) : wrong('bands of frequencies')
  }
  try {
    return coordinateGroups(sizeOf(shape), pool as number[] | undefined)
  } catch {
    return wrong('groups of coordinates')
  }
}

/** Options of a model's own calibration. */
export interface ModelCalibrateOptions extends Omit<CalibrateOptions, 'data' | 'pool'> {
  data: Dataset
  /** Noise levels in place of `sigmas`: as many, in equal ratios over the model's own range; default 32. */
  levels?: number
}

/** What is measured: the energy of a model, which may take labels. */
export interface Calibrated extends EnergyFunction {
  readonly info: ModelInfo
  readonly labelDim: number
  conditioned(labels?: Labels): EnergyFunction
}

/** Measures a model's tables: without labels and, where it takes labels, under those of the data. Errors as `calibrate`. */
export async function measureTables(
  model: Calibrated,
  { levels = 32, sigmas, onProgress, ...rest }: ModelCalibrateOptions,
): Promise<ModelTables> {
  const { data } = rest
  const { sigmaMin, sigmaMax } = model.info
  const options = { ...rest, sigmas: sigmas ?? evenLevels(sigmaMin, sigmaMax, levels) }
  const dim = model.labelDim
  const consistent = async (energy: EnergyFunction, table: Calibration, rows: number): Promise<Calibration> => {
    const path = { max: sigmaMax, min: sigmaMin, particles: rows, seed: table.data.seed, signal: rest.signal }
    const consistency = await measureConsistency({ ...energy, calibration: table }, path)
    return new Calibration({ ...table.data, consistency })
  }
  if (dim === 0) {
    const table = await calibrate(model, { ...options, onProgress })
    return { unconditional: await consistent(model.conditioned(), table, pathsFor(table)) }
  }
  if (!data?.labels)
    throw new ArgumentError(`the model takes ${dim} label entries but the data have none: give it data with its labels`)
  const told = labelledAs(labelSpecOf(model.info)!, checkDataset(data))
  const { labels } = told
  const half = (first: number) => ({
    ...options,
    onProgress: onProgress && (({ done, total }: { done: number; total: number }) => onProgress({ done: done + first * total, total: 2 * total })), // biome-ignore format: one line
  })
  const under = (indices: Int32Array) => {
    const vectors = new Float32Array(indices.length * dim)
    for (const [row, index] of indices.entries()) encodeLabel(labels!, told.label(index), vectors, row * dim)
    return model.conditioned(vectors)
  }
  const unconditional = await calibrate(model, half(0))
  const conditional = await measure(model, under, half(1))
  const rows = pathsFor(unconditional)
  const spread = Int32Array.from({ length: rows }, (_, i) => Math.floor((i * data.size) / rows))
  return {
    unconditional: await consistent(model.conditioned(), unconditional, rows),
    conditional: await consistent(under(spread), conditional, rows),
  }
}

/** Paths to measure consistency by, for at most about the work of the table: quartiles want some thirty. */
const pathsFor = ({ count }: Calibration): number => Math.min(256, Math.max(32, Math.floor(count / 2)))

/** The table of p(x | labels). */
export function tableFor(tables: ModelTables | undefined, labels: Labels | undefined): Calibration | undefined {
  const vectors = types.isFloat32Array(labels)
  const values = vectors ? [...labels] : Object.values(labels ?? {})
  const known = values.some((v) => (vectors ? v !== 0 : v !== null))
  return known ? tables?.conditional : tables?.unconditional
}
