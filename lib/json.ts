import { FormatError } from './errors.js'

/** Parses JSON of a file or throws FormatError. */
export function parseJson(bytes: Uint8Array, path: string): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch (cause) {
    throw new FormatError(`${path}: not JSON: ${(cause as Error).message}`, path, { cause })
  }
}

/** The same for an object, none of whose keys may come twice. */
export function parseJsonObject(bytes: Uint8Array, path: string): Record<string, unknown> {
  const json = parseJson(bytes, path)
  if (!isObject(json)) throw new FormatError(`${path}: not a JSON object`, path)
  const twice = duplicateKey(new TextDecoder().decode(bytes))
  if (twice !== null) throw new FormatError(`${path}: it has the key ${twice.slice(0, 200)} twice`, path)
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
