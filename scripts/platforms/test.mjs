#!/usr/bin/env node
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { Command } from 'commander'
import { buildFolder, hasProgram, home, platforms } from './list.mjs'
import { muslVariables } from './musl.mjs'
import { fetched, installed } from './runtimes.mjs'

/**
 * Tests a platform's addon as far as this machine can: the native tests (built by build.mjs --tests) and the smoke test of a tarball under
 * its own Node or Bun, both by an emulator where it takes one.
 */

const MINUTE = 60_000

/** Runs a program of a platform, with more variables in its environment; wine knows no pipes, so its output goes through a file. */
function run(name, command, cwd, timeout, variables = {}) {
  const emulator = name === home ? [] : platforms[name].run
  const given = Object.entries(variables).map(([key, value]) => `${key}=${value}`)
  const passed = emulator[0] === 'qemu-aarch64' ? given.flatMap((one) => ['-E', one]) : [] // of another machine: not for qemu itself
  const [program, ...args] = [
    ...(given.length && !passed.length ? ['env', ...given] : []),
    ...emulator,
    ...passed,
    ...command,
  ]
  const file = path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'feynkac-run-')), 'output')
  const output = fs.openSync(file, 'w')
  const env = { WINEDEBUG: '-all', NODE_SKIP_PLATFORM_CHECK: '1', ...process.env }
  const { status, error } = spawnSync(program, args, { cwd, env, timeout, stdio: ['ignore', output, output] })
  fs.closeSync(output)
  const text = fs.readFileSync(file, 'utf8').trim()
  fs.rmSync(path.dirname(file), { recursive: true })
  return { ok: status === 0, text: error ? `${text}\n${error.message}` : text }
}

/** What is missing here to run a platform's programs, or null. */
export function missingToRun(name) {
  if (name === home) return null
  const { run: runner, loader } = platforms[name]
  if (!runner) return 'such machine'
  if (runner.length && !hasProgram(runner[0])) return runner[0]
  return loader && !fs.existsSync(loader) ? loader : null
}

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

/** The smoke test of a tarball under the platform's Node or Bun; its line. Without the network where qemu takes long for it. */
export function runSmoke(name, tarball) {
  const { runtime, run: runner } = platforms[name]
  const folder = installed(tarball)
  try {
    const program = name === home ? process.execPath : fetched(runtime)
    const short = name !== home && runner[0] === 'qemu-aarch64' ? ['--short'] : []
    return run(name, [program, 'smoke.mjs', ...short], folder, 10 * MINUTE, muslVariables(name))
  } catch (error) {
    return { ok: false, text: error.message }
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
    const missing = missingToRun(name)
    if (missing) throw new Error(`${name}: nothing here runs its programs: no ${missing}`)
    if (native && runNativeTests(name).failed.length) process.exitCode = 1
    if (tarball) {
      const { ok, text } = runSmoke(name, tarball)
      console.log(`${name}: ${text}`)
      if (!ok) process.exitCode = 1
    }
  }
}
