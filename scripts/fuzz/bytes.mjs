/** Damage to bytes of any format. Each takes (bytes, random, other bytes) and gives new bytes. */

const EXTREMES = [
  0n,
  1n,
  0x7fn,
  0xffn,
  0x7fffn,
  0xffffn,
  2n ** 31n - 1n,
  2n ** 31n,
  2n ** 32n - 1n,
  2n ** 53n,
  2n ** 63n,
  2n ** 64n - 1n,
]

const flip = (bytes, r) => {
  const out = Buffer.from(bytes)
  for (let n = r.below(8); n >= 0; n--) out[r.below(out.length)] ^= 1 << r.below(8)
  return out
}

const replace = (bytes, r) => {
  const out = Buffer.from(bytes)
  for (let n = r.below(6); n >= 0; n--) out[r.below(out.length)] = r.below(256)
  return out
}

const truncate = (bytes, r) => bytes.subarray(0, r.below(bytes.length))

const removeSome = (bytes, r) => {
  const at = r.below(bytes.length)
  return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1 + r.below(32))])
}

const repeatSome = (bytes, r) => {
  const at = r.below(bytes.length)
  const piece = bytes.subarray(at, at + 1 + r.below(64))
  return Buffer.concat([bytes.subarray(0, at), ...Array(1 + r.below(20)).fill(piece), bytes.subarray(at)])
}

const insert = (bytes, r) => {
  const at = r.below(bytes.length)
  return Buffer.concat([bytes.subarray(0, at), r.bytes(1 + r.below(16)), bytes.subarray(at)])
}

const splice = (bytes, r, other) => {
  const [at, from] = [r.below(bytes.length), r.below(other.length)]
  const keep = r.below(2) ? bytes.subarray(at + r.below(64)) : Buffer.alloc(0)
  return Buffer.concat([bytes.subarray(0, at), other.subarray(from, from + 1 + r.below(other.length)), keep])
}

/** A number somewhere becomes an extreme one, or about the size of the file. */
const extreme = (bytes, r) => {
  const out = Buffer.from(bytes)
  const size = r.pick([1, 2, 4, 8])
  const at = r.below(Math.max(1, out.length - size))
  const value = r.below(4) ? r.pick(EXTREMES) : BigInt(Math.max(0, out.length - 8 + r.below(16)))
  const number = Buffer.alloc(8)
  number.writeBigUInt64LE(BigInt.asUintN(64, value))
  number.copy(out, at, 0, Math.min(size, out.length - at))
  return out
}

export const DAMAGE = [flip, flip, replace, truncate, removeSome, repeatSome, insert, splice, extreme, extreme]

export function damage(bytes, r, other) {
  return bytes.length === 0 ? r.bytes(4) : r.pick(DAMAGE)(bytes, r, other)
}
