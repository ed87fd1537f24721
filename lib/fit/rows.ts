import { permutation } from '../base/order.js'
import type { Dataset, LabelSpec } from '../data/dataset.js'
import type { AttributeFindings } from './findings.js'

/** What samples are drawn of a new energy: what its user wants to see first. */

/** One class index per attribute; null: not asked for. */
export type Asked = readonly (number | null)[]

export interface Row {
  label: string
  /** What each sample is asked to show; of a composition, all together. Empty without labels. */
  asked: Asked[]
  /** Asked for by a product of energies that are each given one attribute. */
  composed: boolean
}

export interface RowGroup {
  /** Name of its file. */
  name: string
  caption: string
  rows: Row[]
}

/** Rows of samples of a data set without attributes in particular. */
const PLAIN_ROWS = 4
/** Values of an attribute that are shown, and rows of values in all. */
const [MOST_VALUES, MOST_ROWS] = [10, 40]
const COMPOSITIONS = 2
/** Name of their group. */
export const COMPOSITION = 'composition'
/** Energies that one is made of. */
const COMPOSED_COST = 3
/** Not the number of an epoch, nor of a split. */
const ORDER = 0xfffffffd

/** Groups of rows without their samples: how many there are decides how long they can be. */
export interface Layout {
  values: { attribute: number; value: number }[]
  /** Pairs of an attribute and its value. */
  compositions: [number, number][][]
  /** In rows of samples of one energy. */
  cost: number
}

export function layoutOf(attributes: readonly AttributeFindings[]): Layout {
  const frequent = attributes.map(({ values }) =>
    values
      .map(({ count }, value) => ({ count, value }))
      .filter(({ count }) => count > 0)
      .sort((a, b) => b.count - a.count || a.value - b.value)
      .slice(0, MOST_VALUES)
      .map(({ value }) => value),
  )
  const values = frequent
    .flatMap((list, attribute) => [...list].sort((a, b) => a - b).map((value) => ({ attribute, value })))
    .slice(0, MOST_ROWS)
  const [first, second] = frequent.flatMap((list, attribute) => (list.length > 1 ? [{ attribute, list }] : []))
  const compositions = second
    ? Array.from({ length: COMPOSITIONS }, (_, i): [number, number][] => [
        [first.attribute, first.list[i % first.list.length]],
        [second.attribute, second.list[i % second.list.length]],
      ])
    : []
  return { values, compositions, cost: PLAIN_ROWS + values.length + COMPOSED_COST * compositions.length }
}

/** The groups, with a given number of samples in a row. */
export function rowGroups(data: Dataset, { values, compositions }: Layout, columns: number, seed: number): RowGroup[] {
  const { labels, size } = data
  if (!labels)
    return [
      {
        name: 'samples',
        caption: 'Samples of the energy.',
        rows: Array.from({ length: PLAIN_ROWS }, () => ({
          label: '',
          asked: Array(columns).fill([]),
          composed: false,
        })),
      },
    ]
  const order = permutation(seed, ORDER, size)
  const nth = (i: number) => data.label(order(i % size))
  const plain: RowGroup = {
    name: 'samples',
    caption: 'Samples of the energy, each asked for all that is known of a picture of the data.',
    rows: Array.from({ length: PLAIN_ROWS }, (_, row) => ({
      label: '',
      asked: Array.from({ length: columns }, (__, i) => nth(row * columns + i)),
      composed: false,
    })),
  }
  const only = (pairs: [number, number][]) => {
    const asked: (number | null)[] = labels.attributes.map(() => null)
    for (const [attribute, value] of pairs) asked[attribute] = value
    return asked
  }
  const row = (pairs: [number, number][]): Row => ({
    label: pairs.map(([attribute, value]) => valueName(labels, attribute, value)).join(' AND '),
    asked: Array(columns).fill(only(pairs)),
    composed: pairs.length > 1,
  })
  const attributes = [...new Set(values.map(({ attribute }) => attribute))]
  const names = fileNames(attributes.map((attribute) => labels.attributes[attribute].name))
  return [
    plain,
    ...attributes.map((attribute, i) => ({
      name: `by-${names[i]}`,
      caption: `Samples asked for one value of ${labels.attributes[attribute].name} alone, a row each.`,
      rows: values.filter((v) => v.attribute === attribute).map(({ value }) => row([[attribute, value]])),
    })),
    ...(compositions.length > 0
      ? [
          {
            name: COMPOSITION,
            caption:
              'Samples of two energies composed, p(x) (p(A|x) p(B|x))^2, each of which is asked for one value alone.',
            rows: compositions.map((pairs) => row(pairs)),
          },
        ]
      : []),
  ]
}

function valueName({ attributes }: LabelSpec, attribute: number, value: number): string {
  const { name, values } = attributes[attribute]
  return values?.[value] ?? `${name} ${value}`
}

/** Names of attributes may have any characters. */
function fileNames(names: readonly string[]): string[] {
  const plain = names.map((name) => name.replace(/[^\w-]+/g, '-').slice(0, 40))
  return plain.map((name, i) => (plain.indexOf(name) === i && name !== '' ? name : `${name}${i}`))
}
