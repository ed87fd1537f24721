import { spawn, spawnSync } from 'node:child_process'
import path from 'node:path'
import readline from 'node:readline'
import { fileURLToPath } from 'node:url'

/** The programs that do the benchmark's jobs, each a process that answers a job per line with one JSON object. */

const peers = fileURLToPath(new URL('../peers', import.meta.url))

/** feynkac's program reads key=value, separated by tabs. */
const asWords = (job) =>
  Object.entries(job)
    .map(([key, value]) => `${key}=${value}`)
    .join('\t')

/** JSON has no NaN: a side that computed one has failed. */
function parsed(line) {
  try {
    return JSON.parse(line)
  } catch {
    return { error: { kind: 'failure', message: `not JSON: ${line.slice(0, 200)}` } }
  }
}

class Side {
  /** `fresh`: a new process for every job. */
  constructor(command, args, { encode = JSON.stringify, fresh = false } = {}) {
    Object.assign(this, { command, args, encode, fresh })
  }

  #start() {
    const child = spawn(this.command, this.args, { stdio: ['pipe', 'pipe', 'pipe'] })
    this.child = child
    this.errors = ''
    this.waiting = undefined
    child.stderr.on('data', (data) => {
      this.errors = (this.errors + data).slice(-2000)
    })
    child.stdin.on('error', () => {}) // a process that has died says so by its end
    // of a process that was closed nothing counts any more
    const settle = (answer) => this.child === child && this.waiting?.(answer)
    readline.createInterface({ input: child.stdout }).on('line', (line) => settle(parsed(line)))
    const end = (how) => {
      const last = this.errors.trim().split('\n').at(-1)
      settle({ error: { kind: 'failure', message: last ? `${how}: ${last}` : how } })
      if (this.child === child) this.child = undefined
    }
    child.on('error', (error) => end(error.message))
    child.on('close', (code, signal) => end(`ended with ${signal ?? code}`))
  }

  /** The answer; after `seconds` without one the process is killed, and the next job gets a new one. */
  async ask(job, seconds) {
    if (!this.child) this.#start()
    const answer = await new Promise((resolve) => {
      const timer = setTimeout(() => {
        this.waiting = undefined
        this.close()
        resolve({ error: { kind: 'time', message: `no answer in ${Math.round(seconds)} s` } })
      }, seconds * 1000)
      this.waiting = (value) => {
        clearTimeout(timer)
        this.waiting = undefined
        resolve(value)
      }
      this.child.stdin.write(`${this.encode(job)}\n`)
    })
    // after a failure the process may not be able to use the device any more
    if (this.fresh || answer.error?.kind === 'failure') this.close()
    return answer
  }

  close() {
    this.child?.kill('SIGKILL')
    this.child = undefined
  }
}

/** The first Python that has a module. */
function pythonWith(module, chosen) {
  const code = `import importlib.util, sys; sys.exit(importlib.util.find_spec('${module}') is None)`
  const candidates = chosen ? [chosen] : ['python3', '/usr/bin/python3']
  return candidates.find((python) => spawnSync(python, ['-c', code], { stdio: 'ignore' }).status === 0)
}

/** Sides by name, and why the others are missing. A mode of PyTorch is a side; they share a process. */
export function makeSides({ program, peers: wanted, python }) {
  const sides = { feynkac: { side: new Side(program, [], { encode: asWords }), options: {} } }
  const missing = {}
  const add = (names, module, script, options) => {
    const asked = Object.keys(names).filter((name) => wanted.includes(name))
    if (asked.length === 0) return
    const found = pythonWith(module, python)
    const side = found && new Side(found, [path.join(peers, script)], options)
    for (const name of asked)
      if (side) sides[name] = { side, options: names[name] }
      else missing[name] = `no Python here has ${module}`
  }
  const torch = { torch: { mode: 'eager' }, 'torch-graphs': { mode: 'graphs' }, 'torch-compile': { mode: 'compile' } }
  add(torch, 'torch', 'torch_gpu.py', {})
  add({ jax: {} }, 'jax', 'jax_gpu.py', { fresh: true })
  return { sides, missing }
}
