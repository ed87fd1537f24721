import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

/** The side of faulty-memory.c that JavaScript sees: three numbers in a file. */

const VARIABLE = 'FEYNKAC_FAULTY_MEMORY'

/** Whether this process is one whose allocations may fail. */
export const ready = process.env[VARIABLE] !== undefined

/** The environment of a process whose addon's allocations may fail, or the reason why there can be none. */
export function environment(folder) {
  if (process.platform !== 'linux' || !process.report?.getReport().header.glibcVersionRuntime)
    return { reason: 'allocations are let fail on Linux with glibc only' }
  if (process.env.LD_PRELOAD) return { reason: 'another library is preloaded' }
  const library = path.join(folder, 'faulty-memory.so')
  const source = fileURLToPath(new URL('faulty-memory.c', import.meta.url))
  try {
    execFileSync(process.env.CC ?? 'cc', ['-shared', '-fPIC', '-O1', '-o', library, source], { stdio: 'pipe' })
  } catch (error) {
    return { reason: `faulty-memory.c cannot be compiled here: ${error.message.split('\n')[0]}` }
  }
  const state = path.join(folder, 'faulty-memory.state')
  fs.writeFileSync(state, Buffer.alloc(24))
  return { env: { ...process.env, LD_PRELOAD: library, [VARIABLE]: state } }
}

let file = null

/** Counts the addon's allocations from here on; the number `failing` (from 1; 0: none) fails. */
export function arm({ failing = 0 } = {}) {
  file ??= fs.openSync(process.env[VARIABLE], 'r+')
  write([0n, BigInt(failing), 0n])
  write([1n])
}

/** Ends it: allocations counted. */
export function disarm() {
  write([0n])
  const numbers = new BigInt64Array(3)
  fs.readSync(file, new Uint8Array(numbers.buffer), 0, 24, 0)
  return { count: Number(numbers[2]) }
}

function write(numbers) {
  fs.writeSync(file, new Uint8Array(BigInt64Array.from(numbers).buffer), 0, 8 * numbers.length, 0)
}
