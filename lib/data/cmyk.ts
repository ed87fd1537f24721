import { inPieces, turns } from '../base/turns.js'

/**
 * Interleaved red, green and blue of the inks of a picture for print, cyan, magenta, yellow and black: (1 - ink) (1 - black), in Pillow's rounding. libvips
 * would take them by a profile that is not the file's.
 */
export async function rgbOfCmyk(inks: Uint8Array, signal?: AbortSignal): Promise<Uint8Array> {
  const out = new Uint8Array((inks.length / 4) * 3)
  await inPieces(inks.length / 4, turns(signal), (first, end) => {
    for (let i = first; i < end; i++) {
      const light = 255 - inks[4 * i + 3]
      for (let c = 0; c < 3; c++) {
        const product = inks[4 * i + c] * light + 128
        out[3 * i + c] = light - (((product >> 8) + product) >> 8)
      }
    }
  })
  return out
}
