#!/usr/bin/env node
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import { createRequire } from 'node:module'
import os from 'node:os'
import path from 'node:path'
import { Command } from 'commander'
import { buildFolder, hasProgram, home, missingTools, platforms, prebuildOf, root } from './list.mjs'
import { provideZig } from './runtimes.mjs'

/** Builds addons for their places in prebuilds/, each in a build tree of its own: of this platform, or across by a toolchain. */

const options = new Command('build')
  .description('Build the addon of platforms (this one by default) into prebuilds/.')
  .argument('[platform...]', Object.keys(platforms).join(', '), [home])
  .option('--tests', 'the native tests too')
  .option('--cuda', 'with the CUDA kernels, for packages/linux-x64-cuda instead of prebuilds/')
  .option('--jobs <n>', 'compilers at a time', String(os.availableParallelism()))
  .parse()
const { tests, cuda, jobs } = options.opts()

const require = createRequire(import.meta.url)

/** What the package with CUDA kernels holds: machine code for each kind of GPU, and PTX of the newest for those to come. */
const architectures = '80-real;86-real;89-real;90a-real;100-real;120-real;120-virtual'

function run(command, args) {
  const env = { ...process.env, FEYNKAC_CUDA: cuda ? 'ON' : 'OFF' } // stronger than what CMake is told by -D
  const { status, error, stdout, stderr } = spawnSync(command, args, { cwd: root, env, maxBuffer: 2 ** 28 })
  if (status !== 0) process.stderr.write(Buffer.concat([stdout, stderr].map((output) => output ?? Buffer.alloc(0))))
  if (status !== 0) throw new Error(`${command} ${args.slice(0, 3).join(' ')} ... ended with ${error ?? status}`)
}

function build(name) {
  const { tools } = platforms[name]
  const absent = missingTools(name)
  if (absent.length) throw new Error(`${name} needs ${absent.join(', ')} on PATH`)
  if (name !== home && tools.includes('zig')) provideZig()
  const folder = buildFolder(cuda ? `${name}-cuda` : name)
  const headers = path.dirname(require.resolve('node-api-headers/package.json'))
  const include = [path.join(headers, 'include'), path.dirname(require.resolve('node-addon-api/package.json'))]
  run('cmake', [
    ...['-S', root, '-B', folder, ...(hasProgram('ninja') ? ['-G', 'Ninja'] : []), '--no-warn-unused-cli'],
    ...(name === home ? [] : [`-DCMAKE_TOOLCHAIN_FILE=${root}/scripts/platforms/toolchains/${name}.cmake`]),
    `-DFEYNKAC_TESTS=${tests ? 'ON' : 'OFF'}`,
    ...(cuda ? [`-DFEYNKAC_CUDA_ARCHITECTURES=${architectures}`] : []),
    ...[`-DCMAKE_JS_INC=${include.join(';')}`, `-DCMAKE_JS_NODELIB_DEF=${path.join(headers, 'def/node_api.def')}`],
    ...(process.env.CMAKE_CXX_COMPILER_LAUNCHER && !tools.includes('zig')
      ? [`-DCMAKE_CXX_COMPILER_LAUNCHER=${process.env.CMAKE_CXX_COMPILER_LAUNCHER}`]
      : []),
  ])
  run('cmake', ['--build', folder, '--parallel', jobs, ...(tests ? [] : ['--target', 'feynkac'])])
  const to = cuda ? path.join(root, 'packages', `${name}-cuda`, 'feynkac.node') : prebuildOf(name)
  fs.mkdirSync(path.dirname(to), { recursive: true })
  fs.copyFileSync(path.join(folder, 'feynkac.node'), to)
  console.log(`${name}: ${path.relative(root, to)}, ${fs.statSync(to).size} bytes`)
}

for (const name of options.processedArgs[0]) {
  if (!platforms[name]) throw new Error(`${name}: expected one of ${Object.keys(platforms).join(', ')}`)
  build(name)
}
