import type { Accuracy, Dataset } from 'feynkac'
import { shows, type Trait, type Wish } from './composition-problems.js'

/** What to ask of images that are known only by their attributes: two ANDs of two, an AND of three, an OR and a NOT. */

/** Attributes that the reader tells at least this well are asked for. */
export const READABLE = 0.9
/** A composition is asked for that so many images show. */
const LEAST = 8

/**
 * The same for the same labels and the same readable attributes. The attributes take turns, in the order of the data, and so do the frequent
 * values of each, the most frequent first; one that too few images have together with the traits before it is passed over. OR asks for two
 * values of the attribute that has most, NOT excludes one of the attribute that has fewest. Compositions of which there are too few
 * images are left out.
 *
 * values: of each attribute the frequent ones, two or more of at least two attributes. accuracy: of the reader on images held out; where it
 * tells fewer than two attributes well, those it tells best.
 */
export function chooseWishes(
  data: Pick<Dataset, 'size' | 'label'>,
  values: readonly (readonly number[])[],
  accuracy: Accuracy,
): Wish[] {
  const classes = Array.from({ length: data.size }, (_, i) => data.label(i))
  const many = (wish: Wish) => classes.filter((seen) => shows(wish, seen)).length >= LEAST
  const asked = readable(accuracy, values)
  const turns = values.map(() => 0)
  let at = 0
  const next = (count: number) => Array.from({ length: count }, () => asked[at++ % asked.length])
  const inTurn = (attribute: number): Trait[] => {
    const [own, turn] = [values[attribute], turns[attribute]++]
    return own.map((_, i) => ({ attribute, value: own[(turn + i) % own.length] }))
  }
  /** A trait of each attribute, the next that is frequent enough beside the former; fewer where there is none. */
  const traitsOf = (attributes: readonly number[]): Trait[] => {
    const traits: Trait[] = []
    for (const attribute of attributes) {
      const found = inTurn(attribute).find((t) => many({ operation: 'AND', traits: [...traits, t] }))
      if (found) traits.push(found)
    }
    return traits
  }

  const wishes: Wish[] = []
  for (const count of [2, 2, 3].filter((n) => n <= asked.length)) {
    const traits = traitsOf(next(count))
    if (traits.length === count) wishes.push({ operation: 'AND', traits })
  }
  const bySize = asked.toSorted((a, b) => values[a].length - values[b].length)
  const [fewest, most] = [bySize[0], bySize.at(-1)!]
  wishes.push({ operation: 'OR', traits: inTurn(most).slice(0, 2) })
  const other = next(2).find((a) => a !== fewest)!
  const not: Wish = { operation: 'NOT', traits: traitsOf([other, fewest]) }
  if (not.traits.length === 2 && many(not)) wishes.push(not)
  return wishes
}

/** Indices of attributes, in the order of the data. */
function readable(accuracy: Accuracy, values: readonly (readonly number[])[]): number[] {
  const share = (a: number) => accuracy[a] ?? 0
  const possible = [...values.keys()].filter((a) => values[a].length > 1)
  const well = possible.filter((a) => share(a) >= READABLE)
  if (well.length >= 2) return well
  return possible
    .toSorted((a, b) => share(b) - share(a) || a - b)
    .slice(0, 2)
    .sort((a, b) => a - b)
}
