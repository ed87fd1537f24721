import { unzipSync, zipSync } from 'fflate'
import { damage } from './bytes.mjs'
import { damagePickle } from './pickles.mjs'

/** Damage inside of containers, with lengths and checksums made right again. */

/** An archive with its pickle, another file or its names changed; or the archive as it lies. */
export function damageArchive(bytes, r, other) {
  if (r.below(3) === 0) return damage(bytes, r, other)
  const files = unzipSync(bytes)
  const names = Object.keys(files)
  const pickle = names.find((name) => name.endsWith('data.pkl'))
  const kind = r.below(8)
  if (kind < 5) files[pickle] = damagePickle(Buffer.from(files[pickle]), r, other)
  else {
    const name = r.pick(names)
    if (kind === 5) files[name] = damage(Buffer.from(files[name]), r, other)
    else if (kind === 6) delete files[name]
    else
      files[r.pick(['archive/data/0', `${name}x`, 'data.pkl', '../x', 'a/byteorder', 'archive/byteorder'])] =
        files[name]
  }
  return Buffer.from(zipSync(files, { level: r.below(4) ? 0 : 6 }))
}

/** Safetensors with another header of the right length. */
export function damageSafetensors(bytes, r, other) {
  if (r.below(3) === 0) return damage(bytes, r, other)
  const length = Number(bytes.readBigUInt64LE())
  const header = damageJson(bytes.subarray(8, 8 + length), r, other)
  const prefix = Buffer.alloc(8)
  prefix.writeBigUInt64LE(BigInt(header.length))
  return Buffer.concat([prefix, header, bytes.subarray(8 + length)])
}

const VALUES = [
  null,
  true,
  0,
  -1,
  1.5,
  2 ** 31,
  2 ** 53,
  1e300,
  '',
  '..',
  '../x',
  '/etc/passwd',
  '__proto__',
  'constructor',
  'F32',
  'x'.repeat(1000),
  [],
  {},
  [[]],
  [1, 2, 3],
  { a: { b: 1 } },
]

/** JSON with a value, a key or a nesting changed; or as text. */
export function damageJson(bytes, r, other) {
  if (r.below(4) === 0) return damage(bytes, r, other)
  const json = JSON.parse(bytes.toString())
  const places = []
  const walk = (node) => {
    if (typeof node !== 'object' || node === null) return
    for (const key of Object.keys(node)) {
      places.push([node, key])
      walk(node[key])
    }
  }
  walk(json)
  for (let n = r.below(3); n >= 0 && places.length > 0; n--) {
    const [node, key] = r.pick(places)
    const kind = r.below(6)
    if (kind < 3) node[key] = r.pick(VALUES)
    else if (kind === 3) delete node[key]
    else if (kind === 4) {
      const name = r.pick(['__proto__', 'x', '0', 'weight_map', 'dtype'])
      const entry = { value: node[key], enumerable: true, configurable: true, writable: true }
      Object.defineProperty(node, name, entry)
    } else node[key] = r.pick(places)[0]
  }
  let text
  try {
    text = JSON.stringify(json)
  } catch {
    text = bytes.toString() // it now holds itself
  }
  if (r.below(20) === 0) text = text.replace(/\d+/, `${'['.repeat(20000)}${']'.repeat(20000)}`)
  return Buffer.from(text)
}
