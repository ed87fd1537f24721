import { ArgumentError } from '../base/errors.js'
import { type Dataset, type LabelSpec, labelDim } from './dataset.js'

/**
 * A data set whose classes are told as a model tells them, which may know more: by their names where both name them, else by their places.
 * The data of a run may lack the last classes, and find fewer. Throws ArgumentError where they do not fit.
 */
export function labelledAs(spec: LabelSpec, data: Dataset): Dataset {
  const given = data.labels?.attributes ?? []
  const [wanted, found] = [labelDim(spec), labelDim(data.labels)]
  if (given.length !== spec.attributes.length)
    throw new ArgumentError(`the model takes ${wanted} label entries but the data have ${found || 'none'}`)
  const places = spec.attributes.map((attribute, a) => {
    const { values, size, name } = given[a]
    if (values && attribute.values)
      return values.map((value) => {
        const place = attribute.values!.indexOf(value)
        if (place < 0) throw new ArgumentError(`the data have ${name} '${value}', which the model does not know`)
        return place
      })
    if (size > attribute.size)
      throw new ArgumentError(`the model takes ${wanted} label entries but the data have ${found}`)
    return null
  })
  const same = places.every((list, a) => given[a].size === spec.attributes[a].size && (list?.every((p, i) => p === i) ?? true)) // biome-ignore format: one line
  if (same) return data
  return {
    name: data.name,
    size: data.size,
    shape: data.shape,
    labels: spec,
    latent: data.latent,
    decoder: data.decoder,
    origin: data.origin,
    read: (index, out, offset) => data.read(index, out, offset),
    label: (index) => data.label(index).map((c, a) => (c === null ? null : (places[a]?.[c] ?? c))),
  }
}
