#!/usr/bin/env node
import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

/** Formats the C++ of native/ and bench/native/; with --check, names the files that differ and fails. */

const root = fileURLToPath(new URL('..', import.meta.url))
const clangFormat = path.join(
  path.dirname(createRequire(import.meta.url).resolve('clang-format/package.json')),
  'index.js',
)
const sources = ['native', 'bench/native']
  .flatMap((folder) => readdirSync(path.join(root, folder), { recursive: true }).map((name) => path.join(folder, name)))
  .filter((name) => /\.(h|cpp|cc|cu|cuh)$/.test(name))
  .sort()
const mode = process.argv.includes('--check') ? ['--dry-run', '--Werror'] : ['-i']
const { status } = spawnSync(process.execPath, [clangFormat, ...mode, ...sources], { cwd: root, stdio: 'inherit' })
process.exitCode = status ?? 1
