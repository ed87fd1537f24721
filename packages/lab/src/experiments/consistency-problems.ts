import { type EnergyFunction, guided, lowTemperature, mixture, negation, product, type Target } from 'feynkac'
import { type Classes, shows, type Trait, type Wish, wanted } from './composition-problems.js'
import type { Wished } from './consistency-reader.js'
import type { OwnImages } from './own-images.js'

/** What is asked of energies of the user's own images: low temperatures, guidance, AND, OR and NOT of their attributes. */

export type Weights = 'none' | 'likelihood' | 'bridge'

/** The energy under some of the attributes alone. */
export type Under = (traits: readonly Trait[]) => EnergyFunction

export interface Problem extends Wished {
  name: string
  target(under: Under): Target
  /** What is tried of it, the first without energies; `bridge` twice, for log Z. */
  weights: readonly Weights[]
  /** Whether gradients alone do not say where to go. */
  mixed?: boolean
}

/** What weights are the default for a low temperature of pixels; of all else none are. */
export const COLD: Weights = 'likelihood'

/**
 * Of the attribute that has most values the fourth, and of the one that has fewest the third; the last where there are fewer: hair 3 and the front
 * of the sprites. OR is of that value and the one half of the values on.
 */
export function problemsOf({ labels, values }: Pick<OwnImages, 'labels' | 'values'>): Problem[] {
  const { attributes } = labels
  const bySize = [...attributes.keys()].filter((a) => values[a].length > 1).toSorted((a, b) => attributes[b].size - attributes[a].size) // biome-ignore format: one line
  const trait = (attribute: number, value: number) => ({ attribute, value: Math.min(value, attributes[attribute].size - 1) }) // biome-ignore format: one line
  const first = trait(bySize[0], 3)
  const second = bySize.length > 1 ? trait(bySize.at(-1)!, 2) : undefined
  const size = attributes[first.attribute].size
  const other = { ...first, value: (first.value + Math.floor(size / 2)) % size }
  const named = (traits: readonly Trait[]) => wanted({ operation: 'AND', traits }, labels)
  const wished = (wish: Wish): Wished & { name: string } => ({
    name: `${wish.operation}: ${wanted(wish, labels)}`,
    asked: wish.traits.map(({ attribute }) => attribute),
    right: (classes) => shows(wish, classes),
  })
  const all = { asked: [], right: () => true }
  const one = wished({ operation: 'AND', traits: [first] })
  const cold = (gamma: number, weights: Weights[]): Problem => ({
    ...{ ...all, name: `gamma = ${gamma}`, weights },
    target: (under) => lowTemperature(under([]), { gamma }),
  })
  const guidance: Problem = {
    ...{ ...one, name: `guidance 2: ${named([first])}`, weights: ['none'] },
    target: (under) => guided(under([]), under([first]), { scale: 2 }),
  }
  const either: Problem = {
    ...wished({ operation: 'OR', traits: [first, other] }),
    ...{ weights: ['none'], mixed: true },
    target: (under) => mixture([under([first]), under([other])]),
  }
  const without: Problem = {
    ...(second ? wished({ operation: 'NOT', traits: [second, first] }) : { asked: one.asked, right: (seen: Classes) => !one.right(seen), name: `NOT: ${named([first])}` }), // biome-ignore format: one line
    weights: ['none'],
    target: (under) => negation(under(second ? [second] : []), under([first]), { strength: 0.5 }),
  }
  const both = (scale: number): Problem[] => {
    if (!second) return []
    const wish = wished({ operation: 'AND', traits: [first, second] })
    return [
      {
        ...{ ...wish, name: scale === 1 ? wish.name : `${wish.name}, guidance ${scale}`, weights: ['none'] },
        target: (under) => product([under([first]), under([second]), under([])], { weights: [scale, scale, 1 - 2 * scale] }), // biome-ignore format: one line
      },
    ]
  }
  return [cold(1, ['none', 'bridge']), cold(2, ['none', 'likelihood', 'bridge']), cold(3, ['none', 'likelihood']), guidance, ...both(1), ...both(2), either, without] // biome-ignore format: one line
}
