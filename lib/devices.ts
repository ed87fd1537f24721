import os from 'node:os'
import { integer } from './args.js'
import { native } from './native.js'

/** A device that models can be loaded on. */
export interface DeviceInfo {
  /** What `device` options take: 'cpu', 'cuda:0', ... */
  name: string
  /** The product, with the instruction set for a CPU. */
  description: string
  /** Bytes of memory. */
  memory: number
  /** Threads in use (CPU). */
  threads?: number
}

/** The devices of this machine, the best one for `device: 'auto'` first. This build has the CPU backend only. */
export function devices(): DeviceInfo[] {
  const { isa, threads } = native.cpu()
  const model = os.cpus()[0]?.model.trim() ?? 'CPU'
  return [{ name: 'cpu', description: `${model} (${isa})`, memory: os.totalmem(), threads }]
}

/** Number of threads of the CPU backend, for the whole process (default: the cores). Results do not depend on it. */
export function setThreads(threads: number): void {
  native.setThreads(integer('threads', threads, 1, 1024))
}
