import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'

/** Operations on files and allocations that fail: a few of those that scripts/torture.mjs lets fail. */

const script = fileURLToPath(new URL('../scripts/torture/faults.mjs', import.meta.url))

describe('a run in which something fails ends with a typed error, harms nothing, and the next one goes on', () => {
  it.each([
    ['files', 8, 'train,sample,evaluate'],
    ['memory', 6, 'train,sample'],
  ])('%s', async (kind, most, jobs) => {
    const child = spawn(process.execPath, [script, kind, '--most', String(most), '--seed', '7', '--jobs', jobs])
    let output = ''
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (data) => (output += data))
    const status = await new Promise((resolve) => child.on('close', (code, signal) => resolve(signal ?? code)))
    if (output.startsWith('skipped: ')) return console.warn(output.trim())
    expect(output).toMatch(/\n0 wrong\n$/)
    expect(status).toBe(0)
    // some are survived: a file that is closed badly after it was read, a thread that is not needed
    expect(Number(/(\d+) refused/.exec(output)?.[1])).toBeGreaterThan(0)
  })
})
