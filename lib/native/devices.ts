import os from 'node:os'
import { integer, oneOf } from '../base/args.js'
import { invalid } from '../base/errors.js'
import { native, run } from './addon.js'

/** A device that models can be loaded on. */
export interface DeviceInfo {
  /** What `device` options take: 'cpu', 'cuda:0', ... */
  name: string
  /** The product, with the instruction set for a CPU and the compute capability for a GPU. */
  description: string
  /** Bytes of memory. */
  memory: number
  /** Threads in use (CPU). */
  threads?: number
}

/**
 * How the products of convolutions and attention round their factors on a GPU; sums are float32 in all of them. 'fp32': not at
 * all (float32 by three TF32 products); 'tf32': to 10 bits of mantissa; 'bf16': to 7 bits.
 */
export type Precision = 'fp32' | 'tf32' | 'bf16'

/** Where a model lives and how it computes. */
export interface DeviceOptions {
  /** 'cpu', 'cuda:0', ..., or 'auto' (the default) for the best device there is. */
  device?: string
  /** 'fp32' (the default), or 'tf32' or 'bf16' on a CUDA device. */
  precision?: Precision
}

export const deviceOptionNames = ['device', 'precision']

/**
 * The devices of this machine, the best one for `device: 'auto'` first. GPUs older than compute capability 8.0 are not
 * among them; `feynkac doctor` says why a GPU is not.
 * @example
 * ```js
 * import { devices } from 'feynkac'
 *
 * for (const { name, description } of devices()) console.log(name, description)
 * ```
 */
export function devices(): DeviceInfo[] {
  const { isa, threads } = native.cpu()
  const model = os.cpus()[0]?.model.trim() ?? 'CPU'
  const cuda = native.cuda()
  const cpu = { name: 'cpu', description: `${model} (${isa})`, memory: os.totalmem(), threads }
  const gpus = cuda.devices
    .map(({ name, capability, memory }, i) => ({ name: `cuda:${i}`, description: `${name} (${capability})`, memory }))
    .filter((_, i) => Number.parseInt(cuda.devices[i]!.capability, 10) >= 8)
  return cuda.emulated ? [cpu, ...gpus] : [...gpus, cpu]
}

/** The device and precision that options mean. Throws ArgumentError; whether the device exists is for its first use to say. */
export function placement({ device = 'auto', precision = 'fp32' }: DeviceOptions): {
  device: string
  precision: Precision
} {
  if (typeof device !== 'string') throw invalid('device', "'auto', 'cpu' or 'cuda:0'", device)
  oneOf('precision', precision, ['fp32', 'tf32', 'bf16'])
  const name = device === 'auto' ? devices()[0]!.name : device === 'cuda' ? 'cuda:0' : device
  if (name === 'cpu' && precision !== 'fp32') throw invalid('precision on the CPU', "'fp32'", precision)
  return { device: name, precision }
}

/** Bytes of a GPU's memory that are free now; undefined for the CPU. */
export function freeMemory(device: string): number | undefined {
  const index = /^cuda:(\d+)$/.exec(device)?.[1]
  return index === undefined ? undefined : native.cudaFreeMemory(Number(index))
}

const warned = new Set<string>()

/** Warns, once for each device, where its self-test chose slower kernels. For use after the device's first job: then it costs nothing. */
export async function warnOfSlowKernels(options: DeviceOptions): Promise<void> {
  const { device } = placement(options)
  const index = /^cuda:(\d+)$/.exec(device)?.[1]
  if (index === undefined || warned.has(device)) return
  warned.add(device)
  const { failure } = await run(() => native.checkCuda(Number(index)))
  if (failure) process.emitWarning(`${device} runs slow kernels, as its self-test failed: ${failure}`, 'FeynkacWarning')
}

/**
 * Number of threads of the CPU backend, 1 to 1024, for the whole process (default: the cores). Results do not depend on it. Throws ArgumentError.
 * @example
 * ```js
 * import { setThreads } from 'feynkac'
 *
 * setThreads(2) // results do not depend on it
 * ```
 */
export function setThreads(threads: number): void {
  native.setThreads(integer('threads', threads, 1, 1024))
}
