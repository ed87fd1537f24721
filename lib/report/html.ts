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

export function htmlReport(title: string, blocks: readonly Block[]): string {
  const body = blocks.map(block).join('\n')
  return `<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>${escaped(title)}</title><style>${style}</style>\n<h1>${escaped(title)}</h1>\n${body}\n</html>\n`
}

function block(b: Block): string {
  if ('heading' in b) return `<h2>${escaped(b.heading)}</h2>`
  if ('text' in b) return `<p>${escaped(b.text)}</p>`
  if ('picture' in b)
    return `<figure><img alt="${escaped(b.caption)}" src="data:image/png;base64,${b.picture.toString('base64')}"><figcaption>${escaped(b.caption)}</figcaption></figure>`
  const row = (cells: readonly string[], tag: string) =>
    `<tr>${cells.map((cell) => `<${tag}>${escaped(cell)}</${tag}>`).join('')}</tr>`
  return `<table>${row(b.header, 'th')}${b.rows.map((cells) => row(cells, 'td')).join('')}</table>`
}
