import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The examples of the documents and the docstrings, as files that can be compiled and run. */

export const root = fileURLToPath(new URL('..', import.meta.url))

export interface Example {
  /** Where it stands: file:line. */
  from: string
  code: string
}

const pages = (): string[] =>
  execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', 'README.md', 'docs'], {
    cwd: root,
    encoding: 'utf8',
  })
    .split('\n')
    .filter((file) => file.endsWith('.md'))

/** The blocks of one language. */
export function blocks(file: string, language: string): Example[] {
  const text = readFileSync(join(root, file), 'utf8')
  return [...text.matchAll(new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\``, 'gms'))].map(({ 1: code, index }) => ({
    from: `${file}:${text.slice(0, index).split('\n').length}`,
    code: code!,
  }))
}

/** Whole programs of the pages: blocks that import what they use. */
export const programs = (): Example[] =>
  pages().flatMap((file) => blocks(file, 'js').filter(({ code }) => code.startsWith('import ')))

/** What docstrings give as @example. */
export function docstringExamples(): Example[] {
  const sources = readdirSync(join(root, 'lib'), { recursive: true, encoding: 'utf8' }).filter((f) => f.endsWith('.ts'))
  return sources.flatMap((name) => {
    const text = readFileSync(join(root, 'lib', name), 'utf8')
    return [...text.matchAll(/@example\n((?: *\*.*\n)*?) *\* ```js\n((?: *\*.*\n)*?) *\* ```/g)].map(
      ({ 2: code, index }) => ({
        from: `${relative(root, join(root, 'lib', name))}:${text.slice(0, index).split('\n').length}`,
        code: code!.replace(/^ *\* ?/gm, ''),
      }),
    )
  })
}

/** The shell commands of a page: continued lines joined, comments left out. */
export const commands = (file: string): string[] =>
  blocks(file, 'sh').flatMap(({ code }) =>
    code
      .replace(/\\\n\s*/g, '')
      .split('\n')
      .map((line) => line.replace(/\s+#.*$/, '').trim())
      .filter(Boolean),
  )
