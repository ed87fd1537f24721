import { writeSync } from 'node:fs'

/** Hooks of the module loader, for a child process: packages named in ABSENT are not there, and every module that is loaded is written out. */

const absent = (process.env.ABSENT ?? '').split(' ')

export function resolve(specifier, context, next) {
  if (!absent.includes(specifier)) return next(specifier, context)
  throw Object.assign(new Error(`Cannot find package '${specifier}'`), { code: 'ERR_MODULE_NOT_FOUND' })
}

export function load(url, context, next) {
  if (/^(file|node):/.test(url)) writeSync(1, `${url}\n`)
  return next(url, context)
}
