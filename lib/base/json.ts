import { formatFailure } from './errors.js'
import { standIn } from './stand-ins.js'

/** Parses JSON of a file or throws FormatError. values: the most that it may hold. */
export function parseJson(bytes: Uint8Array, path: string, values?: number): unknown {
  try {
    return parseBounded(new TextDecoder('utf-8', { fatal: true }).decode(bytes), values)
  } catch (cause) {
    return formatFailure(path)(standIn(bytes) ?? `not JSON: ${(cause as Error).message}`, cause)
  }
}

const MAX_DEPTH = 64
const MAX_VALUES = 4e6

/**
 * JSON.parse for texts from files, also as Python writes it, with Infinity, -Infinity and NaN. A hundred megabytes of brackets or zeros
 * would cost it half a minute and gigabytes, so that depth and number of what is in it are looked at first. Throws SyntaxError.
 */
export function parseBounded(text: string, most = MAX_VALUES): unknown {
  let depth = 0
  let values = 1
  let python = false
  for (let at = 0; at < text.length; at++) {
    const c = text.charCodeAt(at)
    if (c === 0x22) {
      // a text: up to the next quote that is not escaped
      for (at++; at < text.length && text.charCodeAt(at) !== 0x22; at++) if (text.charCodeAt(at) === 0x5c) at++
    } else if (c === 0x5b || c === 0x7b) {
      if (++depth > MAX_DEPTH) throw new SyntaxError(`nested more than ${MAX_DEPTH} deep`)
      values++
    } else if (c === 0x5d || c === 0x7d) depth--
    else if (c === 0x2c) values++
    else if (c === 0x49 || c === 0x4e) python = true // I, N
    if (values > most) throw new SyntaxError(`more than ${most} values`)
  }
  return python ? parsePython(text) : JSON.parse(text)
}

/** What stands for NaN, for which JSON has no number: no text of a file begins so by chance. */
const NAN = '\0feynkac:NaN'

function parsePython(text: string): unknown {
  const json = text.replace(/"(?:[^"\\]|\\.)*"|Infinity|NaN/g, (token) =>
    token === 'Infinity' ? '1e999' : token === 'NaN' ? JSON.stringify(NAN) : token,
  )
  return JSON.parse(json, (_, value) => (value === NAN ? Number.NaN : value))
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
