import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { root } from './documents.js'

/** What the declarations of the built package say of its exports, as an editor shows them. */

export interface Declared {
  /** sample, or SmcResult.save of a member. */
  name: string
  kind: 'function' | 'class' | 'interface' | 'type' | 'const'
  /** The text of its docstring, '' where it has none. */
  documented: string
  /** Whether it is called with arguments. */
  takes: boolean
}

/** The names that a file passes on from others, each with the file that it names. */
function passedOn(text: string): { name: string; own: string; from: string }[] {
  return [...text.matchAll(/^export (?:type )?\{([^}]*)\} from '(.*)\.js';$/gm)].flatMap(([, names, from]) =>
    names!
      .split(',')
      .map((name) => name.trim().replace(/^type /, ''))
      .filter(Boolean)
      .map((name) => {
        const [own, as] = name.split(' as ') as [string, string?]
        return { name: as ?? own, own, from: `${from}.d.ts` }
      }),
  )
}

/** The docstring that ends above a line. */
function above(lines: string[], line: number): string {
  if (!lines[line - 1]?.trimEnd().endsWith('*/')) return ''
  let first = line - 1
  while (!lines[first]!.includes('/**')) first--
  return lines.slice(first, line).join('\n')
}

const unlisted = /^(#private|private |protected |\[Symbol\.)/
const memberName = /^(?:static |readonly |abstract |get |set |accessor )*([\w$]+)/

/** The lines of the file that declares a name, and the first of its declaration. */
function declaration(file: string, name: string): { lines: string[]; first: number; kind: Declared['kind'] } {
  const text = readFileSync(file, 'utf8')
  const lines = text.split('\n')
  const opening = new RegExp(`^export (?:declare )?(?:abstract )?(function|class|interface|type|const) ${name}\\b`)
  const first = lines.findIndex((line) => opening.test(line))
  if (first >= 0) return { lines, first, kind: opening.exec(lines[first]!)![1] as Declared['kind'] }
  const further = passedOn(text).find((each) => each.name === name)
  if (!further) throw new Error(`${file} does not declare ${name}`)
  return declaration(join(dirname(file), further.from), further.own)
}

/** Every export of dist/index.d.ts, and the members of those that are classes and interfaces; overloads once. */
export function declarations(index = join(root, 'dist/index.d.ts')): Declared[] {
  return passedOn(readFileSync(index, 'utf8')).flatMap(({ name, own, from }) => {
    const { lines, first, kind } = declaration(join(dirname(index), from), own)
    const found: Declared[] = [
      { name, kind, documented: above(lines, first), takes: kind === 'function' && !/^[^(]*\(\)/.test(lines[first]!) },
    ]
    if (kind !== 'class' && kind !== 'interface') return found
    const seen = new Set<string>()
    for (let i = first + 1; i < lines.length && !lines[i]!.startsWith('}'); i++) {
      const text = lines[i]!.slice(4)
      if (!/^ {4}[\w$#[]/.test(lines[i]!) || unlisted.test(text)) continue
      const member = memberName.exec(text)?.[1]
      if (!member || seen.has(member)) continue
      seen.add(member)
      found.push({
        name: `${name}.${member}`,
        kind,
        documented: above(lines, i),
        takes: /^[\w$ ]+(<.*>)?\((?!\))/.test(text),
      })
    }
    return found
  })
}
