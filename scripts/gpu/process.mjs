import { spawn } from 'node:child_process'

/** Runs a program to its end, or for `seconds` at most: then it and what it started are killed. Never throws. */
export function runLimited(command, args, { seconds, env = process.env, echo = false }) {
  return new Promise((resolve) => {
    const began = performance.now()
    const child = spawn(command, args, { env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] })
    let timedOut = false
    const output = { stdout: '', stderr: '' }
    for (const name of ['stdout', 'stderr'])
      child[name].on('data', (data) => {
        output[name] += data
        if (echo) process.stdout.write(data)
      })
    const killAll = () => {
      try {
        process.kill(-child.pid, 'SIGKILL')
      } catch {
        // all of it has ended
      }
    }
    const timer = setTimeout(() => {
      timedOut = true
      killAll()
    }, seconds * 1000)
    process.once('exit', killAll)
    const end = (status) => {
      clearTimeout(timer)
      process.off('exit', killAll)
      resolve({ status, timedOut, seconds: (performance.now() - began) / 1000, ...output })
    }
    child.on('error', (error) => {
      output.stderr += error.message
      end(error.code)
    })
    child.on('close', (code, signal) => end(signal ?? code))
  })
}

/** Why a program did not succeed, in one line. */
export function reasonOf({ status, timedOut, seconds, stdout, stderr }) {
  if (timedOut) return `not done in ${Math.round(seconds)} s`
  const lines = `${stdout}\n${stderr}`.trim().split('\n')
  return `ended with ${status}: ${lines.at(-1).trim().slice(0, 300)}`
}

/** `work` over the items, `width` at a time. */
export async function inParallel(items, width, work) {
  const results = []
  let next = 0
  const worker = async () => {
    while (next < items.length) {
      const i = next++
      results[i] = await work(items[i])
    }
  }
  await Promise.all(Array.from({ length: width }, worker))
  return results
}
