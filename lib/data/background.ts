/** Colours that transparent parts of pictures are laid on. */

export const COLOURS = 'black, white or #rrggbb'

const HEX = /^#[0-9a-f]{6}$/i

export const isColour = (text: string): boolean => text === 'black' || text === 'white' || HEX.test(text)

/** Red, green and blue in bytes. */
export function colourOf(background = 'black'): [number, number, number] {
  if (!HEX.test(background)) return background === 'white' ? [255, 255, 255] : [0, 0, 0]
  const hex = Number.parseInt(background.slice(1), 16)
  return [hex >> 16, (hex >> 8) & 255, hex & 255]
}
