import { boolean, finiteNumber, integer, isList, numberList, oneOf } from './args.js'
import { invalid } from './errors.js'

/** Options as rows of a table: each is described once, and its check, its default, its flag on the command line and the help are made of it. */

type Range = { min?: number; max?: number; above?: number }

export interface OptionRow<T> {
  kind: 'number' | 'whole' | 'switch' | 'choice' | 'text' | 'pair' | 'list' | 'wholes'
  range: Range
  /** All values of a choice; of numbers the words that may stand in their place, such as auto. */
  words?: readonly string[]
  /** Throws ArgumentError that names the option. */
  check(name: string, value: unknown): T
  /** What the help and the documents say. */
  help: string
  /** What is said to be expected of a text or a pair. */
  expected?: string
  /** What the help calls the value (number). */
  value?: string
  /** The name on the command line, where it is not the option's in dashes (micro-batch); false: the option is the library's alone. */
  flag?: string | false
  /** What the help says of the flag that says no (--no-label-maps), where there is one. */
  no?: string
  /** Where it is not given; the help shows it. Without it something else chooses. */
  default?: T
}

/** A row for every option of an interface. */
export type Rows<T> = { [K in keyof T]-?: OptionRow<Required<T>[K]> }

type About<T> = Partial<Pick<OptionRow<T>, 'value' | 'flag' | 'default' | 'no'>>

/** A row for every named option of an interface. */
export type RowsOf<T, K extends keyof T> = Rows<Pick<T, K>>

// biome-ignore lint/suspicious/noExplicitAny: rows of different types in one table
export type OptionTable = Readonly<Record<string, OptionRow<any>>>

export function real(help: string, { min, max, above, ...about }: Range & About<number> = {}): OptionRow<number> {
  const range = { min, max, above }
  return { kind: 'number', range, check: (name, value) => finiteNumber(name, value, range), help, ...about }
}

export function whole(help: string, { min = 1, max, ...about }: Range & About<number> = {}): OptionRow<number> {
  return { kind: 'whole', range: { min, max }, check: (name, value) => integer(name, value, min, max), help, ...about }
}

export const positive = (help: string, about: { max?: number } & About<number> = {}) =>
  real(help, { above: 0, ...about })
export const notNegative = (help: string, about: About<number> = {}) => real(help, { min: 0, ...about })
export const share = (help: string, about: Range & About<number> = {}) => real(help, { min: 0, max: 1, ...about })

export function toggle(help: string, about: About<boolean> = {}): OptionRow<boolean> {
  return { kind: 'switch', range: {}, check: boolean, help, ...about }
}

export function choice<T extends string>(help: string, words: readonly T[], about: About<T> = {}): OptionRow<T> {
  return { kind: 'choice', range: {}, words, check: (name, value) => oneOf(name, value, words), help, ...about }
}

export function text(help: string, expected: string, about: About<string> = {}): OptionRow<string> {
  const check = (name: string, value: unknown) => {
    if (typeof value === 'string' && value !== '') return value
    throw invalid(name, expected, value)
  }
  return { kind: 'text', range: {}, check, expected, help, ...about }
}

/** Two numbers, the first below the second; what: such as noise levels. */
export function pair(help: string, what: string, { min, ...about }: Range & About<[number, number]> = {}) {
  const expected = `two ${what}, lo < hi`
  const check = (name: string, value: unknown): [number, number] => {
    const [lo, hi] = numberList(name, value, { length: 2, ...(min !== undefined && { min }) })
    if (lo! < hi!) return [lo!, hi!]
    throw invalid(name, expected, value)
  }
  const row: OptionRow<[number, number]> = {
    kind: 'pair',
    range: { min },
    check,
    expected,
    help,
    value: 'lo,hi',
    ...about,
  }
  return row
}

export function list(help: string, about: About<number[]> = {}): OptionRow<number[]> {
  return { kind: 'list', range: {}, check: (name, value) => numberList(name, value, { max: 4096 }), help, ...about }
}

/** Whole numbers, as many as the caller likes, up to 64. */
export function wholes(help: string, { min = 1, max, ...about }: Range & About<number[]> = {}): OptionRow<number[]> {
  const check = (name: string, value: unknown): number[] => {
    if (!isList(value, 64)) throw invalid(name, 'a list of whole numbers', value)
    return value.map((number, i) => integer(`${name}[${i}]`, number, min, max))
  }
  return { kind: 'wholes', range: { min, max }, check, help, value: 'list', ...about }
}

/** A number, or false in its place; no: what the help says of that. */
export function orFalse(row: OptionRow<number>, no: string): OptionRow<number | false> {
  return { ...row, no, check: (name, value) => (value === false ? false : row.check(name, value)) }
}

/** A number, or a word in its place. */
export function orWord<W extends string>(row: OptionRow<number>, word: W): OptionRow<number | W> {
  return { ...row, words: [word], check: (name, value) => (value === word ? word : row.check(name, value)) }
}

/** Checks those that are given; throws ArgumentError. */
export function checkOptions(table: OptionTable, options: object): void {
  const given = options as Readonly<Record<string, unknown>>
  for (const [name, row] of Object.entries(table)) if (given[name] !== undefined) row.check(name, given[name])
}

/** Those of the table that are given, checked; throws ArgumentError. */
export function givenOptions<T extends object>(table: Rows<T>, given: T): T {
  checkOptions(table, given as Record<string, unknown>)
  const names = Object.keys(table) as (keyof T)[]
  return Object.fromEntries(names.filter((name) => given[name] !== undefined).map((name) => [name, given[name]])) as T
}

/**
 * Reads options one by one: what is given, else the default, checked; throws ArgumentError that names the option. within: how the option that
 * they belong to is named, such as 'churn.'.
 */
export function reader<T extends object>(table: Rows<T>, given: { [K in keyof T]?: unknown }, within = '') {
  return <K extends keyof T & string>(name: K) => table[name].check(within + name, given[name] ?? table[name].default)
}

/** Some rows of a table. */
export function rowsOf<T extends object, K extends keyof T>(table: Rows<T>, ...names: K[]): RowsOf<T, K> {
  return Object.fromEntries(names.map((name) => [name, table[name]])) as RowsOf<T, K>
}

/** The defaults of all that have one. */
export function allDefaults(table: OptionTable): Record<string, unknown> {
  return Object.fromEntries(Object.entries(table).flatMap(([name, row]) => (row.default === undefined ? [] : [[name, row.default]]))) // biome-ignore format: one line
}

/** The defaults of these. */
export function defaultsOf<T extends object, K extends keyof T>(table: Rows<T>, ...names: K[]): Required<Pick<T, K>> {
  return Object.fromEntries(names.map((name) => [name, table[name].default])) as Required<Pick<T, K>>
}
