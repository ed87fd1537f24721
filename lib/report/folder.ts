import { join } from 'node:path'
import { fileError, makeFolder, writeFileAtomic } from '../files.js'
import { type Block, htmlReport } from './html.js'
import { markdownReport } from './markdown.js'

/** A picture of a report. */
export interface Figure {
  /** Of its file, without .png. */
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
  /** What results.json holds. */
  result: unknown
}

/** Makes the folder of a report: before the work, so that the work is not lost. Throws FileError. */
export async function makeReportFolder(folder: string): Promise<void> {
  try {
    await makeFolder(folder)
  } catch (error) {
    throw fileError(error, folder, 'make the directory')
  }
}

/** Writes report.html, which needs nothing else, report.md, results.json and the figures; the names of the files. Throws FileError. */
export async function writeReport(folder: string, { title, blocks, figures, result }: Report): Promise<string[]> {
  const contents: [string, string | Buffer][] = [
    ['report.html', htmlReport(title, blocks)],
    ['report.md', markdownReport(title, blocks)],
    ['results.json', `${JSON.stringify(result, null, 1)}\n`],
    ...figures.map(({ name, png }): [string, Buffer] => [`${name}.png`, png]),
  ]
  const files: string[] = []
  for (const [name, content] of contents) {
    files.push(join(folder, name))
    await writeFileAtomic(files.at(-1)!, [typeof content === 'string' ? Buffer.from(content) : content])
  }
  return files
}
