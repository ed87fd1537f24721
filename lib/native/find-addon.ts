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
  /** Why that is not what was loaded; '' where it was, or there is none. */
  passedOver: string
}

type GypBuild = { (folder: string): unknown; path(folder: string): string }
/** Not loaded before a folder is asked for: in a bundle it may not be there. */
const gypBuild = () => createRequire(import.meta.url)('node-gyp-build') as GypBuild

/** Platforms for which there is a package of the addon with CUDA kernels. */
const withCuda = ['linux-x64']

/** root: the folder of this package. Throws node-gyp-build's error where no addon loads. */
export function findAddon<T>(root: string): Addon<T> {
  const platform = `${process.platform}-${process.arch}`
  const cudaPackage = withCuda.includes(platform) ? `@feynkac/${platform}-cuda` : null
  let passedOver = ''
  if (cudaPackage !== null) {
    const own = builtHere(root)
    if (own !== null) passedOver = `${own} was built here`
    else
      try {
        return { ...loadPackage<T>(root, cudaPackage), cudaPackage, passedOver }
      } catch (error) {
        passedOver = (error as Error).message.split('\n')[0]
      }
  }
  const load = gypBuild()
  return { module: load(root) as T, path: load.path(root), cudaPackage, passedOver }
}

/** An addon that is not one of the prebuilt ones. */
function builtHere(root: string): string | null {
  try {
    const path = gypBuild().path(root)
    return path.startsWith(join(root, 'prebuilds')) ? null : path
  } catch {
    return null
  }
}

/** The addon of another package, which must have this one's version. Throws where it is not there, or does not load. */
function loadPackage<T>(root: string, name: string): { module: T; path: string } {
  const require = createRequire(join(root, 'package.json'))
  const { version } = readJson(join(root, 'package.json'))
  let manifest: string
  try {
    manifest = require.resolve(`${name}/package.json`)
  } catch {
    throw new Error('it is not installed')
  }
  const { version: given } = readJson(manifest)
  if (given !== version) throw new Error(`its version is ${given}, not ${version}`)
  const path = require.resolve(name)
  return { module: require(path) as T, path }
}

const readJson = (file: string) => JSON.parse(readFileSync(file, 'utf8')) as { version: string }
