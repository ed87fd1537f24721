import * as types from 'node:util/types'
import { ArgumentError } from '../base/errors.js'
import { reader } from '../base/option-table.js'
import { sizeOf } from '../base/shape.js'
import { checkDataset, type Dataset, encodeLabel } from '../data/dataset.js'
import { labelledAs } from '../data/relabel.js'
import { measureConsistency } from '../smc/consistency.js'
import type { EnergyFunction } from '../smc/energy-function.js'
import { calibrate, checkedData, measure } from '../smc/precision/calibrate.js'
import { type CalibrateOptions, tableRows } from '../smc/precision/calibrate-options.js'
import { Calibration } from '../smc/precision/calibration.js'
import { evenLevels } from '../smc/schedule.js'
import type { ModelInfo } from './info.js'
import { type Labels, labelSpecOf } from './labels.js'
import { type ModelTables, onDataToo, pathsFor } from './tables.js'

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
  { levels, sigmas, onProgress, ...rest }: ModelCalibrateOptions,
): Promise<ModelTables> {
  const count = reader(tableRows, { levels })('levels')
  const data = await checkedData(rest.data, model.shape, rest.signal)
  const { sigmaMin, sigmaMax } = model.info
  const options = { ...rest, data, sigmas: sigmas ?? evenLevels(sigmaMin, sigmaMax, count) }
  const dim = model.labelDim
  const samplesAt = (spread: Int32Array): Float32Array => {
    const size = sizeOf(model.shape)
    const samples = new Float32Array(spread.length * size)
    for (const [row, index] of spread.entries()) data.read(index, samples, row * size)
    return samples
  }
  const consistent = async (energy: EnergyFunction, table: Calibration, spread: Int32Array): Promise<Calibration> => {
    const path = { max: sigmaMax, min: sigmaMin, particles: spread.length, seed: table.data.seed, signal: rest.signal }
    const clean = onDataToo(table) ? samplesAt(spread) : undefined
    const consistency = await measureConsistency({ ...energy, calibration: table }, { ...path, clean })
    return new Calibration({ ...table.data, consistency })
  }
  if (dim === 0) {
    const table = await calibrate(model, { ...options, onProgress })
    return {
      unconditional: await consistent(model.conditioned(), table, over(data.size, table)),
    }
  }
  if (!data.labels)
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
  const spread = over(data.size, unconditional)
  return {
    unconditional: await consistent(model.conditioned(), unconditional, spread),
    conditional: await consistent(under(spread), conditional, spread),
  }
}

/** Samples of a set of `size` to measure consistency on: evenly spread over it. */
function over(size: number, table: Calibration): Int32Array {
  const rows = pathsFor(table)
  return Int32Array.from({ length: rows }, (_, i) => Math.floor((i * size) / rows))
}

/** The table of p(x | labels). */
export function tableFor(tables: ModelTables | undefined, labels: Labels | undefined): Calibration | undefined {
  const vectors = types.isFloat32Array(labels)
  const values = vectors ? [...labels] : Object.values(labels ?? {})
  const known = values.some((v) => (vectors ? v !== 0 : v !== null))
  return known ? tables?.conditional : tables?.unconditional
}
