import type { Block } from './html.js'

/** The report as Markdown beside the files of its pictures: for repositories and notes. */
export function markdownReport(title: string, blocks: readonly Block[]): string {
  return `# ${title}\n\n${blocks.map(block).join('\n\n')}\n`
}

const cellText = (text: string) => text.replaceAll('|', '\\|')

function block(b: Block): string {
  if ('heading' in b) return `## ${b.heading}`
  if ('text' in b) return b.text
  if ('picture' in b) return `![${b.caption}](${b.file})\n\n*${b.caption}*`
  const row = (cells: readonly string[]) => `| ${cells.map(cellText).join(' | ')} |`
  return [row(b.header), `|${b.header.map(() => '---').join('|')}|`, ...b.rows.map(row)].join('\n')
}
