import fs from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import path from 'node:path'

/**
 * Stands between the package and node:fs/promises: counts the operations on files below a folder, and lets one of them fail, or all from one on.
 * Import it before the package. What fails has been done in half where it can be: a write leaves half of its bytes. With the code SIGKILL it is the process
 * that ends there.
 */

const real = { ...fs.promises }
const watch = { root: null, count: 0, failing: 0, lasting: false, code: 'EIO', failed: [], open: new Set() }

/** Counts what happens below the folder from here on; the operation number `failing` (from 1; 0: none) fails, with `lasting` all after it too. */
export function arm(root, { failing = 0, lasting = false, code = 'EIO' } = {}) {
  Object.assign(watch, { root: path.resolve(root), count: 0, failing, lasting, code, failed: [] })
  watch.open.clear()
}

/** Ends it. Operations counted, those that failed, and files that are still open. */
export function disarm() {
  watch.root = null
  return { count: watch.count, failed: watch.failed, open: [...watch.open] }
}

const inside = (name) => watch.root !== null && `${path.resolve(String(name))}/`.startsWith(`${watch.root}/`)

/** The error of this operation, where it is to fail. */
function fault(name, file) {
  watch.count++
  const due = watch.lasting ? watch.failing > 0 && watch.count >= watch.failing : watch.count === watch.failing
  if (!due) return null
  watch.failed.push(`${name} ${path.relative(watch.root, String(file))}`)
  const text = `${watch.code}: let fail, ${name} '${file}'`
  return Object.assign(new Error(text), { code: watch.code, errno: -5, syscall: name, path: String(file) })
}

/** Ends what an operation has done in half. */
function fail(error) {
  if (error.code === 'SIGKILL') process.kill(process.pid, 'SIGKILL')
  throw error
}

const half = (data) => data.slice(0, data.length >> 1)

/** Handles own their methods here, so that they know their file. */
function watched(handle, file) {
  watch.open.add(file)
  const own = (name, method) => {
    const before = handle[name].bind(handle)
    handle[name] = async (...args) => {
      if (!inside(file)) return before(...args)
      return method(before, fault(name, file), args)
    }
  }
  for (const name of ['read', 'stat', 'sync', 'truncate', 'readFile'])
    own(name, (before, error, args) => {
      if (error) fail(error)
      return before(...args)
    })
  own('write', async (before, error, [data, ...where]) => {
    if (!error) return before(data, ...where)
    const [offset = 0, length = data.length - offset, position] = where
    if (typeof data === 'string') await before(half(data))
    else await before(data, offset, length >> 1, position)
    fail(error)
  })
  own('close', async (before, error) => {
    watch.open.delete(file)
    await before() // as the system does: the descriptor is gone, also where closing it failed
    if (error) fail(error)
  })
  return handle
}

const single = [
  'access',
  'cp',
  'mkdir',
  'mkdtemp',
  'opendir',
  'readFile',
  'readdir',
  'realpath',
  'rename',
  'rm',
  'stat',
  'unlink',
]
for (const name of single)
  fs.promises[name] = async (file, ...rest) => {
    const error = inside(file) ? fault(name, file) : null
    if (error) fail(error)
    return real[name](file, ...rest)
  }
fs.promises.open = async (file, ...rest) => {
  if (!inside(file)) return real.open(file, ...rest)
  const error = fault('open', file)
  if (error) fail(error)
  return watched(await real.open(file, ...rest), file)
}
for (const name of ['appendFile', 'writeFile'])
  fs.promises[name] = async (file, data, ...rest) => {
    const error = typeof file === 'string' && inside(file) ? fault(name, file) : null
    await real[name](file, error ? half(data) : data, ...rest)
    if (error) fail(error)
  }
syncBuiltinESMExports()
