import { uniformAt } from '../lib/base/random.js'

/** Seeded damage to a file's bytes: cut short, bits flipped, bytes replaced, a piece left out or repeated. */
export function* corruptions(file: Uint8Array, count: number, seed: number): Generator<Uint8Array> {
  const bytes = Uint8Array.from(file) // slice() of a Buffer would share its memory
  for (let n = 0; n < count; n++) {
    let at = 0
    const below = (limit: number) => Math.floor(uniformAt(seed, 11, 0, n, at++) * limit)
    const place = below(bytes.length)
    switch (below(4)) {
      case 0:
        yield bytes.slice(0, place)
        break
      case 1: {
        const out = bytes.slice()
        for (let k = below(4); k >= 0; k--) out[below(bytes.length)] ^= 1 << below(8)
        yield out
        break
      }
      case 2: {
        const out = bytes.slice()
        for (let k = below(8); k >= 0; k--) out[below(Math.min(bytes.length, 200))] = below(256)
        yield out
        break
      }
      default: {
        const end = Math.min(bytes.length, place + below(16))
        yield below(2)
          ? Buffer.concat([bytes.subarray(0, place), bytes.subarray(end)])
          : Buffer.concat([bytes.subarray(0, end), bytes.subarray(place)])
      }
    }
  }
}
