#!/usr/bin/env node
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

/** Writes into dist/ which commit it was built from, for what names its origin (samples.json); a `+` where sources had changed since. Nothing outside of a clone. */
export function recordCommit() {
  const root = fileURLToPath(new URL('..', import.meta.url))
  const file = path.join(root, 'dist/commit.txt')
  const git = (...args) => execFileSync('git', ['-C', root, ...args], { stdio: ['ignore', 'pipe', 'ignore'] }).toString().trim() // biome-ignore format: one line
  fs.rmSync(file, { force: true })
  try {
    // a package that lies in another project's clone is not of that
    if (fs.realpathSync(git('rev-parse', '--show-toplevel')) !== fs.realpathSync(root)) return
    const changed = git('status', '--porcelain', '--', 'lib', 'native') !== ''
    fs.writeFileSync(file, `${git('rev-parse', 'HEAD')}${changed ? '+' : ''}\n`)
  } catch {} // no git, or no clone
}

if (process.argv[1] === fileURLToPath(import.meta.url)) recordCommit()
