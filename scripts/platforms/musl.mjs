import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { home } from './list.mjs'
import { cacheFolder, provideZig } from './runtimes.mjs'

/**
 * Programs of musl on a machine of glibc: Debian has musl, and GCC's C++ library, which a runtime for JavaScript asks for, is Debian's own
 * for glibc beside what musl.c adds to musl.
 */

const machines = {
  'linux-x64-musl': { machine: 'x86_64', compiler: 'g++' },
  'linux-arm64-musl': { machine: 'aarch64', compiler: 'aarch64-linux-gnu-g++' },
}

/** Variables of the environment by which a platform's programs find their libraries: none where the machine has them. */
export function muslVariables(name) {
  if (name === home || !machines[name]) return {}
  const { machine, compiler } = machines[name]
  const folder = path.join(cacheFolder, `musl-${machine}`)
  const added = path.join(folder, 'ld-linux-x86-64.so.2') // as libgcc_s of x64 names what it asks for
  fs.mkdirSync(folder, { recursive: true })
  for (const library of ['libstdc++.so.6', 'libgcc_s.so.1']) {
    const file = execFileSync(compiler, [`-print-file-name=${library}`], { encoding: 'utf8' }).trim()
    fs.copyFileSync(file, path.join(folder, library))
  }
  provideZig()
  const source = fileURLToPath(new URL('musl.c', import.meta.url))
  execFileSync('zig', ['cc', '-target', `${machine}-linux-musl`, '-O1', '-s', '-shared', '-o', added, source])
  return { LIBC: 'musl', LD_LIBRARY_PATH: folder, LD_PRELOAD: added } // LIBC: for node-gyp-build, which looks for Alpine's files
}
