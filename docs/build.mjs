#!/usr/bin/env node
import { execFileSync, spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { optionsPage } from './options.mjs'

/**
 * Builds the documentation site: the pages of docs/, the API reference from the docstrings, the commands from their own help, the options
 * from the tables that check them. The site's packages are docs/package.json's alone.
 *
 *   npm run docs                 builds docs/.vitepress/dist; a dead link fails
 *   npm run docs -- --serve      and shows it
 *   npm run docs -- --test       and reads it in Chromium
 */

const docs = fileURLToPath(new URL('.', import.meta.url))
const root = path.join(docs, '..')
const here = (...parts) => path.join(docs, ...parts)
const { values: options } = parseArgs({
  options: { serve: { type: 'boolean' }, test: { type: 'boolean' }, port: { type: 'string', default: '4173' } },
})

/** Its output is shown where it fails. */
function quietly(command, args, cwd = docs) {
  const { status, stdout, stderr, error } = spawnSync(command, args, { cwd, encoding: 'utf8', maxBuffer: 2 ** 26 })
  if (error) throw error
  if (status === 0) return `${stdout}${stderr}`
  process.stderr.write(`${stdout}${stderr}`)
  console.error(`docs: ${[command, ...args].join(' ')} failed`)
  process.exit(1)
}

function packages() {
  const wanted = JSON.parse(fs.readFileSync(here('package-lock.json'), 'utf8')).packages
  const lock = here('node_modules/.package-lock.json')
  const found = fs.existsSync(lock) ? JSON.parse(fs.readFileSync(lock, 'utf8')).packages : {}
  const current = ([where, { version, optional }]) =>
    where === '' || (optional && !found[where]) || found[where]?.version === version
  if (Object.entries(wanted).every(current)) return
  console.error('docs: packages ...')
  quietly('npm', ['ci', '--no-audit', '--no-fund'])
}

const feynkac = (...args) =>
  execFileSync(process.execPath, [path.join(root, 'bin/feynkac.js'), ...args], { encoding: 'utf8' })

/** One page for each command: what `--help` prints. */
function commands() {
  const folder = here('reference/cli')
  fs.rmSync(folder, { recursive: true, force: true })
  fs.mkdirSync(folder, { recursive: true })
  const help = feynkac('--help')
  const listed = [...help.slice(help.indexOf('Commands:')).matchAll(/^ {2}([a-z-]+)[^\S\n]+(\S.*)$/gm)]
  const entries = listed.map(([, name, summary]) => ({ name, summary })).filter(({ name }) => name !== 'help')
  for (const { name, summary } of entries)
    fs.writeFileSync(
      path.join(folder, `${name}.md`),
      `# feynkac ${name}\n\n${summary[0].toUpperCase()}${summary.slice(1)}.\n\n\`\`\`text\n${feynkac(name, '--help').trim()}\n\`\`\`\n`,
    )
  const rows = entries.map(({ name, summary }) => `| [\`${name}\`](${name}.md) | ${summary} |`)
  const common = 'All but `build` know `--device`, `--precision`, `--seed`, `--threads`, `--json` and `--verbose`.'
  fs.writeFileSync(
    path.join(folder, 'index.md'),
    `# Commands\n\n| | |\n|---|---|\n${rows.join('\n')}\n\n${common} [Exit codes](../errors.md#exit-codes-of-the-commands).\n`,
  )
  return entries.length
}

packages()
const count = commands()
fs.writeFileSync(here('reference/options.md'), `${optionsPage()}\n`)
quietly(here('node_modules/.bin/typedoc'), ['--options', here('typedoc.json')])
quietly(here('node_modules/.bin/vitepress'), ['build'])
const pages = fs.readdirSync(here('.vitepress/dist'), { recursive: true }).filter((file) => file.endsWith('.html'))
console.log(`docs: ${pages.length} pages in docs/.vitepress/dist, of ${count} commands and the API`)

if (options.test) await import('./site-test.mjs')
if (options.serve)
  spawnSync(here('node_modules/.bin/vitepress'), ['preview', '--port', options.port], { cwd: docs, stdio: 'inherit' })
