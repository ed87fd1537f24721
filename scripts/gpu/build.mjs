import { spawnSync } from 'node:child_process'
import { createRequire } from 'node:module'
import os from 'node:os'
import path from 'node:path'
import { checkTools, root, runQuietly } from '../native.mjs'

/** Builds addon, native tests and benchmark with the CUDA backend in one tree; node-gyp-build finds the addon in build/Release of it. */
export async function buildForGpu({ folder, architectures }) {
  checkTools()
  const cmakeJs = createRequire(import.meta.url).resolve('cmake-js/bin/cmake-js')
  const env = {
    CMAKE_BUILD_PARALLEL_LEVEL: String(os.availableParallelism()),
    ...process.env,
    FEYNKAC_CUDA: 'ON',
    FEYNKAC_CUDA_ARCHITECTURES: architectures,
  }
  const out = path.join(folder, 'build')
  // the tests try the kernels that are there to fall back to, which the driver would have to compile
  const defines = ['--CDFEYNKAC_TESTS=ON', `--CDFEYNKAC_CUDA_PLAIN_ARCHITECTURES=${architectures}`]
  await runQuietly(process.execPath, [cmakeJs, 'build', '--directory', root, '--out', out, ...defines], { env })
}

/** Machine code for the first GPU, or code that runs on all of them where the driver's tool does not say which it is. */
export function architectureHere() {
  const query = ['--query-gpu=compute_cap', '--format=csv,noheader']
  const { stdout } = spawnSync('nvidia-smi', query, { encoding: 'utf8' })
  const [, major, minor] = /^(\d+)\.(\d+)/.exec(stdout ?? '') ?? []
  if (!major) return '80-virtual'
  return `${major}${minor}${Number(major) === 9 ? 'a' : ''}-real`
}
