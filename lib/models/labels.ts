import { encodeLabel, type LabelSpec } from '../data/dataset.js'
import { ArgumentError, invalid } from '../errors.js'

/**
 * Labels of a call: one vector for every sample ([B * labelDim] numbers), one vector for all ([labelDim]), class indices per attribute for
 * all samples (null = unknown), or attributes by name (`{ hair: 3 }` or `{ hair: 'blond' }`; those not named are unknown).
 */
export type Labels = Float32Array | readonly (number | null)[] | Readonly<Record<string, number | string | null>>

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

/** The label vectors [batch * dim] of a call, or undefined where the model is unconditional and none are given (zeros). */
export function resolveLabels(
  labels: Labels | undefined,
  spec: LabelSpec | null,
  dim: number,
  batch: number,
): Float32Array | undefined {
  if (labels === undefined) return undefined
  if (dim === 0) throw new ArgumentError('labels were given but this model is unconditional')
  if (ArrayBuffer.isView(labels)) {
    if (!(labels instanceof Float32Array)) throw invalid('labels', 'a Float32Array', labels)
    for (const v of labels) if (!Number.isFinite(v)) throw invalid('labels', 'finite numbers', v)
    if (labels.length === batch * dim) return labels
    if (labels.length === dim) return repeat(labels, batch)
    throw invalid('labels', `a Float32Array of length ${dim} or ${batch * dim}`, labels)
  }
  if (spec === null) throw invalid('labels', 'a Float32Array (the model file names no attributes)', labels)
  if (typeof labels !== 'object' || labels === null)
    throw invalid('labels', 'label vectors, class indices or named attributes', labels)
  const classes = Array.isArray(labels) ? labels : namedClasses(spec, labels as Record<string, number>)
  const row = new Float32Array(dim)
  encodeLabel(spec, classes, row, 0)
  return repeat(row, batch)
}

function repeat(row: Float32Array, batch: number): Float32Array {
  const out = new Float32Array(row.length * batch)
  for (let b = 0; b < batch; b++) out.set(row, b * row.length)
  return out
}
