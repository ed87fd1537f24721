import { type Command, InvalidArgumentError, Option } from 'commander'
import { ArgumentError } from '../base/errors.js'
import type { OptionRow, OptionTable } from '../base/option-table.js'
import type { DeviceOptions, Precision } from '../native/devices.js'
import { partOf } from '../ranks/part.js'

/** Parsers of option values, and the options that every command has. Bad values end in exit code 2 with the reason. */

interface Range {
  min?: number
  max?: number
  above?: number
}

/** A number such as 0.5, 2e6 or 200k (k, M: thousands, millions). */
export function number({ min = -Infinity, max = Infinity, above = -Infinity }: Range = {}) {
  return (text: string): number => {
    const match = /^([-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)([kM]?)$/i.exec(text.trim())
    const value = match ? Number(match[1]) * { '': 1, k: 1e3, m: 1e6 }[match[2]!.toLowerCase()]! : Number.NaN
    if (Number.isFinite(value) && value >= min && value <= max && value > above) return value
    const bounds = [
      above > -Infinity ? `above ${above}` : min > -Infinity ? `of at least ${min}` : '',
      max < Infinity ? `at most ${max}` : '',
    ].filter(Boolean)
    throw new InvalidArgumentError(`Expected a number${bounds.length ? ` ${bounds.join(' and ')}` : ''}.`)
  }
}

/** A whole number, written like `number`. */
export function count(min = 1, max = Number.MAX_SAFE_INTEGER) {
  const parse = number({ min, max })
  return (text: string): number => {
    const value = parse(text)
    if (!Number.isSafeInteger(value)) throw new InvalidArgumentError('Expected a whole number.')
    return value
  }
}

/** A comma-separated list of whole numbers; `none` is the empty one. */
export function counts(min = 1) {
  const parse = count(min)
  return (text: string): number[] => (text === 'none' ? [] : text.split(',').map(parse))
}

/** For options that may be given several times: appends to what was given before. */
export function repeated<T>(parse: (text: string) => T) {
  return (text: string, before: T[] | undefined): T[] => [...(before ?? []), parse(text)]
}

/** A parser that throws ArgumentError, as commander wants it. */
export function usage<T>(parse: (text: string) => T) {
  return (value: string): T => {
    try {
      return parse(value)
    } catch (error) {
      if (error instanceof ArgumentError) throw new InvalidArgumentError(error.message)
      throw error
    }
  }
}

export interface CommonOptions {
  device: string
  precision?: Precision
  seed?: number
  threads?: number
  json?: boolean
  verbose?: boolean
}

/** Adds --device, --seed, --threads, --json and --verbose, and an example under the help. */
export function common(command: Command, example: string): Command {
  return command
    .option('--device <name>', 'cpu, cuda:0, ..., or auto for the best there is', 'auto')
    .addOption(choice('--precision <name>', 'of products on a GPU (fp32)', ['fp32', 'tf32', 'bf16']))
    .option('--seed <number>', 'seed of all random numbers (0)', count(0))
    .option('--threads <number>', 'CPU threads (all cores)', count(1, 1024))
    .option('--json', 'print the result as one JSON object on stdout, and nothing else there')
    .option('--verbose', 'show the stack of an error')
    .addHelpText('after', `\nExample:\n  ${example}`)
}

/** Adds --part, for commands whose work the tasks of an array of jobs can divide. */
export function partOption(command: Command, folder: string): Command {
  return command.option(
    '--part <i/n>',
    `one of n processes that divide the work, at any times: 3/8, or auto or auto/8 in an array of jobs; they meet in ${folder}, and the last one brings it together`,
    usage((text) => partOf(text)),
  )
}

/** An option without default whose value is one of the choices. */
export function choice(flags: string, description: string, choices: readonly string[]): Option {
  return new Option(flags, description).choices([...choices])
}

/** The flag of an option in a table: `--batch <number>`. */
function flagOf(name: string, { kind, flag, value = 'number' }: OptionRow<unknown>): string {
  return kind === 'switch' ? `--${flag || inDashes(name)}` : `--${flag || inDashes(name)} <${value}>`
}

export function inDashes(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)
}

const inCamels = (flag: string) => flag.replace(/-[a-z]/g, (dash) => dash[1]!.toUpperCase())

/** Adds options of a table as flags, without defaults: what is not given is for the library to choose. */
export function tableFlags(command: Command, table: OptionTable): Command {
  for (const [name, row] of Object.entries(table)) {
    if (row.flag === false) continue
    const { kind, help, words = [] } = row
    const text = row.default === undefined || kind === 'switch' ? help : withDefault(help, row.default)
    if (kind === 'choice') command.addOption(choice(flagOf(name, row), text, words))
    else if (kind === 'switch') command.option(flagOf(name, row), text)
    else command.option(flagOf(name, row), text, parserOf(row))
    if (row.no) command.option(`--no-${row.flag || inDashes(name)}`, row.no)
  }
  return command
}

function parserOf({ kind, range, words = [], expected }: OptionRow<unknown>): (text: string) => unknown {
  if (kind === 'text') return (text) => text
  if (kind === 'list') return (text) => text.split(',').map(number())
  if (kind === 'wholes') return counts(range.min)
  if (kind === 'pair') {
    return (text) => {
      const [lo, hi, ...rest] = text.split(',').map(number(range))
      if (rest.length === 0 && lo! < hi!) return [lo, hi]
      throw new InvalidArgumentError(`Expected ${expected}.`)
    }
  }
  const parse = kind === 'whole' ? count(range.min, range.max) : number(range)
  return (text) => (words.includes(text) ? text : parse(text))
}

function withDefault(help: string, value: unknown): string {
  return help.endsWith(')') ? help : `${help} (${value})`
}

/** The options of a table that were given as flags, by their names. */
export function tableValues(flags: object, table: OptionTable): Record<string, unknown> {
  const values: Record<string, unknown> = {}
  for (const [name, { flag }] of Object.entries(table)) {
    const value = (flags as Record<string, unknown>)[flag ? inCamels(flag) : name]
    if (value !== undefined) values[name] = value
  }
  return values
}

/** The device options of a command line. */
export function deviceOf({ device, precision }: CommonOptions): DeviceOptions {
  return { device, ...(precision && { precision }) }
}

/** Applies --threads; every command that computes calls it first. */
export async function applyThreads(options: CommonOptions): Promise<void> {
  if (options.threads === undefined) return
  const { native } = await import('../native/addon.js')
  native.setThreads(options.threads)
}
