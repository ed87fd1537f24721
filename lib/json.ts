import { formatFailure } from './errors.js'

/** Parses JSON of a file or throws FormatError. */
export function parseJson(bytes: Uint8Array, path: string): unknown {
  try {
    return parseBounded(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch (cause) {
    return formatFailure(path)(`not JSON: ${(cause as Error).message}`, cause)
  }
}

const MAX_DEPTH = 64
const MAX_CONTAINERS = 4e6

/**
 * JSON.parse for texts from files. A hundred megabytes of brackets would cost it half a minute and gigabytes, so their depth and
 * number are looked at first. Throws SyntaxError.
 */
export function parseBounded(text: string): unknown {
  let depth = 0
  let containers = 0
  for (let at = 0; at < text.length; at++) {
    const c = text.charCodeAt(at)
    if (c === 0x22) {
      // a text: up to the next quote that is not escaped
      for (at++; at < text.length && text.charCodeAt(at) !== 0x22; at++) if (text.charCodeAt(at) === 0x5c) at++
    } else if (c === 0x5b || c === 0x7b) {
      if (++depth > MAX_DEPTH) throw new SyntaxError(`nested more than ${MAX_DEPTH} deep`)
      if (++containers > MAX_CONTAINERS) throw new SyntaxError(`more than ${MAX_CONTAINERS} lists and objects`)
    } else if (c === 0x5d || c === 0x7d) depth--
  }
  return JSON.parse(text)
}

/** The same as parseJson for an object, none of whose keys may come twice. */
export function parseJsonObject(bytes: Uint8Array, path: string): Record<string, unknown> {
  const json = parseJson(bytes, path)
  if (!isObject(json)) return formatFailure(path)('not a JSON object')
  const twice = duplicateKey(new TextDecoder().decode(bytes))
  if (twice !== null) formatFailure(path)(`it has the key ${twice} twice`)
  return json
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** The first key that one object of a JSON text has twice (JSON.parse keeps the last), or null. The text is valid JSON. */
export function duplicateKey(text: string): string | null {
  const open: (Set<string> | null)[] = [] // the keys of each object around the place; null for an array
  let last = ''
  for (let at = 0; at < text.length; at++) {
    const c = text[at]
    if (c === '"') {
      const start = at
      for (at++; text[at] !== '"'; at++) if (text[at] === '\\') at++
      last = text.slice(start, at + 1)
    } else if (c === '{') open.push(new Set())
    else if (c === '[') open.push(null)
    else if (c === '}' || c === ']') open.pop()
    else if (c === ':') {
      const key = JSON.parse(last) as string
      const keys = open.at(-1)!
      if (keys.has(key)) return last
      keys.add(key)
    }
  }
  return null
}
