#!/usr/bin/env node
import { spawn, spawnSync } from 'node:child_process'
import fs from 'node:fs'
import { createRequire } from 'node:module'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { inParallel } from './gpu/process.mjs'
import { forgetOld, note, remembered, versionOf, withIncludes } from './remember.mjs'

/**
 * Runs clang-tidy by .clang-tidy over every source of native/ (or the given ones), a few at a time; fails on any finding. What
 * was without findings is not looked at again where .ci/run keeps that (scripts/remember.mjs).
 */

const root = fileURLToPath(new URL('..', import.meta.url))
const build = path.join(root, 'build-tidy')
const require = createRequire(import.meta.url)

/** Newest version wins: Debian names the program after it. */
function findTool() {
  const names = process.env.CLANG_TIDY ? [process.env.CLANG_TIDY] : ['clang-tidy']
  if (!process.env.CLANG_TIDY) for (let version = 21; version >= 14; version--) names.push(`clang-tidy-${version}`)
  return names.find((name) => spawnSync(name, ['--version']).status === 0)
}

/** One command per source. The kernels are compiled once for each instruction set: the last has the widest. */
function compileCommands() {
  const headers = [
    require('node-api-headers').include_dir,
    path.dirname(require.resolve('node-addon-api/package.json')),
  ]
  // the CUDA kernels count as C++ here, as they do when they run on the CPU
  const configure = [
    '-S',
    root,
    '-B',
    build,
    '-DFEYNKAC_TESTS=ON',
    '-DFEYNKAC_CUDA=EMULATED',
    `-DCMAKE_JS_INC=${headers.join(';')}`,
  ]
  const { status, stdout, stderr } = spawnSync('cmake', configure, { encoding: 'utf8' })
  if (status !== 0) throw new Error(`cmake ${configure.join(' ')} ended with ${status}\n${stdout}${stderr}`)
  const file = path.join(build, 'compile_commands.json')
  const commands = new Map(JSON.parse(fs.readFileSync(file, 'utf8')).map((entry) => [entry.file, entry]))
  fs.writeFileSync(file, JSON.stringify([...commands.values()], null, 2))
  return [...commands.values()]
}

function tidy(tool, source) {
  return new Promise((resolve, reject) => {
    const child = spawn(tool, ['--quiet', '-p', build, source], { stdio: ['ignore', 'pipe', 'pipe'] })
    const output = []
    const notes = [] // "12345 warnings generated", of no interest unless it fails
    child.stdout.on('data', (chunk) => output.push(chunk))
    child.stderr.on('data', (chunk) => notes.push(chunk))
    child.on('error', reject)
    child.on('close', (status) => {
      const findings = Buffer.concat(output).toString()
      if (findings || status !== 0) process.stdout.write(findings || `${source}: ${Buffer.concat(notes)}`)
      resolve(status === 0 && !findings)
    })
  })
}

const tool = findTool()
if (!tool) {
  console.error(
    'clang-tidy is not installed. Debian, Ubuntu: sudo apt-get install -y clang-tidy-14 (or set CLANG_TIDY)',
  )
  process.exit(1)
}
const wanted = process.argv.slice(2).map((name) => path.resolve(name))
const sources = compileCommands().filter(({ file }) => !wanted.length || wanted.includes(file))
const scripts = ['.clang-tidy', 'package-lock.json', 'scripts/clang-tidy.mjs', 'scripts/remember.mjs']
const inputs = scripts.map((name) => path.join(root, name))
const versions = [versionOf(tool), versionOf('c++')]
forgetOld()
const results = await inParallel(sources, os.availableParallelism(), ({ file, command }) =>
  remembered([...withIncludes(file), ...inputs], [...versions, command.replaceAll(root, '')], async () =>
    (await tidy(tool, file)) ? true : undefined,
  ),
)
const failed = results.filter(({ result }) => !result).length
const known = results.filter((r) => r.known).length
console.log(`clang-tidy: ${sources.length - failed} of ${sources.length} sources without findings`)
if (known) note(`${known} of ${sources.length} sources passed before`)
process.exitCode = failed ? 1 : 0
