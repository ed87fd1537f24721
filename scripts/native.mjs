import { spawn, spawnSync } from 'node:child_process'
import { createRequire } from 'node:module'
import os from 'node:os'
import { fileURLToPath } from 'node:url'

/** Building the addon from source by cmake-js: shared by set-up in a clone and `feynkac build` in an installed package. */

export const root = fileURLToPath(new URL('..', import.meta.url))
const require = createRequire(import.meta.url)

/** A failure with a message for the user; `missing` where a program or package has to be installed first. */
export class SetupError extends Error {
  missing = false
}

function missing(message) {
  return Object.assign(new SetupError(message), { missing: true })
}

const answers = (program) => spawnSync(program, ['--version'], { encoding: 'utf8' })

function checkPackages() {
  for (const name of ['cmake-js', 'node-addon-api'])
    try {
      require.resolve(`${name}/package.json`)
    } catch {
      throw missing(
        `${name} is not installed. To build from source, first: npm install --save-dev cmake-js node-addon-api`,
      )
    }
}

/** Throws with what is missing and the command that installs it. */
export function checkTools() {
  const cmake = answers('cmake')
  const found = /version (\d+)\.(\d+)/.exec(cmake.stdout ?? '')
  const wanted = []
  if (!found) wanted.push('CMake (cmake is not on PATH)')
  else if (found[1] < 3 || (found[1] === '3' && found[2] < 18))
    wanted.push(`CMake 3.18 or newer (this is ${found[1]}.${found[2]})`)
  if (process.platform !== 'win32') {
    const compilers = process.env.CXX ? [process.env.CXX] : ['c++', 'g++', 'clang++']
    if (!compilers.some((name) => answers(name).status === 0))
      wanted.push(`a C++17 compiler (${compilers.join(', ')}: none runs)`)
    if (!['ninja', 'make'].some((name) => answers(name).status === 0)) wanted.push('make or ninja')
  }
  if (wanted.length)
    throw missing(
      `the addon needs ${wanted.join(' and ')}.\n  Debian, Ubuntu: sudo apt-get install -y cmake g++ make\n` +
        '  Fedora, RHEL:   sudo dnf install -y cmake gcc-c++ make\n  macOS:          xcode-select --install && brew install cmake',
    )
}

/** Builds build/Release/feynkac.node; `afresh` wipes build/ and configures again. */
export async function buildAddon({ afresh, onChild }) {
  checkPackages()
  checkTools()
  const env = { CMAKE_BUILD_PARALLEL_LEVEL: String(os.availableParallelism()), ...process.env }
  const toolset = process.platform === 'win32' ? ['--toolset', 'ClangCL'] : [] // of Visual Studio: cl.exe lacks vector types
  const program = require.resolve('cmake-js/bin/cmake-js')
  const command = [program, afresh ? 'rebuild' : 'build', '--directory', root, ...toolset]
  await runQuietly(process.execPath, command, { env, onChild })
}

/** Runs a program in the root, and shows its output only if it fails. */
export async function runQuietly(program, args, { env = process.env, shell = false, onChild } = {}) {
  const child = spawn(program, args, { cwd: root, env, shell, stdio: ['ignore', 'pipe', 'pipe'] })
  onChild?.(child)
  const output = []
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => output.push(chunk))
  const status = await new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code, signal) => resolve(signal ?? code))
  })
  if (status === 0) return
  process.stderr.write(Buffer.concat(output))
  throw new SetupError(`${[program, ...args].join(' ')} ended with ${status}; its output is above`)
}
