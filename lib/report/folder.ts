import { join } from 'node:path'
import { writeFileAtomic } from '../base/files.js'
import { type Block, htmlReport } from './html.js'
import { markdownReport } from './markdown.js'

/** A picture of a report. */
export interface Figure {
  /** Name of its file, without .png. */
  name: string
  caption: string
  png: Buffer
}

/** A figure as a part of the report. */
export const pictureOf = ({ name, caption, png }: Figure): Block => ({ picture: png, caption, file: `${name}.png` })

export interface Report {
  title: string
  blocks: readonly Block[]
  figures: readonly Figure[]
}

/** Writes results.json: before pictures are drawn of them, so that the numbers are not lost with those. Throws FileError. */
export async function writeResults(folder: string, result: unknown): Promise<string> {
  const path = join(folder, 'results.json')
  await writeFileAtomic(path, `${JSON.stringify(result, null, 1)}\n`)
  return path
}

/** Writes report.html, which needs nothing else, report.md and the figures; the names of the files. Throws FileError. */
export async function writeReport(folder: string, { title, blocks, figures }: Report): Promise<string[]> {
  const files: string[] = []
  const contents: [string, Iterable<Buffer>][] = [
    ['report.html', htmlReport(title, blocks)],
    ['report.md', [Buffer.from(markdownReport(title, blocks))]],
    ...figures.map(({ name, png }): [string, Buffer[]] => [`${name}.png`, [png]]),
  ]
  for (const [name, content] of contents) {
    files.push(join(folder, name))
    await writeFileAtomic(files.at(-1)!, content)
  }
  return files
}
