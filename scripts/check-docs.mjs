#!/usr/bin/env node
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { root } from './native.mjs'

/**
 * Checks that what is cited is there: pages that comments name (docs/concepts/smc.md, with or without #a-heading), and what the pages
 * themselves link to inside the repository; that every page is in the navigation; that explained messages are in the source.
 */

/** Files that the program writes, which comments name too. */
const written = new Set(['report.md', 'results.md'])

const files = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], {
  cwd: root,
  encoding: 'utf8',
})
  .split('\n')
  .filter((file) => file && fs.existsSync(path.join(root, file)))
const read = (file) => fs.readFileSync(path.join(root, file), 'utf8')

/** A heading as VitePress and GitHub spell it in an address. */
const slug = (heading) =>
  heading
    .toLowerCase()
    .replace(/[`*_]/g, '')
    .replace(/[^\p{L}\p{N}\s-]/gu, '')
    .trim()
    .replace(/\s/g, '-')

const headings = (file) =>
  read(file)
    .replace(/^```[\s\S]*?^```/gm, '')
    .match(/^#+ .*/gm)
    ?.map((line) => slug(line.replace(/^#+ /, ''))) ?? []

const problems = []
function check(from, target, heading) {
  const file = path.normalize(target)
  if (!fs.existsSync(path.join(root, file))) problems.push(`${from}: there is no ${file}`)
  else if (heading && !headings(file).includes(heading)) problems.push(`${from}: ${file} has no heading #${heading}`)
}

const lineOf = (text, index) => text.slice(0, index).split('\n').length

for (const file of files.filter((name) => /\.(ts|m?js|cjs|h|cc|cpp|cu|cuh|py|sh)$|^\.ci\/|^CMakeLists/.test(name))) {
  const text = read(file)
  for (const found of text.matchAll(/(?:^[ \t]*(?:\/?\*|\/\/|#)|\/\/ |\/\*)(.*)$/gm))
    for (const [, cited, heading] of found[1].matchAll(/(?<![\w./<>-])([\w][\w./-]*\.md)(?:#([\w-]+))?/g))
      if (!written.has(cited)) check(`${file}:${lineOf(text, found.index)}`, cited, heading)
}

const ownPage = /^https:\/\/(?:github|raw\.githubusercontent)\.com\/feynkac\/feynkac\/(?:(?:blob|tree)\/)?main\/([^#]+)/
const generated = /^\.?\/?(cli|api|options\.md)\b/ // pages of the site that docs/build.mjs writes
for (const file of files.filter((name) => name.endsWith('.md') && !name.startsWith('bench/results/'))) {
  const text = read(file).replace(/^```[\s\S]*?^```/gm, (block) => block.replace(/[^\n]/g, ''))
  for (const { 1: link, index } of text.matchAll(/\]\(([^)\s]+)\)/g)) {
    const from = `${file}:${lineOf(text, index)}`
    const own = file === 'README.md' && ownPage.exec(link)
    if (own) check(from, decodeURIComponent(own[1]))
    if (/^[a-z]+:/.test(link)) continue
    if (file === 'README.md')
      problems.push(`${from}: ${link} must be a whole address, as it is also read outside of the repository`)
    const [target, heading] = link.split('#')
    const resolved = target ? path.join(path.dirname(file), target) : file
    const page = path.relative('docs/reference', resolved)
    if (!generated.test(page)) check(from, resolved, heading && decodeURIComponent(heading))
  }
}

/** Every page has a place in the navigation of the site; reports of experiments are listed by their folder. */
const navigation = read('docs/.vitepress/config.mjs')
for (const file of files.filter(
  (name) => /^docs\/.*\.md$/.test(name) && !/^docs\/(index\.md|experiments\/)/.test(name),
))
  if (!navigation.includes(`'/${file.slice('docs/'.length, -'.md'.length)}'`))
    problems.push(`${file}: it is not in the navigation (docs/.vitepress/config.mjs)`)

/** The messages of the page that explains them, with … for what varies: every part must be in the source. */
const sources = files
  .filter((name) => /^(lib|bin|native)\/.*\.(ts|js|cpp)$/.test(name))
  .map(read)
  .join('\n')
for (const [, message] of read('docs/diagnose/messages.md').matchAll(/^### `(.*)`$/gm))
  for (const part of message.split('…').filter((text) => text.trim().length > 3))
    if (!sources.includes(part.trim())) problems.push(`docs/diagnose/messages.md: no message says '${part}'`)

for (const problem of problems) console.error(problem)
if (problems.length) process.exitCode = 1
else console.log('pages cited and linked to: all there')
