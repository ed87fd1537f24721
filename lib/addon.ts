import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'

/**
 * Finding the native addon: one that was built here, else that of the package with CUDA kernels, where it is installed and loads, else the
 * prebuilt one for the CPU.
 */

export interface Addon<T> {
  module: T
  path: string
  /** The package with CUDA kernels for this platform; null where there is none. */
  cudaPackage: string | null
  /** Why that is not what was loaded; '' where it was. */
  passedOver: string
}

type GypBuild = { (folder: string): unknown; path(folder: string): string }

/** Platforms for which there is a package of the addon with CUDA kernels. */
const withCuda = ['linux-x64']

/** root: the folder of this package. Throws node-gyp-build's error where no addon loads. */
export function findAddon<T>(root: string): Addon<T> {
  const require = createRequire(join(root, 'package.json'))
  const find = createRequire(import.meta.url)('node-gyp-build') as GypBuild
  const platform = `${process.platform}-${process.arch}`
  const cudaPackage = withCuda.includes(platform) ? `@feynkac/${platform}-cuda` : null
  const own = pathOr(undefined, () => find.path(root))
  const isBuiltHere = own !== undefined && !own.startsWith(join(root, 'prebuilds'))
  let passedOver = 'there is none for this platform'
  if (isBuiltHere) passedOver = `${own} was built here`
  else if (cudaPackage) {
    try {
      const { version } = readJson(join(root, 'package.json'))
      const manifest = require.resolve(`${cudaPackage}/package.json`)
      const { version: given } = readJson(manifest)
      if (given !== version) throw new Error(`its version is ${given}, not ${version}`)
      const path = require.resolve(cudaPackage)
      return { module: require(path) as T, path, cudaPackage, passedOver: '' }
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException
      passedOver = code === 'MODULE_NOT_FOUND' ? 'it is not installed' : message.split('\n')[0]
    }
  }
  return { module: find(root) as T, path: find.path(root), cudaPackage, passedOver }
}

const readJson = (file: string) => JSON.parse(readFileSync(file, 'utf8')) as { version: string }

function pathOr<T>(otherwise: T, call: () => string): string | T {
  try {
    return call()
  } catch {
    return otherwise
  }
}
