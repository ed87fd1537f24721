import { isList } from '../base/args.js'
import { describe } from '../base/errors.js'
import { isObject } from '../base/json.js'

/** Checks of a network's arguments, shared by the architectures. */

export type Fail = (what: string) => never

/** What an argument must be. `is` narrows nothing: arguments are JSON. */
export interface Rule {
  is(value: unknown): boolean
  expected: string
}

export const naturalNumber: Rule = {
  is: (v) => Number.isSafeInteger(v) && (v as number) >= 0,
  expected: 'a whole number of at least 0',
}
export const finite: Rule = { is: Number.isFinite, expected: 'a finite number' }
export const flag: Rule = { is: (v) => typeof v === 'boolean', expected: 'true or false' }
export const probability: Rule = {
  is: (v) => typeof v === 'number' && v >= 0 && v < 1,
  expected: 'a number in [0, 1)',
}
export const numbers: Rule = {
  is: (v) => isList(v) && v.every(Number.isFinite),
  expected: 'an array of numbers',
}
export const sampleSize: Rule = {
  is: (v) => v === null || naturalNumber.is(v) || (numbers.is(v) && (v as number[]).length === 2),
  expected: 'a side, [height, width] or null',
}
export const naturalNumbers: Rule = {
  is: (v) => isList(v) && v.every((n) => naturalNumber.is(n) && (n as number) <= 2 ** 24),
  expected: 'an array of whole numbers',
}
export const oneOf = (...values: unknown[]): Rule => ({
  is: (v) => values.includes(v),
  expected: `one of ${values.map((v) => JSON.stringify(v)).join(', ')}`,
})
export const listOf = (...values: string[]): Rule => ({
  is: (v) => isList(v) && v.every((item) => (values as unknown[]).includes(item)),
  expected: `a list of ${values.map((v) => `'${v}'`).join(' and ')}`,
})
export const orNull = (rule: Rule): Rule => ({
  is: (v) => v === null || rule.is(v),
  expected: `${rule.expected}, or null`,
})

/** The arguments with defaults filled in, each checked by its rule; unknown ones are refused by name. */
export function checkArgs<T extends object>(
  given: Readonly<Record<string, unknown>>,
  defaults: T,
  rules: Readonly<Record<keyof T, Rule>>,
  fail: Fail,
): T {
  const args = { ...defaults }
  for (const [key, value] of Object.entries(given)) {
    if (!Object.hasOwn(defaults, key)) fail(`unknown argument '${key}'`)
    const rule = rules[key as keyof T]
    if (!rule.is(value)) fail(`expected ${rule.expected} for '${key}' but received ${describe(value)}`)
    Object.assign(args, { [key]: value })
  }
  return args
}

/** Arguments and shape of a configuration of the class named, neither checked further. */
export function configParts(
  json: unknown,
  shape: unknown,
  className: string,
  fail: Fail,
): { args: Record<string, unknown>; sizes: number[] } {
  if (!isObject(json) || !isObject(json.args)) return fail('expected an object with class and args')
  if (json.class !== className) fail(`class ${describe(json.class)} is not supported: ${className}`)
  return { args: json.args, sizes: shapeSizes(shape, fail) }
}

export function shapeSizes(shape: unknown, fail: Fail): number[] {
  if (!isList(shape, 16)) return fail('expected an array for shape')
  return shape.every((n) => Number.isSafeInteger(n) && (n as number) > 0)
    ? (shape as number[])
    : fail('expected positive integers in shape')
}

/** The shape of image networks. */
export type ImageShape = [channels: number, height: number, width: number]

export function imageShape(sizes: readonly number[], channels: number, fail: Fail): ImageShape {
  if (sizes.length !== 3) fail('shape must be [channels, height, width]')
  if (sizes[0] !== channels) fail(`shape must start with in_channels (${channels}) but is [${sizes}]`)
  return [sizes[0], sizes[1], sizes[2]]
}
