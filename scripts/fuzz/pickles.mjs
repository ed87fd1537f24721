import { damage } from './bytes.mjs'

/** Damage to pickles that knows where their operations begin, so that most of the pickle still runs. */

/** Arguments of the operations: bytes, lines, or a length of so many bytes and what it says. */
const FIXED = { K: 1, M: 2, J: 4, G: 8, h: 1, j: 4, q: 1, r: 4, '\x80': 1, '\x95': 8, '\x82': 1, '\x83': 2, '\x84': 4 }
const LINES = { F: 1, I: 1, L: 1, S: 1, V: 1, P: 1, g: 1, p: 1, c: 2, i: 2 }
const LENGTHS = { X: 4, '\x8c': 1, '\x8d': 8, B: 4, C: 1, '\x8e': 8, '\x96': 8, T: 4, U: 1, '\x8a': 1, '\x8b': 4 }
const NAMES = [
  ['posix', 'system'],
  ['builtins', 'eval'],
  ['collections', 'OrderedDict'],
  ['collections', 'Counter'],
  ['torch', 'Size'],
  ['torch', 'FloatStorage'],
  ['torch', 'float32'],
  ['torch._utils', '_rebuild_tensor_v2'],
  ['torch._utils', '_rebuild_tensor_v3'],
  ['torch._utils', '_rebuild_parameter'],
  ['torch._tensor', '_rebuild_from_type_v2'],
  ['torch.storage', '_load_from_bytes'],
  ['torch.nn.modules.linear', 'Linear'],
  ['torch_utils.persistence', '_reconstruct_persistent_obj'],
  ['copyreg', '_reconstructor'],
  ['copyreg', '__newobj__'],
  ['_codecs', 'encode'],
  ['builtins', 'set'],
  ['builtins', 'bytearray'],
  ['numpy.core.multiarray', 'scalar'],
  ['numpy', 'dtype'],
]
const SIMPLE = '(.012N)]}ltdaesuboRQ\x81\x85\x86\x87\x88\x89\x8f\x90\x91\x92\x93\x94\x98'

/** The operations of a pickle from a place up to its STOP, as pieces; null where it cannot be followed. */
export function operations(bytes, from = 0) {
  const pieces = []
  for (let at = from; at < bytes.length; ) {
    const code = String.fromCharCode(bytes[at])
    let end = at + 1 + (FIXED[code] ?? 0)
    for (let line = LINES[code] ?? 0; line > 0; line--) {
      end = bytes.indexOf(10, end) + 1
      if (end === 0) return null
    }
    const width = LENGTHS[code]
    if (width) {
      if (end + width > bytes.length) return null
      end += width + (width === 8 ? Number(bytes.readBigUInt64LE(end)) : bytes.readUIntLE(end, width))
    }
    if (end > bytes.length) return null
    pieces.push(bytes.subarray(at, end))
    at = end
    if (code === '.') return pieces
  }
  return null
}

function newOperation(r) {
  const kind = r.below(8)
  if (kind < 3) return Buffer.from(SIMPLE[r.below(SIMPLE.length)], 'latin1')
  if (kind === 3) return Buffer.from(`c${r.pick(NAMES).join('\n')}\n`)
  if (kind === 4) return Buffer.from([0x68, r.below(64)])
  if (kind === 5) return Buffer.from([0x71, r.below(64)])
  if (kind === 6) {
    const number = Buffer.alloc(5, 0x4a)
    number.writeInt32LE(r.pick([0, 1, -1, 2 ** 31 - 1, -(2 ** 31), r.below(100)]), 1)
    return number
  }
  // an operation with a length that is not there
  return Buffer.concat([
    Buffer.from(r.pick(Object.keys(LENGTHS)), 'latin1'),
    r.pick([r.bytes(9), Buffer.alloc(9, 255), Buffer.alloc(9)]),
  ])
}

export function damagePickle(bytes, r, other) {
  const pieces = operations(bytes)
  if (!pieces || r.below(5) === 0) return damage(bytes, r, other)
  const rest = bytes.subarray(pieces.reduce((n, piece) => n + piece.length, 0))
  for (let n = r.below(4); n >= 0; n--) {
    const at = r.below(pieces.length)
    switch (r.below(7)) {
      case 0:
        pieces.splice(at, 1 + r.below(4))
        break
      case 1:
        pieces.splice(at, 0, ...pieces.slice(r.below(pieces.length)).slice(0, 1 + r.below(12)))
        break
      case 2:
        pieces[at] = newOperation(r)
        break
      case 3:
        pieces.splice(at, 0, newOperation(r))
        break
      case 4: {
        const to = r.below(pieces.length)
        ;[pieces[at], pieces[to]] = [pieces[to], pieces[at]]
        break
      }
      case 5: {
        // a short run of operations, very often
        const run = pieces.slice(at, at + 1 + r.below(6))
        if (run.reduce((n, piece) => n + piece.length, 0) > 200) break
        for (let k = r.below(300); k > 0; k--) pieces.splice(at, 0, ...run)
        break
      }
      default: {
        // an argument of its own
        const piece = Buffer.from(pieces[at] ?? [])
        if (piece.length > 1) piece[1 + r.below(piece.length - 1)] = r.pick([0, 1, 255, 128, r.below(256)])
        pieces[at] = piece
      }
    }
    if (pieces.length === 0) break
  }
  return Buffer.concat([...pieces, rest])
}

/** Damage to one of the pickles of an old file of PyTorch, or to its storages. */
export function damageLegacy(bytes, r, other) {
  const starts = [0]
  for (let n = 0; n < 4; n++) {
    const pieces = operations(bytes, starts.at(-1))
    if (!pieces) return damage(bytes, r, other)
    starts.push(starts.at(-1) + pieces.reduce((sum, piece) => sum + piece.length, 0))
  }
  const at = starts[r.below(5)]
  return Buffer.concat([bytes.subarray(0, at), damagePickle(bytes.subarray(at), r, other)])
}
