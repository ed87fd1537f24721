import { ArgumentError } from '../base/errors.js'
import type { Labels } from '../models/labels.js'
import type { EnergyFunction, Target } from '../smc/energy-function.js'
import { bounded } from '../smc/targets/box.js'
import { lowTemperature, product } from '../smc/targets/linear.js'

/**
 * The targets of the `sample` command. All but the box are sums of energies with exponents: terms of the same model under the
 * same labels are collected, so that each is evaluated once.
 */

export type NamedLabels = Readonly<Record<string, number | string>>

/** One energy of a composition: a model file (null: the command's own model) under labels (null: none). */
export interface TermSpec {
  file: string | null
  labels: NamedLabels | null
}

/** `name=value,...`, `FILE` or `FILE@name=value,...`. */
export function parseTerm(text: string): TermSpec {
  const at = text.lastIndexOf('@')
  if (at >= 0) return { file: text.slice(0, at) || null, labels: parseAttributes(text.slice(at + 1)) }
  return text.includes('=') ? { file: null, labels: parseAttributes(text) } : { file: text, labels: null }
}

/** `name=value,...`; a value is an index or a name. Throws ArgumentError. */
export function parseAttributes(text: string): NamedLabels {
  const labels: Record<string, number | string> = {}
  for (const part of text.split(',')) {
    const match = /^([^=]+)=(.+)$/.exec(part.trim())
    if (!match) throw new ArgumentError(`expected name=value,... for attributes but received ${JSON.stringify(text)}`)
    const [, name, value] = match as unknown as [string, string, string]
    if (Object.hasOwn(labels, name))
      throw new ArgumentError(`attribute '${name}' is given twice in ${JSON.stringify(text)}`)
    labels[name] = /^\d+$/.test(value) ? Number(value) : value
  }
  return labels
}

export interface Composition {
  /** p(x | labels) of the command's own model, and the further densities to multiply. */
  base: NamedLabels | null
  also: readonly TermSpec[]
  /** Densities to divide by, to the power `strength`. */
  not: readonly TermSpec[]
  strength: number
  /**
   * Divide the unconditional density out of conditional ones: p(x | c_1, ..., c_n) for independent conditions, and NOT of what a condition adds,
   * (p(x) / p(x | c))^strength.
   */
  dividePrior: boolean
  /** Classifier-free guidance of every conditional density; 1: none. */
  guidance: number
  /** The whole density to this power. */
  gamma: number
  box: readonly [number, number] | null
}

/** A model of p(x | labels): an EnergyModel. */
interface Conditional {
  conditioned(labels?: Labels): EnergyFunction
}

/** The target of a composition; `load` gives the model of a file, null being the command's own. Throws ArgumentError. */
export async function composeTarget(
  composition: Composition,
  load: (file: string | null) => Promise<Conditional>,
): Promise<Target | EnergyFunction> {
  const { base, also, not, strength, dividePrior, guidance, gamma, box } = composition
  const terms = new Map<string, Power>()
  const add = async ({ file, labels }: TermSpec, exponent: number): Promise<void> => {
    const key = JSON.stringify([file, labels && Object.entries(labels).sort()])
    const known = terms.get(key)
    if (known) known.exponent += exponent
    else terms.set(key, { energy: named(await load(file), file, labels), exponent })
  }
  const addGuided = async (term: TermSpec, exponent: number): Promise<void> => {
    if (!term.labels || guidance === 1) return add(term, exponent)
    await add(term, exponent * guidance)
    await add({ file: term.file, labels: null }, exponent * (1 - guidance))
  }
  const multiplied: TermSpec[] = [{ file: null, labels: base }, ...also]
  if (guidance !== 1 && !multiplied.some(({ labels }) => labels))
    throw new ArgumentError('guidance needs labels to guide towards: give attributes')
  for (const term of multiplied) await addGuided(term, gamma)
  if (dividePrior) {
    const others = multiplied.slice(1)
    const denied = not.filter(({ labels }) => labels)
    if (others.length ? multiplied.some(({ labels }) => !labels) : !denied.length)
      throw new ArgumentError(
        'dividePrior needs at least two densities with labels, or one to divide by: give attributes, give with, or give not',
      )
    for (const { file } of others) await add({ file, labels: null }, -gamma)
    // what a condition adds is p(x | c) / p(x)
    for (const { file } of denied) await add({ file, labels: null }, gamma * strength)
  }
  for (const term of not) await add(term, -gamma * strength)
  const parts = [...terms.values()].filter(({ exponent }) => exponent !== 0)
  if (!parts.length) throw new ArgumentError('nothing is left of the composition: all exponents cancel')
  const target = productOf(parts)
  return box ? bounded(target, { lower: box[0], upper: box[1] }) : target
}

/** The energy under its labels, with a name for messages. */
function named(model: Conditional, file: string | null, labels: NamedLabels | null): EnergyFunction & { name: string } {
  const given = labels && Object.entries(labels).map(([name, value]) => `${name}=${value}`)
  return {
    ...model.conditioned(labels ?? undefined),
    name: `the energy${file ? ` of ${file}` : ''}${given ? ` given ${given.join(', ')}` : ''}`,
  }
}

/** An energy and its exponent in a product. */
interface Power {
  energy: EnergyFunction
  exponent: number
}

/** Named, in what is said of the samples, by what it is: one energy to a power above 0 is no product. */
function productOf(parts: readonly Power[]): EnergyFunction | Target {
  const { energy, exponent } = parts[0]!
  if (parts.length === 1 && exponent === 1) return energy
  if (parts.length === 1 && exponent > 0) return lowTemperature(energy, { gamma: exponent })
  return product(
    parts.map((part) => part.energy),
    { weights: parts.map((part) => part.exponent) },
  )
}
