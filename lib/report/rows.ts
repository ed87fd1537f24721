import { loadSharp } from '../base/optional.js'
import { sizeOf } from '../base/shape.js'
import { gridPng } from '../data/grid.js'
import { FONT, svgPng } from './fonts.js'
import { escaped } from './html.js'

/** A row of samples, [n, channels, height, width] in [-1, 1], with what it shows. */
export interface LabelledRow {
  label: string
  samples: Float32Array
}

const [MARGIN, TEXT, LETTER] = [12, 18, 11]
const MOST_LETTERS = 40

/** Rows of as many samples each as a PNG, the labels at their left and a line of text above. */
export async function rowsPng(title: string, rows: readonly LabelledRow[], shape: readonly number[]): Promise<Buffer> {
  const size = sizeOf(shape)
  const columns = rows[0].samples.length / size
  const samples = new Float32Array(rows.length * columns * size)
  rows.forEach((row, i) => {
    samples.set(row.samples, i * columns * size)
  })
  const grid = await gridPng(samples, shape, { columns, size: Math.min(900, 90 * columns) })
  const sharp = await loadSharp('drawing samples')
  const { width, height } = await sharp(grid).metadata()
  const labels = rows.map(({ label }) => (label.length > MOST_LETTERS ? `${label.slice(0, MOST_LETTERS)} ...` : label))
  const longest = Math.max(...labels.map(({ length }) => length))
  const left = longest > 0 ? MARGIN + longest * LETTER : MARGIN
  const top = 2 * MARGIN + TEXT
  const whole = [Math.max(left + width + MARGIN, title.length * LETTER + 2 * MARGIN), top + height + MARGIN]
  const text = (x: number, y: number, words: string) =>
    `<text x="${x}" y="${y}" font-family="${FONT}" font-size="${TEXT}">${escaped(words)}</text>`
  const middle = (i: number) => top + ((i + 0.5) * height) / rows.length + TEXT / 3
  const svg = [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${whole[0]}" height="${whole[1]}">`,
    '<rect width="100%" height="100%" fill="white"/>',
    text(MARGIN, MARGIN + TEXT, title),
    ...labels.map((label, i) => text(MARGIN, middle(i), label)),
    `</svg>`,
  ].join('')
  return sharp(await svgPng(svg, 72))
    .composite([{ input: grid, left, top }])
    .png()
    .toBuffer()
}
