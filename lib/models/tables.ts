import { isList } from '../base/args.js'
import { isObject } from '../base/json.js'
import { sizeOf } from '../base/shape.js'
import type { Consistency, ConsistencyBand } from '../smc/energy-function.js'
import { basisOf, Calibration, coordinateGroups, frequencyBands, type Groups } from '../smc/precision/calibration.js'

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

const shortened = ({ bands, data, perOctave, particles }: Consistency): Consistency => ({
  bands: bands.map(rounded),
  ...(data && { data: data.map(rounded) }),
  ...{ perOctave, particles },
})

const rounded = (band: ConsistencyBand) => bandOf((name) => Number(band[name].toPrecision(4)))

const bandOf = (value: (name: keyof ConsistencyBand) => number): ConsistencyBand => ({
  ...{ from: value('from'), to: value('to'), variance: value('variance') },
  ...{ robust: value('robust'), steps: value('steps'), above: value('above') },
})

/** In files of before it was kept. */
const PER_OCTAVE_BEFORE = 2

function readConsistency(json: unknown, wrong: (what: string) => never): Consistency {
  const { bands, data, perOctave = PER_OCTAVE_BEFORE, particles } = isObject(json) ? json : {}
  if (![particles, perOctave].every((n) => Number.isSafeInteger(n) && (n as number) > 0)) return wrong('consistency')
  const read = (list: unknown) => {
    if (!Array.isArray(list) || list.length > 1000) return wrong('consistency')
    return (list as unknown[]).map((band) =>
      bandOf((name) => {
        const value = isObject(band) ? band[name] : undefined
        return typeof value === 'number' && value >= 0 && Number.isFinite(value) ? value : wrong('consistency')
      }),
    )
  }
  const onData = data !== undefined && { data: read(data) }
  return { bands: read(bands), ...onData, perOctave: perOctave as number, particles: particles as number }
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

/** Tables of fewer draws were measured in a hurry. */
const UNHURRIED = 64

/** Paths to measure consistency by: a quarter of the draws of the table, of which quartiles want some thirty; of few draws as many, up to 16. */
export const pathsFor = ({ count }: Calibration): number =>
  Math.min(256, Math.max(Math.min(16, count), Math.floor(count / 4)))

/** Whether it is measured on noised data too, for `inspect` alone: that takes as long again. */
export const onDataToo = ({ count }: Calibration): boolean => count >= UNHURRIED
