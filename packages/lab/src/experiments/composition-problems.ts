import { type EnergyModel, type LabelSpec, mixture, product, type Target } from 'feynkac'

/** AND, OR and NOT of attributes: as wishes, as targets of one energy under labels, and as what a picture must show. */

/** A value of an attribute, both by index. */
export interface Trait {
  attribute: number
  value: number
}

/** AND: all traits; OR: any of them, of one attribute; NOT: the first without the second. */
export interface Wish {
  operation: 'AND' | 'OR' | 'NOT'
  traits: readonly Trait[]
}

/** Class index of each attribute; null where a picture shows none. */
export type Classes = readonly (number | null)[]

export interface Problem extends Wish {
  wanted: string
  target: Target
  /** Of AND: the same with each trait asked for by more than was learnt. */
  guided?: Target
  /** Whether a picture shows what was asked for. */
  right(seen: Classes): boolean
  /** Values of an attribute that are equally frequent among the right ones where the data are balanced. */
  even?: { attribute: number; values: readonly number[] }
}

const GUIDANCE = 2

export function problemOf({ operation, traits }: Wish, { attributes }: LabelSpec, energy: EnergyModel): Problem {
  const prior = energy.conditioned(attributes.map(() => null))
  const under = traits.map(({ attribute, value }) =>
    energy.conditioned(attributes.map((_, a) => (a === attribute ? value : null))),
  )
  const [first, second] = traits
  const wish = { operation, traits }
  const common = { ...wish, wanted: wanted(wish, { attributes }), right: (seen: Classes) => shows(wish, seen) }
  if (operation === 'AND') {
    const scaled = (scale: number) =>
      product([...under, prior], { weights: [...traits.map(() => scale), 1 - scale * traits.length] })
    return { ...common, target: scaled(1), guided: scaled(GUIDANCE) }
  }
  if (operation === 'OR') {
    const even = { attribute: first.attribute, values: traits.map(({ value }) => value) }
    return { ...common, target: mixture(under), even }
  }
  const others = Array.from({ length: attributes[second.attribute].size }, (_, value) => value)
  return {
    ...common,
    // p(x|A) p(x) / p(x|B): what B makes likelier than it is anyway is divided out, and nothing else
    target: product([under[0], prior, under[1]], { weights: [1, 1, -1] }),
    even: { attribute: second.attribute, values: others.filter((value) => value !== second.value) },
  }
}

/** Such as `cross, top-right`, `hair 1 or hair 2`. */
export function wanted({ operation, traits }: Wish, { attributes }: LabelSpec): string {
  const named = traits.map(
    ({ attribute: a, value }) => attributes[a].values?.[value] ?? `${attributes[a].name} ${value}`,
  )
  return named.join({ AND: ', ', OR: ' or ', NOT: ', not ' }[operation])
}

/** Whether a picture of these classes is what was wished for. */
export function shows({ operation, traits }: Wish, seen: Classes): boolean {
  const has = ({ attribute, value }: Trait) => seen[attribute] === value
  if (operation === 'AND') return traits.every(has)
  if (operation === 'OR') return traits.some(has)
  const [wanted, unwanted] = traits
  return has(wanted) && seen[unwanted.attribute] !== null && !has(unwanted)
}
