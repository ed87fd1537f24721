import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { checkSignal } from '../base/args.js'
import { ArgumentError, DeviceError, FeynkacError, NumericsError, OutOfMemoryError } from '../base/errors.js'
import { turn } from '../base/turns.js'
import type { AutoencoderConfig } from '../networks/autoencoder.js'
import type { ClassifierConfig } from '../networks/classifier.js'
import type { NetworkConfig } from '../networks/config.js'
import type { Preconditioning } from '../networks/preconditioning.js'
import { type Addon, findAddon } from './find-addon.js'
import type { NativeParticles } from './particle-ops.js'
import type {
  DoneJob,
  NativeAutoencoder,
  NativeClassifier,
  NativeJob,
  NativeNetwork,
  NativeRanks,
  NativeSpace,
} from './types.js'

export interface NativeModule extends NativeParticles {
  /** Instruction set and threads of the CPU backend. */
  cpu(): { isa: string; threads: number }
  setThreads(n: number): void
  /** Frees an array's memory now, where the collector would let hundreds of megabytes wait: the array has no elements any more. */
  detach(array: ArrayBufferView): void
  /** Gives back the pages of the buffer of an array that nobody needs, on another thread: its values are lost, and `detach` is quick then. */
  discard(array: ArrayBufferView): NativeJob<void>
  /** The CUDA devices, or the reason why there is none; versions as 1000 major + 10 minor, 0 where there is none. */
  cuda(): {
    devices: { name: string; capability: string; memory: number }[]
    reason: string
    driver: number
    runtime: number
    /** The kernels of this build run on the CPU, for tests. */
    emulated: boolean
  }
  /** Bytes that are free on a CUDA device; starts it. */
  cudaFreeMemory(device: number): number
  /**
   * Which build of the kernels a CUDA device runs, by the self-test at its first use: 'hopper' where there is sm_90a code for it,
   * else 'tensor', or 'plain'; `failure` says what a faster one got wrong. Rejects where none is right.
   */
  checkCuda(device: number): NativeJob<{ path: 'hopper' | 'tensor' | 'plain'; failure: string }>
  /** Starts the device if it has to. */
  openSpace(device: number): NativeJob<NativeSpace>
  createNetwork(
    config: NetworkConfig,
    preconditioning: Preconditioning,
    device: string,
    precision: 'fp32' | 'tf32' | 'bf16',
    joint?: boolean,
  ): NativeNetwork
  createAutoencoder(config: AutoencoderConfig, device: string, precision: 'fp32' | 'tf32' | 'bf16'): NativeAutoencoder
  createClassifier(config: ClassifierConfig, device: string, precision: 'fp32' | 'tf32' | 'bf16'): NativeClassifier
  ranks: NativeRanks
  /** Locks an open file until its descriptor is closed, or the process has ended; 'busy': another descriptor has it. */
  lockFile(descriptor: number): 'locked' | 'busy' | 'unsupported'
}

/** The folder of this package, one level above lib/ and dist/. Throws DeviceError in a bundle, which has no package around it. */
function packageRoot(): string {
  const own: string | undefined = import.meta.url // undefined in a bundle of CommonJS
  const root = own?.startsWith('file:') ? join(fileURLToPath(own), '../../../') : null // bundlers have a URL class of their own
  if (root !== null && isOurs(join(root, 'package.json'))) return root
  throw new DeviceError(
    `feynkac was put into a bundle${own === undefined ? '' : ` (${own})`}, which its native addon is not in. ` +
      "Keep it out: external: ['feynkac'] in the options of esbuild, Rollup, Vite or webpack, serverExternalPackages: ['feynkac'] in Next.js",
  )
}

function isOurs(manifest: string): boolean {
  try {
    return JSON.parse(readFileSync(manifest, 'utf8')).name === 'feynkac'
  } catch {
    return false
  }
}

function load(): Addon<NativeModule> {
  const root = packageRoot()
  try {
    return findAddon(root)
  } catch (cause) {
    throw new DeviceError(
      `feynkac has no native build that loads on ${process.platform}-${process.arch}: ${(cause as Error).message.split('\n')[0]}\n` +
        `Build it here (needs CMake and a C++17 compiler): node ${root}bin/feynkac.js build`,
      { cause },
    )
  }
}

const networks = ['createNetwork', 'createAutoencoder', 'createClassifier'] as const

/** With the package's errors in every function, and in every method of a network: any call may find that memory has run out. */
function translating<T extends object>(object: T, names: readonly string[]): T {
  for (const name of names) {
    const method = object[name as keyof T]
    if (typeof method === 'function' && name !== 'constructor')
      Object.defineProperty(object, name, { value: (...args: unknown[]) => now(() => method.apply(object, args)) })
  }
  return object
}

const methodsOf = (object: object) => Object.getOwnPropertyNames(Object.getPrototypeOf(object))

function translated(module: NativeModule): NativeModule {
  const all = translating({ ...module }, Object.keys(module))
  all.ranks = translating({ ...module.ranks }, Object.keys(module.ranks))
  for (const name of networks) {
    const create = all[name] as (...args: unknown[]) => object
    Object.defineProperty(all, name, {
      value: (...args: unknown[]) => {
        const network = create(...args)
        return translating(network, methodsOf(network))
      },
    })
  }
  return all
}

/** The addon, its file, and why it is not the one with CUDA kernels. */
export const addon = load()
export const native = translated(addon.module)

/** Native errors carry a code; this is the one place where they become the package's classes. */
export function translate(error: unknown): unknown {
  if (error instanceof FeynkacError) return error
  const { code, message } = error as { code?: string; message: string }
  const options = { cause: error }
  switch (code) {
    case 'FEYNKAC_ARGUMENT':
      return new ArgumentError(message, options)
    case 'FEYNKAC_OUT_OF_MEMORY':
      return new OutOfMemoryError(message, options)
    case 'FEYNKAC_NUMERICS':
      return new NumericsError(message, options)
    case 'FEYNKAC_DEVICE':
      return new DeviceError(message, options)
    case 'FEYNKAC_INTERNAL':
      return new FeynkacError(message, options)
    default:
      // thrown beside the addon's own checks, in its bindings
      return message === 'std::bad_alloc' ? new OutOfMemoryError('out of memory', options) : error
  }
}

/** A call of native code that gives its answer at once. */
function now<T>(call: () => T): T {
  try {
    return call()
  } catch (error) {
    throw translate(error)
  }
}

/** Starts native work and waits for it; aborting the signal cancels it and rejects with the signal's reason. */
export async function run<T>(start: () => NativeJob<T> | DoneJob<T>, signal?: AbortSignal): Promise<T> {
  checkSignal(signal)
  signal?.throwIfAborted()
  let cancel = () => {}
  try {
    const job = start()
    if ('value' in job) {
      await turn()
      return job.value
    }
    cancel = () => job.cancel()
    signal?.addEventListener('abort', cancel, { once: true })
    return await job.promise
  } catch (error) {
    signal?.throwIfAborted()
    throw translate(error)
  } finally {
    signal?.removeEventListener('abort', cancel)
  }
}
