import { float32Array, integer } from '../base/args.js'
import { ArgumentError, invalid } from '../base/errors.js'
import { encodeLabel, type LabelSpec } from '../data/dataset.js'
import { configLabelDim } from '../networks/config.js'
import type { ModelInfo } from './info.js'

/**
 * Labels of a call: one vector for every sample ([B * labelDim] numbers), one vector for all ([labelDim]), class indices per attribute for
 * all samples (null = unknown), or attributes by name (`{ hair: 3 }` or `{ hair: 'blond' }`; those not named are unknown).
 */
export type Labels = Float32Array | readonly (number | null)[] | Readonly<Record<string, number | string | null>>

/** A part of a batch that was cut: its first sample, and the number of samples in the whole, for which labels may have one row each. */
export interface Part {
  first: number
  of: number
}

/** What the entries of a model's label vector mean: one attribute 'class' where its file does not say; null for unconditional models. */
export function labelSpecOf({ labels, network }: Pick<ModelInfo, 'labels' | 'network'>): LabelSpec | null {
  const size = configLabelDim(network)
  return labels ?? (size > 0 ? { attributes: [{ name: 'class', size }] } : null)
}

/** Class indices per attribute from attributes by name. */
export function namedClasses(
  spec: LabelSpec,
  named: Readonly<Record<string, number | string | null>>,
): (number | null)[] {
  for (const name of Object.keys(named))
    if (!spec.attributes.some((a) => a.name === name))
      throw new ArgumentError(
        `unknown attribute '${name}': the model knows ${spec.attributes.map((a) => a.name).join(', ')}`,
      )
  return spec.attributes.map((attribute) => {
    const value = named[attribute.name] ?? null
    if (typeof value !== 'string') return value
    const index = attribute.values?.indexOf(value) ?? -1
    if (index < 0)
      throw invalid(
        `attribute '${attribute.name}'`,
        attribute.values ? `one of ${attribute.values.join(', ')}` : 'a class index',
        value,
      )
    return index
  })
}

/** The label vectors [batch * dim] of a call, or undefined where none are given (zeros). Throws ArgumentError. */
export function resolveLabels(
  labels: Labels | undefined,
  spec: LabelSpec | null,
  dim: number,
  batch: number,
  part?: Part,
): Float32Array | undefined {
  if (labels === undefined) return undefined
  if (dim === 0 || spec === null) throw new ArgumentError('labels were given but this model is unconditional')
  if (ArrayBuffer.isView(labels)) return vectorsOf('labels', labels, dim, batch, part)
  if (typeof labels !== 'object' || labels === null)
    throw invalid('labels', 'label vectors, class indices or named attributes', labels)
  const classes = Array.isArray(labels) ? labels : namedClasses(spec, labels as Record<string, number>)
  const row = new Float32Array(dim)
  encodeLabel(spec, classes, row, 0)
  return repeat(row, batch)
}

/** Throws ArgumentError where labels are none that a model can be given, whatever the batch. */
export function checkLabels(labels: Labels | undefined, info: Pick<ModelInfo, 'labels' | 'network'>): void {
  const dim = configLabelDim(info.network)
  const rows =
    ArrayBuffer.isView(labels) && dim > 0 ? Math.max(1, Math.floor((labels as Float32Array).length / dim)) : 1
  resolveLabels(labels, labelSpecOf(info), dim, rows)
}

/** One vector of `width` numbers per sample of a batch, copied of an array that has one for each sample or one for all. Throws ArgumentError. */
export function vectorsOf(name: string, value: unknown, width: number, batch: number, part?: Part): Float32Array {
  const all = float32Array(name, value)
  for (const v of all) if (!Number.isFinite(v)) throw invalid(name, 'finite numbers', v)
  const of = integer('part.of', part?.of ?? batch, batch)
  const first = integer('part.first', part?.first ?? 0, 0, of - batch)
  if (all.length === of * width) return all.slice(first * width, (first + batch) * width)
  if (all.length === width) return repeat(all, batch)
  throw invalid(name, `a Float32Array of length ${width} or ${of * width}`, all)
}

/**
 * The label vectors of a batch with the row of no class for samples without one; null: no row stands for it, and it is an error.
 * labels: a copy, or none.
 */
export function withNullClass(
  labels: Float32Array | undefined,
  nullClass: number | null,
  dim: number,
  batch: number,
): Float32Array {
  const vectors = labels ?? new Float32Array(batch * dim)
  for (let at = 0; at < vectors.length; at += dim) {
    if (vectors.subarray(at, at + dim).some((v) => v !== 0)) continue
    if (nullClass === null)
      throw new ArgumentError(
        `labels: the model has a table of ${dim} classes, none of which stands for no class: give a class for every sample, or load it with the row that does, nullClass (--null-class)`,
      )
    vectors[at + nullClass] = 1
  }
  return vectors
}

function repeat(row: Float32Array, batch: number): Float32Array {
  const out = new Float32Array(row.length * batch)
  for (let b = 0; b < batch; b++) out.set(row, b * row.length)
  return out
}
