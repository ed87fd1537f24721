#!/usr/bin/env node
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import { Command } from 'commander'
import { hasProgram, home, platforms, prebuildOf } from './list.mjs'

/**
 * What an addon asks of the machine that loads it: only libraries that every such machine has, no glibc above the floor, and nothing
 * shown but the entry. Read from the file, by binutils or LLVM, so that it works for every platform on any.
 */

export const FLOOR = '2.28' // whatever it was built with: native/addon/glibc_floor.cc

const ENTRY = ['napi_register_module_v1', 'node_api_module_get_api_version_v1']

const LIBRARIES = {
  linux: /^(libc|libm|libdl|librt|libpthread|libgcc_s|ld-linux-[\w-]+)\.so\.\d+$/,
  musl: /^libc\.so$|^libc\.musl-\w+\.so\.1$/,
  win32: /^(KERNEL32|msvcrt|ucrtbase|ADVAPI32|api-ms-win-crt-[\w-]+)\.dll$/i,
  darwin: /^\/usr\/lib\/lib(System\.B|c\+\+\.1|c\+\+abi)\.dylib$/,
}

const read = (command, ...args) => execFileSync(command, args, { encoding: 'utf8', maxBuffer: 2 ** 28 })
const matches = (text, pattern) => [...text.matchAll(pattern)].map(([, found]) => found)
const compare = (a, b) => {
  const [[a0, a1], [b0, b1]] = [a, b].map((v) => v.split('.').map(Number))
  return a0 - b0 || a1 - b1
}

function elf(file) {
  const symbols = read('readelf', '--dyn-syms', '--wide', file).split('\n')
  const asked = symbols.map((line) => line.trim().split(/\s+/)).filter((f) => f[6] === 'UND' && f[4] !== 'WEAK')
  return {
    machine: /Machine:\s+(.*)/.exec(read('readelf', '--file-header', file))[1],
    needed: matches(read('readelf', '--dynamic', file), /NEEDED.*\[(.*)\]/g),
    exported: symbols
      .map((line) => line.trim().split(/\s+/))
      .filter((f) => f[7] && f[3] !== 'SECTION' && f[6] !== 'UND' && /^\d+:/.test(f[0]))
      .map((f) => f[7].split('@')[0]),
    glibc:
      matches(read('readelf', '--version-info', file), /\bGLIBC_(\d+\.\d+)/g)
        .sort(compare)
        .at(-1) ?? null,
    unversioned: asked.map((f) => f[7]).filter((name) => name && !/@|^napi_|^node_api_/.test(name)),
  }
}

function pe(file) {
  const tool = ['x86_64-w64-mingw32-objdump', 'objdump'].find(hasProgram)
  const text = read(tool, '-p', file)
  return {
    machine: /file format (\S+)/.exec(text)[1],
    needed: matches(text, /DLL Name: (\S+)/g).filter((name) => name !== 'node.exe'),
    exported: matches(
      text.slice(text.indexOf('[Ordinal/Name Pointer]')).split('\n\n')[0],
      /\[ *\d+\] (?:\+base\[ *\d+\] *[0-9a-f]+ )?(\w+)/g,
    ),
    glibc: null,
  }
}

function machO(file) {
  const tool = ['llvm-objdump', 'llvm-objdump-14', 'objdump'].find(hasProgram)
  const exports = read(tool, '--macho', '--exports-trie', file)
  return {
    machine: /magic\s+cputype.*\n\s*\S+\s+(\S+)/.exec(read(tool, '--macho', '--private-header', file))[1],
    needed: matches(read(tool, '--macho', '--dylibs-used', file), /^\s+(\S+) \(compat/gm).filter(
      (name) => !name.endsWith('feynkac.node'),
    ),
    exported: matches(exports, /^0x[0-9A-Fa-f]+\s+_(\S+)/gm),
    glibc: null,
  }
}

/** What an addon needs, and what is wrong with it. */
export function examine(name, file, floor = FLOOR) {
  const [system] = name.split('-')
  const found = { linux: elf, win32: pe, darwin: machO }[system](file)
  const musl = name.endsWith('-musl')
  const problems = found.needed
    .filter((library) => !LIBRARIES[musl ? 'musl' : system].test(library))
    .map((library) => `needs ${library}`)
  const machine = name.includes('arm64') ? /aarch64|arm64/i : /x86[-_]64/i
  if (!machine.test(found.machine)) problems.push(`is for ${found.machine}`)
  if (musl && found.glibc) problems.push(`needs glibc ${found.glibc}`)
  if (found.glibc && found.unversioned.length) problems.push(`asks for ${found.unversioned.join(', ')} of no library`)
  if (found.glibc && compare(found.glibc, floor) > 0) problems.push(`needs glibc ${found.glibc}, more than ${floor}`)
  // zig's linker for macOS shows its C++ library too; a Mac's own one does not
  const asked = system === 'darwin' && process.platform !== 'darwin' ? ENTRY : found.exported.sort()
  if (asked.join() !== ENTRY.join() || !ENTRY.every((entry) => found.exported.includes(entry)))
    problems.push(`exports ${found.exported.slice(0, 8).join(', ') || 'nothing'}`)
  return { ...found, problems }
}

if (process.argv[1] === import.meta.filename) {
  const command = new Command('check')
    .description('Check what the addons in prebuilds/ ask of the machines that load them.')
    .argument('[platform...]', Object.keys(platforms).join(', '), [home])
    .option('--file <addon>', 'another file than that in prebuilds/')
    .option('--floor <version>', 'highest version of glibc that they may need', FLOOR)
    .parse()
  const { file, floor } = command.opts()
  for (const name of command.processedArgs[0]) {
    const addon = file ?? prebuildOf(name)
    const { needed, glibc, problems } = examine(name, addon, floor)
    const floorText = glibc ? `, glibc ${glibc} (at most ${floor})` : ''
    console.log(`${name}: ${fs.statSync(addon).size} bytes; needs ${needed.join(', ') || 'nothing'}${floorText}`)
    for (const problem of problems) console.error(`${name}: ${problem}`)
    if (problems.length) process.exitCode = 1
  }
}
