#!/usr/bin/env node
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { Command } from 'commander'
import { buildFolder, hasProgram, home, platforms, prebuildOf } from './list.mjs'
import { fetched, installed } from './runtimes.mjs'
import { loadInStub } from './stub-host.mjs'

/**
 * Tests a platform's addon as far as this machine can: the native tests (built by build.mjs --tests) and the smoke test of a tarball under
 * its own Node, both by an emulator where it takes one; where there is no Node for it, the addon is loaded by a host that has only names.
 */

const MINUTE = 60_000

/** Runs a program of a platform; wine knows no pipes, so its output goes through a file. */
function run(name, command, cwd, timeout) {
  const [program, ...args] = [...(name === home ? [] : platforms[name].run), ...command]
  const file = path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'feynkac-run-')), 'output')
  const output = fs.openSync(file, 'w')
  const env = { WINEDEBUG: '-all', NODE_SKIP_PLATFORM_CHECK: '1', ...process.env }
  const { status, error } = spawnSync(program, args, { cwd, env, timeout, stdio: ['ignore', output, output] })
  fs.closeSync(output)
  const text = fs.readFileSync(file, 'utf8').trim()
  fs.rmSync(path.dirname(file), { recursive: true })
  return { ok: status === 0, text: error ? `${text}\n${error.message}` : text }
}

export const canRun = (name) =>
  name === home || (platforms[name].run?.every((part, i) => i > 0 || hasProgram(part)) ?? false)

/** The native tests that are built, one after the other: those that failed. */
export function runNativeTests(name) {
  const folder = buildFolder(name)
  const tests = fs.existsSync(folder) ? fs.readdirSync(folder).filter((file) => /_test(\.exe)?$/.test(file)) : []
  const failed = []
  for (const test of tests) {
    const { ok, text } = run(name, [path.join(folder, test)], folder, 20 * MINUTE)
    console.log(`${name}: ${ok ? 'ok' : 'FAILED'} ${text.split('\n').at(-1)}`)
    if (!ok) failed.push(test)
  }
  return { count: tests.length, failed }
}

/** The smoke test of a tarball under the platform's Node; its line. */
export function runSmoke(name, tarball, { short = name !== home } = {}) {
  const { node, run: runner } = platforms[name]
  const program = name.startsWith('win32') ? 'bin/node.exe' : 'bin/node'
  const folder = installed(tarball)
  try {
    const command = [
      name === home ? process.execPath : fetched({ package: node, program }),
      'smoke.mjs',
      ...(short && runner?.[0] !== 'wine' ? ['--short'] : []),
    ]
    return run(name, command, folder, 10 * MINUTE)
  } finally {
    fs.rmSync(folder, { recursive: true })
  }
}

if (process.argv[1] === import.meta.filename) {
  const command = new Command('test')
    .description('Test the addons of platforms, by emulators where it takes them.')
    .argument('[platform...]', Object.keys(platforms).join(', '), [home])
    .option('--tarball <file>', 'run the smoke test of this package as well')
    .option('--no-native', 'leave out the native tests')
    .parse()
  const { tarball, native } = command.opts()
  for (const name of command.processedArgs[0]) {
    if (!canRun(name))
      throw new Error(`${name}: nothing here runs its programs (${platforms[name].run?.[0] ?? 'no emulator'})`)
    if (native && runNativeTests(name).failed.length) process.exitCode = 1
    if (!platforms[name].node) {
      console.log(`${name}: ${loadInStub(name, prebuildOf(name))}`)
    } else if (tarball) {
      const { ok, text } = runSmoke(name, tarball)
      console.log(`${name}: ${text}`)
      if (!ok) process.exitCode = 1
    }
  }
}
