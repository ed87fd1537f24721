/** A report as one HTML file that needs nothing else: pictures are inside. */

/** Part of a report; `file`: the picture's own file beside it. */
export type Block =
  | { heading: string }
  | { text: string }
  | { picture: Buffer; caption: string; file: string }
  | { header: readonly string[]; rows: readonly (readonly string[])[] }

export const escaped = (text: string) =>
  text.replace(/[&<>"]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[c]!)

const style = `body{font:16px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#222}
img{max-width:100%;image-rendering:auto}figure{margin:1rem 0}figcaption{color:#555;font-size:.9em}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}td,th{padding:.2rem .8rem;border-bottom:1px solid #ddd;text-align:right}
td:first-child,th:first-child,td:nth-child(2),th:nth-child(2){text-align:left}`

/** Bytes of a picture that are written as base64 at a time: a multiple of 3, so that the pieces make one text. */
const PIECE = 3 * 2 ** 16

/** The file, piece by piece: pictures may be large, and many. */
export function* htmlReport(title: string, blocks: readonly Block[]): Generator<Buffer> {
  const head = `<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>${escaped(title)}</title><style>${style}</style>\n<h1>${escaped(title)}</h1>\n`
  yield Buffer.from(head)
  for (const block of blocks) {
    if ('picture' in block) yield* figure(block)
    else yield Buffer.from(text(block))
    yield Buffer.from('\n')
  }
  yield Buffer.from('</html>\n')
}

function* figure({ picture, caption }: { picture: Buffer; caption: string }): Generator<Buffer> {
  yield Buffer.from(`<figure><img alt="${escaped(caption)}" src="data:image/png;base64,`)
  for (let at = 0; at < picture.length; at += PIECE)
    yield Buffer.from(picture.toString('base64', at, Math.min(picture.length, at + PIECE)), 'latin1')
  yield Buffer.from(`"><figcaption>${escaped(caption)}</figcaption></figure>`)
}

function text(b: Exclude<Block, { picture: Buffer }>): string {
  if ('heading' in b) return `<h2>${escaped(b.heading)}</h2>`
  if ('text' in b) return `<p>${escaped(b.text)}</p>`
  const row = (cells: readonly string[], tag: string) =>
    `<tr>${cells.map((cell) => `<${tag}>${escaped(cell)}</${tag}>`).join('')}</tr>`
  return `<table>${row(b.header, 'th')}${b.rows.map((cells) => row(cells, 'td')).join('')}</table>`
}
